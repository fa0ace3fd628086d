"""FAISS's inverted lists over a saved file, and its selectors of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.vectors.inverted import InvertedFile

__all__ = ["fill_lists", "id_selector", "map_lists"]

# Allowed ids become a bitmap up to this id (4 MiB, 32 while it is made); beyond it, a hash set.
_BITMAP_IDS = 1 << 25


def map_lists(faiss: Any, index: Any, file: InvertedFile) -> bool:
    """Let an index search the lists where they lie, read-only.

    Returns:
        False where FAISS cannot map files, or a later fold has taken the file's name away.
    """
    if not hasattr(faiss, "OnDiskInvertedLists") or not file.file.is_in_place():
        return False
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(file.file.path))
    lists.read_only = True
    # Else every search starts a thread for each list it visits, which takes longer than reading them.
    lists.prefetch_nthread = 0
    lists.totsize = file.file.size_bytes
    sizes = file.sizes.astype(np.uint64)
    lists.set_all_lists_sizes(faiss.swig_ptr(sizes))
    try:
        lists.do_mmap()
    except RuntimeError:
        return False
    index.replace_invlists(lists, True)
    lists.this.disown()
    return True


def fill_lists(faiss: Any, index: Any, file: InvertedFile) -> None:
    """Give an index a copy of the lists in memory, which it may change."""
    lists = faiss.ArrayInvertedLists(index.nlist, index.code_size)
    for number in np.flatnonzero(file.sizes).tolist():
        ids, codes = (np.array(part) for part in file.content(number))
        lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    index.replace_invlists(lists, True)
    lists.this.disown()


def id_selector(faiss: Any, allowed: NDArray[np.int64] | None, excluded: NDArray[np.int64] | None) -> tuple[Any, Any]:
    """A FAISS selector, and what must stay alive as long as it is used; `allowed` is sorted and not empty."""
    if allowed is not None:
        highest = int(allowed[-1])
        if highest >= _BITMAP_IDS or allowed[0] < 0:
            return faiss.IDSelectorBatch(allowed), allowed
        bits = np.zeros((highest // 8 + 1) * 8, dtype=np.uint8)
        bits[allowed] = 1
        packed = np.packbits(bits, bitorder="little")
        # The first argument counts bytes, not bits.
        return faiss.IDSelectorBitmap(len(packed), faiss.swig_ptr(packed)), packed
    if excluded is not None:
        batch = faiss.IDSelectorBatch(excluded)
        return faiss.IDSelectorNot(batch), batch
    return None, None
