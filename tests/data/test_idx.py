"""The IDX format: what is written comes back, and every damaged file is refused by name."""

import gzip
import hashlib
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mnist_core.data import idx
from mnist_core.data.idx import content_sha256, read_idx, release, write_idx, write_idx_pieces
from mnist_core.errors import InputError
from tests.memory import mapped_bytes

ARRAY = np.arange(1, 25, dtype=np.uint8).reshape(2, 3, 4)
HEADER_BYTES = 16

both_ways = pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
both_forms = pytest.mark.parametrize("name", ["images", "images.gz"])


def refusal(path: Path, *, mmap: bool = False) -> str:
    with pytest.raises(InputError) as raised:
        read_idx(path, mmap=mmap)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@both_ways
@both_forms
@pytest.mark.parametrize("seed", range(6))
def test_arrays_of_any_shape_come_back(tmp_path, seed, name, mmap):
    random = np.random.default_rng(seed)
    array = random.integers(0, 256, random.integers(1, 9, 1 + seed % 4), np.uint8)
    write_idx(tmp_path / name, array)
    read = read_idx(tmp_path / name, mmap=mmap)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array, strict=True)


def test_the_bytes_are_those_of_the_format(tmp_path):
    write_idx(tmp_path / "images", ARRAY)
    expected = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + ARRAY.tobytes()
    assert (tmp_path / "images").read_bytes() == expected


def test_an_array_that_is_a_transposed_view_is_written_in_its_own_order(tmp_path):
    write_idx(tmp_path / "images", ARRAY.T)
    np.testing.assert_array_equal(read_idx(tmp_path / "images"), ARRAY.T)


def test_content_tells_compression_not_the_name(tmp_path):
    write_idx(tmp_path / "packed.gz", ARRAY)
    (tmp_path / "packed.gz").rename(tmp_path / "packed")
    write_idx(tmp_path / "raw", ARRAY)
    (tmp_path / "raw").rename(tmp_path / "raw.gz")
    for name in ("packed", "raw.gz"):
        np.testing.assert_array_equal(read_idx(tmp_path / name), ARRAY)


def test_equal_arrays_give_equal_compressed_files(tmp_path):
    for name in ("one.gz", "two.gz"):
        write_idx(tmp_path / name, ARRAY)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_a_mapped_file_is_read_only_and_not_in_memory(tmp_path):
    write_idx(tmp_path / "images", ARRAY)
    mapped = read_idx(tmp_path / "images", mmap=True)
    assert isinstance(mapped, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 0


@pytest.mark.parametrize(
    "array",
    [np.zeros(3, np.float32), np.zeros((1, 1, 1, 1, 1), np.uint8), np.uint8(3), np.empty(0, np.uint8)],
)
def test_what_idx_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path, array):
    path = tmp_path / "images"
    write_idx(path, ARRAY)
    with pytest.raises(ValueError, match="IDX holds uint8"):
        write_idx(path, np.asarray(array))
    np.testing.assert_array_equal(read_idx(path), ARRAY)
    assert list(tmp_path.iterdir()) == [path]


@both_forms
def test_pieces_make_the_file_of_the_whole(tmp_path, name):
    write_idx(tmp_path / name, ARRAY)
    whole = (tmp_path / name).read_bytes()
    write_idx_pieces(tmp_path / name, ARRAY.shape, iter([ARRAY[:1], ARRAY[1:]]))
    assert (tmp_path / name).read_bytes() == whole


@pytest.mark.parametrize("pieces", [[], [ARRAY[:1]], [ARRAY, ARRAY], [ARRAY.astype(np.int16)]])
def test_pieces_that_are_not_the_announced_array_leave_the_old_file(tmp_path, pieces):
    write_idx(tmp_path / "images", ARRAY)
    with pytest.raises(ValueError, match=r"0 items|12 items|48 items|int16"):
        write_idx_pieces(tmp_path / "images", ARRAY.shape, pieces)
    np.testing.assert_array_equal(read_idx(tmp_path / "images"), ARRAY)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@both_ways
def test_a_released_array_still_holds_what_it_held(tmp_path, mmap):
    write_idx(tmp_path / "images", ARRAY)
    read = read_idx(tmp_path / "images", mmap=mmap)
    for view in (read, read[1:], read.swapaxes(1, 2)):
        release(view)
        np.testing.assert_array_equal(read, ARRAY)


