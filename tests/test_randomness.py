"""The draws of a step follow from seed, step and row, however the batch is split."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.randomness import StepRandom, current_random, step_random

SIZE = 64


def draws(seed: int = 0, step: int = 0, stream: int = 0, rows: np.ndarray | None = None) -> np.ndarray:
    """What images draw at a step, in the given place of its draws."""
    rows = np.arange(SIZE) if rows is None else rows
    random = StepRandom(seed, tf.constant(step, tf.int64), tf.constant(SIZE), tf.constant(rows, tf.int32))
    for _ in range(stream):
        random.uniform([1])
    return random.uniform([50]).numpy()


def test_a_part_of_the_batch_draws_what_it_draws_in_the_whole() -> None:
    whole = draws()
    for rows in (np.arange(5), np.arange(1, SIZE, 2), np.array([63, 0, 7])):
        np.testing.assert_array_equal(draws(rows=rows), whole[rows])


def test_the_graph_draws_what_eager_code_draws() -> None:
    @tf.function
    def traced(step: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return StepRandom(3, step, size, tf.range(size)).uniform([50])

    for step in (0, 5):
        result = traced(tf.constant(step, tf.int64), tf.constant(SIZE))
        np.testing.assert_array_equal(result, draws(seed=3, step=step))
    assert traced.experimental_get_tracing_count() == 1


def test_seeds_steps_and_streams_draw_independently() -> None:
    keys = [(seed, step, stream) for seed in (0, 1, 2**31 - 1) for step in (0, 1, 2**33) for stream in (0, 1)]
    values = np.array([draws(*key).ravel() for key in keys])
    correlation = np.corrcoef(values)[np.triu_indices(len(keys), k=1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(values.shape[1])


def test_images_draw_independently() -> None:
    correlation = np.corrcoef(np.concatenate([draws(step=step) for step in range(20)], axis=1))
    assert np.abs(correlation[np.triu_indices(SIZE, k=1)]).max() < 5 / np.sqrt(20 * 50)


def test_draws_are_uniform_between_their_bounds() -> None:
    random = StepRandom(0, tf.constant(0, tf.int64), tf.constant(4000), tf.range(4000))
    values = random.uniform([3], -2.0, 6.0).numpy()
    assert (values.shape, values.dtype) == ((4000, 3), np.float32)
    assert -2 <= values.min() < -1.99
    assert 5.99 < values.max() < 6
    counts, _ = np.histogram(values, bins=8, range=(-2, 6))
    assert np.abs(counts - 1500).max() < 5 * np.sqrt(1500)


def test_xla_draws_the_same_numbers() -> None:
    def both(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        random = StepRandom(1, step, tf.constant(SIZE), tf.range(SIZE))
        return random.uniform([7], -1.0, 1.0), random.keep([3, 5], 0.3)

    step = tf.constant(4, tf.int64)
    for plain, compiled in zip(both(step), tf.function(both, jit_compile=True)(step), strict=True):
        np.testing.assert_array_equal(plain, compiled)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.999])
def test_a_mask_keeps_its_share_of_an_odd_number_too(rate: float) -> None:
    random = StepRandom(0, tf.constant(0, tf.int64), tf.constant(4000), tf.range(4000))
    kept = random.keep([3, 5], rate).numpy()
    assert (kept.shape, kept.dtype) == ((4000, 3, 5), bool)
    assert abs(kept.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / kept.size)


def test_there_are_draws_inside_a_step_only() -> None:
    random = StepRandom(0, tf.constant(0, tf.int64), tf.constant(1), tf.range(1))
    assert current_random() is None
    with step_random(random):
        assert current_random() is random
    assert current_random() is None
    with pytest.raises(ValueError, match="inside"), step_random(random):
        raise ValueError("inside")
    assert current_random() is None
