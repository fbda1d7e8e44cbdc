"""One setting: a field of `Config` with its help, its bounds and its flag."""

import dataclasses
import math
import numbers
import operator
import os
import typing
from typing import Any

from mnist_core.errors import UsageError


def setting(
    default: Any,
    help: str,
    *,
    group: str,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    resumable: bool = False,
) -> Any:
    """One field of `Config` with its bounds.

    Args:
      low, high: inclusive bounds.
      above, below: exclusive bounds.
      resumable: it may change on --resume, as the weights don't depend on it beyond rounding.
    """
    bounds = {"low": low, "above": above, "high": high, "below": below}
    return dataclasses.field(
        default=default,
        metadata={"help": help, "group": group, "choices": choices, "bounds": bounds, "resumable": resumable},
    )


def period_steps(period: str, steps_per_epoch: int, name: str = "period") -> int:
    """Steps in a period such as ``"500"`` or ``"2ep"``; ``"0"`` gives 0.

    Raises:
      UsageError: ``period`` is neither; the message calls it ``name``.
    """
    text = period.removesuffix("ep")
    # More digits than 64 bits hold; Python refuses thousands of them.
    if not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{name} must be steps such as 500 or epochs such as 2ep, not '{period}'")
    return int(text) * (steps_per_epoch if period.endswith("ep") else 1)


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


def checked(field: dataclasses.Field, value: Any) -> Any:
    """``value`` as a plain value of the field's type: numbers of NumPy and paths are taken, too.

    Raises:
      UsageError: it is of another type, none of the choices or out of bounds; the message names the flag.
    """
    kinds = typing.get_args(field.type) or (field.type,)
    name = flag(field.name)
    value = _plain(value)
    if type(value) is int and abs(value) >= 2**63:
        raise UsageError(f"{name} is larger than any number of 64 bits")
    if float in kinds and type(value) is int:
        value = float(value)
    if type(value) not in kinds:
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
        raise UsageError(f"{name} must be {wanted}, not {value!r}")
    if type(value) is str and "\0" in value:
        raise UsageError(f"{name} holds a null character, which no name may")
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, not '{value}'")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_bounds(name, value, field.metadata["bounds"])
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bool):
        return value
    for kind, plain in ((numbers.Integral, int), (numbers.Real, float)):
        if isinstance(value, kind):
            return plain(value)
    return value


def _check_bounds(name: str, value: float, bounds: dict[str, float | None]) -> None:
    conditions = [(math.isfinite(value), "finite")]
    for bound, words, holds in (
        ("low", "at least", operator.ge),
        ("above", "above", operator.gt),
        ("high", "at most", operator.le),
        ("below", "below", operator.lt),
    ):
        if (limit := bounds[bound]) is not None:
            conditions.append((holds(value, limit), f"{words} {limit}"))
    for holds, condition in conditions:
        if not holds:
            raise UsageError(f"{name} must be {condition}, not {value}")
