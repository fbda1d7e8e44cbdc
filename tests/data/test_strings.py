"""Strings hold the digits that their labels say, side by side in the frame, and are drawn anew each step."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from mnist_core.data.augment import Augmentation
from mnist_core.data.strings import BOX_WIDTH, HEIGHT, LENGTHS, LONGEST, WIDTH, Strings
from mnist_core.data.synthetic import draw
from mnist_core.randomness import StepRandom

COUNT = 64
PIXELS, LABELS = draw(COUNT, seed=5)


def strings(step: int = 0, **augmentation: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``[n, HEIGHT, WIDTH]`` and labels of one step."""
    random = StepRandom(0, tf.constant(step, tf.int64), tf.constant(COUNT), tf.range(COUNT))
    images = tf.constant(PIXELS[..., np.newaxis] / np.float32(255))
    frames, texts = Strings(Augmentation(**augmentation))(images, tf.constant(LABELS, tf.int32), random)
    assert frames.shape == (COUNT, HEIGHT, WIDTH, 1)
    return frames.numpy()[..., 0], texts.numpy()


def lengths(texts: np.ndarray) -> np.ndarray:
    return (texts >= 0).sum(axis=1)


def test_each_begins_with_its_image_and_goes_on_with_those_that_follow() -> None:
    _, texts = strings()
    followed = np.stack([np.roll(LABELS.astype(int), -i) for i in range(LONGEST)], axis=1)
    is_there = np.arange(LONGEST) < lengths(texts)[:, np.newaxis]
    np.testing.assert_array_equal(texts, np.where(is_there, followed, -1))


def trimmed(image: np.ndarray) -> np.ndarray:
    """Cut to its ink and scaled to 20 x 20."""
    x, y, width, height = cv2.boundingRect((image > 0.3).astype(np.uint8))
    return cv2.resize(image[y : y + height, x : x + width], (20, 20), interpolation=cv2.INTER_AREA)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two inks."""
    return float(np.corrcoef(trimmed(a).ravel(), trimmed(b).ravel())[0, 1])


def test_their_lengths_come_in_their_shares() -> None:
    found = np.concatenate([lengths(strings(step)[1]) for step in range(12)])
    np.testing.assert_allclose(np.bincount(found, minlength=LONGEST + 1)[1:] / len(found), LENGTHS, atol=0.06)


def test_ink_lies_in_the_middle_in_the_box_of_a_digit_or_less_high() -> None:
    frames, texts = strings()
    inked = frames > 0.5
    assert not inked[:, [0, -1]].any()
    assert not inked[:, :, [0, -1]].any()
    columns, rows = inked.any(axis=1), inked.any(axis=2)
    assert rows.sum(axis=1).max() <= 22
    assert columns.sum(axis=1).max() <= BOX_WIDTH * 1.1
    for axis in (columns, rows):
        begin, end = axis.argmax(axis=1), axis.shape[1] - axis[:, ::-1].argmax(axis=1)
        assert np.abs((begin + end) / 2 - axis.shape[1] / 2).max() < 4
    # The more digits, the wider.
    widths = [columns[lengths(texts) == count].sum(axis=1).mean() for count in range(1, LONGEST + 1)]
    assert widths == sorted(widths)
    assert widths[-1] > 2.5 * widths[0]


def test_a_string_of_one_shows_its_image() -> None:
    frames, texts = strings()
    for at in np.flatnonzero(lengths(texts) == 1):
        rows, columns = (np.flatnonzero((PIXELS[at] > 128).any(axis=axis)) for axis in (1, 0))
        seen = (np.flatnonzero((frames[at] > 0.5).any(axis=axis)) for axis in (1, 0))
        height, width = (np.ptp(one) + 1 for one in seen)
        assert width / height == pytest.approx((np.ptp(columns) + 1) / (np.ptp(rows) + 1), rel=0.25)
        assert likeness(frames[at], PIXELS[at] / np.float32(255)) > 0.65


def test_digits_stand_from_left_to_right() -> None:
    frames, texts = strings()
    right = []
    for at in np.flatnonzero((lengths(texts) == 2) & (texts[:, 0] != texts[:, 1])):
        pair = PIXELS[at] / np.float32(255), PIXELS[(at + 1) % COUNT] / np.float32(255)
        first, second = (cv2.boundingRect((one > 0.3).astype(np.uint8))[2] for one in pair)
        columns = np.flatnonzero((frames[at] > 0.3).any(axis=0))
        end = columns[0] + len(columns) * first // (first + second)
        for part, own, other in ((frames[at, :, :end], *pair), (frames[at, :, end:], *pair[::-1])):
            right.append(likeness(part, own) > likeness(part, other))
    assert np.mean(right) > 0.85


def test_they_follow_from_the_step() -> None:
    options = {"rotation": 5.0, "elastic": 1.0, "blur": 0.3, "outliers": 0.2}
    again, other = strings(3, **options), strings(4, **options)
    for one, same, different in zip(strings(3, **options), again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert (one != different).any()


def test_strings_with_letters_have_labels_that_are_drawn() -> None:
    followed = np.stack([np.roll(LABELS.astype(int), -i) for i in range(LONGEST)], axis=1)
    letters = round(0.25 * COUNT)
    right, alike = [], []
    for step in range(10):
        frames, texts = strings(step, outliers=0.251)
        there = np.arange(LONGEST) < lengths(texts)[:, np.newaxis]
        # Those that end before the batch begins again, and the letters with it.
        whole = np.arange(COUNT) + lengths(texts) <= COUNT
        digits_only = whole & (np.arange(COUNT) >= letters)
        assert ((texts == followed) | ~there)[digits_only].all()
        assert there.sum(axis=1).min() >= 1
        right.append((texts == followed)[:letters][there[:letters]])
        alone = np.flatnonzero(lengths(texts) == 1)
        alike += [(at < letters, likeness(frames[at], PIXELS[at] / np.float32(255))) for at in alone]
    is_letter, likenesses = np.array(alike).T
    assert likenesses[is_letter > 0].mean() < 0.4
    assert likenesses[is_letter == 0].mean() > 0.8
    assert np.concatenate(right).mean() == pytest.approx(0.1, abs=0.06)


def test_xla_makes_the_same_strings() -> None:
    images, labels = tf.constant(PIXELS[..., np.newaxis] / np.float32(255)), tf.constant(LABELS, tf.int32)
    made = []
    for jit in (False, True):
        make = Strings(Augmentation(rotation=5.0, blur=0.3, outliers=0.2, jit=jit))

        @tf.function(jit_compile=jit, autograph=False)
        def step(make: Strings = make) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.range(COUNT)
            return make(images, labels, StepRandom(0, tf.constant(1, tf.int64), tf.constant(COUNT), rows))

        made.append(step())
    np.testing.assert_allclose(made[1][0], made[0][0], atol=2e-3)
    np.testing.assert_array_equal(made[1][1], made[0][1])
