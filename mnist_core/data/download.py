"""Files from the network: whole and verified in their folder, or not there at all."""

import contextlib
import dataclasses
import hashlib
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from mnist_core.errors import InputError
from mnist_core.files import atomic_write

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
PATIENCE_SECONDS = 9.0
STALL_SECONDS = 4.5
CHUNK_BYTES = 1 << 16
# Gzip adds a few bytes to each piece that it can't make smaller; nothing honest needs as much as this.
GZIP_SPARE_BYTES = 1 << 16

_REMEDY = (
    "name the folder of the four MNIST files with --data-dir or MNIST_CORE_DATA_DIR, or use --dataset digits"
)


class Published(NamedTuple):
    """A file that mirrors offer as ``name + ".gz"``: sha256, in hexadecimal, and bytes of it unpacked."""

    name: str
    sha256: str
    size: int


@dataclasses.dataclass(frozen=True)
class Release:
    """The files that make up a dataset, and the addresses, each with a last ``/``, that offer them."""

    files: tuple[Published, ...]
    mirrors: tuple[str, ...] = MIRRORS


MNIST = Release(
    (
        Published(
            "train-images-idx3-ubyte",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            47_040_016,
        ),
        Published(
            "train-labels-idx1-ubyte",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            60_008,
        ),
        Published(
            "t10k-images-idx3-ubyte",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            7_840_016,
        ),
        Published(
            "t10k-labels-idx1-ubyte",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            10_008,
        ),
    )
)


class _MirrorError(Exception):
    """Why one mirror did not deliver; `fetch` goes on to the next one."""


@dataclasses.dataclass
class Patience:
    """Seconds that silence may still cost, shared by all files and mirrors of a dataset.

    Only waits that ended without a byte are charged, so that a slow download is never cut off.
    """

    seconds: float = PATIENCE_SECONDS
    stall: float = STALL_SECONDS
    failed: set[str] = dataclasses.field(default_factory=set)

    def take(self, arrivals: queue.SimpleQueue[bytes | Exception]) -> bytes:
        """The next piece of an answer, empty at its end."""
        began = time.monotonic()
        try:
            item = arrivals.get(timeout=max(0.0, min(self.stall, self.seconds)))
        except queue.Empty:
            item = TimeoutError("no answer")
        if isinstance(item, bytes):
            return item
        waited = time.monotonic() - began
        self.seconds -= waited
        raise _MirrorError(f"{_cause(item)} after {waited:.1f} s") from item


def fetch(
    file_name: str,
    sha256: str,
    folder: str | Path,
    mirrors: Sequence[str] = MIRRORS,
    *,
    size: int,
    patience: Patience | None = None,
) -> Path:
    """Downloads ``file_name + ".gz"`` and keeps it unpacked in ``folder``, replacing what was there.

    Args:
      file_name: Name of the unpacked file.
      sha256: Of the unpacked file, in hexadecimal.
      folder: Where the file goes; made when it isn't there.
      mirrors: Addresses that end in ``/``, tried in this order.
      size: Bytes of the unpacked file; no more are ever written.
      patience: What the downloads of a dataset share, so that a dead network costs its seconds once.

    Returns:
      The path of the file.

    Raises:
      InputError: no mirror delivered the right file, or the folder can't be written.
    """
    patience = patience or Patience()
    path = Path(folder) / file_name
    failures = []
    # A mirror that failed an earlier file is asked only when the others have failed, too.
    for mirror in sorted(mirrors, key=patience.failed.__contains__):
        url = f"{mirror}{file_name}.gz"
        try:
            _fetch_from(url, path, sha256, size, patience)
            return path
        except _MirrorError as error:
            patience.failed.add(mirror)
            failures.append(f"{url}: {error}")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; {_REMEDY}") from error
    raise InputError(f"{file_name} could not be downloaded ({'; '.join(failures)}); {_REMEDY}")


def _fetch_from(url: str, path: Path, sha256: str, size: int, patience: Patience) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    bar = tqdm(total=size, desc=path.name, unit="B", unit_scale=True, file=sys.stderr, disable=None)
    with _answer(url, patience) as packed, bar, atomic_write(path) as file:
        for piece in _unpacked(packed, size):
            digest.update(piece)
            file.write(piece)
            bar.update(len(piece))
        if digest.hexdigest() != sha256:
            raise _MirrorError(f"wrong content: sha256 {digest.hexdigest()}, {sha256} expected")


def _unpacked(packed: Iterable[bytes], size: int) -> Iterator[bytes]:
    unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    left, left_packed = size, size + GZIP_SPARE_BYTES
    for piece in packed:
        left_packed -= len(piece)
        try:
            items = unpack.decompress(piece, left + 1)
        except zlib.error as error:
            raise _MirrorError(f"corrupt gzip data ({error})") from error
        left -= len(items)
        if left < 0 or left_packed < 0:
            raise _MirrorError(f"more than the {size} bytes expected")
        yield items
        if unpack.eof:
            return
    raise _MirrorError(f"cut short: {size - left} of {size} bytes")


@contextlib.contextmanager
def _answer(url: str, patience: Patience) -> Iterator[Iterator[bytes]]:
    """The pieces of an HTTP answer, received by a thread that can be left behind.

    A name look-up can't be timed out: the only way not to wait for it is to let another thread do so.
    """
    if patience.seconds <= 0:
        raise _MirrorError("not tried, since silent mirrors have used up the time")
    arrivals: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    left_behind = threading.Event()

    def receive() -> None:
        try:
            # The socket's own limit only ends a thread that was left behind.
            with urllib.request.urlopen(url, timeout=4 * patience.stall) as answer:
                # read1 hands over what has come: waiting for a full piece would make a slow line look silent.
                while not left_behind.is_set() and (piece := answer.read1(CHUNK_BYTES)):
                    arrivals.put(piece)
            arrivals.put(b"")
        except Exception as error:
            arrivals.put(error)

    threading.Thread(target=receive, daemon=True).start()
    try:
        yield iter(lambda: patience.take(arrivals), b"")
    finally:
        left_behind.set()


def _cause(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__
