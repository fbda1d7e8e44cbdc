"""Ctrl-C and SIGTERM, turned into a request to stop at the next safe moment."""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from mnist_core.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, the first signal sets ``requested``, and the second one ends the process at once."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python allows handlers in the main thread only; a loop in another one can't be asked this way.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            # No clean-up on purpose: whatever is half-written has a temporary name.
            os._exit(InterruptedRunError.exit_code)
        self.requested = True
