"""Networks that map float32 images ``[n, 28, 28, 1]`` in [0, 1] to logits ``[n, 10]``."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_core.errors import UsageError, warn
from mnist_core.layers import ConvBlock, Dropout, register


@register
class DigitNet(keras.Model):
    """Our network: batch-normalised 3x3 convolutions at two scales, and one dense layer.

    Args:
      widths: channels of the convolutions.
      dropout: share that is dropped of what the dense layer gets.
      map_dropout: share of values dropped after the first, third, ... convolution, but the last.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 32),
        dropout: float = 0.25,
        map_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.dropout = dropout
        self.map_dropout = map_dropout
        self.blocks = [
            ConvBlock(width, pool=self.pools(i), normalise=True) for i, width in enumerate(self.widths)
        ]
        self.map_drop = Dropout(map_dropout)
        self.flatten = keras.layers.Flatten()
        self.drop = Dropout(dropout)
        self.head = keras.layers.Dense(10)

    def pools(self, i: int) -> bool:
        """Whether block ``i`` pools: the first and the last."""
        return i in (0, len(self.widths) - 1)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = images
        for i, block in enumerate(self.blocks):
            features = block(features, training=training)
            if i % 2 == 0 and i < len(self.blocks) - 1:
                features = self.map_drop(features, training=training)
        return self.head(self.drop(self.flatten(features), training=training))

    def get_config(self) -> dict[str, Any]:
        own = {"widths": self.widths, "dropout": self.dropout, "map_dropout": self.map_dropout}
        return {**super().get_config(), **own}


@register
class DeepNet(DigitNet):
    """Convolutions in pairs, pooled after each: of the networks here the best at rejecting non-digits."""

    def __init__(
        self, widths: tuple[int, ...] = (48, 48, 96, 96, 160), dropout: float = 0.3, **kwargs: Any
    ) -> None:
        super().__init__(widths, dropout, **kwargs)

    def pools(self, i: int) -> bool:
        """Whether block ``i`` pools: every second."""
        return i % 2 == 1


@register
class SlimNet(DeepNet):
    """`DeepNet` with fewer channels and more dropout: of the networks here the best on MNIST's own images."""

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 32, 64, 64, 128),
        dropout: float = 0.4,
        map_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(widths, dropout, map_dropout=map_dropout, **kwargs)


@register
class StringNet(keras.Model):
    """Reads digits side by side, also where they touch: what each column of a frame tells.

    For connectionist temporal classification (A. Graves et al., "Connectionist temporal classification",
    ICML 2006). Of an image of one digit it gives logits as other networks do.
    """

    # What a column shows where no digit is told there; the digits come before.
    BLANK = 10
    # Columns told by each feature: a digit that comes twice needs a blank between.
    PER_FEATURE = 2

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 32, 64, 64, 96),
        hidden: int = 128,
        dropout: float = 0.3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.hidden = hidden
        self.dropout = dropout
        self.blocks = [
            ConvBlock(width, pool=i % 2 == 1, normalise=True) for i, width in enumerate(self.widths)
        ]
        # All of the height that is left, and three features side by side.
        self.wide = ConvBlock(hidden, (2, 3), normalise=True)
        self.drop = Dropout(dropout)
        self.head = keras.layers.Dense(self.PER_FEATURE * (self.BLANK + 1))

    def columns(self, frames: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits ``[n, columns, 11]`` of frames ``[n, 28, w, 1]``: the digit that each tells, or `BLANK`."""
        features = frames
        for block in [*self.blocks, self.wide]:
            features = block(features, training=training)
        logits = self.head(self.drop(features[:, 0], training=training))
        return tf.reshape(logits, [tf.shape(logits)[0], -1, self.BLANK + 1])

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        # The columns see beyond a digit.
        frames = tf.pad(images, [[0, 0], [0, 0], [8, 8], [0, 0]])
        chances = tf.nn.log_softmax(self.columns(frames, training=training))
        return tf.reduce_max(chances[..., : self.BLANK], axis=1)

    def get_config(self) -> dict[str, Any]:
        own = {"widths": self.widths, "hidden": self.hidden, "dropout": self.dropout}
        return {**super().get_config(), **own}


@register
class QuickNet(keras.Model):
    """Much learned in few operations: the middle 24x24 pixels, a wide first kernel, pooled at once."""

    def __init__(self, widths: tuple[int, ...] = (16, 32), hidden: int = 128, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.hidden = hidden
        first, second = self.widths
        self.blocks = [
            ConvBlock(first, 5, pool=True, normalise=True),
            ConvBlock(second, 3, pool=True, normalise=True),
        ]
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(hidden, activation="relu")
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        # MNIST's digits lie in the middle 20x20.
        features = images[:, 2:-2, 2:-2]
        for block in self.blocks:
            features = block(features, training=training)
        return self.head(self.dense(self.flatten(features)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths, "hidden": self.hidden}


@register
class TinyNet(keras.Model):
    """Under 8,000 parameters: narrow convolutions, and the mean over the last map for a dense layer."""

    def __init__(self, widths: tuple[int, ...] = (16, 16, 16, 16), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        # Every other one pools.
        self.blocks = [ConvBlock(width, pool=i % 2 == 0, normalise=True) for i, width in enumerate(widths)]
        self.mean = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = images
        for block in self.blocks:
            features = block(features, training=training)
        return self.head(self.mean(features))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths}


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
    "deepnet": DeepNet,
    "slimnet": SlimNet,
    "quicknet": QuickNet,
    "tinynet": TinyNet,
    "lenet5": LeNet5,
    "mlp": MLP,
    "keras_convnet": KerasConvNet,
    "stringnet": StringNet,
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
    values = np.asarray(tf.cast(logits, tf.float32))
    if values.min() >= 0 and abs(values.sum() - 1) < 1e-3:
        warn(f"warning: {model.name} ends in a softmax, which the loss takes for logits; leave it out")
    if not model.trainable_variables:
        raise UsageError(f"{model.name} has no trainable variables: assign its layers to attributes")
    return model
