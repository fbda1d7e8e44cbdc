"""A run as its hooks see it, and what each block of steps did."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mnist_core.config import Config
from mnist_core.errors import UsageError
from mnist_core.metrics import Report

COUNTERS = ("step", "best", "stop_reason", "seconds", "timed_images", "timed_seconds", "evaluated_at")


@dataclasses.dataclass(frozen=True)
class BlockLog:
    """What a block of K steps did.

    Attributes:
      steps: int ``[K]``, the numbers of the steps, the run's first being 1.
      scalars: float32 ``[K]`` by name, as `TrainStep` returns them.
      weight_norm, update_norm: of the last step.
      images: how many were trained on.
      seconds, data_wait_seconds: of the whole block, and of waiting for the feed before it began.
      compiled: these seconds hold a compilation.
    """

    steps: np.ndarray
    scalars: dict[str, np.ndarray]
    weight_norm: float
    update_norm: float
    images: int
    seconds: float
    data_wait_seconds: float
    compiled: bool = False

    def logged(self, every: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The steps whose number is a multiple of ``every``, and their scalars."""
        chosen = self.steps % every == 0
        return self.steps[chosen], {name: values[chosen] for name, values in self.scalars.items()}

    @property
    def images_per_second(self) -> float:
        """Throughput, waiting for data included."""
        return self.images / self.seconds

    @property
    def steps_per_second(self) -> float:
        """Steps a second, waiting for data included."""
        return len(self.steps) / self.seconds

    @property
    def data_wait_fraction(self) -> float:
        """The share of the time in which the device had nothing to do."""
        return self.data_wait_seconds / self.seconds


@dataclasses.dataclass
class Run:
    """What hooks see of a run, and the counters that its checkpoints keep.

    Attributes:
      step: steps trained so far.
      best: ``step``, ``accuracy`` and ``loss`` of the best validation; None before the first.
      stop_reason: why the run ends early; empty where it doesn't.
      seconds: wall-clock time in `Trainer.fit` up to the last trained step.
      timed_images, timed_seconds: without evaluation, checkpoints and blocks that compile, as the first does.
      evaluated_at, saved_at: the step of the last validation and checkpoint; -1: none that counts.
    """

    config: Config
    model: keras.Model
    steps_per_epoch: int
    total_steps: int
    directory: Path | None = None
    step: int = 0
    best: dict[str, float] | None = None
    stop_reason: str = ""
    seconds: float = 0.0
    timed_images: int = 0
    timed_seconds: float = 0.0
    evaluated_at: int = -1
    saved_at: int = -1

    @property
    def epoch(self) -> float:
        """Epochs trained so far, with fractions."""
        return self.step / self.steps_per_epoch

    @property
    def is_best(self) -> bool:
        """Whether the weights of this step are the best so far, of equals the first."""
        return self.best is not None and self.best["step"] == self.step

    @property
    def images_per_second(self) -> float:
        """Training throughput; 0 before the second block."""
        return self.timed_images / self.timed_seconds if self.timed_seconds else 0.0

    def path(self, name: str) -> Path:
        """A place in the run directory.

        Raises:
          UsageError: the run is kept nowhere.
        """
        if self.directory is None:
            raise UsageError(
                f"{name} has no place: give fit() a directory, or leave out the hook that writes it"
            )
        return self.directory / name

    def advance(self, log: BlockLog) -> None:
        """Counts a block that was trained."""
        if log.steps[0] != self.step + 1:
            raise RuntimeError(f"the block began at step {log.steps[0]}, not {self.step + 1}")
        self.step = int(log.steps[-1])
        if not log.compiled:
            self.timed_images += log.images
            self.timed_seconds += log.seconds

    def stop(self, why: str) -> None:
        """Ends training after this block. The first reason stays."""
        self.stop_reason = self.stop_reason or why

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON values."""
        return {name: getattr(self, name) for name in COUNTERS}

    def restore(self, counters: dict[str, Any]) -> None:
        """Takes back what `counters` returned."""
        for name in COUNTERS:
            setattr(self, name, counters[name])
        self.saved_at = self.step

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return bool(self.stop_reason) or self.step >= self.total_steps


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
      run: the `Run`. With ``ema`` its model has the last weights, not their average, which was scored:
        `load_model` on the run directory and `TrainState.scored_weights` have that.
      report: the score of the last weights, or of their average, on the test images.
      weights_sha256: of the last trainable weights, not averaged, little-endian float32 in creation order.
    """

    run: Run
    report: Report
    weights_sha256: str
