"""A scan and what the catalog remembers -> what is new, changed and gone; by size and time alone, nothing is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from indexer.scan import Scan
from indexer.targets import Target, prefix_of
from mmsearch.storage.changes import FailedFile
from mmsearch.types import Failure, KnownFile, Root, ScannedFile

__all__ = ["ALWAYS_RETRIED", "Candidate", "Changes", "compare", "known_below"]

ALWAYS_RETRIED = -1
"""The time under which a file is remembered whose failure says nothing about its content: no file has it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that has to be read.

    Attributes:
        root_id: The catalog's id of its root.
        known: What the catalog remembers of the same path, or None.
    """

    root_id: int
    file: ScannedFile
    known: KnownFile | None = None


@dataclass(slots=True)
class Changes:
    """How the files differ from the catalog; one run gathers those of all its targets in it.

    Attributes:
        new: Files without an item.
        changed: Files with an item of another size or time.
        gone: Items whose file is not there, with the root id and path it had.
        failed: Failures that the catalog does not remember yet.
        forgotten: Root id and path of remembered failures whose file is not there.
        skipped: Files that are passed over, with reasons.
        kept: Items without a visible file that are kept on purpose.
        notices: Sentences that say so.
    """

    new: list[Candidate] = field(default_factory=list)
    changed: list[Candidate] = field(default_factory=list)
    gone: dict[int, tuple[int, str]] = field(default_factory=dict)
    failed: list[FailedFile] = field(default_factory=list)
    forgotten: list[tuple[int, str]] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)
    unchanged: int = 0
    kept: int = 0
    notices: list[str] = field(default_factory=list)


def known_below(known: dict[str, KnownFile], below: str) -> dict[str, KnownFile]:
    """Those of the remembered files that lie in a target."""
    if not below:
        return known
    return {path: file for path, file in known.items() if _lies_in(path, below)}


def compare(
    changes: Changes,
    root: Root,
    scan: Scan,
    found: Iterable[ScannedFile | Failure],
    known: dict[str, KnownFile],
    *,
    prune: bool = False,
    retry_failed: bool = False,
) -> Iterator[None]:
    """Add the differences of one target to `changes`; yields after each file, so that the caller can stop.

    Args:
        changes: Where they are added. Deletions are added last: a comparison that was stopped has found none.
        root: The root of the target.
        scan: The scan of the target, for what it could not see.
        found: What iterating over the scan gives.
        known: What the catalog remembers of the target; taken apart here.
        prune: Take files for deleted also where the whole target is missing or empty.
        retry_failed: Read files again that failed before and did not change since.
    """
    for entry in found:
        if isinstance(entry, Failure):
            _compare_failure(changes, root, scan, entry, known)
        else:
            _compare_file(changes, root, entry, known.pop(entry.path, None), retry_failed)
        yield
    _compare_rest(changes, root, scan, known, prune)


def _compare_file(changes: Changes, root: Root, file: ScannedFile, known: KnownFile | None, retry_failed: bool) -> None:
    seen = (file.size_bytes, file.mtime_ns, file.sidecars)
    if known is not None and (known.size_bytes, known.mtime_ns, known.sidecars) == seen:
        if known.reason is None:
            changes.unchanged += 1
            return
        if not retry_failed:
            changes.skipped.append(Failure(file.absolute, known.reason))
            return
    if known is None or known.item_id is None:
        changes.new.append(Candidate(root.id, file, known))
    else:
        changes.changed.append(Candidate(root.id, file, known))


def _compare_failure(changes: Changes, root: Root, scan: Scan, failure: Failure, known: dict[str, KnownFile]) -> None:
    changes.skipped.append(failure)
    path = os.path.relpath(failure.path, scan.target.root)
    path = "" if path == os.curdir else path.replace(os.sep, "/")
    before = known.pop(path, None)
    if before is None or before.reason != failure.reason:
        changes.failed.append(FailedFile(root.id, path, 0, ALWAYS_RETRIED, failure.reason))
    if before is not None and before.item_id is not None:
        if path in scan.unreadable:
            changes.kept += 1
        else:
            changes.gone[before.item_id] = (root.id, path)


def _compare_rest(changes: Changes, root: Root, scan: Scan, known: dict[str, KnownFile], prune: bool) -> None:
    """Settle the remembered files that the scan did not come to."""
    items = sum(file.item_id is not None for file in known.values())
    if (scan.missing or scan.empty) and not scan.unreadable and not prune:
        if items:
            changes.kept += items
            changes.notices.append(_kept_notice(scan.target, items, missing=scan.missing))
        return
    for path, file in known.items():
        if any(_lies_in(path, folder) for folder in scan.unreadable):
            changes.kept += file.item_id is not None
            continue
        if file.item_id is not None:
            changes.gone[file.item_id] = (root.id, path)
        if file.reason is not None:
            changes.forgotten.append((root.id, path))


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(prefix_of(folder))


def _kept_notice(target: Target, count: int, *, missing: bool) -> str:
    files = "1 file" if count == 1 else f"{count:,} files"
    return (
        f"{target.absolute} is {'missing' if missing else 'empty'}, as if its disk were not mounted:"
        f" {files} kept in the library. If they were deleted, run the command again with --prune."
    )
