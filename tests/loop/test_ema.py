"""The averaged weights follow their formula, and are what is scored."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core import models
from mnist_core.loop.ema import WeightAverage
from tests.loop.small import DATA, Linear, Noisy, Recorder, make, weights

DECAY = 0.8


def test_the_average_warms_up_and_then_decays_as_asked() -> None:
    model = models.build(Linear())
    average = WeightAverage(model, DECAY)
    kernel = model.trainable_variables[0]
    expected = kernel.value.numpy().astype(np.float64)
    for step in range(60):
        value = np.full(kernel.shape, np.sin(step), np.float32)
        kernel.assign(value)
        average.update(tf.constant(step, tf.int64))
        decay = min(DECAY, (1 + step) / (10 + step))
        expected = expected * decay + value * (1 - decay)
    np.testing.assert_allclose(average.variables[0], expected, rtol=1e-5)
    # The asked decay is reached at step 35, so both regimes were seen.
    assert (1 + 34) / (10 + 34) < DECAY <= (1 + 35) / (10 + 35)


def test_moments_are_averaged_and_integers_are_not() -> None:
    model = models.build(Noisy(stock_dropout=True))
    floats = [weight for weight in model.variables if weight.dtype == "float32"]
    assert len(floats) == len(model.variables) - 1  # Keras's dropout keeps an integer seed.
    assert len(WeightAverage(model, DECAY).variables) == len(floats) == 3 + 2 + 2


def test_weights_come_back_even_after_an_exception() -> None:
    model = models.build(Linear())
    average = WeightAverage(model, DECAY)
    kernel = model.trainable_variables[0]
    averaged = kernel.value.numpy()
    own = averaged + 1
    kernel.assign(own)
    with pytest.raises(KeyboardInterrupt), average.applied():
        np.testing.assert_array_equal(kernel.value, averaged)
        raise KeyboardInterrupt
    np.testing.assert_array_equal(kernel.value, own)


def test_a_run_trains_its_weights_but_scores_and_averages_as_the_formula_says() -> None:
    recorder = Recorder()
    trainer = make(net=Linear, ema=DECAY, max_steps=12, steps_per_block=1, lr=0.1, hooks=[recorder])
    plain = make(net=Linear, max_steps=12, lr=0.1)
    expected = weights(trainer).astype(np.float64)
    result = trainer.fit()
    assert result.weights_sha256 == plain.fit().weights_sha256
    for step, value in enumerate(recorder.weights):
        decay = min(DECAY, (1 + step) / (10 + step))
        expected = expected * decay + value * (1 - decay)
    averages = np.concatenate([variable.numpy().ravel() for variable in trainer.state.average.variables])
    np.testing.assert_allclose(averages, expected, rtol=1e-4, atol=1e-6)

    with trainer.state.average.applied():
        logits = trainer.state.model(DATA.test.images[..., np.newaxis] / np.float32(255)).numpy()
    assert result.report.errors == (logits.argmax(axis=1) != DATA.test.labels).sum()
    assert result.report.loss != plain.evaluate(DATA.test).loss
