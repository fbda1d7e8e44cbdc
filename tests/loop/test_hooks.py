"""Hooks hear what they ask for and nothing else; a run that they stop stays stopped."""

import json
import types
from typing import Any

import keras
import numpy as np
import pytest

from mnist_core import models
from mnist_core.config import Config
from mnist_core.errors import DivergedError, UsageError
from mnist_core.loop.hooks import EarlyStopping, Hook, HookError, Hooks, TargetAccuracy
from mnist_core.loop.run import COUNTERS, Run
from mnist_core.metrics import Report, Tally
from tests.loop.small import DATA

EVENTS = [name for name in vars(Hook) if name.startswith(("on_", "before_"))]


def new_run() -> Run:
    return Run(Config(), models.MLP(), steps_per_epoch=10, total_steps=100)


def report(correct: int, loss_scale: float = 1.0) -> Report:
    """The report of 20 examples, ``correct`` of them right, with more loss the larger the scale."""
    labels = np.arange(20) % 10
    answers = np.where(np.arange(20) < correct, labels, (labels + 1) % 10)
    tally = Tally()
    tally.add(loss_scale * np.eye(10)[answers], labels)
    return tally.report()


class Loud:
    """Fails with ``error`` in every event."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def on_block(self, *args: Any) -> None:
        raise self._error


class Counter(Hook):
    """Counts blocks, and wants to keep the count."""

    def __init__(self) -> None:
        self.count = 0

    def on_block(self, *args: Any) -> None:
        self.count += 1

    def state(self) -> dict[str, int]:
        return {"count": self.count}

    def restore(self, state: dict[str, int]) -> None:
        self.count = state["count"]


@pytest.mark.parametrize("event", EVENTS)
def test_a_hook_is_called_for_what_it_overrides_and_for_nothing_else(
    event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []

    def unwanted(self: Hook, *args: Any) -> None:
        raise AssertionError("a method that nobody overrode was called")

    for name in EVENTS:
        monkeypatch.setattr(Hook, name, unwanted)
    one = type("One", (Hook,), {event: lambda self, *args: heard.append(args)})()
    hooks = Hooks([Hook(), one, object()])
    for name in EVENTS:
        hooks(name, "run")
    assert heard == [("run",)]


def test_any_object_with_a_method_is_a_hook() -> None:
    heard = []
    plain = types.SimpleNamespace(on_block=lambda *args: heard.append(args))
    Hooks([plain])("on_block", 1, 2)
    assert heard == [(1, 2)]


def test_a_method_of_no_event_is_refused() -> None:
    misspelt = type("Misspelt", (Hook,), {"on_evaluate": lambda self, run: None})()
    with pytest.raises(UsageError, match="hook Misspelt has on_evaluate, but the events are on_start, "):
        Hooks([misspelt])
    with pytest.raises(UsageError, match="hook EarlyStopping has on_batch_begin"):
        Hooks([keras.callbacks.EarlyStopping()])
    with pytest.raises(UsageError, match=r"has before_checkpoints, but the events are .*before_checkpoint"):
        Hooks([types.SimpleNamespace(before_checkpoints=print)])
    Hooks([types.SimpleNamespace(on_disk=False)])


def test_hooks_are_called_in_their_order() -> None:
    heard = []
    hooks = [types.SimpleNamespace(on_end=lambda run, name=name: heard.append(name)) for name in "abc"]
    Hooks(hooks)("on_end", None)
    assert heard == ["a", "b", "c"]


def test_an_exception_names_the_hook_and_its_event() -> None:
    cause = ZeroDivisionError("by zero")
    with pytest.raises(HookError, match="hook Loud failed in on_block: ZeroDivisionError: by zero") as caught:
        Hooks([Loud(cause)])("on_block")
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("error", [UsageError("ours"), OSError("disk full"), KeyboardInterrupt()])
def test_what_says_enough_by_itself_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        Hooks([Loud(error)])("on_block")
    assert caught.value is error


def test_a_failing_hook_keeps_no_other_from_hearing() -> None:
    counter, first = Counter(), DivergedError("first")
    with pytest.raises(DivergedError) as caught:
        Hooks([Loud(first), Loud(ValueError("second")), counter])("on_block")
    assert caught.value is first
    assert counter.count == 1


def test_each_hook_gets_its_own_state_back_also_two_of_a_class() -> None:
    old = [Counter(), Hook(), Counter()]
    old[0].count, old[2].count = 5, 7
    states = json.loads(json.dumps(Hooks(old).state()))
    new = [Counter(), Hook(), Counter(), Counter()]
    Hooks(new).restore(states)
    assert [hook.count for hook in (new[0], new[2], new[3])] == [5, 7, 0]


class Stateful(Hook):
    def __init__(self, state: Any) -> None:
        self._state = state

    def state(self) -> Any:
        return self._state() if callable(self._state) else self._state

    def restore(self, state: Any) -> None:
        raise KeyError(state)


@pytest.mark.parametrize("state", [lambda: 1 / 0, {"a set": {1}}])
def test_a_state_that_can_not_be_kept_names_its_hook(state: Any) -> None:
    with pytest.raises(HookError, match="hook Stateful failed in state: "):
        Hooks([Stateful(state)]).state()


def test_a_state_that_is_not_taken_back_names_its_hook() -> None:
    with pytest.raises(HookError, match="hook Stateful failed in restore: KeyError: 7"):
        Hooks([Stateful(7)]).restore({"Stateful": 7})


def test_stop_is_sticky_and_the_first_reason_stays() -> None:
    run = new_run()
    assert not run.finished
    run.stop("enough")
    run.stop("more than enough")
    assert run.finished
    assert run.stop_reason == "enough"


def test_a_run_is_finished_at_its_last_step() -> None:
    run = new_run()
    run.step = 99
    assert not run.finished
    run.step = 100
    assert run.finished
    assert run.epoch == 10.0


def test_counters_survive_json() -> None:
    run, other = new_run(), new_run()
    run.step, run.best, run.seconds = 40, {"step": 30, "accuracy": 0.5, "loss": 1.0}, 1.25
    other.restore(json.loads(json.dumps(run.counters())))
    assert other.counters() == run.counters()
    assert other.saved_at == 40
    assert set(run.counters()) == set(COUNTERS)


def test_early_stopping_counts_evaluations_without_a_better_one() -> None:
    run, hook = new_run(), EarlyStopping(patience=2)
    for correct, stopped in ((10, False), (12, False), (12, False), (13, False), (13, False), (11, True)):
        hook.on_evaluation(run, report(correct), DATA.test)
        assert run.finished is stopped, correct
    assert run.stop_reason == "eval/accuracy has not improved in 2 evaluations"


def test_early_stopping_takes_less_loss_for_better() -> None:
    run, hook = new_run(), EarlyStopping("eval/loss", patience=1)
    for scale in (3.0, 2.0, 1.0):  # of wrong answers: ever less loss, at equal accuracy
        hook.on_evaluation(run, report(5, scale), DATA.test)
        assert not run.finished
    hook.on_evaluation(run, report(5, 2.0), DATA.test)
    assert run.finished


def test_early_stopping_goes_on_counting_after_a_restore() -> None:
    run, hook = new_run(), EarlyStopping(patience=2)
    for correct in (15, 14):
        hook.on_evaluation(run, report(correct), DATA.test)
    restored = EarlyStopping(patience=2)
    restored.restore(json.loads(json.dumps(hook.state())))
    restored.on_evaluation(run, report(15), DATA.test)
    assert run.finished


def test_early_stopping_that_has_seen_nothing_survives_json() -> None:
    hook = EarlyStopping()
    hook.restore(json.loads(json.dumps(hook.state())))
    run = new_run()
    hook.on_evaluation(run, report(0), DATA.test)
    assert not run.finished


def test_early_stopping_refuses_what_it_can_not_watch() -> None:
    with pytest.raises(UsageError, match="eval/accuracy or eval/loss, not 'accuracy'"):
        EarlyStopping("accuracy")


def test_target_accuracy_stops_once_it_is_reached() -> None:
    run, hook = new_run(), TargetAccuracy(0.75)
    hook.on_evaluation(run, report(14), DATA.test)
    assert not run.finished
    hook.on_evaluation(run, report(15), DATA.test)
    assert run.stop_reason == "eval/accuracy reached 0.75"
