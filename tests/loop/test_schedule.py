"""The learning rate starts, peaks and ends where it should."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.config import Config
from mnist_core.loop import schedule

TOTAL, WARMUP, PEAK = 1000, 200, 0.4


def by_step(rate: schedule.Schedule) -> Callable[[int], float]:
    return lambda step: float(rate(tf.constant(step, tf.int64)))


def rates(rate: schedule.Schedule) -> np.ndarray:
    """The rate of every tenth step."""
    return np.array([by_step(rate)(step) for step in range(0, TOTAL + 1, 10)])


def test_the_constant_is_its_peak_at_every_step() -> None:
    assert set(rates(schedule.constant(PEAK))) == {float(np.float32(PEAK))}


def test_cosine_warms_up_in_a_straight_line_to_its_peak_then_falls_to_nothing() -> None:
    at = by_step(schedule.cosine(PEAK, TOTAL, WARMUP))
    assert at(0) == pytest.approx(PEAK / WARMUP)
    assert at(99) == pytest.approx(PEAK / 2)
    assert at(WARMUP) == pytest.approx(PEAK)
    assert at((WARMUP + TOTAL) // 2) == pytest.approx(PEAK / 2, rel=1e-5)
    assert at(TOTAL) == pytest.approx(0, abs=1e-8)


def test_onecycle_rises_from_a_25th_to_its_peak_then_falls_to_a_ten_thousandth() -> None:
    at = by_step(schedule.onecycle(PEAK, TOTAL, WARMUP))
    assert at(0) == pytest.approx(PEAK / 25)
    assert at(WARMUP // 2) == pytest.approx(PEAK * (1 + 1 / 25) / 2, rel=1e-5)
    assert at(WARMUP) == pytest.approx(PEAK)
    assert at(TOTAL) == pytest.approx(PEAK * 1e-4, rel=1e-3)


@pytest.mark.parametrize("shape", [schedule.cosine, schedule.onecycle])
def test_a_rate_rises_until_the_warm_up_ends_and_falls_ever_after(shape: type) -> None:
    values = rates(shape(PEAK, TOTAL, WARMUP))
    top = WARMUP // 10
    assert (np.diff(values[: top + 1]) > 0).all()
    assert (np.diff(values[top:]) < 0).all()
    assert np.abs(np.diff(values)).max() < PEAK / 10  # no jump where the two parts meet


@pytest.mark.parametrize("shape", [schedule.cosine, schedule.onecycle])
def test_without_warm_up_the_first_step_has_the_peak(shape: type) -> None:
    assert by_step(shape(PEAK, TOTAL, 0))(0) == pytest.approx(PEAK)


@pytest.mark.parametrize("shape", [schedule.cosine, schedule.onecycle])
@pytest.mark.parametrize("total", [1, 2])
def test_the_shortest_runs_have_rates_above_nothing(shape: type, total: int) -> None:
    for warmup in range(total):
        rate = by_step(shape(PEAK, total, warmup))
        assert all(0 < rate(step) <= PEAK * (1 + 1e-6) for step in range(total))


def test_a_run_takes_shape_peak_and_share_of_warm_up_from_its_configuration() -> None:
    for name, rate in (
        ("constant", schedule.constant(0.2)),
        ("cosine", schedule.cosine(0.2, 100, 30)),
        ("onecycle", schedule.onecycle(0.2, 100, 30)),
    ):
        made = schedule.from_config(Config(schedule=name, lr=0.2, warmup=0.3), total_steps=100)
        for number in (0, 29, 30, 99):
            assert by_step(made)(number) == by_step(rate)(number)


def test_the_step_is_a_tensor_of_the_graph() -> None:
    rate = tf.function(schedule.onecycle(PEAK, TOTAL, WARMUP))
    assert float(rate(tf.constant(0, tf.int64))) != float(rate(tf.constant(100, tf.int64)))
    assert rate.experimental_get_tracing_count() == 1
