"""Augmentation does to images what its strengths say, and to each image the same however a batch is split."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.config import Config
from mnist_core.data.augment import KNOTS, STRENGTHS, Augmentation
from mnist_core.data.synthetic import draw
from mnist_core.randomness import StepRandom

PIXELS, LABELS = draw(16, seed=4)
IMAGES, LABELS = PIXELS[..., np.newaxis] / np.float32(255), tf.constant(LABELS, tf.int32)
FULL = {
    "shift": 3.0,
    "rotation": 20.0,
    "scale": 0.2,
    "shear": 0.2,
    "thickness": 0.5,
    "elastic": 2.0,
    "blur": 1.0,
}
# The places of an image's draws.
ANGLE, SHEAR, SCALE_X, SCALE_Y, SHIFT_X, SHIFT_Y = range(6)


class Fixed:
    """Gives every image the draws that a test has chosen, as shares of the strengths."""

    def __init__(self, thickness: float = 0.0, **draws: float) -> None:
        self._affine = np.zeros(6, np.float32)
        for name, value in draws.items():
            self._affine[globals()[name.upper()]] = value
        self._thickness = thickness

    def uniform(self, shape: list[int], low: float, high: float) -> tf.Tensor:
        if shape == [6]:
            assert (low, high) == (-1, 1)
            return tf.constant(np.tile(self._affine, (len(IMAGES), 1)))
        assert low in (0, -high)
        # A draw of nothing is 0, whether draws are of both signs or of one.
        return tf.fill([len(IMAGES), *shape], tf.constant(self._thickness * high, tf.float32))


def random(step: int = 0, seed: int = 0, rows: np.ndarray | None = None) -> StepRandom:
    rows = np.arange(len(IMAGES)) if rows is None else rows
    size = tf.constant(len(IMAGES))
    return StepRandom(seed, tf.constant(step, tf.int64), size, tf.constant(rows, tf.int32))


def change(
    augment: Augmentation, draws: object, images: np.ndarray = IMAGES, labels: tf.Tensor = LABELS
) -> np.ndarray:
    return augment(tf.constant(images), labels[: len(images)], draws)[0].numpy()


def centroid(images: np.ndarray) -> np.ndarray:
    """(x, y) of the ink of each image."""
    y, x = np.mgrid[:28, :28]
    ink = images[..., 0]
    return np.stack([(ink * axis).sum(axis=(1, 2)) / ink.sum(axis=(1, 2)) for axis in (x, y)], axis=1)


@pytest.mark.parametrize("jit", [False, True])
def test_no_strength_is_no_change(jit: bool) -> None:
    np.testing.assert_array_equal(change(Augmentation(jit=jit), random()), IMAGES)


@pytest.mark.parametrize("jit", [False, True])
def test_a_draw_of_nothing_is_no_change(jit: bool) -> None:
    np.testing.assert_allclose(change(Augmentation(**FULL, jit=jit), Fixed()), IMAGES, atol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, -2), (-1, 4), (14, 14)])
def test_a_shift_by_whole_pixels_moves_the_picture(x: int, y: int, jit: bool) -> None:
    moved = change(Augmentation(shift=14.0, jit=jit), Fixed(shift_x=x / 14, shift_y=y / 14))
    expected = np.zeros_like(IMAGES)
    # Pixel (i, j) shows what was at (i + y, j + x), and black where that lies outside.
    to_y, to_x = slice(max(-y, 0), 28 - max(y, 0)), slice(max(-x, 0), 28 - max(x, 0))
    from_y, from_x = slice(max(y, 0), 28 + min(y, 0)), slice(max(x, 0), 28 + min(x, 0))
    expected[:, to_y, to_x] = IMAGES[:, from_y, from_x]
    np.testing.assert_allclose(moved, expected, atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_quarter_turn_turns_the_picture_about_its_centre(sign: int, jit: bool) -> None:
    turned = change(Augmentation(rotation=90.0, jit=jit), Fixed(angle=sign))
    np.testing.assert_allclose(turned, np.rot90(IMAGES, sign, axes=(1, 2)), atol=1e-4)


def test_scale_changes_the_size_in_both_directions_by_itself() -> None:
    image = np.zeros((len(IMAGES), 28, 28, 1), np.float32)
    image[:, 10:18, 10:18] = 1  # 8 by 8 in the middle
    for axis, name in ((2, "scale_x"), (1, "scale_y")):
        wide = change(Augmentation(scale=0.5), Fixed(**{name: 1}), image)[0, ..., 0]
        assert wide.sum(axis=axis - 1).max() == pytest.approx(8 * 1.5, abs=0.2)
        assert wide.sum(axis=2 - axis).max() == pytest.approx(8, abs=0.2)
        narrow = change(Augmentation(scale=0.5), Fixed(**{name: -1}), image)[0, ..., 0]
        assert narrow.sum(axis=axis - 1).max() == pytest.approx(8 * 0.5, abs=0.2)


def test_shear_slants_a_vertical_line() -> None:
    image = np.zeros((len(IMAGES), 28, 28, 1), np.float32)
    image[:, 4:24, 13:15] = 1
    slanted = change(Augmentation(shear=0.3), Fixed(shear=1), image)
    rows = slanted[0, 4:24, :, 0]
    places = (rows * np.arange(28)).sum(axis=1) / rows.sum(axis=1)
    np.testing.assert_allclose(np.diff(places), -0.3, atol=0.02)


def test_thickness_adds_ink_and_takes_it_away() -> None:
    augment = Augmentation(thickness=1.0)
    ink = IMAGES.sum(axis=(1, 2, 3))
    thick, half, thin = (change(augment, Fixed(thickness=draw)) for draw in (1.0, 0.5, -1.0))
    assert (thick.sum(axis=(1, 2, 3)) > 1.5 * ink).all()
    assert (thin.sum(axis=(1, 2, 3)) < 0.7 * ink).all()
    np.testing.assert_allclose(half, (IMAGES + thick) / 2, atol=1e-6)
    assert thick.max() <= 1
    assert thin.min() >= 0
    # The full strengths are the largest and the least of each pixel's neighbourhood.
    around = [np.roll(IMAGES, (y, x), axis=(1, 2)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    inside = np.s_[:, 1:-1, 1:-1]
    np.testing.assert_allclose(thick[inside], np.max(around, axis=0)[inside], atol=1e-6)
    np.testing.assert_allclose(thin[inside], np.min(around, axis=0)[inside], atol=1e-6)


def test_an_elastic_map_moves_all_by_what_its_knots_agree_on() -> None:
    class Agreed:
        def uniform(self, shape: list[int], low: float, high: float) -> tf.Tensor:
            assert (shape, low, high) == ([2, KNOTS, KNOTS], -2, 2)
            # Horizontally by 2, vertically by -1.
            moves = np.tile(np.float32([[[2]], [[-1]]]), (len(IMAGES), 1, KNOTS, KNOTS))
            return tf.constant(moves.reshape(len(IMAGES), *shape))

    moved = change(Augmentation(elastic=2.0), Agreed())
    np.testing.assert_allclose(moved[:, 1:, :-2], IMAGES[:, :-1, 2:], atol=1e-5)


def test_an_elastic_map_bends_without_tearing() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 28, dtype=np.float32)[:, None, None], (len(IMAGES), 28, 28, 1))
    bent = change(Augmentation(elastic=2.0), random(), ramp)[:, 4:24, 4:24, 0]
    assert np.ptp(bent - ramp[:, 4:24, 4:24, 0]) > 1 / 27
    assert (np.diff(bent, axis=1) > -1 / 27).all()
    assert np.abs(np.diff(bent, axis=2)).max() < 1 / 27


def test_blur_spreads_ink_that_stays_white() -> None:
    square = np.zeros((len(IMAGES), 28, 28, 1), np.float32)
    square[:, 10:14, 10:14] = 1
    blurred = change(Augmentation(blur=1.0), random(), square)
    np.testing.assert_allclose(blurred.max(axis=(1, 2, 3)), 1, atol=1e-5)
    assert (blurred[:, 9:15, 9:15] > 0).all()
    assert not blurred[:, :9].any()
    assert len(np.unique(blurred[:, 9, 9])) == len(IMAGES)


def test_draws_stay_within_the_strengths() -> None:
    moved = Augmentation(shift=3.0)
    shifts = np.concatenate([centroid(change(moved, random(step))) - centroid(IMAGES) for step in range(40)])
    # Some ink falls off the edge; most digits keep theirs.
    assert np.abs(shifts).max() < 3.05
    assert np.abs(shifts).max() > 2.5
    assert np.abs(shifts.mean(axis=0)).max() < 0.3


@pytest.mark.parametrize("strength", [name for name in STRENGTHS if name != "outliers"])
def test_each_strength_alone_changes_each_image_in_its_own_way(strength: str) -> None:
    same = np.repeat(IMAGES[:1], len(IMAGES), axis=0)
    changed = change(Augmentation(**{strength: FULL[strength]}), random(), same)
    assert len(np.unique(changed.reshape(len(same), -1), axis=0)) == len(same)
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-6


def test_a_change_follows_from_seed_step_and_row() -> None:
    augment = Augmentation(**FULL, outliers=0.5)
    whole = change(augment, random(step=5))
    np.testing.assert_array_equal(change(augment, random(step=5)), whole)
    for rows in (np.arange(0, 16, 2), np.arange(1, 16, 2), np.array([9, 3])):
        part = change(augment, random(step=5, rows=rows), IMAGES[rows], tf.gather(LABELS, rows))
        np.testing.assert_array_equal(part, whole[rows])
    assert (change(augment, random(step=6)) != whole).any()
    assert (change(augment, random(step=5, seed=1)) != whole).any()


class Drawn:
    """Draws that XLA and the processor share; from one key they draw differently."""

    def uniform(self, shape: list[int], low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        values = np.random.default_rng(len(shape)).uniform(low, high, (len(IMAGES), *shape))
        return tf.constant(values.astype(np.float32))


def test_xla_changes_images_as_the_processor_does() -> None:
    everything = {**FULL, "outliers": 0.5}
    compiled = tf.function(Augmentation(**everything, jit=True), jit_compile=True)
    bent, labels = compiled(tf.constant(IMAGES), LABELS, Drawn())
    expected, same = Augmentation(**everything)(tf.constant(IMAGES), LABELS, Drawn())
    np.testing.assert_allclose(bent, expected, atol=1e-4)
    np.testing.assert_array_equal(labels, same)


def test_a_run_takes_its_strengths_from_its_configuration() -> None:
    assert Augmentation.from_config(Config(**FULL, jit="on")) == Augmentation(**FULL, jit=True)
    assert Augmentation.from_config(Config()).shift == Config().shift
