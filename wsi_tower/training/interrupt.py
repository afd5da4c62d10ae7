"""Ctrl-C and a scheduler's end of time, put off until a step is whole."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsi_tower.training.agreement import utmost
from wsi_tower.training.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Interruption", "put_off_interrupts"]


_ECHO_S = 2.0
"""Launchers hand on a signal that their processes have had from the terminal or the scheduler."""


class Interruption:
    """Whether the process was asked to stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._at = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take note; the second time, stop at once."""
        del frame
        now = time.monotonic()
        if self and (Ranks.here().is_alone or now - self._at > _ECHO_S):
            raise KeyboardInterrupt
        self.signal, self._at = signal.Signals(number), now

    def is_anywhere(self) -> bool:
        """Whether a rank was asked to stop, as all are then. Every rank must ask at once."""
        number = utmost(self.signal or 0)
        if number:
            self.signal = signal.Signals(number)
        return bool(self)


@contextmanager
def put_off_interrupts() -> Iterator[Interruption]:
    """Hold back SIGINT and SIGTERM during the block; after it, they take their course.

    Only the main thread receives signals; in others nothing is held back. What the process ignores
    it goes on ignoring: shells let jobs in the background ignore Ctrl-C.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    held = (signal.SIGINT, signal.SIGTERM)
    before = {
        number: signal.signal(number, interruption.receive)
        for number in held
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interruption.signal is not None:
        signal.raise_signal(interruption.signal)
