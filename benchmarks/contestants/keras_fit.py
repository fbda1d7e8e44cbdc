"""Keras: ``compile`` and ``fit``, or the loop of its guide to training from scratch in TensorFlow."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contestants.pace import Pace, batches, problem, start
from mnist_core import models
from mnist_core.data.feed import prefetched


def example(dropout: float, head: keras.layers.Layer) -> keras.Model:
    """The network of Keras's MNIST example, ended by ``head``."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(dropout),
            head,
        ]
    )


def make(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[keras.Model, Any, Any]:
    """The network with the first weights, its optimizer and its loss.

    It is Keras's MNIST example as it stands there; ``pool_first`` takes our form of it, which pools before
    bias and ReLU: the same function, so that the loops are compared without what that order gives.
    """
    keras.config.set_dtype_policy(settings["precision"])
    optimizer = keras.optimizers.SGD(settings["lr"], momentum=0.9, nesterov=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if settings.get("pool_first"):
        model = models.build(models.KerasConvNet(settings["dropout"]))
        start(model, arrays)
        return model, optimizer, loss
    model = example(settings["dropout"], keras.layers.Dense(10, dtype="float32"))
    start(model, arrays)
    return model, optimizer, loss


class Counter(keras.callbacks.Callback):
    """Tells the pace of each call of the device. Keras waits for the loss after each, as for any callback."""

    def __init__(self, settings: dict[str, Any], steps: int) -> None:
        super().__init__()
        self._pace = Pace(settings, tf.test.experimental.sync_devices)
        self._steps = steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._pace(self._steps, lambda: logs["loss"])


def fit(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Keras's own loop; tuned: `tf.data` and several steps in each execution."""
    model, optimizer, loss = make(settings, arrays)
    steps = settings.get("steps_per_execution", 1)
    model.compile(optimizer, loss, metrics=["accuracy"], steps_per_execution=steps)
    images, labels = batches(arrays, settings["batch_size"])
    if steps > 1:
        usable = len(images) // steps * steps
        data = tf.data.Dataset.from_tensor_slices((images[:usable], labels[:usable]))
        work = {"x": prefetched(data, 2)}
    else:
        work = {"x": images.reshape(-1, 28, 28, 1), "y": labels.reshape(-1), "shuffle": False}
        work["batch_size"] = settings["batch_size"]
    model.fit(**work, epochs=10_000, verbose=0, callbacks=[Counter(settings, steps)])


def guide(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """A step in a `tf.function`, over `tf.data`, with Keras's optimizer and metrics."""
    model, optimizer, loss_fn = make(settings, arrays)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    mean = keras.metrics.Mean()

    @tf.function
    def train_step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = loss_fn(labels, logits)
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_weights)
        accuracy.update_state(labels, logits)
        mean.update_state(loss)

    data = prefetched(tf.data.Dataset.from_tensor_slices(batches(arrays, settings["batch_size"])), 2)
    pace = Pace(settings, tf.test.experimental.sync_devices)
    while True:
        for images, labels in data:
            train_step(images, labels)
            pace(1, mean.result)


if __name__ == "__main__":
    given, values = problem()
    {"fit": fit, "guide": guide}[given["loop"]](given, values)
