"""A predictor reads what its network sees in a picture."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from mnist_core.errors import InputError
from mnist_core.vision.normalise import VIEWS, views
from mnist_core.vision.predictor import Predictor
from tests.vision.single import normalise


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Untrained, but sure of itself; with a layer that acts differently in training."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((28, 28, 1)),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(10, kernel_initializer=keras.initializers.RandomNormal(stddev=1)),
    ]
    return keras.Sequential(layers)


@pytest.fixture(scope="module")
def predictor(network: keras.Model) -> Predictor:
    return Predictor(model=network)


def picture() -> np.ndarray:
    """A seven, dark on light; uint8 [200, 300]."""
    page = np.full((200, 300), 230, np.uint8)
    cv2.polylines(page, [np.array([[180, 60], [240, 60], [200, 160]])], False, 30, 9)
    return page


def random_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)


def test_probabilities_are_the_softmax_of_the_network_at_inference(network, predictor):
    images = random_images(5)
    logits = network.predict(images[..., None].astype(np.float32) / 255, verbose=0)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    found = predictor.probabilities(images)
    assert (found.shape, found.dtype) == ((5, 10), np.float32)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.array_equal(found, predictor.probabilities(images))


def test_a_picture_is_normalised_and_its_likeliest_digit_is_given(predictor):
    page = predictor.read(picture(), single=True)
    probabilities = predictor.recognise(normalise(picture())[np.newaxis])[0]
    likeliest = int(probabilities.argmax())
    (digit,) = page.digits
    assert (digit.digit, digit.probability, page.text) == (
        likeliest,
        float(probabilities[likeliest]),
        str(likeliest),
    )
    np.testing.assert_array_equal(digit.probabilities, probabilities)
    assert np.abs(np.subtract(digit.box, cv2.boundingRect(255 - picture() - 25))).max() <= 3


def test_recognition_is_the_mean_over_views(predictor):
    images = random_images(3)
    shown = views(images)
    assert (shown.shape, shown.dtype) == ((len(VIEWS), 3, 28, 28), np.uint8)
    expected = np.mean([predictor.probabilities(view) for view in shown], axis=0)
    assert np.allclose(predictor.recognise(images), expected, atol=1e-6)
    assert np.allclose(predictor.recognise(images).sum(axis=1), 1, atol=1e-5)


def test_images_of_another_kind_are_refused(predictor):
    for images in (random_images(2) / np.float32(255), random_images(2)[:, :20], random_images(2)[0]):
        for ask in (predictor.recognise, predictor.probabilities):
            with pytest.raises(InputError, match="needed"):
                ask(images)


def test_a_view_is_narrower_or_slanted_about_the_centre():
    image = np.zeros((1, 28, 28), np.uint8)
    image[:, 4:24, 6:22] = 255
    for view, (width, slant) in zip(views(image), VIEWS, strict=True):
        ink = view[0].astype(float) / 255
        assert ink.sum() == pytest.approx(width * 20 * 16, rel=0.02)
        middles = (ink[4:24] * np.arange(28)).sum(axis=1) / ink[4:24].sum(axis=1)
        assert middles.mean() == pytest.approx(13.5, abs=0.05)
        assert np.diff(middles).mean() == pytest.approx(slant, abs=0.02)


def test_a_file_and_its_pixels_are_read_alike(predictor, tmp_path):
    path = tmp_path / "seven.png"
    cv2.imwrite(str(path), picture())
    colour = cv2.cvtColor(picture(), cv2.COLOR_GRAY2BGR)
    pages = [predictor.read(image, single=True) for image in (path, str(path), picture(), colour)]
    seen = [(page.text, page.digits[0].box, page.digits[0].image.tobytes()) for page in pages]
    assert seen == [seen[0]] * 4


@pytest.mark.parametrize("blank", [np.full((1, 1), 9, np.uint8), np.full((90, 60, 3), 255, np.uint8)])
def test_a_blank_picture_is_an_empty_page(predictor, blank):
    page = predictor.read(blank)
    assert (page.digits, page.text) == ((), "")


def test_a_network_of_half_precision_gives_probabilities_that_add_up():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(10, dtype="mixed_bfloat16")
    network = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), dense])
    found = Predictor(model=network).probabilities(random_images(20))
    assert found.dtype == np.float32
    assert np.allclose(found.sum(axis=1), 1, atol=1e-6)


def test_a_run_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="missing"):
        Predictor(tmp_path / "missing")
