"""The outer loop: evaluate, save, run a block of steps, look at it, tell the hooks; and again."""

import contextlib
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_core import device, models
from mnist_core.config import CONFIG, Config
from mnist_core.data.datasets import load
from mnist_core.data.feed import Plan, ResidentFeed, StreamingFeed
from mnist_core.data.split import Dataset, Split
from mnist_core.errors import DeviceError, InterruptedRunError, UsageError
from mnist_core.files import claimed, write_json
from mnist_core.interrupt import LEFT, Interrupts
from mnist_core.loop import optimizers, schedule
from mnist_core.loop.block import Block, check_finite
from mnist_core.loop.checkpoint import CHECKPOINTS, Checkpoints, check_origin, read_checkpoint
from mnist_core.loop.evaluator import Evaluator
from mnist_core.loop.hooks import Hooks, stopping_hooks
from mnist_core.loop.optimizers import Optimizer
from mnist_core.loop.run import BlockLog, Result, Run
from mnist_core.loop.schedule import Schedule
from mnist_core.loop.state import ModelSource, TrainState, weights_sha256
from mnist_core.loop.step import TrainStep
from mnist_core.loop.strings import step_for
from mnist_core.metrics import Report
from mnist_core.settings import period_steps


class Trainer:
    """Trains a model on a dataset, by blocks of `TrainStep`, under the strategy in force.

    Making one seeds Python's, NumPy's and TensorFlow's global generators with ``config.seed``, and sets up
    TensorFlow's devices and threads. What is trained is fixed then; a model given ready keeps its weights.

    Args:
      config: what to do.
      model: a subclassed ``keras.Model``, or a function such as its class that makes one and so gives it the
        run's precision; left out, the one that ``config.model`` names.
      data: left out, what ``config.dataset`` names.
      step: `TrainStep` or a subclass; left out, the one that the model needs.
      optimizer: a Keras optimizer to stand in for our SGD, or another `optimizers.Optimizer`.
      rates: the learning rate, float32, of each step, int64 from 0; left out, what ``config.schedule`` says.
      hooks: objects with methods of `hooks.Hook`.

    Attributes:
      config: the configuration with ``parts`` and ``jit`` resolved; the device is ``device``.
      record: the configuration as given, with precision, parts and dataset resolved: ``config.json``.
      device, data, validation: what it trains on; ``validation`` is the data's own, or cut from its training
        split.
      state, run: model and variables; step, best score and other counters.
      block: the compiled block; None before the first step.

    Raises:
      UsageError, InputError, DeviceError: something asked for is unusable.
    """

    def __init__(
        self,
        config: Config,
        *,
        model: ModelSource | None = None,
        data: Dataset | None = None,
        step: type[TrainStep] | None = None,
        optimizer: keras.optimizers.Optimizer | Optimizer | None = None,
        rates: Schedule | None = None,
        hooks: Sequence[Any] = (),
    ) -> None:
        given = config
        self.device, config = device.resolve(config)
        self.data = data or load(config.dataset, config.data_dir, mmap=config.feed == "streaming")
        train, self.validation = self.data.training_and_validation(config.validation_size)
        if given.parts is None and len(train) < config.parts:
            config = config.replace(parts=1)
        self.config = config
        self._strategy = tf.distribute.get_strategy()
        self._plan = Plan(
            len(train),
            config.batch_size * config.gradient_accumulation,
            config.seed,
            self._strategy.num_replicas_in_sync * config.parts,
        )
        with self._placed():
            self._feed = (ResidentFeed if config.feed == "resident" else StreamingFeed)(train, self._plan)
            self.state = self._make_state(model, optimizer, scheduled=rates is not None)
        self._origin = {
            "dataset": self.data.name,
            "labels_crc32": zlib.crc32(np.ascontiguousarray(train.labels)),
            "precision": self.state.precision,
        }
        # What auto means may change with the machine that the run goes on with.
        found = {"dataset": data.name} if data else {}
        self.record = given.replace(precision=self.state.precision, parts=config.parts, **found)
        self.run = Run(config, self.state.model, self._plan.steps_per_epoch, self._total_steps())
        step = step or step_for(self.state.model)
        rate = schedule.checked(rates) if rates else schedule.from_config(config, self.run.total_steps)
        self._step = step(config, self.state, rate)
        self.state.step_variables = self._step.variables
        self._evaluator = Evaluator(self.state.model, tta=config.tta)
        watched = bool(len(self.validation)) and bool(self._steps(config.eval_every))
        self._hooks = Hooks([*stopping_hooks(config, hooks, watched=watched), *hooks])
        self._checkpoints: Checkpoints | None = None
        self._restored_from: Path | None = None  # Where the checkpoints lie that led to this state.
        self.block: Block | None = None

    def fit(self, directory: str | Path | None = None) -> Result:
        """Trains to the end and scores the last weights on the test images.

        In the main thread Ctrl-C or SIGTERM stops it after a block; a second one ends the process at once.
        A directory that was restored from loses its checkpoints, journal lines and events of later steps.

        Args:
          directory: the run directory, where checkpoints and hooks write, and where `load_model` and
            `Predictor` find the network afterwards; left out, nothing is written.

        Raises:
          UsageError: the model can't be saved, or the directory holds another training's checkpoints, or
            another process trains there. DivergedError: the loss became NaN or infinite.
          InterruptedRunError: Ctrl-C or SIGTERM came; the state was saved if there is a directory.
          DeviceError: the device is out of memory. HookError: a hook failed.
          InputError: the directory's journal is damaged. OSError: the disk is full.
        """
        run = self.run
        self._open(Path(directory) if directory else None)
        leaving = f"{LEFT}; --resume goes on from the last checkpoint" if run.directory else LEFT
        with Interrupts(leaving) as interrupts, claimed(run.directory):
            try:
                with self._placed():
                    self._hooks("on_start", run)
                    if run.directory:
                        write_json(run.directory / CONFIG, self.record.to_json())
                        self._checkpoints.go_back_to(run.step, run.best and run.best["step"])
                    self._train(interrupts)
                    report = self.evaluate(self.data.test)
                    self._hooks("on_test", run, report, self.data.test)
            except BaseException as error:
                self._hooks.after_failure("on_exception", run, error)
                self._hooks.after_failure("on_end", run)
                raise
            self._hooks("on_end", run)
        return Result(run, report, weights_sha256(self.state.model))

    def _open(self, directory: Path | None) -> None:
        """Makes ready where the run is kept, if it is."""
        run = self.run
        run.directory, self._checkpoints = directory, None
        if not directory:
            return
        self.state.model_config()  # Better refused now than at the first checkpoint.
        self._checkpoints = Checkpoints(directory / CHECKPOINTS, self.config.keep)
        home, there = self._checkpoints.folder.resolve(), self._checkpoints.paths()
        if there and self._restored_from != home:
            raise UsageError(
                f"{directory} has the checkpoints of another training; name another directory, or "
                "restore one of them to go on"
            )
        if not there:
            run.saved_at = -1  # What was saved elsewhere is not saved here.
            directory.mkdir(parents=True, exist_ok=True)
        self._restored_from = home

    def _train(self, interrupts: Interrupts) -> None:
        # A test freezes this order: only finite weights are saved, they have been scored before, and a
        # checkpoint never knows of a step that the hooks have not seen.
        run = self.run
        blocks = self._blocks()
        started = time.perf_counter() - run.seconds
        while True:
            if not interrupts.requested and self._due(self.config.eval_every, run.evaluated_at):
                self._evaluate()
            finished = run.finished
            if self._due(self.config.checkpoint_every, run.saved_at) or run.is_best:
                self._save()
            if interrupts.requested:
                self._save()
                raise InterruptedRunError(self._interrupted())
            if finished:
                return
            if run.finished:
                # A hook stopped the run while it was saved: the file lacks that, and the last evaluation.
                run.saved_at = -1
                continue
            log = next(blocks)
            run.advance(log)
            run.seconds = time.perf_counter() - started
            check_finite(log, overflow_is_skipped=self.state.loss_scale is not None)
            self._hooks("on_block", run, log)

    def evaluate(self, split: Split) -> Report:
        """Scores every image of ``split`` once, with the averaged weights where there are some."""
        with self._placed(), self.state.scored_weights():
            return self._evaluator(split)

    def restore(self, path: str | Path) -> None:
        """Goes back to a checkpoint: weights, optimizer, averages, loss scale, counters, hooks.

        A run that a hook had stopped stays stopped, unless ``run.stop_reason`` is emptied then.

        Raises:
          InputError: the file is damaged, or belongs to another network, dataset (by its name and labels) or
            precision; nothing was changed.
          HookError: a hook can't take its state back, after all else has been restored.
        """
        groups, meta = read_checkpoint(path)
        check_origin(path, meta, self._origin)
        self.state.assign(path, groups)
        self.run.restore(meta["run"])
        self._hooks.restore(meta["hooks"])
        self._restored_from = Path(path).resolve().parent

    def _make_state(
        self,
        model: ModelSource | None,
        optimizer: keras.optimizers.Optimizer | Optimizer | None,
        *,
        scheduled: bool,
    ) -> TrainState:
        config = self.config
        keras.utils.set_random_seed(config.seed)
        return TrainState(
            config,
            self.device.precision,
            model or (lambda: models.create(config.model)),
            optimizers.wrapped(optimizer or optimizers.from_config(config), scheduled=scheduled),
        )

    def _total_steps(self) -> int:
        steps = self.config.epochs * self._plan.steps_per_epoch
        return min(steps, self.config.max_steps or steps)

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        # A strategy of several replicas places its own parts.
        alone = self._strategy.num_replicas_in_sync == 1
        try:
            with (
                self._strategy.scope(),
                tf.device(self.device.name) if alone else contextlib.nullcontext(),
            ):
                yield
        except tf.errors.ResourceExhaustedError as error:
            raise DeviceError(
                f"{self.device.description} is out of memory; lower --batch-size, and raise "
                "--gradient-accumulation to keep the step, or set --feed streaming"
            ) from error

    def _blocks(self) -> Iterator[BlockLog]:
        """Runs the blocks from the run's step on, each when it is asked for."""
        run, config = self.run, self.config
        periods = [self._steps(config.eval_every), self._steps(config.checkpoint_every)]
        bounds = (run.step, run.total_steps, config.steps_per_block, periods)
        dataset = self._feed.dataset(self._plan.blocks(*bounds))
        if self.block is None:
            self.block = Block(self._step, self._feed, dataset.element_spec, jit=config.jit == "on")
        yield from self.block.run(dataset, self._plan, self._plan.blocks(*bounds))

    def _steps(self, period: str) -> int:
        return period_steps(period, self._plan.steps_per_epoch)

    def _due(self, period: str, last: int) -> bool:
        run, steps = self.run, self._steps(period)
        on_period = bool(steps) and run.step > 0 and run.step % steps == 0
        return run.step != last and (run.finished or on_period)

    def _evaluate(self) -> None:
        run = self.run
        if not len(self.validation):
            return
        report = self.evaluate(self.validation)
        run.evaluated_at = run.step
        if run.best is None or report.accuracy > run.best["accuracy"]:
            run.best = {"step": run.step, "accuracy": report.accuracy, "loss": report.loss}
            # A checkpoint of this step that was written before doesn't know.
            run.saved_at = -1
        self._hooks("on_evaluation", run, report, self.validation)

    def _save(self) -> None:
        run = self.run
        if self._checkpoints is None or run.saved_at == run.step:
            return
        self._hooks("before_checkpoint", run)
        meta = {"run": run.counters(), "hooks": self._hooks.state(), "model": self.state.model_config()}
        arrays = self.state.arrays()
        path = self._checkpoints.save(run.step, arrays, meta | self._origin, best=run.is_best)
        run.saved_at = run.step
        self._hooks("on_checkpoint", run, path)

    def _interrupted(self) -> str:
        run = self.run
        if run.directory is None:
            return f"interrupted at step {run.step}; nothing was saved, as the run has no directory"
        return f"interrupted at step {run.step}, which is saved; go on with --resume {run.directory}"
