"""What happens at the edges of the loop: plain objects, called on the host once a block or more rarely."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_core.config import Config
from mnist_core.data.split import Split
from mnist_core.errors import MnistCoreError, UsageError, warn
from mnist_core.loop.run import BlockLog, Run
from mnist_core.metrics import Report

# How the names of events begin.
EVENTS = ("on_", "before_")


class HookError(MnistCoreError):
    """A hook failed; the message names it."""


class Hook:
    """Override what you need. Any object with some of these methods will do; the rest costs nothing."""

    def on_start(self, run: Run) -> None:
        """Before the first step, after a checkpoint was restored: ``run.step`` says where the run begins."""

    def on_block(self, run: Run, log: BlockLog) -> None:
        """After a block of steps whose losses are finite."""

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        """After the validation images ``split`` have been scored, with ``ema`` by the averaged weights."""

    def on_checkpoint(self, run: Run, path: Path) -> None:
        """After a checkpoint has been written."""

    def on_test(self, run: Run, report: Report, split: Split) -> None:
        """After the test images have been scored, once, at the end."""

    def on_exception(self, run: Run, error: BaseException) -> None:
        """When the run fails or is interrupted."""

    def on_end(self, run: Run) -> None:
        """Last of all, also after a failure, even where `on_start` was not reached: close what is open."""

    def before_checkpoint(self, run: Run) -> None:
        """Before a checkpoint is written: what it covers must be on disk first."""

    def state(self) -> dict[str, Any]:
        """JSON values that a checkpoint should keep for this hook."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""


class Hooks:
    """Calls hooks in their order, only where they define the method.

    Raises:
      UsageError: a hook is a class, or has an ``on_`` or ``before_`` method that is no event, such as a
        misspelt one.
    """

    def __init__(self, hooks: Sequence[Any]) -> None:
        self._hooks = list(hooks)
        for hook in self._hooks:
            if isinstance(hook, type):
                raise UsageError(f"hooks are objects; put {hook.__name__}() in place of the class")
            named = [name for name in dir(hook) if name.startswith(EVENTS) and callable(getattr(hook, name))]
            if unknown := [name for name in named if not hasattr(Hook, name)]:
                known = ", ".join(name for name in vars(Hook) if name.startswith(EVENTS))
                raise UsageError(f"hook {type(hook).__name__} has {unknown[0]}, but the events are {known}")

    def __call__(self, event: str, *args: Any) -> None:
        """Calls ``event`` of every hook that defines it, of the later ones too where one fails.

        Raises:
          HookError: a hook raised something unexpected. Our own errors and OSError pass through. Where
            several hooks failed, it is the first one's.
        """
        failures = []
        for hook in self._hooks:
            if self._defines(hook, event):
                try:
                    getattr(hook, event)(*args)
                except Exception as error:
                    failures.append(_named(hook, event, error))
                    if event == "on_start":
                        # A run that is refused must stay as it is.
                        break
        if failures:
            raise failures[0]

    def after_failure(self, event: str, *args: Any) -> None:
        """Calls ``event`` while another error is on its way, which a failing hook must not hide."""
        try:
            self(event, *args)
        except Exception as error:
            warn(f"warning: {error}")

    def state(self) -> dict[str, Any]:
        """The states of all hooks by class name, and by number where a class comes again.

        Raises:
          HookError: a hook fails, or its state is no JSON value.
        """
        states = {}
        for name, hook in self._names():
            if self._defines(hook, "state"):
                try:
                    states[name] = hook.state()
                    json.dumps(states[name])
                except Exception as error:
                    raise _named(hook, "state", error) from error
        return states

    def restore(self, states: dict[str, Any]) -> None:
        """Gives the hooks back what `state` returned.

        Raises:
          HookError: a hook fails.
        """
        for name, hook in self._names():
            if self._defines(hook, "restore") and name in states:
                try:
                    hook.restore(states[name])
                except Exception as error:
                    raise _named(hook, "restore", error) from error

    def _names(self) -> Iterator[tuple[str, Any]]:
        seen: collections.Counter[str] = collections.Counter()
        for hook in self._hooks:
            name = type(hook).__name__
            seen[name] += 1
            yield name if seen[name] == 1 else f"{name} {seen[name]}", hook

    @staticmethod
    def _defines(hook: Any, event: str) -> bool:
        method = getattr(hook, event, None)
        return callable(method) and getattr(method, "__func__", method) is not getattr(Hook, event)


def _named(hook: Any, event: str, error: Exception) -> Exception:
    if isinstance(error, (MnistCoreError, OSError)):
        return error
    failure = HookError(f"hook {type(hook).__name__} failed in {event}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


class EarlyStopping(Hook):
    """Stops after ``patience`` evaluations in a row without a better one."""

    def __init__(self, metric: str = "eval/accuracy", patience: int = 3) -> None:
        if metric not in ("eval/accuracy", "eval/loss"):
            raise UsageError(f"EarlyStopping watches eval/accuracy or eval/loss, not '{metric}'")
        self._metric = metric.removeprefix("eval/")
        self._sign = -1 if self._metric == "loss" else 1
        self._patience = patience
        self._best = -np.inf
        self._worse = 0

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        value = self._sign * getattr(report, self._metric)
        if value > self._best:
            self._best, self._worse = value, 0
            return
        self._worse += 1
        if self._worse >= self._patience:
            run.stop(f"eval/{self._metric} has not improved in {self._worse} evaluations")

    def state(self) -> dict[str, Any]:
        return {"best": float(self._best), "worse": self._worse}

    def restore(self, state: dict[str, Any]) -> None:
        self._best, self._worse = state["best"], state["worse"]


class TargetAccuracy(Hook):
    """Stops once the validation accuracy reaches ``target``."""

    def __init__(self, target: float) -> None:
        self._target = target

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        if report.accuracy >= self._target:
            run.stop(f"eval/accuracy reached {self._target}")


def stopping_hooks(config: Config, given: Sequence[Any], *, watched: bool) -> list[Hook]:
    """What ends a run early, as its configuration asks for.

    Args:
      given: the run's other hooks.
      watched: the run is evaluated before its end.

    Raises:
      UsageError: ``patience`` or a given hook needs evaluations, and there are none.
    """
    needy = [type(hook).__name__ for hook in given if isinstance(hook, (EarlyStopping, TargetAccuracy))]
    if needy and not watched:
        raise UsageError(f"{needy[0]} needs evaluations: a validation_size and an eval_every above 0")
    hooks: list[Hook] = []
    if config.patience:
        if not watched:
            raise UsageError("--patience needs evaluations: --validation-size and --eval-every above 0")
        hooks.append(EarlyStopping(patience=config.patience))
    if config.target_accuracy:
        hooks.append(TargetAccuracy(config.target_accuracy))
    return hooks
