"""Strings of digits are read uncut, with probabilities that are what they say."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from mnist_core.data.split import Split
from mnist_core.data.strings import HEIGHT, WIDTH
from mnist_core.vision import strings
from mnist_core.vision.sheet import Ink
from mnist_core.vision.touching import SURE_STRING


def ink(mask: np.ndarray) -> Ink:
    """Full ink where the mask is."""
    return Ink(mask.astype(np.float32), (0, 0, mask.shape[1], mask.shape[0]))


def written(text: str, thickness: int = 8) -> Ink:
    """Text of a plotter's font, close enough to touch, cut to its box."""
    mask = np.zeros((160, 120 * len(text)), np.uint8)
    for i, digit in enumerate(text):
        cv2.putText(mask, digit, (20 + 62 * i, 120), cv2.FONT_HERSHEY_SIMPLEX, 3.6, 1, thickness)
    x, y, width, height = cv2.boundingRect(mask)
    return ink(mask[y : y + height, x : x + width])


def read(one: Ink) -> strings.Reading:
    return strings.reader()(strings.to_frame(one))


@pytest.mark.parametrize("size", [(50, 90), (200, 40), (30, 400), (6, 6)])
def test_a_frame_shows_all_of_the_ink_in_the_middle(size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.uint8)
    cv2.rectangle(mask, (0, 0), (size[1] - 1, size[0] - 1), 1, max(1, size[0] // 12))
    frame = strings.to_frame(ink(mask))
    x, y, width, height = cv2.boundingRect((frame > 60).astype(np.uint8))
    assert frame.shape == (HEIGHT, max(WIDTH, width + 8))
    assert height in (20, 21)
    assert abs(2 * x + width - frame.shape[1]) <= 2
    assert abs(2 * y + height - HEIGHT) <= 2
    assert width / height == pytest.approx(size[1] / size[0], rel=0.35)


@pytest.mark.parametrize("text", ["35", "208", "4725", "60317254"])
def test_digits_that_touch_are_read_however_many_they_are(text: str) -> None:
    reading = read(written(text))
    assert reading.text == text
    assert reading.probability >= SURE_STRING
    assert reading.probabilities.shape == (len(text), 10)
    assert "".join(map(str, reading.probabilities.argmax(axis=1))) == text


@pytest.mark.parametrize("text", ["35", "208"])
def test_probabilities_are_those_of_all_columns_that_read_so(text: str) -> None:
    frame = strings.to_frame(written(text))
    reading = strings.reader()(frame)
    columns = strings.reader()._function(strings.views(frame[np.newaxis])[:, 0])
    count = columns.shape[1]
    labels = tf.constant([[int(digit) for digit in reading.text]] * count)
    lengths = tf.fill([count], labels.shape[1]), tf.fill([count], columns.shape[0])
    losses = tf.nn.ctc_loss(labels, columns, *lengths, blank_index=10)
    assert reading.probability == pytest.approx(float(np.exp(-losses.numpy()).mean()), abs=0.02)
    # A text of the same length may add to a digit's, never take from it.
    assert reading.probabilities.max(axis=1).min() >= reading.probability - 1e-4
    assert reading.probabilities.sum(axis=1).max() <= 1 + 1e-4


def test_an_empty_frame_says_nothing() -> None:
    reading = strings.reader()(np.zeros((HEIGHT, WIDTH), np.uint8))
    assert reading.text == ""
    assert reading.probabilities.shape == (0, 10)


@pytest.mark.mnist
def test_touching_digits_of_the_test_images_are_read(test_digits: Split) -> None:
    rng = np.random.default_rng(0)
    right = 0
    for _ in range(100):
        pair = rng.integers(len(test_digits.labels), size=2)
        first, second = (test_digits.images[at] for at in pair)
        first, second = (one[:, one.any(axis=0)] for one in (first, second))
        both = np.zeros((28, first.shape[1] + second.shape[1] - int(rng.integers(0, 4))), np.uint8)
        both[:, : first.shape[1]] = first
        np.maximum(both[:, -second.shape[1] :], second, out=both[:, -second.shape[1] :])
        large = cv2.resize(both, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        x, y, width, height = cv2.boundingRect((large > 110).astype(np.uint8))
        text = "".join(str(test_digits.labels[at]) for at in pair)
        right += read(ink(large[y : y + height, x : x + width] > 110)).text == text
    assert right >= 93
