"""Image files of every kind come out as the same gray pixels; what is no image is told in one line."""

import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.mutations import mutated, originals
from mnist_core.errors import InputError
from mnist_core.vision import MOST_PIXELS
from mnist_core.vision.gray import to_gray
from mnist_core.vision.read import TooManyPixelsError, read_image
from tests.invoke import spawn

PAPER, INK = 230, 40


def gray() -> np.ndarray:
    """A picture that looks different however it is turned."""
    picture = np.full((60, 40), PAPER, np.uint8)
    picture[5:25, 5:12] = INK
    picture[40:44, 20:35] = INK
    return picture


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    (image or Image.fromarray(gray())).save(path, **options)
    return path


def distance(path: Path) -> float:
    """Mean absolute difference of the file's pixels from the picture's."""
    pixels = read_image(path)
    assert (pixels.shape, pixels.dtype) == ((60, 40), np.uint8)
    return float(np.abs(pixels.astype(float) - gray()).mean())


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_image(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


MODES = {
    "png": ["L", "RGB", "P", "LA", "RGBA"],
    "tiff": ["L", "RGB", "P", "RGBA", "CMYK"],
    "bmp": ["L", "RGB", "P"],
    "gif": ["L", "P"],
    "jp2": ["L", "RGB"],
    "pgm": ["L"],
}


@pytest.mark.parametrize(("ending", "mode"), [(name, mode) for name in MODES for mode in MODES[name]])
def test_lossless_formats_keep_every_pixel(tmp_path, ending, mode):
    image = Image.fromarray(gray()).convert(mode)
    assert distance(save(tmp_path / f"a.{ending}", image)) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_of_any_colour_space_is_nearly_the_picture(tmp_path, mode, options):
    assert (
        distance(save(tmp_path / "a.jpg", Image.fromarray(gray()).convert(mode), quality=95, **options)) < 2
    )


def test_a_webp_is_nearly_the_picture(tmp_path):
    assert distance(save(tmp_path / "a.webp", quality=95)) < 2


@pytest.mark.parametrize(
    "pixels",
    [
        gray().astype(np.uint16) * 257,
        gray().astype(np.uint16) << 2,  # ten bits of a camera in sixteen
        gray().astype(np.float32) / 255,
        gray().astype(np.float32),
    ],
    ids=["16 bits", "10 bits", "float to 1", "float to 255"],
)
def test_every_depth_is_scaled_to_eight_bits(tmp_path, pixels):
    path = tmp_path / "a.tiff"
    cv2.imwrite(str(path), pixels)
    assert distance(path) < 1.5


def test_one_bit_is_black_and_white(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", Image.fromarray(gray() > 128)))
    assert np.array_equal(pixels, np.where(gray() > 128, 255, 0))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "L"),
        ("a.jpg", "RGB"),
        ("a.png", "RGB"),
        ("a.png", "RGBA"),
        ("a.webp", "RGBA"),
        ("a.tiff", "RGB"),
    ],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_s_orientation_is_undone(tmp_path, name, mode, orientation):
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(gray()).convert(mode)
    if orientation in turn:
        image = image.transpose(turn[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert distance(save(tmp_path / name, image, exif=exif, quality=95)) < 2


@pytest.mark.parametrize("ink", [0, 255], ids=["black", "white"])
def test_ink_that_is_in_the_transparency_only_stands_out(tmp_path, ink):
    alpha = np.where(gray() == INK, 255, 0).astype(np.uint8)
    pixels = np.dstack([np.full((60, 40, 3), ink, np.uint8), alpha])
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    assert np.array_equal(read_image(path), 255 - alpha)


@pytest.mark.parametrize("ink", [20, 235], ids=["dark", "bright"])
def test_ink_of_many_tones_stands_out_from_a_transparent_ground(ink):
    written = gray() == INK
    colour = np.where(written, ink, 0)
    colour[5:15, 5:12] += 60 if ink < 128 else -60
    pixels = np.dstack([colour, colour, colour, np.where(written, 255, 0)]).astype(np.uint8)
    flat = to_gray(pixels).astype(int)
    assert np.abs(flat[written] - np.median(flat[~written])).min() > 100


@pytest.mark.parametrize(
    "pixels",
    [
        gray().astype(np.uint16) * 257,
        gray().astype(np.float32) / 255,
        np.dstack([gray(), gray() // 2, gray(), np.where(gray() == INK, 255, 130).astype(np.uint8)]),
    ],
    ids=["16 bits", "float", "alpha"],
)
def test_a_large_picture_is_computed_strip_by_strip_to_the_same_pixels(monkeypatch, pixels):
    whole = to_gray(pixels)
    monkeypatch.setattr("mnist_core.vision.gray.STRIP", 500)
    np.testing.assert_array_equal(to_gray(pixels), whole)


def test_few_lines_on_opaque_paper_are_ink_though_its_corners_are_transparent():
    pixels = np.full((400, 400, 4), 255, np.uint8)
    pixels[100:300, 200:202, :3] = 0
    pixels[:4, :4] = 0
    assert to_gray(pixels)[200, 200] == 0


def test_transparent_corners_get_the_colour_of_the_paper():
    picture = gray()
    pixels = np.dstack([picture, picture, picture, np.full_like(picture, 255)])
    pixels[:4, :4] = 0
    assert np.array_equal(to_gray(pixels), picture)


@pytest.mark.parametrize(
    ("paper", "ink"),
    [((255, 255, 255), (0, 235, 255)), ((60, 170, 60), (90, 90, 250)), ((0, 0, 0), (255, 30, 20))],
    ids=["yellow on white", "red on green", "blue on black"],
)
@pytest.mark.parametrize("larger", [1, 5])
def test_ink_that_differs_in_colour_alone_stands_out(paper, ink, larger):
    written = (gray() == INK).repeat(larger, 0).repeat(larger, 1)[..., None]
    flat = to_gray(np.where(written, ink, paper).astype(np.uint8)).astype(int)
    assert np.ptp(flat) > 140


@pytest.mark.parametrize("name", ["a b.png", "zażółć 数字.png", "photo.jpg", "noextension"])
def test_the_content_says_what_a_file_is_not_its_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(save(tmp_path / "plain.png").read_bytes())
    assert distance(path) == 0


def test_a_png_that_claims_more_bytes_than_it_has_is_refused_before_room_is_made(tmp_path):
    path = save(tmp_path / "a.png")
    data = path.read_bytes()
    place = data.index(b"IDAT") - 4
    path.write_bytes(data[:place] + (2**31 - 1).to_bytes(4, "big") + data[place + 4 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="cut short"):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_what_a_program_wrote_behind_the_end_of_a_png_does_no_harm(tmp_path):
    path = save(tmp_path / "a.png")
    with path.open("ab") as file:
        file.write(b"some words of its own" * 100)
    assert distance(path) == 0


def test_the_limit_is_that_of_the_format_that_is_decoded(tmp_path):
    data = bytearray(save(tmp_path / "a.tiff", Image.new("L", (300, 200), 255)).read_bytes())
    # Where a Photo CD has its name; Pillow would take it for one, of 768x512 pixels.
    data[2048:2055] = b"PCD_IPI"
    assert read_image(bytes(data), most_pixels=60_000).shape == (200, 300)
    with pytest.raises(TooManyPixelsError, match="300x200"):
        read_image(bytes(data), most_pixels=59_999)


def test_a_single_pixel_is_an_image(tmp_path):
    assert read_image(save(tmp_path / "a.png", Image.new("L", (1, 1), 7))).tolist() == [[7]]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tiff"])
def test_a_truncated_image_is_refused_and_decoders_are_silent(tmp_path, capfd, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    path = save(tmp_path / name, Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "damaged" in refused(path)
    assert capfd.readouterr().err == ""


def bomb(path: Path) -> None:
    """A PNG of a few bytes that claims to be 60,000 pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b""))


def slightly_too_large(path: Path) -> None:
    Image.new("1", (MOST_PIXELS // 10_000 + 1, 10_000)).save(path)


def disk_image(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "folder"),
        (Path.touch, "empty"),
        (lambda path: path.write_text("a digit, honestly"), "no image"),
        (lambda path: path.write_bytes(os.urandom(4000)), "no image"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "damaged"),
        (bomb, f"{MOST_PIXELS:,} pixels"),
        (slightly_too_large, f"{MOST_PIXELS:,}"),
        (os.mkfifo, "regular file"),
        (disk_image, "512 MiB"),
    ],
    ids=["missing", "folder", "empty", "text", "noise", "signature", "bomb", "too large", "pipe", "a disk"],
)
def test_what_is_no_readable_image_is_an_input_error_that_names_it(
    tmp_path: Path, make: Callable[[Path], object], expected: str
):
    path = tmp_path / "a.png"
    make(path)
    assert expected in refused(path)


def test_standard_input_that_never_ends_is_refused(monkeypatch):
    with Path("/dev/zero").open() as zeros:
        monkeypatch.setattr("sys.stdin", zeros)
        with pytest.raises(InputError, match="standard input is longer than 512 MiB"):
            read_image("-")


def test_bytes_are_read_as_a_file_of_them_is(tmp_path):
    path = save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path.read_bytes()), read_image(path))
    with pytest.raises(InputError, match="this is cut short"):
        read_image(path.read_bytes()[:50])


def test_a_lower_limit_holds_before_a_picture_is_decoded_and_for_every_kind(tmp_path):
    data = save(tmp_path / "a.png").read_bytes()
    assert read_image(data, most_pixels=2400).size == 2400
    with pytest.raises(TooManyPixelsError, match="40x60 pixels, more than 2,399"):
        read_image(data, most_pixels=2399)
    # OpenCV reads a kind of which Pillow knows nothing.
    hdr = cv2.imencode(".hdr", np.ones((60, 40, 3), np.float32))[1].tobytes()
    assert read_image(hdr).size == 2400
    with pytest.raises(InputError, match="no image"):
        read_image(hdr, most_pixels=2400)


def test_a_quiet_process_decodes_side_by_side_and_keeps_what_python_says():
    code = (
        "import logging, os, threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from mnist_core.vision.quiet import quiet, quiet_process\n"
        "both = threading.Barrier(2, timeout=60)\n"
        "def decode():\n"
        "    with quiet():\n"
        "        both.wait()\n"
        "        os.write(2, b'as C does\\n')\n"
        "        logging.warning('as Python does')\n"
        "with quiet_process(), ThreadPoolExecutor(2) as threads:\n"
        "    for done in [threads.submit(decode) for _ in range(2)]:\n"
        "        done.result()\n"
        "os.write(2, b'as before\\n')\n"
    )
    done = spawn("-c", code)
    assert (done.code, done.stderr) == (0, ["WARNING:root:as Python does"] * 2 + ["as before"])


def test_a_damaged_file_is_read_or_refused_and_never_crashes(tmp_path, capfd):
    rng = np.random.default_rng(7)
    files = originals(rng)
    path = tmp_path / "a.png"
    read = 0
    for i in range(350):
        path.write_bytes(mutated(files[i % len(files)], rng))
        try:
            assert read_image(path).dtype == np.uint8
            read += 1
        except InputError as error:
            assert "\n" not in str(error)
    assert 0 < read < 350
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = save(tmp_path / "a.png")
    path.chmod(0)
    assert "ermission" in refused(path)


@pytest.mark.parametrize("shape", [(0, 5), (5,), (5, 5, 2), (2, 5, 5, 3)])
def test_an_array_that_is_no_image_is_refused(shape):
    with pytest.raises(InputError, match="an image is numbers"):
        to_gray(np.zeros(shape, np.uint8))
