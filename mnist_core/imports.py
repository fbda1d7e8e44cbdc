"""Imports what takes seconds, TensorFlow, Keras and OpenCV, once it is needed: quietly; Ctrl-C ends it."""

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mnist_core.errors import UsageError

if TYPE_CHECKING:
    from mnist_core.vision.predictor import Predictor

# What Keras and TensorFlow import where it is installed, for wrappers, galleries and converters that nothing
# here uses: a third of the time of a start.
UNUSED = ("sklearn", "matplotlib", "jax")


def import_tensorflow() -> None:
    """Imports TensorFlow, without its start-up chatter, which would bury our own messages, and Keras.

    TF_CPP_MIN_LOG_LEVEL, where the user sets it, is left alone and shows all.

    Raises:
      UsageError: Keras would run on another backend. KeyboardInterrupt: Ctrl-C came meanwhile.
    """
    from mnist_core.diagnosis import backend_problem

    if wrong := backend_problem():
        raise UsageError(f"{wrong.cause}; {wrong.remedy}")
    with _interrupts_kept(), _hidden(UNUSED):
        if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
            _import_tensorflow_silently()
        importlib.import_module("keras")


@contextlib.contextmanager
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Has packages that are not imported yet look as if they were not installed."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Ends with KeyboardInterrupt where Ctrl-C came, even if an import swallowed or renamed it."""
    came = False

    def note(*_: object) -> NoReturn:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    # A handler of somebody else's stays, and a thread can't set any.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception:
        if not came:
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def import_opencv() -> None:
    """Imports OpenCV, which needs a library of the system.

    Raises:
      UsageError: it can't be loaded. KeyboardInterrupt: Ctrl-C came meanwhile.
    """
    try:
        with _interrupts_kept():
            importlib.import_module("mnist_core.vision.read")
    except ImportError as error:
        raise UsageError(
            f"OpenCV can't be loaded ({error}); install the system's libGL (Debian: apt install libgl1), or "
            "opencv-python-headless"
        ) from error


def import_predictor() -> type["Predictor"]:
    """Imports what reads pictures, and sets TensorFlow up for few of them at a time.

    Raises as `import_tensorflow` and `import_opencv`.
    """
    import_tensorflow()
    import_opencv()
    from mnist_core.device import limit_threads
    from mnist_core.vision.predictor import Predictor

    limit_threads(1)
    return Predictor


def _import_tensorflow_silently() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    kept = os.dup(2)
    # The level doesn't silence what is logged during the import itself (tensorflow/tensorflow#100442).
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
