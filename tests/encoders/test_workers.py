"""Batches that are shared out among threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("needs_open_clip")]


@pytest.mark.parametrize("count", [1, 2, 5, 40])
@pytest.mark.parametrize("items", [0, 1, 3, 5, 64])
def test_every_item_is_computed_once_and_in_order(count: int, items: int) -> None:
    from mmsearch.encoders.workers import Workers

    parts = Workers(count).map(list, range(items))
    assert [item for part in parts for item in part] == list(range(items))
    assert len(parts) <= 16
    assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_computes_alone_and_the_process_keeps_its_setting() -> None:
    import torch

    from mmsearch.encoders.workers import Workers

    before = torch.get_num_threads()
    workers = Workers(3)
    assert workers.map(lambda part: torch.get_num_threads(), range(3)) == [1, 1, 1]
    assert torch.get_num_threads() == before
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [before]


def test_a_failure_is_raised_after_all_others_ended() -> None:
    from mmsearch.encoders.workers import Workers

    ended: list[int] = []

    def compute(part: Sequence[int]) -> None:
        if 0 in part:
            raise RuntimeError("out of memory")
        ended.extend(part)

    with pytest.raises(RuntimeError, match="out of memory"):
        Workers(3).map(compute, range(6))
    assert sorted(ended) == [2, 3, 4, 5]
