"""``metrics.jsonl``, the canonical history of a run: one JSON object a line."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mnist_core.data.split import Split
from mnist_core.errors import InputError
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import BlockLog, Run
from mnist_core.metrics import Report
from mnist_core.runs import METRICS


class Journal(Hook):
    """Writes a ``train`` line for each logged step, and ``eval`` and ``test`` lines.

    When a run goes on from a checkpoint, the lines after its step are dropped first: they are written anew.
    """

    def __init__(self) -> None:
        self._file: Any = None

    def on_start(self, run: Run) -> None:
        self._path = run.path(METRICS)
        self._file = self._path.open("ab+", buffering=0)
        truncate(self._path, run.step, run.evaluated_at)

    def on_block(self, run: Run, log: BlockLog) -> None:
        steps, scalars = log.logged(run.config.log_every)
        columns = (map(_number, np.float32(values)) for values in scalars.values())
        self._write(
            {
                "kind": "train",
                "step": step,
                "epoch": step / run.steps_per_epoch,
                **dict(zip(scalars, row, strict=True)),
            }
            for step, *row in zip(steps.tolist(), *columns, strict=True)
        )

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        line = report.to_json()
        del line["misclassified"]
        self._write([{"kind": "eval", "step": run.step, "epoch": run.epoch, **line}])

    def on_test(self, run: Run, report: Report, split: Split) -> None:
        self._write([{"kind": "test", "step": run.step, "epoch": run.epoch, **report.to_json()}])

    def before_checkpoint(self, run: Run) -> None:
        os.fsync(self._file.fileno())

    def on_end(self, run: Run) -> None:
        if self._file:
            self._file.close()

    def _write(self, lines: Iterable[dict[str, Any]]) -> None:
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        size = self._file.seek(0, os.SEEK_END)
        try:
            if data and self._file.write(data) != len(data):
                raise OSError(28, "No space left on device", str(self._path))
        except OSError as error:
            # A full disk takes part of a line; none is better.
            self._file.truncate(size)
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def truncate(path: Path, step: int, evaluated_at: int) -> None:
    """Drops what a run that goes on will write anew: all from the first line that its checkpoint can't know.

    Args:
      step: the last step that was trained.
      evaluated_at: the last step that was evaluated, which an interrupt at ``step`` leaves behind it.

    Raises:
      InputError: a line is not one of ours; nothing was changed.
    """
    last_kept = {"train": step, "eval": evaluated_at}
    end = 0
    with path.open("rb+") as file:
        for line in file:
            # A kill cuts the last line short, a power cut may leave zeros in its place.
            if not line.endswith(b"\n") or line.startswith(b"\0"):
                break
            try:
                entry = json.loads(line)
                known = entry["step"] <= last_kept.get(entry["kind"], -1)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path}: line {line[:40]!r} is damaged; remove it, then resume") from error
            if not known:
                break
            end += len(line)
        file.truncate(end)


def _number(value: np.float32) -> float | None:
    # The shortest number that is this float32 and no other; JSON has no NaN.
    return float(str(value)) if math.isfinite(value) else None
