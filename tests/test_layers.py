"""The layers compute what stock Keras layers would, and are made again from their configuration."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import layers
from mnist_core.errors import UsageError
from mnist_core.randomness import StepRandom, step_random

RANDOM = np.random.default_rng(0)
IMAGES = tf.constant(RANDOM.uniform(size=(6, 28, 28, 1)), tf.float32)
FEATURES = tf.constant(RANDOM.normal(2, 3, size=(8, 5, 7, 4)), tf.float32)


def random(step: int = 0, rows: list[int] | None = None) -> StepRandom:
    places = tf.range(8) if rows is None else tf.constant(rows)
    return StepRandom(0, tf.constant(step, tf.int64), tf.constant(8), places)


@pytest.mark.parametrize(
    "layer", [layers.BatchNorm(0.8, 0.1), layers.ConvBlock(3, 2, pool=True, normalise=True)]
)
def test_a_layer_is_made_again_from_its_configuration(layer: keras.layers.Layer) -> None:
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    layer(FEATURES)
    again(FEATURES)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(FEATURES, training=True), layer(FEATURES, training=True))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("pool", [False, True])
def test_pooling_before_bias_and_relu_is_the_stock_order(pool: bool, padding: str) -> None:
    block = layers.ConvBlock(6, 3, pool=pool, padding=padding)
    block(IMAGES)
    block.bias.assign(RANDOM.normal(size=6))
    stock = keras.Sequential([keras.layers.Conv2D(6, 3, padding=padding, activation="relu")])
    if pool:
        stock.add(keras.layers.MaxPooling2D(2))
    stock(IMAGES)
    stock.set_weights([block.convolution.kernel, block.bias])
    results = []
    for layer in (block, stock):
        with tf.GradientTape() as tape:
            outputs = layer(IMAGES)
            loss = tf.reduce_sum(tf.sin(outputs))
        results.append([outputs, *tape.gradient(loss, [weight.value for weight in layer.trainable_weights])])
    ours, theirs = results
    theirs = [theirs[0], *sorted(theirs[1:], key=lambda gradient: ours[1].shape != gradient.shape)]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert (ours[0].numpy() == 0).any()


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalisation_is_that_of_keras(training: bool) -> None:
    ours = layers.BatchNorm(momentum=0.7, epsilon=0.01)
    theirs = keras.layers.BatchNormalization(momentum=0.7, epsilon=0.01)
    initial = [RANDOM.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)]
    results = []
    for layer in (ours, theirs):
        layer.build(FEATURES.shape)
        layer.set_weights(initial)
        with tf.GradientTape() as tape:
            tape.watch(FEATURES)
            outputs = layer(FEATURES, training=training)
            loss = tf.reduce_sum(tf.sin(outputs))
        results.append([outputs, *tape.gradient(loss, [FEATURES, layer.gamma.value, layer.beta.value])])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    count = FEATURES.shape[0] * FEATURES.shape[1] * FEATURES.shape[2]
    if training:
        # The fused kernel's moving variance is the unbiased one; Keras's is the biased one.
        fresh = (theirs.moving_variance.numpy() - 0.7 * initial[3]) * count / (count - 1)
        np.testing.assert_allclose(ours.moving_variance, 0.7 * initial[3] + fresh, rtol=1e-5)
    else:
        np.testing.assert_array_equal(ours.moving_variance, initial[3])


def test_batch_normalisation_works_in_half_precision_with_whole_moments() -> None:
    layer, half = layers.BatchNorm(), layers.BatchNorm(dtype="mixed_bfloat16")
    outputs, halves = layer(FEATURES, training=True), half(FEATURES, training=True)
    assert halves.dtype == tf.bfloat16
    assert {weight.dtype for weight in half.weights} == {"float32"}
    np.testing.assert_allclose(tf.cast(halves, tf.float32), outputs, atol=0.03)
    np.testing.assert_allclose(half.moving_variance, layer.moving_variance, rtol=0.01)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    layer, ones = layers.Dropout(0.3), tf.ones([8, 5000])
    with step_random(random()):
        outputs = layer(ones, training=True).numpy()
    assert set(np.unique(outputs)) == {0.0, np.float32(1 / 0.7)}
    # Each row by itself: five standard deviations of a mean of 5,000.
    assert np.abs(outputs.mean(axis=1) - 1).max() < 5 * np.sqrt(0.3 / 0.7 / 5000)
    assert len(np.unique(outputs, axis=0)) == 8


def test_batch_normalisation_that_is_frozen_stays_as_it_is() -> None:
    ours, theirs = layers.BatchNorm(0.9), keras.layers.BatchNormalization(momentum=0.9)
    for layer in (ours, theirs):
        layer(FEATURES, training=True)
        layer.trainable = False
    before = [variable.numpy() for variable in ours.variables]
    np.testing.assert_allclose(ours(FEATURES, training=True), theirs(FEATURES, training=True), atol=1e-2)
    for variable, value in zip(ours.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_dropout_follows_from_step_and_row() -> None:
    layer, ones = layers.Dropout(0.5), tf.ones([8, 100])
    with step_random(random(step=3)):
        whole = layer(ones, training=True).numpy()
        second = layer(ones, training=True).numpy()
    with step_random(random(step=3, rows=[1, 6])):
        np.testing.assert_array_equal(layer(ones[:2], training=True), whole[[1, 6]])
    with step_random(random(step=4)):
        assert (layer(ones, training=True).numpy() != whole).any()
    assert (second != whole).any()


def test_dropout_of_everything_leaves_nothing() -> None:
    with step_random(random()):
        np.testing.assert_array_equal(layers.Dropout(1.0)(tf.ones([2, 3]), training=True), np.zeros([2, 3]))


def test_a_shape_of_the_noise_is_refused() -> None:
    with pytest.raises(UsageError, match="noise_shape"):
        layers.Dropout(0.5, noise_shape=(None, 1, 4))


def test_dropout_is_off_in_evaluation_and_keras_own_outside_of_a_step() -> None:
    layer, ones = layers.Dropout(0.5), tf.ones([8, 100])
    with step_random(random()):
        np.testing.assert_array_equal(layer(ones, training=False), ones)
        np.testing.assert_array_equal(layers.Dropout(0.0)(ones, training=True), ones)
    outside = layer(ones, training=True).numpy()
    assert set(np.unique(outside)) == {0.0, 2.0}
