"""Networks that map float32 images ``[n, 28, 28, 1]`` in [0, 1] to logits ``[n, 10]``.

Convolutions are followed by max-pooling *before* bias and ReLU: both are monotone in each channel, so the
function is the same, and the element-wise work falls on a quarter of the values.
"""

from typing import Any

import keras
import tensorflow as tf

from mnist_core.errors import UsageError
from mnist_core.randomness import current_random

register = keras.saving.register_keras_serializable(package="mnist_core")


@register
class Dropout(keras.layers.Dropout):
    """Dropout whose mask, inside a training step, follows from the step alone (see `randomness`)."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        random = current_random()
        if random is None or not training or not self.rate:
            return super().call(inputs, training=training)
        # A product is quicker than a selection, and so is its gradient.
        return inputs * (tf.cast(random.keep(inputs.shape[1:], self.rate), inputs.dtype) / (1 - self.rate))


@register
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over all replicas (Ioffe & Szegedy 2015).

    One replica runs TensorFlow's fused kernel on what it is called with: the whole batch, or a part of it
    that is computed side by side with others, a ghost batch (Hoffer, Hubara & Soudry 2017). Several replicas
    add up their moments first.
    Input and output: ``[n, h, w, channels]`` of the compute dtype; the moments are float32.
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
        kernel_size: int = 3,
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


@register
class DigitNet(keras.Model):
    """Our network: batch-normalised 3x3 convolutions at two scales, and one dense layer."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 32), dropout: float = 0.25, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.dropout = dropout
        first, *middle, last = self.widths
        self.blocks = [
            ConvBlock(first, pool=True, normalise=True),
            *(ConvBlock(width, normalise=True) for width in middle),
            ConvBlock(last, pool=True, normalise=True),
        ]
        self.flatten = keras.layers.Flatten()
        self.drop = Dropout(dropout)
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = images
        for block in self.blocks:
            features = block(features, training=training)
        return self.head(self.drop(self.flatten(features), training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths, "dropout": self.dropout}


@register
class DigitNetWide(DigitNet):
    """Wider, and one convolution deeper, for the many ways in which strangers write."""

    def __init__(
        self, widths: tuple[int, ...] = (32, 48, 64, 64), dropout: float = 0.3, **kwargs: Any
    ) -> None:
        super().__init__(widths, dropout, **kwargs)


@register
class KerasConvNet(keras.Model):
    """The 34,826 parameters of Keras's own MNIST example, the common yardstick of the benchmarks."""

    def __init__(self, dropout: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self.blocks = [ConvBlock(32, pool=True), ConvBlock(64, pool=True)]
        self.flatten = keras.layers.Flatten()
        self.drop = Dropout(dropout)
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = images
        for block in self.blocks:
            features = block(features)
        return self.head(self.drop(self.flatten(features), training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dropout": self.dropout}


@register
class LeNet5(keras.Model):
    """LeNet-5 after LeCun et al. 1998, with ReLU, max-pooling and a linear output: 61,706 parameters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = [ConvBlock(6, 5, pool=True, padding="same"), ConvBlock(16, 5, pool=True)]
        self.flatten = keras.layers.Flatten()
        self.dense = [keras.layers.Dense(120, activation="relu"), keras.layers.Dense(84, activation="relu")]
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        features = images
        for block in self.blocks:
            features = block(features)
        features = self.flatten(features)
        for layer in self.dense:
            features = layer(features)
        return self.head(features)


@register
class MLP(keras.Model):
    """Fully connected: the smallest thing that learns, and the quickest to test with."""

    def __init__(self, widths: tuple[int, ...] = (128,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.flatten = keras.layers.Flatten()
        self.dense = [keras.layers.Dense(width, activation="relu") for width in self.widths]
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        features = self.flatten(images)
        for layer in self.dense:
            features = layer(features)
        return self.head(features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths}


MODELS: dict[str, type[keras.Model]] = {
    "digitnet": DigitNet,
    "digitnet_wide": DigitNetWide,
    "lenet5": LeNet5,
    "mlp": MLP,
    "keras_convnet": KerasConvNet,
}


def create(name: str) -> keras.Model:
    """Makes the registered network ``name``, with its default sizes.

    Raises:
      UsageError: no network has that name.
    """
    if name not in MODELS:
        raise UsageError(f"--model must be one of {', '.join(MODELS)}, not '{name}'")
    return MODELS[name]()


def build(model: keras.Model) -> keras.Model:
    """Calls ``model`` on one blank image, so that all its variables exist, and returns it.

    ``keras.Model.build(shape)`` leaves the layers of a subclassed model without variables.

    Raises:
      UsageError: the model doesn't give ten logits, or has nothing to train.
    """
    logits = model(tf.zeros([1, 28, 28, 1]), training=False)
    found = list(logits.shape) if tf.is_tensor(logits) else type(logits).__name__
    if found != [1, 10]:
        raise UsageError(f"{model.name} must map an image to logits [1, 10], not {found}")
    if not model.trainable_variables:
        raise UsageError(f"{model.name} has no trainable variables: assign its layers to attributes")
    return model
