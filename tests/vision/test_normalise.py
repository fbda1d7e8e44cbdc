"""Pictures of a digit come out as MNIST's own image of it, however made; pictures of nothing do not."""

import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnist_core.data.datasets import load
from mnist_core.vision.ink import _trial
from mnist_core.vision.normalise import find_ink
from mnist_core.vision.parts import stroke_width
from mnist_core.vision.sheet import Sheet
from tests.vision.single import normalise

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def digits(mnist_dir: Path) -> np.ndarray:
    """A genuine test image of each digit."""
    test = load("mnist", mnist_dir).test
    return np.stack([test.images[test.labels == digit][1] for digit in range(10)])


def drawn(digit: np.ndarray, side: int = 168, ink: float = 30, paper: float = 230) -> np.ndarray:
    """The digit as a drawing with smooth outlines; float32 [side, side]."""
    smooth = cv2.GaussianBlur(cv2.resize(digit, (448, 448), interpolation=cv2.INTER_CUBIC), (0, 0), 4)
    mask = cv2.resize((smooth > 110).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return paper + mask * (ink - paper)


def as_picture(pixels: np.ndarray, noise: float = 2, seed: int = 0) -> np.ndarray:
    return np.clip(pixels + RNG(seed).normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)


def ramp(shape: tuple[int, int]) -> np.ndarray:
    """From 0 at the upper left corner to 1 at the lower right one."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (x / shape[1] + y / shape[0]) / 2


def on_canvas(picture: np.ndarray, height: int, width: int, top: int, left: int) -> np.ndarray:
    canvas = np.full((height, width), picture[0, 0], np.float32)
    canvas[top : top + len(picture), left : left + picture.shape[1]] = picture
    return canvas


def inverted(digit: np.ndarray) -> np.ndarray:
    return 255 - as_picture(drawn(digit))


def on_gray_paper(digit: np.ndarray) -> np.ndarray:
    return as_picture(drawn(digit, ink=80, paper=150))


def in_a_corner(digit: np.ndarray) -> np.ndarray:
    return as_picture(on_canvas(drawn(digit), 300, 900, 10, 720))


def enlarged_four_times(digit: np.ndarray) -> np.ndarray:
    return as_picture(drawn(digit, side=672))


def cut_tightly(digit: np.ndarray) -> np.ndarray:
    picture = drawn(digit)
    x, y, width, height = cv2.boundingRect((picture < 128).astype(np.uint8))
    return picture[y : y + height, x : x + width].astype(np.uint8)


def in_uneven_light(digit: np.ndarray) -> np.ndarray:
    picture = drawn(digit)
    return as_picture(picture * (0.35 + 0.65 * ramp(picture.shape)))


def half_in_a_shadow(digit: np.ndarray) -> np.ndarray:
    picture = drawn(digit)
    edge = 1 / (1 + np.exp(-(ramp(picture.shape) - 0.5) / 0.02))
    return as_picture(picture * (0.5 + 0.5 * edge))


def on_ruled_paper(digit: np.ndarray) -> np.ndarray:
    picture = drawn(digit)
    ruling = np.full_like(picture, 255)
    ruling[12::46] = ruling[13::46] = 120
    return as_picture(np.minimum(picture, ruling))


def with_a_frame(digit: np.ndarray) -> np.ndarray:
    return as_picture(np.pad(drawn(digit), 3, constant_values=10))


def on_a_sheet_on_a_desk(digit: np.ndarray) -> np.ndarray:
    return as_picture(np.pad(drawn(digit), 90, constant_values=70))


def beside_a_dark_desk(digit: np.ndarray) -> np.ndarray:
    picture = on_canvas(drawn(digit), 260, 300, 80, 10)
    desk = ramp(picture.shape)[:, ::-1] < 0.25
    return as_picture(np.where(desk, 60 + RNG(0).normal(0, 10, picture.shape), picture))


def noisy(digit: np.ndarray) -> np.ndarray:
    return as_picture(drawn(digit, ink=60, paper=190), noise=20)


def as_a_poor_jpeg(digit: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", as_picture(drawn(digit)), [cv2.IMWRITE_JPEG_QUALITY, 15])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two images, of which one may lie a pixel beside the other as centres are rounded."""
    shifted = [np.roll(a, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return max(float(np.corrcoef(image.ravel(), b.ravel())[0, 1]) for image in shifted)


@pytest.mark.mnist
def test_a_genuine_image_comes_out_almost_unchanged(digits):
    for digit in digits:
        for picture in (digit, 255 - digit):
            assert np.abs(normalise(picture).astype(float) - digit).mean() < 2


@pytest.mark.mnist
@pytest.mark.parametrize(
    "changed",
    [
        inverted,
        on_gray_paper,
        in_a_corner,
        enlarged_four_times,
        cut_tightly,
        in_uneven_light,
        half_in_a_shadow,
        on_ruled_paper,
        with_a_frame,
        on_a_sheet_on_a_desk,
        beside_a_dark_desk,
        noisy,
        as_a_poor_jpeg,
    ],
    ids=lambda changed: changed.__name__,
)
def test_how_a_digit_was_pictured_hardly_matters(digits, changed: Callable[[np.ndarray], np.ndarray]):
    found = [normalise(changed(digit)) for digit in digits]
    assert all(image is not None for image in found)
    alike = [likeness(image, digit) for image, digit in zip(found, digits, strict=True)]
    assert min(alike) > 0.88


@pytest.mark.mnist
@pytest.mark.parametrize("width", [1, 4])
def test_thin_lines_do_not_fade(digits, width):
    for digit in digits:
        outline = cv2.Canny(drawn(digit, side=400).astype(np.uint8), 50, 150)
        lines = cv2.dilate(outline, np.ones((width, width), np.uint8))
        image = normalise(255 - lines)
        assert (image > 200).sum() > 20


@pytest.mark.mnist
def test_a_thick_pen_writes_as_thin_as_mnist_s(digits):
    for digit in digits:
        thick = cv2.erode(drawn(digit, side=400), np.ones((25, 25), np.uint8))
        image = normalise(as_picture(thick))
        assert stroke_width(image > 127, float((image / 255).sum())) < 4


@pytest.mark.mnist
def test_every_image_fits_the_box_and_is_centred_as_mnist_is(digits):
    rows = np.arange(28)
    for number, digit in enumerate(digits):
        side = 60 + 37 * number
        image = normalise(as_picture(on_canvas(drawn(digit, side), 2 * side, 3 * side, side // 2, side)))
        assert (image.shape, image.dtype) == ((28, 28), np.uint8)
        _, _, width, height = cv2.boundingRect(image)
        assert max(width, height) == 20
        mass = image.astype(float)
        centre = [(mass.sum(axis=axis) @ rows) / mass.sum() for axis in (0, 1)]
        assert np.allclose(centre, 14, atol=0.51)


@pytest.mark.mnist
def test_the_box_is_where_the_digit_is_in_the_picture(digits):
    for digit in digits[::3]:
        picture = on_canvas(drawn(digit, side=500), 1200, 1600, 400, 900)
        true = np.array(cv2.boundingRect((picture < 128).astype(np.uint8)))
        found = np.array(find_ink(Sheet.of(as_picture(picture))).box)
        assert np.abs(found - true).max() <= 10


@pytest.mark.mnist
def test_even_eight_pixels_hold_a_digit(digits):
    for digit in digits:
        small = cv2.resize(digit[3:25, 3:25], (8, 8), interpolation=cv2.INTER_AREA)
        assert normalise(small) is not None


def test_an_outline_that_leaves_no_paper_around_it_is_no_warning():
    y, x = np.mgrid[-4:5, -5.5:6]
    vignette = np.uint8(219 - 1.3 * x**2 - 2 * y**2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sheet in filter(None, Sheet.seen_in(vignette)):
            find_ink(sheet)


SIZES = [(1, 1), (1, 40), (28, 28), (200, 300), (900, 50)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("tone", [0, 128, 255])
def test_one_tone_is_no_digit(shape, tone):
    assert normalise(np.full(shape, tone, np.uint8)) is None


@pytest.mark.parametrize("noise", [1, 5, 30])
@pytest.mark.parametrize("shape", SIZES[2:4], ids=str)
def test_noise_is_no_digit(shape, noise):
    found = [normalise(as_picture(np.full(shape, 180.0), noise, seed)) for seed in range(10)]
    assert found.count(None) == 10


@pytest.mark.parametrize(
    "light",
    [
        lambda t: 60 + 170 * t,
        lambda t: 120 + 100 / (1 + np.exp(-(t - 0.5) / 0.04)),
        lambda t: 230 - 120 * (t - 0.5) ** 2,
    ],
    ids=["gradient", "shadow", "dark corners"],
)
def test_light_on_blank_paper_is_no_digit(light):
    for shape in SIZES[3:]:
        assert normalise(as_picture(light(ramp(shape)))) is None


def test_ruling_alone_is_no_digit():
    page = np.full((300, 240), 230.0)
    page[20::40] = page[:, 30] = 120
    assert normalise(as_picture(page)) is None


def test_pictures_of_any_shape_are_taken():
    rng = RNG(3)
    for _ in range(60):
        shape = tuple(int(n) for n in rng.integers(1, 90, 2))
        noise = rng.integers(0, 256, shape)
        picture = (noise if rng.random() < 0.5 else np.where(noise < 20, 0, 255)).astype(np.uint8)
        sheet = Sheet.of(picture)
        if sheet and (ink := find_ink(sheet)):
            x, y, width, height = ink.box
            assert 0 <= x < x + width <= shape[1]
            assert 0 <= y < y + height <= shape[0]


def test_what_is_only_less_bright_than_bright_paper_has_a_measure_too():
    strength = np.full((60, 60), -0.5, np.float32)
    strength[20:40, 28:32] = -0.1
    assert np.isfinite(_trial(strength)).all()
