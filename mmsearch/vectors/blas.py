"""Holding the BLAS back to one thread while threads of our own share the work among the cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["one_thread"]

_lock = threading.Lock()
_inside = 0
_held = ExitStack()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let every matrix product inside run on the thread that asks for it.

    Else many products side by side would each ask for all cores and wait for one another, at half the speed. The limit
    is the process's: it is taken back when the last of several threads inside has left.
    """
    global _inside
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

    with _lock:
        if _inside == 0:
            _held.enter_context(threadpool_limits(1, user_api="blas"))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _held.close()
