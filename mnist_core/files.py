"""Files: where they lie, that they appear whole or not at all, and whose a directory is."""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mnist_core.errors import UsageError

try:
    import fcntl
except ImportError:
    # Windows has no such locks.
    fcntl = None


def expanded(path: str | Path) -> Path:
    """The path with ``~`` as the home folder; as it is, where there is none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises without a home)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` that takes its name once the block has ended well.

    After a crash, a full disk or an exception ``path`` is what it was before.

    Raises:
      OSError: the folder can't be written, the disk is full, or what is at ``path`` is no file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # Such as a device, which the new file would take the place of.
        raise OSError(errno.EEXIST, "not a regular file", str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    # Ctrl-C may come as soon as the file is there, before anything has a handle of it.
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno and not error.filename:
            # A write that fails doesn't know what it wrote to.
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


@contextlib.contextmanager
def claimed(directory: Path | None) -> Iterator[None]:
    """Keeps other processes out of a run directory meanwhile: a run has one writer.

    Raises:
      UsageError: one is in there.
    """
    if directory is None or fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is training {directory}; wait for it, or start a new run without --resume"
            ) from error
        except OSError:
            # Some network file systems have no locks; such a run is its owner's to guard.
            pass
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder outlast a power cut: they do only once the folder itself is on the disk."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