def test_changes_in_memory_alone_outlive_a_release(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, ARRAY)
    changed = np.load(path, mmap_mode="c")
    changed[:] = 255 - ARRAY
    release(changed[1:])
    np.testing.assert_array_equal(changed, 255 - ARRAY)


def test_the_content_hash_is_that_of_the_unpacked_file(tmp_path):
    write_idx(tmp_path / "images", ARRAY)
    file_sha256 = hashlib.sha256((tmp_path / "images").read_bytes()).hexdigest()
    assert content_sha256(ARRAY) == file_sha256
    assert content_sha256(ARRAY.reshape(4, 3, 2)) != file_sha256


def test_hashing_a_mapped_array_does_not_fill_the_memory(tmp_path, monkeypatch):
    array = np.ones((20_000, 28, 28), np.uint8)
    write_idx(tmp_path / "images", array)
    mapped = read_idx(tmp_path / "images", mmap=True)
    monkeypatch.setattr(idx, "PIECE_ROWS", 1000)
    before = mapped_bytes()
    assert content_sha256(mapped) == content_sha256(array)
    assert mapped_bytes() - before < array.nbytes / 4


@both_ways
@both_forms
def test_every_truncation_is_refused(tmp_path, name, mmap):
    path = tmp_path / name
    write_idx(path, ARRAY)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refusal(path, mmap=mmap)


@both_ways
def test_every_flipped_bit_of_the_header_is_refused(tmp_path, mmap):
    path = tmp_path / "images"
    write_idx(path, ARRAY)
    whole = path.read_bytes()
    for bit in range(8 * HEADER_BYTES):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        refusal(path, mmap=mmap)


def test_a_flipped_bit_of_a_compressed_file_never_changes_the_array(tmp_path):
    path = tmp_path / "images.gz"
    write_idx(path, ARRAY)
    whole = path.read_bytes()
    refused = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        # Gzip doesn't use all bits of its header; damage there is harmless.
        try:
            np.testing.assert_array_equal(read_idx(path), ARRAY)
        except InputError:
            refused += 1
    assert refused > 0.8 * 8 * len(whole)


@both_ways
@both_forms
def test_trailing_bytes_are_refused(tmp_path, name, mmap):
    path = tmp_path / name
    content = bytes([0, 0, 8, 1, 0, 0, 0, 2]) + b"abc"
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    assert "header announces" in refusal(path, mmap=mmap)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (gzip.compress(b"", mtime=0), "empty"),
        (b"\0\0\x08", "truncated: 3 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "0x89504e47"),
        (struct.pack(">BBBBI", 0, 0, 0x0D, 1, 1) + bytes(4), "type 0x0d"),
        (struct.pack(">BBBB", 0, 0, 8, 0), "0 dimensions"),
        (struct.pack(">BBBB5I", 0, 0, 8, 5, 1, 1, 1, 1, 1) + bytes(1), "5 dimensions"),
        (struct.pack(">BBBB2I", 0, 0, 8, 2, 0, 28), "0x28 = 0 items"),
    ],
)
def test_the_message_says_what_was_found(tmp_path, content, found):
    (tmp_path / "images").write_bytes(content)
    assert found in refusal(tmp_path / "images")


@both_ways
def test_what_is_no_readable_file_is_refused(tmp_path, mmap):
    assert "No such file" in refusal(tmp_path / "missing", mmap=mmap)
    assert "directory" in refusal(tmp_path, mmap=mmap)
    (tmp_path / "file").touch()
    assert "Not a directory" in refusal(tmp_path / "file" / "images", mmap=mmap)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    write_idx(tmp_path / "images", ARRAY)
    (tmp_path / "images").chmod(0)
    assert "Permission denied" in refusal(tmp_path / "images")


@both_ways
@both_forms
def test_absurd_sizes_take_no_memory(tmp_path, name, mmap):
    path = tmp_path / name
    content = struct.pack(">BBBB4I", 0, 0, 8, 4, *[2**32 - 1] * 4) + b"few"
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    tracemalloc.start()
    try:
        refusal(path, mmap=mmap)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_decompression_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes(64 << 20), compresslevel=1))
    tracemalloc.start()
    try:
        assert "bytes follow" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
