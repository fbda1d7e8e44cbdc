"""Trains a network and leaves a run directory: journal, TensorBoard events, checkpoints, plots, result.

Settings come from the recipe, then --config, then the flags. Ctrl-C saves and leaves; --resume goes on.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_core import cli, runs
from mnist_core.config import Config, read_json
from mnist_core.errors import (
    InputError,
    InterruptedRunError,
    MnistCoreError,
    TargetMissedError,
    UsageError,
    warn,
)
from mnist_core.files import write_json
from mnist_core.imports import import_tensorflow

if TYPE_CHECKING:
    from mnist_core.loop.run import Result
    from mnist_core.loop.trainer import Trainer

# What a result holds at least.
KEYS = (
    "run_dir", "dataset", "recipe", "model", "parameters", "device", "precision", "epochs", "steps",
    "train_seconds", "images_per_second", "test_accuracy", "test_loss", "test_errors", "test_count",
    "weights_sha256",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_config_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on with RUN, or with the newest unfinished run, or start one where there is none",
    )
    parser.add_argument("--dry-run", action="store_true", help="two steps of everything; nothing is kept")


def main(args: argparse.Namespace) -> cli.Answer:
    """Trains, or goes on training."""
    settings = cli.given_settings(args)
    if args.dry_run:
        if args.resume is not None:
            raise UsageError("--dry-run begins anew and keeps nothing; leave it or --resume out")
        return _dry_run(settings)
    directory = _run_to_resume(args.resume, Config.from_mapping(settings).log_dir)
    if directory is None:
        return _train(Config.from_mapping(settings), None)
    if settings.get("precision") == "auto":
        # What that stood for is in the run's configuration.
        del settings["precision"]
    config = read_json(directory / runs.CONFIG).replace(**settings)
    runs.check_same(directory, config)
    if finished := runs.read_result(directory):
        return _again(config, directory, finished)
    return _train(config, directory)


def _dry_run(settings: dict[str, Any]) -> cli.Answer:
    try:
        with tempfile.TemporaryDirectory() as folder:
            answer = _train(Config.from_mapping({**settings, "max_steps": 2, "log_dir": folder}), None)
    except InterruptedRunError as error:
        raise InterruptedRunError("dry run interrupted; nothing was kept") from error
    # Two steps reach no target, and their run is gone.
    return cli.Answer({**answer.data, "run_dir": None}, "dry run: everything works; nothing was kept")


def _again(config: Config, directory: Path, finished: dict[str, Any]) -> cli.Answer:
    """The answer of a run that had ended.

    Raises:
      InputError: its result is not of the train command.
    """

    def refused(why: Any) -> InputError:
        return InputError(
            f"{directory / runs.RESULT} is not the result of a training run ({why}); "
            "name another run, or start a new one without --resume"
        )

    if missing := [name for name in KEYS if name not in finished]:
        raise refused(f"it lacks {', '.join(missing)}")
    try:
        answer = cli.Answer(finished, _text(finished), _missed_target(config, finished))
    except (TypeError, ValueError) as error:
        raise refused(error) from error
    warn(f"{directory} has already ended; this is its result")
    return answer


def _run_to_resume(resume: str | None, log_dir: str) -> Path | None:
    if resume is None:
        return None
    if resume:
        return runs.find_run(resume)
    directory = runs.find_unfinished_run(log_dir)
    if directory is None:
        warn(f"no unfinished run in {log_dir}: starting a new one")
    return directory


def _train(config: Config, directory: Path | None) -> cli.Answer:
    import_tensorflow()
    from mnist_core import environment
    from mnist_core.loop.trainer import Trainer
    from mnist_core.reporting.journal import Journal
    from mnist_core.reporting.progress import Progress
    from mnist_core.reporting.tensorboard import TensorBoard

    trainer = Trainer(config, hooks=[Journal(), TensorBoard(), Progress()])
    new = directory is None
    if new:
        directory = runs.create_run(trainer.record, environment.describe())
    elif checkpoint := runs.newest_intact(directory):
        trainer.restore(checkpoint)
    try:
        warn(_beginning(trainer, directory))
        result = trainer.fit(directory)
    except Exception:
        # A start that fails before its first step leaves nothing to look at or to go on with.
        if new and trainer.run.step == 0 and trainer.run.saved_at < 0:
            shutil.rmtree(directory, ignore_errors=True)
        raise
    data = _result(trainer, result)
    write_json(directory / runs.RESULT, data)
    _draw(directory)
    return cli.Answer(data, _text(data), _missed_target(config, data))


def _beginning(trainer: "Trainer", directory: Path) -> str:
    state, run = trainer.state, trainer.run
    return (
        f"{run.config.model} ({state.model.count_params():,} parameters) on {trainer.data.name}, "
        f"{trainer.device.description}, {state.precision}, from step {run.step} to {run.total_steps}: "
        f"{directory}"
    )


def _result(trainer: "Trainer", result: "Result") -> dict[str, Any]:
    run, report = result.run, result.report
    return {
        "run_dir": str(run.directory),
        "dataset": trainer.data.name,
        "recipe": run.config.recipe,
        "model": run.config.model,
        "parameters": run.model.count_params(),
        "device": trainer.device.description,
        "precision": trainer.state.precision,
        "epochs": round(run.epoch, 4),
        "steps": run.step,
        "train_seconds": round(run.seconds, 3),
        "images_per_second": round(run.images_per_second, 1),
        "test_accuracy": report.accuracy,
        "test_loss": report.loss,
        "test_errors": report.errors,
        "test_count": report.count,
        "weights_sha256": result.weights_sha256,
        "stop_reason": run.stop_reason,
    }


def _text(result: dict[str, Any]) -> str:
    stopped = f" ({result['stop_reason']})" if result.get("stop_reason") else ""
    # A run of one block has no throughput: that one compiled.
    speed = f"{result['images_per_second']:,.0f} images/s, " if result["images_per_second"] else ""
    return (
        f"{result['model']} on {result['dataset']}: test accuracy {result['test_accuracy']:.2%}, "
        f"{result['test_errors']} of {result['test_count']:,} wrong\n"
        f"{result['epochs']:g} epochs{stopped} in {result['train_seconds']:.1f} s, "
        f"{speed}{result['precision']}\n"
        f"run: {result['run_dir']}"
    )


def _draw(directory: Path) -> None:
    from mnist_core.commands.plot import draw_run

    try:
        draw_run(directory, directory / "plots")
    except (MnistCoreError, OSError) as error:
        # The run is complete without its pictures.
        warn(f"no plots: {error}")


def _missed_target(config: Config, result: dict[str, Any]) -> TargetMissedError | None:
    target, reached = config.target_accuracy, result["test_accuracy"]
    if target is None or reached >= target:
        return None
    return TargetMissedError(f"test accuracy {reached:.4f} is below --target-accuracy {target}")
