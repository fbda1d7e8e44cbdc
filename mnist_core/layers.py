"""Layers that know about a step: its random numbers, its replicas, and what is quick.

Convolutions are followed by max-pooling *before* bias and ReLU: both are monotone in each channel, so the
function is the same, and the element-wise work falls on a quarter of the values. Batch normalisation
in between sees the pooled values, which is another function.
"""

from typing import Any

import keras
import tensorflow as tf

from mnist_core.errors import UsageError
from mnist_core.randomness import current_random

register = keras.saving.register_keras_serializable(package="mnist_core")


@register
class Dropout(keras.layers.Dropout):
    """Dropout whose mask, inside a training step, follows from the step alone (see `randomness`).

    Its inputs, ``[n, ...]``, are of the step's n images; elsewhere use Keras's layer.

    Raises:
      UsageError: ``noise_shape`` is given, which Keras's layer has.
    """

    def __init__(self, rate: float, noise_shape: None = None, **kwargs: Any) -> None:
        if noise_shape is not None:
            raise UsageError("Dropout draws for each value; use keras.layers.Dropout for a noise_shape")
        super().__init__(rate, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        random = current_random()
        if random is None or not training or not 0 < self.rate < 1:
            return super().call(inputs, training=training)
        # A product is quicker than a selection, and so is its gradient.
        return inputs * (tf.cast(random.keep(inputs.shape[1:], self.rate), inputs.dtype) / (1 - self.rate))


@register
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over all replicas (Ioffe & Szegedy 2015).

    One replica runs TensorFlow's fused kernel on what it is called with: the whole batch, or a part of it
    that is computed side by side with others, a ghost batch (Hoffer, Hubara & Soudry 2017). Several replicas
    add up their moments first.
    Input and output: ``[n, h, w, channels]`` of the compute dtype; the moments are float32. Where it is not
    trainable it is used as it is, in training too, as Keras's.

    Args:
      momentum: share of the moving moments kept at each call, so momentum**P in a step of P parts or
        micro-batches.
      epsilon: added to the variance.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        def weight(name: str, value: str, trainable: bool) -> keras.Variable:
            return self.add_weight(
                name=name, shape=input_shape[-1:], initializer=value, trainable=trainable, autocast=False
            )

        self.gamma = weight("gamma", "ones", True)
        self.beta = weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        training = training and self.trainable
        replica = tf.distribute.get_replica_context()
        if training and replica is not None and replica.num_replicas_in_sync > 1:
            return self._synchronised(inputs, replica)
        # In training the kernel doesn't touch the moving moments: no part of a batch waits for another's.
        unused = tf.zeros([0])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=unused if training else self.moving_mean.value,
            variance=unused if training else self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            self._move(mean, variance)
        return outputs

    def _synchronised(self, inputs: tf.Tensor, replica: tf.distribute.ReplicaContext) -> tf.Tensor:
        values = tf.cast(inputs, tf.float32)
        count = tf.cast(tf.size(values) / tf.shape(values)[-1], tf.float32)
        # Two rounds, mean first, keep the variance free of cancellation.
        count, total = replica.all_reduce("SUM", [count, tf.reduce_sum(values, [0, 1, 2])])
        mean = total / count
        squares = replica.all_reduce("SUM", tf.reduce_sum(tf.square(values - mean), [0, 1, 2]))
        variance = squares / count
        self._move(mean, squares / (count - 1))
        scale = tf.math.rsqrt(variance + self.epsilon) * self.gamma.value
        return tf.cast((values - mean) * scale + self.beta.value, inputs.dtype)

    def _move(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for moving, fresh in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving.value * self.momentum + fresh * (1 - self.momentum))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


@register
class ConvBlock(keras.layers.Layer):
    """Convolution, then max-pooling by 2 where ``pool``, then bias or batch normalisation, then ReLU."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        pool: bool = False,
        padding: str = "valid",
        normalise: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.options = {
            "filters": filters,
            "kernel_size": kernel_size,
            "pool": pool,
            "padding": padding,
            "normalise": normalise,
        }
        self.pool = pool
        self.convolution = keras.layers.Conv2D(
            filters, kernel_size, padding=padding, use_bias=False, kernel_initializer="he_normal"
        )
        self.norm = BatchNorm() if normalise else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.convolution.build(input_shape)
        if self.norm is None:
            self.bias = self.add_weight(
                name="bias", shape=[self.options["filters"]], initializer="zeros", autocast=False
            )
        else:
            self.norm.build(self.convolution.compute_output_shape(input_shape))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        outputs = self.convolution(inputs)
        if self.pool:
            outputs = tf.nn.max_pool2d(outputs, 2, 2, "VALID")
        if self.norm is None:
            return tf.nn.relu(tf.nn.bias_add(outputs, tf.cast(self.bias.value, outputs.dtype)))
        return tf.nn.relu(self.norm(outputs, training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}
