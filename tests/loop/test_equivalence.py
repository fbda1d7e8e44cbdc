"""The loop computes what Keras's `fit` computes, however a batch is split."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import models
from mnist_core.config import Config
from mnist_core.data.datasets import Dataset, Split
from mnist_core.data.synthetic import draw
from mnist_core.loop.trainer import Trainer

STEPS = 50
PLAIN = {
    "max_steps": STEPS,
    "batch_size": 128,
    "validation_size": 0,
    "schedule": "constant",
    # Small enough that rounding isn't amplified: at 0.05 the first steps are chaotic, and 1e-7 grows to 1e-2.
    "lr": 0.01,
    "nesterov": False,
    "weight_decay": 0.0,
    "precision": "float32",
    "device": "cpu",
    "shift": 0.0,
    "rotation": 0.0,
    "scale": 0.0,
    "shear": 0.0,
}


DATA = Dataset("drawn", Split(*draw(1300, seed=1)), Split(*draw(100, seed=2)))


def train(**changes: object) -> Trainer:
    trainer = Trainer(Config(**{**PLAIN, "epochs": 5, **changes}), data=DATA)
    trainer.fit()
    return trainer


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [weight.value.numpy() for weight in trainer.state.model.trainable_variables]


def largest_difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("model", ["mlp", "lenet5", "digitnet"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_fifty_steps_equal_keras_fit(model: str, nesterov: bool) -> None:
    # Dropout draws differ by design, so the network that has it goes without.
    make = (lambda: models.DigitNet(dropout=0.0)) if model == "digitnet" else models.MODELS[model]
    trainer = Trainer(Config(**{**PLAIN, "epochs": 5, "nesterov": nesterov}), model=make, data=DATA)
    keras.utils.set_random_seed(0)
    reference = models.build(make())
    for mine, theirs in zip(trainer.state.model.variables, reference.variables, strict=True):
        theirs.assign(mine.value)
    order = np.concatenate([trainer._plan.order(epoch) for epoch in range(5)])
    # Steps cut epochs of 1,300 images into ten batches of 128 and one of 20.
    batches = [trainer._plan.indices(step, 1)[0] for step in range(STEPS)]
    assert np.concatenate(batches).tolist() == order[: sum(map(len, batches))].tolist()

    trainer.fit()
    reference.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=nesterov),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def feed():
        for batch in batches:
            images = DATA.train.images[batch, ..., np.newaxis] / np.float32(255)
            yield images, DATA.train.labels[batch].astype(np.int32)

    spec = (tf.TensorSpec([None, 28, 28, 1]), tf.TensorSpec([None], tf.int32))
    reference.fit(tf.data.Dataset.from_generator(feed, output_signature=spec), verbose=0)

    theirs = [weight.value.numpy() for weight in reference.trainable_variables]
    assert largest_difference(weights(trainer), theirs) <= 1e-5


@pytest.mark.parametrize("model", ["lenet5", "keras_convnet"])
def test_accumulating_four_batches_equals_one_large_batch(model: str) -> None:
    whole = train(model=model)
    parts = train(model=model, batch_size=32, gradient_accumulation=4)
    assert whole.run.total_steps == parts.run.total_steps
    assert largest_difference(weights(whole), weights(parts)) <= 1e-5
