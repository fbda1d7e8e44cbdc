"""The history of a run, read back from its ``metrics.jsonl``."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mnist_core.errors import InputError
from mnist_core.metrics import CLASSES

SCORES = ("epoch", "loss", "accuracy")
NUMBERS = {"train": (*SCORES, "learning_rate"), "eval": SCORES, "test": SCORES}


@dataclasses.dataclass(frozen=True)
class History:
    """The records of a run's metrics.jsonl: logged steps, scores on validation images, the final test.

    The curves need at least one record of any kind.
    """

    train: list[dict[str, Any]]
    evals: list[dict[str, Any]]
    test: dict[str, Any] | None


def read_history(path: Path) -> History:
    """Reads a run's metrics.jsonl; a last line that a kill cut short is passed over.

    Raises:
      InputError: there is no such file, no record in it, or a line is not a record.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a run that has its history with --run") from error
    records: dict[str, list[dict[str, Any]]] = {kind: [] for kind in NUMBERS}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise _damaged(path, number, "not JSON") from error
        if fault := _fault(record):
            raise _damaged(path, number, fault)
        records[record["kind"]].append(record)
    if not any(records.values()):
        raise InputError(f"{path} holds no step yet; wait for its first, or name another run with --run")
    return History(records["train"], records["eval"], next(iter(records["test"][-1:]), None))


def _fault(record: Any) -> str | None:
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind not in tuple(NUMBERS):
        return "its kind is none of " + ", ".join(NUMBERS)
    for name in NUMBERS[kind]:
        # A step of one's own may log what is no number, which is null in JSON.
        may_be_null = kind == "train" and name in record and name != "epoch"
        if not (isinstance(record.get(name), int | float) or (may_be_null and record[name] is None)):
            return f"{name} is not a number"
    if kind != "train" and not _is_confusion(record.get("confusion")):
        return f"confusion is not a table of {CLASSES} x {CLASSES} counts"
    if kind == "test" and not isinstance(record.get("misclassified"), list):
        return "misclassified is not a list"
    return None


def _is_confusion(value: Any) -> bool:
    rows = value if isinstance(value, list) else []
    cells = [cell for row in rows if isinstance(row, list) and len(row) == CLASSES for cell in row]
    return len(rows) == CLASSES and len(cells) == CLASSES**2 and all(type(cell) is int for cell in cells)


def _damaged(path: Path, number: int, fault: str) -> InputError:
    return InputError(f"{path}, line {number}: {fault}; mend or remove the line, or train the run anew")
