"""Hearing that the process is to end, without ending in the middle of a step."""

import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

__all__ = ["EXIT_CODE", "CheckpointExit", "StopSignals"]

EXIT_CODE = 75
"""What a process leaves with that was told to end and has written a checkpoint: run it again.

It is EX_TEMPFAIL of `sysexits.h`, which batch systems know as "try again later"."""


class CheckpointExit(SystemExit):
    """The process was told to end, and a checkpoint is written. Its code is `EXIT_CODE`."""

    def __init__(self, received: int) -> None:
        super().__init__(EXIT_CODE)
        self.received = received
        """Which signal it was."""

    def __str__(self) -> str:
        return f"{signal.Signals(self.received).name} was received, and a checkpoint is written"


class StopSignals:
    """Notes the first signal to end; a second Ctrl-C interrupts at once.

    Python hands signals to the main thread alone; a fit in another thread hears of none.

    Args:
        wanted: Which signals.
    """

    def __init__(self, wanted: Sequence[int]) -> None:
        self.wanted = tuple(wanted)
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._process = 0

    def install(self) -> None:
        """Hear signals from now on."""
        self.received = None
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._process = os.getpid()
            self._before = {number: signal.signal(number, self._hear) for number in self.wanted}

    def restore(self) -> None:
        """Let signals do what they did before."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A worker that was forked from here: it ends as if nobody listened.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self.received = number
