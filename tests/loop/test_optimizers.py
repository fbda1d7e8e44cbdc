"""Our SGD is Keras's, with decoupled decay; and any Keras optimizer stands in for it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core.config import Config
from mnist_core.errors import UsageError
from mnist_core.loop import optimizers
from mnist_core.loop.schedule import Schedule
from mnist_core.loop.trainer import Trainer
from tests.loop.small import DATA, PLAIN, Linear, Recorder, make, non_negative, train

RATE = tf.constant(0.1)
SHAPES = ((5, 4), (4,))
RANDOM = np.random.default_rng(0)
GRADIENTS = [[tf.constant(RANDOM.normal(size=shape), tf.float32) for shape in SHAPES] for _ in range(8)]


def fresh() -> list[keras.Variable]:
    random = np.random.default_rng(1)
    return [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in SHAPES]


def moved(optimizer: optimizers.Optimizer) -> list[np.ndarray]:
    """Two variables after all updates."""
    variables = fresh()
    optimizer.build(variables)
    for gradients in GRADIENTS:
        optimizer.apply(gradients, RATE)
    return [variable.value.numpy() for variable in variables]


def moved_by_keras(optimizer: keras.optimizers.Optimizer) -> list[np.ndarray]:
    variables = fresh()
    for gradients in GRADIENTS:
        optimizer.apply(gradients, variables)
    return [variable.value.numpy() for variable in variables]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_updates_equal_those_of_keras(momentum: float, nesterov: bool) -> None:
    ours = moved(optimizers.SGD(momentum, nesterov))
    theirs = moved_by_keras(keras.optimizers.SGD(0.1, momentum=momentum, nesterov=nesterov))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_decay_shrinks_kernels_by_the_rate_and_leaves_biases_alone() -> None:
    optimizer, variables = optimizers.SGD(weight_decay=0.5), fresh()
    optimizer.build(variables)
    optimizer.apply([tf.zeros(shape) for shape in SHAPES], RATE)
    kernel, bias = fresh()
    np.testing.assert_allclose(variables[0].value, kernel.value * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(variables[1].value, bias.value)


def test_decay_stays_out_of_the_momentum() -> None:
    decayed, plain = optimizers.SGD(weight_decay=0.5), optimizers.SGD()
    moved(decayed)
    moved(plain)
    for one, other in zip(decayed.variables, plain.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["adam", "adamw", "adafactor", "lion", "muon", "rmsprop"])
def test_a_keras_optimizer_does_what_it_does_on_its_own(name: str) -> None:
    made = optimizers.from_config(Config(optimizer=name, lr=0.1))
    own = keras.optimizers.get(name)
    own.learning_rate = 0.1
    for one, other in zip(moved(made), moved_by_keras(own), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_all_slots_of_a_keras_optimizer_are_known() -> None:
    optimizer = keras.optimizers.Adam()
    ours = optimizers.KerasOptimizer(optimizer)
    ours.build(fresh())
    # The step and the rate; for both variables two moments.
    assert len(ours.variables) == len(optimizer.variables) == 2 + 2 * 2


def test_a_keras_optimizer_keeps_its_own_schedule() -> None:
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.1, 0.02])
    recorder = Recorder()
    train(net=Linear, keras_optimizer=keras.optimizers.Adam(rate), max_steps=6, hooks=[recorder])
    # Keras counts its own steps from 0, and the boundary belongs to the first part.
    expected = [0.1] * 4 + [0.02] * 2
    np.testing.assert_array_equal(recorder.scalars("learning_rate"), np.float32(expected))


def test_a_schedule_of_ones_own_sets_the_rate_of_a_keras_optimizer() -> None:
    recorder = Recorder()
    Trainer(
        Config(**PLAIN).replace(max_steps=3),
        model=Linear,
        data=DATA,
        optimizer=keras.optimizers.Adam(1.0),
        rates=lambda step: 0.25 ** (1.0 + tf.cast(step, tf.float32)),
        hooks=[recorder],
    ).fit()
    np.testing.assert_array_equal(recorder.scalars("learning_rate"), [1 / 4, 1 / 16, 1 / 64])


def test_two_schedules_are_one_too_many() -> None:
    decaying = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 9), name="mine")
    with pytest.raises(UsageError, match="mine has a schedule of its own; leave rates= out"):
        Trainer(Config(**PLAIN), model=Linear, data=DATA, optimizer=decaying, rates=tf.zeros_like)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_keep_to_their_constraint(optimizer: str) -> None:
    trainer = make(net=non_negative, optimizer=optimizer, max_steps=5)
    kernel = trainer.state.model.head.kernel
    assert kernel.value.numpy().min() < 0
    trainer.fit()
    assert kernel.value.numpy().min() == 0


def test_a_run_learns_with_a_keras_optimizer() -> None:
    recorder = Recorder()
    train(optimizer="adam", lr=0.003, max_steps=30, hooks=[recorder])
    losses = recorder.scalars("loss")
    assert losses[-5:].mean() < 0.5 * losses[:5].mean()
    assert set(recorder.scalars("learning_rate")) == {np.float32(0.003)}


def test_a_keras_optimizer_that_is_named_takes_the_schedule_of_the_run() -> None:
    ours, theirs = Recorder(), Recorder()
    options = {"net": Linear, "lr": 0.01, "schedule": "cosine", "warmup": 0.25, "max_steps": 12}
    train(**options, hooks=[ours])
    train(**options, optimizer="adam", hooks=[theirs])
    rates = theirs.scalars("learning_rate")
    np.testing.assert_array_equal(rates, ours.scalars("learning_rate"))
    assert len(set(rates)) > 6


@pytest.mark.parametrize("name", ["nonsense", "", "optimizer", "lossscaleoptimizer"])
def test_an_unknown_optimizer_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--optimizer must be sgd or a Keras optimizer"):
        optimizers.from_config(Config(optimizer=name))


def test_an_optimizer_that_scales_the_loss_is_refused() -> None:
    with pytest.raises(UsageError, match="pass the inner optimizer"):
        optimizers.KerasOptimizer(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))


def test_an_optimizer_of_another_model_is_refused() -> None:
    optimizer = keras.optimizers.Adam(name="mine")
    make(net=Linear, keras_optimizer=optimizer)
    with pytest.raises(UsageError, match="mine already belongs to a model"):
        make(net=Linear, keras_optimizer=optimizer)


class SignDescent:
    """The least that the loop asks of an optimizer: each weight moves by the rate, whatever its gradient."""

    variables: tuple[tf.Variable, ...] = ()

    def build(self, variables: list[keras.Variable]) -> None:
        self._weights = [variable.value for variable in variables]

    def learning_rate(self, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        return schedule(step)

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.assign_sub(learning_rate * tf.sign(gradient))


def test_an_optimizer_and_a_schedule_of_ones_own_take_the_place_of_ours() -> None:
    recorder = Recorder()
    trainer = Trainer(
        Config(**PLAIN).replace(max_steps=3, steps_per_block=1),
        model=Linear,
        data=DATA,
        optimizer=SignDescent(),
        rates=lambda step: 2.0 ** -tf.cast(step, tf.float32),
        hooks=[recorder],
    )
    trainer.fit()
    np.testing.assert_array_equal(recorder.scalars("learning_rate"), [1.0, 0.5, 0.25])
    moved = np.unique(np.abs(recorder.weights[2] - recorder.weights[1]).round(6))
    assert set(moved) == {np.float32(0), np.float32(0.25)}
