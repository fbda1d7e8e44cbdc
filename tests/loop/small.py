"""Small runs that the tests of the loop share: no test."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_core import layers
from mnist_core.config import Config
from mnist_core.data.split import Dataset, Split
from mnist_core.data.synthetic import draw
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import BlockLog, Run
from mnist_core.loop.state import ModelSource
from mnist_core.loop.step import TrainStep
from mnist_core.loop.trainer import Trainer

# 300 images in batches of 64 are four whole ones and a ragged one of 44.
DATA = Dataset("drawn", Split(*draw(300, seed=1)), Split(*draw(100, seed=2)))
# SGD at its plainest; a test names what it adds.
PLAIN = {
    "model": "mlp",
    "epochs": 100,
    "batch_size": 64,
    "parts": 1,
    "validation_size": 0,
    "schedule": "constant",
    "lr": 0.01,
    "weight_decay": 0.0,
    "precision": "float32",
    "device": "cpu",
    "shift": 0.0,
    "rotation": 0.0,
    "scale": 0.0,
    "shear": 0.0,
}
AUGMENTED = {"shift": 2.0, "rotation": 10.0, "scale": 0.1, "shear": 0.1, "thickness": 0.3}


class Linear(keras.Model):
    """One dense layer, of some ``options``, whose gradients a test can work out."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.head = keras.layers.Dense(10, **options)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.head(self.flatten(images))


def non_negative() -> Linear:
    """No weight of its kernel is below 0, once it has been updated."""
    return Linear(kernel_constraint="non_neg")


class Noisy(keras.Model):
    """Batch normalisation and dropout in a network that is quickly traced."""

    def __init__(self, stock_dropout: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stock_dropout = stock_dropout
        self.block = layers.ConvBlock(4, pool=True, normalise=True)
        self.flatten = keras.layers.Flatten()
        self.drop = (keras.layers.Dropout if stock_dropout else layers.Dropout)(0.3)
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = self.flatten(self.block(images, training=training))
        return self.head(self.drop(features, training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stock_dropout": self.stock_dropout}


class Recorder(Hook):
    """Keeps the log and the weights of every block."""

    def __init__(self) -> None:
        self.logs: list[BlockLog] = []
        self.weights: list[np.ndarray] = []

    def on_block(self, run: Run, log: BlockLog) -> None:
        self.logs.append(log)
        self.weights.append(flat(run.model))

    def scalars(self, name: str) -> np.ndarray:
        """A scalar of all steps."""
        return np.concatenate([log.scalars[name] for log in self.logs])


def make(
    *,
    net: ModelSource | None = None,
    data: Dataset = DATA,
    step: type[TrainStep] = TrainStep,
    keras_optimizer: keras.optimizers.Optimizer | None = None,
    hooks: Sequence[Any] = (),
    **changes: Any,
) -> Trainer:
    """A trainer of ``net``, else of the model that the configuration names, with changes of `PLAIN`."""
    config = Config(**{**PLAIN, **changes})
    return Trainer(config, model=net, data=data, step=step, optimizer=keras_optimizer, hooks=hooks)


def train(**changes: Any) -> Trainer:
    """A trainer that has trained."""
    trainer = make(**changes)
    trainer.fit()
    return trainer


def flat(model: keras.Model) -> np.ndarray:
    """All trainable weights as one vector."""
    return np.concatenate([weight.value.numpy().ravel() for weight in model.trainable_variables])


def weights(trainer: Trainer) -> np.ndarray:
    """All trainable weights of a trainer as one vector."""
    return flat(trainer.state.model)


def batch_of(trainer: Trainer, step: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 images in [0, 1] and int32 labels of a step, counted from 0."""
    rows = trainer._plan.indices(step, 1)[0]
    split = trainer.data.train
    return split.images[rows, ..., np.newaxis] / np.float32(255), split.labels[rows].astype(np.int32)
