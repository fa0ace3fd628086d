"""Rows of tokens for tests, and what a store holds, as a dictionary."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.rerank.token_store import TokenStore
from mmsearch.types import TokenFormat

FORMAT = TokenFormat(3, 20)
RERANKER = "test@1"


def tokens_of(ids: Iterable[int], salt: int = 0, format: TokenFormat = FORMAT) -> NDArray[np.int8]:
    """Tokens that tell their segment and a salt."""
    made = [
        np.random.default_rng((int(id_), salt)).integers(-128, 128, (format.count, format.dim), np.int8) for id_ in ids
    ]
    return np.stack(made) if made else np.empty((0, format.count, format.dim), np.int8)


def opened(folder: Path, *, write: bool = True) -> TokenStore:
    """A store as a process opens it."""
    store = TokenStore(folder, "hashing")
    if write:
        store.begin(RERANKER, FORMAT)
    return store


def add(store: TokenStore, ids: Iterable[int], salt: int = 0) -> None:
    """Append rows."""
    numbers = np.array(sorted(ids), np.int64)
    store.append(numbers, tokens_of(numbers, salt))


def held(store: TokenStore, among: Iterable[int]) -> dict[int, bytes]:
    """What it says of these ids."""
    ids = list(among)
    found, tokens = store.read(ids)
    return {id_: row.tobytes() for id_, there, row in zip(ids, found, tokens, strict=True) if there}


def expected(ids: Iterable[int], salt: int = 0) -> dict[int, bytes]:
    """What it should say of them."""
    return {int(id_): tokens_of([id_], salt)[0].tobytes() for id_ in ids}


def append_for_ever(folder: Path) -> None:
    """Append batches of a few rows, telling of each when it is done."""
    store = opened(folder)
    last = int(store.ids()[-1]) if len(store) else 0
    while True:
        batch = range(last + 1, last + 8)
        add(store, batch)
        last = batch[-1]
        sys.stdout.write(f"{last}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    append_for_ever(Path(sys.argv[1]))
