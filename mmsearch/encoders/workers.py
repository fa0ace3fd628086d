"""A batch of pictures in, their embeddings out: the batch is shared out among threads that compute alone.

torch shares out the work inside each layer instead, and every layer waits for its slowest thread. While other threads
decode the next pictures one of them is always late: with two cores, halves of a batch side by side are then up to
twice as fast as one batch on both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import torch

__all__ = ["Workers"]

_MOST = 16  # beyond so many, each gets several cores: weights are read once by each


class Workers:
    """Threads on the processor among which batches are shared out.

    Args:
        count: How many processor cores there are for them.
    """

    def __init__(self, count: int) -> None:
        self.count = min(count, _MOST)
        ready = threading.Barrier(self.count + 1)

        def begin() -> None:
            torch.get_num_threads()  # a thread's first call takes over the setting of the process
            torch.set_num_threads(max(1, count // self.count))  # from then on its own holds
            ready.wait()

        before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.count, "mmsearch-encode", initializer=begin)
        for _ in range(self.count):
            self._pool.submit(int)
        ready.wait()
        torch.set_num_threads(before)  # and for threads that begin after it

    def map(self, compute: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> list[Any]:
        """Call `compute` with even parts of `items`, in order; raises what one of the calls raised, after all ended."""
        parts = min(self.count, len(items))
        if parts <= 1:  # alone, one picture is faster on all cores
            return [compute(items)] if items else []
        bounds = [len(items) * part // parts for part in range(parts + 1)]
        tasks = [self._pool.submit(compute, items[start:end]) for start, end in pairwise(bounds)]
        wait(tasks)
        return [task.result() for task in tasks]
