"""The exponential moving average of a model's weights. Polyak & Juditsky 1992."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


def averaged_variables(model: keras.Model) -> list[tf.Variable]:
    """The variables that an average follows: a model's weights, and the moments of batch normalisation."""
    return [weight.value for weight in model.weights if weight.dtype.startswith("float")]


class WeightAverage:
    """Follows what `averaged_variables` gives.

    The decay warms up as (1 + t) / (10 + t), so that the average soon forgets the initial weights.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self._weights = averaged_variables(model)
        self.variables = [tf.Variable(weight, trainable=False, name="average") for weight in self._weights]
        self._decay = decay

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages towards the weights after ``step``, int64, inside the graph."""
        time = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1 + time) / (10 + time))
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign(average * decay + weight * (1 - decay))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averages in the weights' place, on the host, and the weights back afterwards."""
        kept = [weight.numpy() for weight in self._weights]
        for weight, average in zip(self._weights, self.variables, strict=True):
            weight.assign(average.numpy())
        try:
            yield
        finally:
            for weight, value in zip(self._weights, kept, strict=True):
                weight.assign(value)
