"""The IDX format of the MNIST files: a magic number, the dimensions, then the bytes.

The format is described at the end of http://yann.lecun.com/exdb/mnist/: two zero bytes, the code of the type
(0x08: unsigned bytes), the number of dimensions, each dimension as a big-endian 32-bit integer, the items.
"""

import gzip
import hashlib
import math
import mmap as memory_map
import os
import struct
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mnist_core.errors import InputError
from mnist_core.files import atomic_write

UNSIGNED_BYTE = 0x08
MAX_DIMENSIONS = 4
GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20
PIECE_ROWS = 65_536


class _DefectError(Exception):
    """What is wrong with a file; `read_idx` adds the path and the remedy."""


def read_idx(path: str | Path, *, mmap: bool = False) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, raw or compressed with gzip (told by its content).

    Args:
      path: The file.
      mmap: Give a read-only `numpy.memmap` of a raw file, which may then be larger than memory. A compressed
        file is read into memory all the same.

    Returns:
      uint8 array of 1 to 4 dimensions.

    Raises:
      InputError: the file is missing, unreadable or not exactly what its header announces.
    """
    try:
        with Path(path).open("rb") as file:
            compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _read(unpacked)
            return _map(file) if mmap else _read(file)
    except _DefectError as defect:
        reason = str(defect)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = f"corrupt gzip data ({error})"
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; a readable IDX file is needed") from error
    raise InputError(f"{path}: {reason}; put a whole IDX file of unsigned bytes in its place")


def write_idx(path: str | Path, array: np.ndarray) -> None:
    """Writes a uint8 array of 1 to 4 dimensions, atomically; compressed when the name ends in ``.gz``.

    Raises:
      ValueError: IDX, as read here, can't hold the array.
      OSError: the folder can't be written, or the disk is full.
    """
    write_idx_pieces(path, array.shape, [array])


def write_idx_pieces(path: str | Path, shape: tuple[int, ...], pieces: Iterable[np.ndarray]) -> None:
    """As `write_idx`, of an array that comes in pieces of some of its rows and may be larger than memory.

    Raises:
      ValueError: the pieces aren't uint8 or don't fill ``shape``, or IDX can't hold that.
      OSError: the folder can't be written, or the disk is full.
    """
    path, head = Path(path), _header(shape)
    with atomic_write(path) as file, _packing(path, file) as items:
        items.write(head)
        written = 0
        for piece in pieces:
            if piece.dtype != np.uint8:
                raise ValueError(f"IDX holds uint8, as read here, not {piece.dtype}")
            items.write(np.ascontiguousarray(piece).data)
            written += piece.size
        if written != math.prod(shape):
            raise ValueError(f"{written} items are not the {_text(shape)} announced")


def content_sha256(array: np.ndarray) -> str:
    """The sha256, in hexadecimal, of the uncompressed IDX file that holds the uint8 ``array``."""
    digest = hashlib.sha256(_header(array.shape))
    # In pieces, so that of a mapped array only one is in memory.
    for begin in range(0, len(array), PIECE_ROWS):
        digest.update(np.ascontiguousarray(array[begin : begin + PIECE_ROWS]).data)
        release(array)
    return digest.hexdigest()


def release(array: np.ndarray) -> None:
    """Drops the resident pages of a memory-mapped array; the next access reads them from the file again.

    They would count as resident until another program needs the memory. Other arrays stay as they are, also
    such as can be changed in memory alone, and all do on Windows, which has no such call.
    """
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    pages = owner.base
    if isinstance(owner, np.memmap) and owner.mode == "r" and hasattr(pages, "madvise"):
        pages.madvise(memory_map.MADV_DONTNEED)


def _packing(path: Path, file: BinaryIO) -> AbstractContextManager[Any]:
    # Neither name nor time, so that equal arrays give equal files.
    packed = path.suffix == ".gz"
    return gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) if packed else nullcontext(file)


def _header(shape: tuple[int, ...]) -> bytes:
    if not 1 <= len(shape) <= MAX_DIMENSIONS or 0 in shape:
        raise ValueError(
            f"IDX holds uint8 items of 1 to {MAX_DIMENSIONS} dimensions, as read here, not {shape}"
        )
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, UNSIGNED_BYTE, len(shape), *shape)


def _read_shape(file: BinaryIO) -> tuple[int, ...]:
    magic = file.read(4)
    if not magic:
        raise _DefectError("the file is empty")
    if len(magic) < 4:
        raise _DefectError(f"truncated: {len(magic)} bytes, an IDX header has 8 or more")
    zeros, kind, dimensions = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0":
        raise _DefectError(f"not an IDX file: it starts with 0x{magic.hex()}, 0x000008.. expected")
    if kind != UNSIGNED_BYTE:
        raise _DefectError(f"holds IDX type 0x{kind:02x}, 0x{UNSIGNED_BYTE:02x} (unsigned bytes) expected")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _DefectError(f"announces {dimensions} dimensions, 1 to {MAX_DIMENSIONS} expected")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise _DefectError(f"truncated: header of {4 + len(sizes)} bytes, {4 + 4 * dimensions} expected")
    shape = struct.unpack(f">{dimensions}I", sizes)
    if 0 in shape:
        raise _DefectError(f"announces {_text(shape)} items")
    return shape


def _read(file: BinaryIO) -> np.ndarray:
    shape = _read_shape(file)
    count = math.prod(shape)
    items = bytearray()
    # In pieces, so that only bytes that are really there, not a header's claim, take memory.
    while piece := file.read(min(CHUNK_BYTES, count - len(items))):
        items += piece
    if len(items) < count:
        raise _DefectError(f"truncated: {len(items)} items, its header announces {_text(shape)}")
    # Reading past the last item also makes gzip check its checksum.
    if file.read(1):
        raise _DefectError(f"bytes follow the {_text(shape)} items that its header announces")
    return np.frombuffer(items, np.uint8).reshape(shape)


def _map(file: BinaryIO) -> np.memmap:
    shape = _read_shape(file)
    count, start = math.prod(shape), file.tell()
    found = os.fstat(file.fileno()).st_size - start
    if found != count:
        raise _DefectError(f"holds {found} items, its header announces {_text(shape)}")
    return np.memmap(file, np.uint8, mode="r", offset=start, shape=shape)


def _text(shape: tuple[int, ...]) -> str:
    sizes = "x".join(map(str, shape))
    return f"{sizes} = {math.prod(shape)}" if len(shape) > 1 else sizes
