"""Ctrl-C and SIGTERM, turned into a request to stop at the next safe moment."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from mnist_core.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LEFT = "interrupted twice: left without saving"
# Seconds within which two signals are one: `timeout` sends its own to the process and then to its group.
AT_ONCE = 0.1


class Interrupts:
    """While entered, the first signal sets ``requested``, and the second one ends the process at once.

    Python runs signal handlers only between two calls of the device, which may be long. A thread therefore
    counts the signals too, as the system delivers them.

    Args:
      leaving: what is said when the second one ends the process, in one line.
      clean_up: called before that; half-written files with temporary names may stay.
    """

    def __init__(self, leaving: str = LEFT, clean_up: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._leaving, self._clean_up = leaving, clean_up
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python allows handlers in the main thread only; a loop in another one can't be asked this way.
        if threading.current_thread() is threading.main_thread():
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._previous_writer = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            threading.Thread(target=self._leave_at_the_second, args=(reader,), daemon=True).start()
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous:
            signal.set_wakeup_fd(self._previous_writer)
            os.close(self._writer)
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def _leave_at_the_second(self, reader: int) -> None:
        """Ends the process at the second signal, whatever it waits for.

        Args:
          reader: a pipe whose other end is `signal.set_wakeup_fd`'s; this returns when that is closed.
        """
        with open(reader, "rb", buffering=0) as pipe:
            first = math.inf
            while number := pipe.read(1):
                if number[0] not in SIGNALS:
                    continue
                now = time.monotonic()
                first = min(first, now)
                if now - first > AT_ONCE:
                    try:
                        if self._clean_up:
                            self._clean_up()
                        os.write(2, f"{self._leaving}\n".encode())
                    finally:
                        # Who would read it may be gone, and the disk, too.
                        os._exit(InterruptedRunError.exit_code)
