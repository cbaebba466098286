"""Stop a run at the end of a step on Ctrl-C or SIGTERM, with everything saved."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

SAME_REQUEST = 1.0  # seconds


class StopRequest:
    """Context in which SIGINT and SIGTERM set `requested`; a second one interrupts at once.

    Within a second it counts as the same request: a launcher forwards to its ranks what the terminal has sent them already.
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and time.monotonic() - self._since > SAME_REQUEST:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
