"""Discards what image decoders, which are C, write to stderr: a failure is ours to tell, in one line."""

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

_lock = threading.Lock()
_throughout = threading.Event()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards all that the process writes to stderr meanwhile, and Pillow's warnings; one thread at a time.

    Within `quiet_process` there is nothing left to do, and no thread waits.
    """
    if _throughout.is_set():
        yield
        return
    with _lock, warnings.catch_warnings(), _stderr_to_nowhere():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def quiet_process() -> Iterator[None]:
    """Is `quiet` for all threads, side by side, while what Python writes to stderr comes through.

    To be entered before the threads are started and before a logger takes hold of ``sys.stderr``.
    """
    with _lock, warnings.catch_warnings(), _stderr_to_nowhere() as kept:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with (
            open(kept, "w", buffering=1, errors="backslashreplace", closefd=False) as stderr,
            contextlib.redirect_stderr(stderr),
        ):
            _throughout.set()
            try:
                yield
            finally:
                _throughout.clear()


@contextlib.contextmanager
def _stderr_to_nowhere() -> Iterator[int]:
    """Gives the descriptor of where stderr went."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield kept
    finally:
        os.dup2(kept, 2)
        os.close(kept)
