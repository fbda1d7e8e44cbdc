"""Failures that a user can act on. Each prints as one line and has its exit code."""

import importlib
import os
import sys
from typing import Any, TextIO


class MnistCoreError(Exception):
    """An expected failure: the message names the cause and the remedy in one line."""

    exit_code = 1


class UsageError(MnistCoreError):
    """A flag, a configuration or an argument is unusable."""

    exit_code = 2


class InputError(MnistCoreError):
    """A data file, a checkpoint, a run or an image is missing or corrupt."""

    exit_code = 3


class DeviceError(MnistCoreError):
    """The device that was asked for is not there, or is out of memory."""

    exit_code = 4


class DivergedError(MnistCoreError):
    """The loss or a gradient became NaN or infinite."""

    exit_code = 5


class TargetMissedError(MnistCoreError):
    """The final test accuracy is below ``target_accuracy``."""

    exit_code = 6


class InterruptedRunError(MnistCoreError):
    """Ctrl-C or SIGTERM ended it; the message says what was saved."""

    exit_code = 130


def warn(message: str) -> None:
    """Prints one line for the person at the terminal, who may be gone; stdout is kept for results."""
    if sys.stderr is None:
        return  # Python prints on stdout then.
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Lets what ``stream`` still holds and gets go nowhere, as its reader has gone.

    Python would try again on leaving, and end with a message and a code of its own.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def need(module: str, extra: str) -> Any:
    """Imports a module that comes with the extra ``extra``.

    Raises:
      UsageError: it can't be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{module} can't be imported ({error}); install the extra: "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        ) from error
