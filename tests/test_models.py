"""The networks have ten logits and the size they say, and are made again from their configuration."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import models
from mnist_core.errors import UsageError
from mnist_core.loop.state import dtype_policy

RANDOM = np.random.default_rng(0)
IMAGES = tf.constant(RANDOM.uniform(size=(6, 28, 28, 1)), tf.float32)


@pytest.mark.parametrize(
    ("name", "parameters"), [("keras_convnet", 34_826), ("lenet5", 61_706), ("mlp", 784 * 128 + 128 + 1290)]
)
def test_networks_have_their_published_size(name: str, parameters: int) -> None:
    assert models.build(models.create(name)).count_params() == parameters


def test_the_tiny_network_is_tiny() -> None:
    assert models.build(models.create("tinynet")).count_params() < 8000


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_gives_ten_logits_an_image_in_the_precision_asked_for(name: str) -> None:
    for precision, dtype in (("float32", tf.float32), ("mixed_bfloat16", tf.bfloat16)):
        with dtype_policy(precision):
            model = models.build(models.create(name))
        logits = model(IMAGES)
        assert logits.shape == (6, 10)
        assert logits.dtype == dtype
        assert {weight.dtype for weight in model.weights if "seed" not in weight.path} == {"float32"}


@pytest.mark.parametrize(
    "model",
    [
        models.DigitNet(widths=(3, 5, 4), dropout=0.1, map_dropout=0.2),
        models.KerasConvNet(dropout=0.2),
        models.QuickNet(widths=(3, 4), hidden=5),
        models.StringNet(widths=(3, 4, 3, 4, 3), hidden=5, dropout=0.1),
        models.TinyNet(widths=(3, 4, 5)),
        models.LeNet5(),
        models.MLP(widths=(7, 6)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_network_is_made_again_from_its_configuration(model: keras.Model) -> None:
    models.build(model)
    again = models.build(keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model)))
    assert type(again) is type(model)
    assert again.get_config() == model.get_config()
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


def test_an_unknown_network_is_refused_with_the_known_names() -> None:
    with pytest.raises(UsageError, match=r"--model must be one of digitnet, .*, mlp, .* not 'resnet'"):
        models.create("resnet")


class Hidden(keras.Model):
    """Keeps its layer where Keras doesn't look."""

    def __init__(self) -> None:
        super().__init__()
        layer = keras.layers.Dense(10)
        self._hidden = lambda: layer

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self._hidden()(tf.reshape(images, [-1, 784]))


class Shaped(keras.Model):
    """Gives whatever ``outputs`` makes of ten logits."""

    def __init__(self, outputs: object) -> None:
        super().__init__()
        self.outputs_of, self.head = outputs, keras.layers.Dense(10)

    def call(self, images: tf.Tensor) -> object:
        return self.outputs_of(self.head(tf.reshape(images, [-1, 784])))


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(UsageError, match=r"hidden.* has no trainable variables: assign its layers"):
        models.build(Hidden())
    frozen = models.MLP()
    frozen.trainable = False
    with pytest.raises(UsageError, match="has no trainable variables"):
        models.build(frozen)


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (lambda logits: logits[:, :9], r"\[1, 9\]"),
        (lambda logits: logits[:, tf.newaxis], r"\[1, 1, 10\]"),
        (lambda logits: logits[0], r"\[10\]"),
        (lambda logits: {"logits": logits}, "dict"),
        (lambda logits: [logits], "list"),
    ],
)
def test_a_model_without_ten_logits_is_refused(outputs: object, found: str) -> None:
    with pytest.raises(UsageError, match=rf"must map an image to logits \[1, 10\], not {found}$"):
        models.build(Shaped(outputs))


@pytest.mark.parametrize(("outputs", "lines"), [(tf.nn.softmax, 1), (tf.identity, 0), (tf.nn.relu, 0)])
def test_a_model_that_ends_in_a_softmax_is_warned_of(outputs: object, lines: int, capsys) -> None:
    models.build(Shaped(outputs))
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "ends in a softmax" in line]) == lines
