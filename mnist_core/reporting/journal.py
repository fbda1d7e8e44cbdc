"""``metrics.jsonl``, the canonical history of a run: one JSON object a line."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnist_core.data.datasets import Split
from mnist_core.files import atomic_write
from mnist_core.loop.hooks import BlockLog, Hook, Run
from mnist_core.metrics import Report
from mnist_core.runs import METRICS


class Journal(Hook):
    """Writes a ``train`` line for each logged step, and ``eval`` and ``test`` lines.

    When a run goes on from a checkpoint, the lines after its step are dropped first: they are trained anew.
    """

    def __init__(self) -> None:
        self._file: Any = None

    def on_start(self, run: Run) -> None:
        self._path = run.directory / METRICS
        truncate(self._path, run.step)
        self._file = self._path.open("ab", buffering=0)

    def on_block(self, run: Run, log: BlockLog) -> None:
        lines = []
        for i, step in enumerate(log.steps.tolist()):
            if step % run.config.log_every == 0:
                scalars = {name: _number(values[i]) for name, values in log.scalars.items()}
                lines.append({"kind": "train", "step": step, "epoch": step / run.steps_per_epoch, **scalars})
        self._write(lines)

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


def truncate(path: Path, step: int) -> None:
    """Drops the lines after ``step``, and a last one that was cut short, in one atomic change."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        # The test line ends a run; one that goes on will write it anew.
        if line.endswith(b"\n") and entry["step"] <= step and entry["kind"] != "test":
            kept.append(line)
    with atomic_write(path) as file:
        file.writelines(kept)


def _number(value: float) -> float | None:
    # Six digits are what a float32 holds; JSON has no NaN.
    return float(f"{value:.6g}") if math.isfinite(value) else None
