"""Our loop: the trainer as everyone uses it, with a hook that counts."""

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contestants.pace import Pace, problem, start
from mnist_core.config import Config
from mnist_core.data.split import Dataset, Split
from mnist_core.layers import ConvBlock
from mnist_core.loop.block import NEEDED
from mnist_core.loop.hooks import Hooks
from mnist_core.loop.run import BlockLog, Run
from mnist_core.loop.schedule import Schedule
from mnist_core.loop.state import TrainState
from mnist_core.loop.step import Batch, Scalars, TrainStep
from mnist_core.loop.trainer import Trainer
from mnist_core.metrics import Report
from mnist_core.models import KerasConvNet
from mnist_core.reporting.journal import Journal
from mnist_core.reporting.progress import Progress
from mnist_core.reporting.tensorboard import TensorBoard

PLAIN = {"shift": 0.0, "rotation": 0.0, "scale": 0.0, "shear": 0.0, "weight_decay": 0.0}


class Tower(keras.Model):
    """Little but 3x3 convolutions of 64 and 128 channels: what the loop reaches where arithmetic is all."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [ConvBlock(width, pool=i % 2 == 1) for i, width in enumerate((64, 64, 128, 128))]
        self.flatten = keras.layers.Flatten()
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        features = images
        for block in self.blocks:
            features = block(features)
        return self.head(self.flatten(features))


class InputOnly(TrainStep):
    """Has the images as a network gets them, and learns nothing."""

    def __call__(self, batch: Batch, step: tf.Tensor) -> Scalars:
        images = tf.cast(batch.images[..., tf.newaxis], tf.float32) / 255.0
        seen = tf.reduce_mean(images) + 0.0 * tf.cast(tf.reduce_sum(batch.labels), tf.float32)
        return dict.fromkeys(NEEDED, seen)


class ComputeOnly(TrainStep):
    """Learns from the same images in every step, which are there."""

    def __init__(self, config: Config, state: TrainState, schedule: Schedule) -> None:
        super().__init__(config, state, schedule)
        random = np.random.default_rng(0)
        self._images = tf.constant(random.integers(0, 256, (config.batch_size, 28, 28), np.uint8))
        self._labels = tf.constant(random.integers(0, 10, config.batch_size, np.int32))

    def __call__(self, batch: Batch, step: tf.Tensor) -> Scalars:
        return super().__call__(batch._replace(images=self._images, labels=self._labels), step)


STEPS = {"input": InputOnly, "compute": ComputeOnly}


class EveryOtherTurn:
    """Reports that are silent in every other turn."""

    def __init__(self, hooks: list[Any]) -> None:
        self._hooks = Hooks(hooks)
        self._speaks = True

    def answer(self) -> dict[str, Any]:
        """Whether there were reports in the turn that ends now, and how long an epoch is."""
        spoke, self._speaks = self._speaks, not self._speaks
        return {"reports": spoke, "steps_per_epoch": self._run.steps_per_epoch}

    def on_start(self, run: Run) -> None:
        self._run = run
        self._hooks("on_start", run)

    def on_block(self, run: Run, log: BlockLog) -> None:
        if self._speaks:
            self._hooks("on_block", run, log)

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        if self._speaks:
            self._hooks("on_evaluation", run, report, split)

    def before_checkpoint(self, run: Run) -> None:
        if self._speaks:
            self._hooks("before_checkpoint", run)


class Counter:
    """Tells the pace of each block, and keeps the losses."""

    def __init__(self, settings: dict[str, Any], more: Callable[[], dict[str, Any]] = dict) -> None:
        self._settings = settings
        self._more = more
        self._losses: list[float] = []

    def on_start(self, run: Run) -> None:
        self._pace = Pace(self._settings, more=self._more)

    def on_block(self, run: Run, log: BlockLog) -> None:
        self._losses += log.scalars["loss"].tolist()
        self._pace(len(log.steps), lambda: float(np.mean(self._losses)))


def watch_bar() -> None:
    """Makes stderr a terminal: the progress bar is silent anywhere else."""
    shown, terminal = os.openpty()
    os.dup2(terminal, 2)

    def read() -> None:
        while os.read(shown, 65536):
            pass

    threading.Thread(target=read, daemon=True).start()


def main() -> None:
    """Trains until nobody asks for more.

    Where ``reports`` is set every other turn has them; each epoch ends with an evaluation, and has a ragged
    last batch.
    """
    settings, arrays = problem()
    with_reports = settings.get("reports", False)
    # Full batches only, as the others have them.
    count = len(arrays["order"])
    split = Split(arrays["images"][:count], arrays["labels"][:count])
    config = Config(
        **PLAIN,
        batch_size=settings["batch_size"],
        precision=settings["precision"],
        device=settings["device"],
        steps_per_block=settings.get("steps_per_block", 32),
        epochs=10_000,
        lr=settings["lr"],
        schedule="constant",
        warmup=0.0,
        validation_size=len(split) // 12 if with_reports else 0,
        eval_every="1ep" if with_reports else "0",
        checkpoint_every="0",
    )
    data = Dataset("mnist", split, split)
    is_tower = settings.get("network") == "tower"
    hooks: list[Any] = [Counter(settings)]
    if with_reports:
        reports = EveryOtherTurn([Journal(), TensorBoard(), Progress()])
        hooks = [reports, Counter(settings, reports.answer)]
        watch_bar()
    trainer = Trainer(
        config,
        model=Tower if is_tower else lambda: KerasConvNet(settings["dropout"]),
        data=data,
        step=STEPS.get(settings.get("only"), TrainStep),
        hooks=hooks,
    )
    if not is_tower:
        start(trainer.state.model, arrays)
    with tempfile.TemporaryDirectory() as folder:
        trainer.fit(Path(folder) if with_reports else None)


if __name__ == "__main__":
    main()
