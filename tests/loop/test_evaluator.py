"""Every image is scored exactly once, whatever the batch size."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from mnist_core import models
from mnist_core.data.datasets import load
from mnist_core.data.split import Split
from mnist_core.data.synthetic import draw
from mnist_core.errors import DivergedError
from mnist_core.loop import evaluator
from mnist_core.loop.evaluator import Evaluator
from mnist_core.loop.state import dtype_policy
from tests.loop.small import Linear, Noisy
from tests.memory import mapped_bytes

SPLIT = Split(*draw(1003, seed=3))
BATCH_SIZES = (1, 7, 128, 1000, 20000)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """An untrained network: it is wrong in many ways, so that its confusion tells images apart."""
    keras.utils.set_random_seed(0)
    return models.build(Noisy())


def check_all_batch_sizes_agree(model: keras.Model, split: Split) -> None:
    reports = [Evaluator(model, batch_size)(split) for batch_size in BATCH_SIZES]
    for report in reports:
        assert report.count == report.confusion.sum() == len(split)
        np.testing.assert_array_equal(report.confusion, reports[0].confusion)
        assert report.loss == pytest.approx(reports[0].loss, rel=1e-6)
        assert [example.index for example in report.misclassified] == [
            example.index for example in reports[0].misclassified
        ]


def test_the_batch_size_changes_no_count(model: keras.Model) -> None:
    check_all_batch_sizes_agree(model, SPLIT)


@pytest.mark.mnist
def test_all_ten_thousand_test_images_of_mnist_are_scored(mnist_dir: Path, model: keras.Model) -> None:
    test = load("mnist", mnist_dir).test
    assert len(test) == 10_000
    check_all_batch_sizes_agree(model, test)


def test_the_score_is_that_of_keras(model: keras.Model) -> None:
    report = Evaluator(model, 100)(SPLIT)
    logits = model(SPLIT.images[..., np.newaxis] / np.float32(255), training=False)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert report.accuracy == pytest.approx(float(accuracy(SPLIT.labels, logits)))
    assert report.loss == pytest.approx(float(loss(SPLIT.labels, logits)), rel=1e-5)


def test_splits_of_any_size_share_one_trace(model: keras.Model) -> None:
    score = Evaluator(model, 64)
    for count in (1, 63, 64, 65, 1003):
        assert score(Split(SPLIT.images[:count], SPLIT.labels[:count])).count == count
    assert score.function.experimental_get_tracing_count() == 1


def test_a_mapped_split_larger_than_a_piece_is_scored_whole(
    model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "images.npy", SPLIT.images)
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), SPLIT.labels)
    whole = Evaluator(model)(SPLIT)
    monkeypatch.setattr(evaluator, "PIECE", 100)
    pieces = Evaluator(model)(mapped)
    np.testing.assert_array_equal(pieces.confusion, whole.confusion)
    assert pieces.misclassified == whole.misclassified


def test_scoring_a_mapped_split_does_not_fill_the_memory(
    model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.ones((20_000, 28, 28), np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), np.zeros(len(images), np.uint8))
    score = Evaluator(model)
    score(SPLIT)
    monkeypatch.setattr(evaluator, "PIECE", 1000)
    before = mapped_bytes()
    assert score(mapped).count == len(images)
    assert mapped_bytes() - before < images.nbytes / 4


def test_scoring_leaves_the_moments_of_batch_normalisation_alone(model: keras.Model) -> None:
    before = [variable.value.numpy() for variable in model.variables]
    Evaluator(model)(SPLIT)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.value)


def test_logits_are_float32_at_any_precision() -> None:
    with dtype_policy("mixed_bfloat16"):
        half = models.build(Linear())
    logits = Evaluator(half).logits(SPLIT.images[:5])
    assert (logits.dtype, logits.shape) == (np.float32, (5, 10))


def test_no_images_are_a_score_of_nothing(model: keras.Model) -> None:
    score = Evaluator(model)
    assert score(Split(SPLIT.images[:0], SPLIT.labels[:0])).count == 0
    assert score.logits(SPLIT.images[:0]).shape == (0, 10)


def test_outputs_that_are_not_numbers_are_an_error() -> None:
    broken = models.build(Linear())
    broken.head.bias.assign(np.full(10, np.nan, np.float32))
    with pytest.raises(DivergedError, match="NaN"):
        Evaluator(broken)(SPLIT)


def test_augmented_scores_are_the_mean_over_views(model: keras.Model) -> None:
    images = SPLIT.images[:20]
    expected = np.zeros((20, 10))
    for degrees, scale in evaluator.VIEWS:
        # OpenCV turns anticlockwise.
        move = cv2.getRotationMatrix2D((13.5, 13.5), -degrees, scale)
        shown = [cv2.warpAffine(image / np.float32(255), move, (28, 28)) for image in images]
        expected += keras.ops.softmax(model(np.stack(shown)[..., np.newaxis], training=False)).numpy()
    logits = Evaluator(model, 7, tta=True).logits(images)
    # OpenCV rounds places to 1/32 of a pixel.
    np.testing.assert_allclose(np.exp(logits), expected / len(evaluator.VIEWS), atol=0.01)
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-5)
    assert np.abs(np.exp(logits) - keras.ops.softmax(Evaluator(model).logits(images))).max() > 0.01
