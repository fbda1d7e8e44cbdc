"""The loop computes what Keras's `fit` computes, however a batch is split."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import models
from mnist_core.config import Config
from mnist_core.data.datasets import load
from mnist_core.data.split import Dataset, Split
from mnist_core.data.synthetic import draw
from mnist_core.loop.state import ModelSource
from mnist_core.loop.trainer import Trainer
from tests.loop.small import AUGMENTED, PLAIN, batch_of, weights

STEPS, TOLERANCE = 50, 1e-5
SETTINGS = {**PLAIN, "max_steps": STEPS, "batch_size": 128}
# Rounding that turns one ReLU or one maximum over grows with the rate, from 1e-7 to 1e-2 in 50 steps at 0.05.
# This one still moves the weights by hundreds of times the tolerance.
LOW = 1e-4
# Epochs of ten whole batches; a few images left over would be a hard case for batch normalisation.
DRAWN = Dataset("drawn", Split(*draw(1280, seed=1)), Split(*draw(100, seed=2)))
RAGGED = Dataset("drawn", Split(*draw(1300, seed=1)), DRAWN.test)


def made(net: ModelSource, data: Dataset, **changes: object) -> tuple[Trainer, np.ndarray]:
    """A trainer, and its initial weights."""
    trainer = Trainer(Config(**{**SETTINGS, **changes}), model=net, data=data)
    return trainer, weights(trainer)


def by_fit(trainer: Trainer, net: ModelSource) -> np.ndarray:
    """What `compile` and `fit` make of the same initial weights, by the same batches in the same order."""
    config = trainer.config
    reference = models.build(net())
    for mine, theirs in zip(trainer.state.model.variables, reference.variables, strict=True):
        theirs.assign(mine.value)
    reference.compile(
        keras.optimizers.SGD(config.lr, momentum=config.momentum, nesterov=config.nesterov),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for step in range(STEPS):
            yield batch_of(trainer, step)

    spec = (tf.TensorSpec([None, 28, 28, 1]), tf.TensorSpec([None], tf.int32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec)
    reference.fit(dataset, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return np.concatenate([weight.value.numpy().ravel() for weight in reference.trainable_variables])


def check_equals_fit(net: ModelSource, data: Dataset, **changes: object) -> None:
    trainer, initial = made(net, data, **changes)
    theirs = by_fit(trainer, net)
    trainer.fit()
    assert trainer.run.step == STEPS
    assert np.abs(weights(trainer) - initial).max() > 100 * TOLERANCE
    assert np.abs(weights(trainer) - theirs).max() <= TOLERANCE


# Dropout draws differ by design, so the networks that have it go without.
NETS: dict[str, ModelSource] = {
    "lenet5": models.LeNet5,
    "keras_convnet": lambda: models.KerasConvNet(dropout=0.0),
    "digitnet": lambda: models.DigitNet(dropout=0.0),
}


@pytest.mark.parametrize(
    ("net", "nesterov"), [("lenet5", False), ("keras_convnet", True), ("digitnet", False), ("digitnet", True)]
)
def test_fifty_steps_equal_keras_fit(net: str, nesterov: bool) -> None:
    check_equals_fit(NETS[net], DRAWN, lr=LOW, nesterov=nesterov)


def test_fifty_steps_with_ragged_batches_equal_keras_fit() -> None:
    check_equals_fit(models.MLP, RAGGED, lr=0.01)


def check_accumulation(net: ModelSource, data: Dataset, **changes: object) -> None:
    whole, initial = made(net, data, **changes)
    parts, _ = made(net, data, **changes, **{"batch_size": 32, "gradient_accumulation": 4})
    for trainer in (whole, parts):
        trainer.fit()
        assert trainer.run.step == STEPS
    assert np.abs(weights(whole) - initial).max() > 100 * TOLERANCE
    assert np.abs(weights(whole) - weights(parts)).max() <= TOLERANCE


def test_accumulating_four_batches_equals_one_large_batch() -> None:
    # With dropout and augmentation: an image draws the same in either batch.
    check_accumulation(models.KerasConvNet, RAGGED, lr=LOW, **AUGMENTED)


@pytest.mark.mnist
def test_on_real_mnist_fifty_steps_equal_keras_fit(mnist_dir: Path) -> None:
    check_equals_fit(NETS["keras_convnet"], load("mnist", mnist_dir), lr=LOW)


@pytest.mark.mnist
def test_on_real_mnist_four_batches_equal_one(mnist_dir: Path) -> None:
    check_accumulation(models.KerasConvNet, load("mnist", mnist_dir), lr=LOW)
