"""Ctrl-C and SIGTERM, held back until the work is between two steps.

In the middle of a step weights, optimisers and counters do not belong together, so a checkpoint written there would be
of no use. A step takes well under a second; whoever cannot wait asks a second time.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self, final

HELD: Final = (signal.SIGINT, signal.SIGTERM)


@final
class Interruption:
    """While open, holds signals back that have a handler; a second one is obeyed at once.

    Outside of the main thread, where Python delivers no signals, it does nothing.

    Attributes:
        asked: whether a signal has come.
    """

    def __init__(self) -> None:
        """Start without signals."""
        self.asked = False
        self._number: int = signal.SIGINT
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def __enter__(self) -> Self:
        """Take the place of the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in HELD:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._hold)
        return self

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self._before[number](number, frame)
        self.asked, self._number = True, number

    def obey(self) -> None:
        """Do what was asked for, if anything was: the handlers raise KeyboardInterrupt."""
        if self.asked:
            self.asked = False
            self._before[self._number](self._number, None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the handlers their places back, and obey what came last."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if error is None:
            self.obey()
