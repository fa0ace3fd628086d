"""Ctrl-C -> a wish that the run fulfils at the next safe moment; the second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

__all__ = ["Interruption"]


class Interruption:
    """While it is entered, the first Ctrl-C only sets `asked`, and a second one raises KeyboardInterrupt.

    A KeyboardInterrupt from anywhere between two statements would be hard to survive in good order. The handler is
    only put in the place of Python's own and only in the main thread; elsewhere `guard` still ends the run well.
    """

    def __init__(self) -> None:
        self.asked = False
        self._installed = False

    def __enter__(self) -> Interruption:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def guard(self, work: Callable[[], None]) -> bool:
        """Do some work, taking a KeyboardInterrupt out of it for the first Ctrl-C.

        Returns:
            Whether the work came to its end without one.
        """
        try:
            work()
        except KeyboardInterrupt:
            if self.asked:
                raise
            self.asked = True
            return False
        return True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
