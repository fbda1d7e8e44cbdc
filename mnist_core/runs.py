"""Run directories: making, finding and reading them.

TensorFlow is imported where a network is loaded, so that finding a run stays quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_core.config import CONFIG, Config, read_json
from mnist_core.errors import InputError, UsageError, warn
from mnist_core.files import atomic_write, write_json
from mnist_core.settings import flag

if TYPE_CHECKING:
    import keras

ENVIRONMENT, RESULT = "environment.json", "result.json"
METRICS = "metrics.jsonl"
STAMP = re.compile(r"\d{8}-\d{6}(?=-)")
# The weights that come with the package, laid out as a run.
SHIPPED = Path(__file__).parent / "shipped"
# Those that read digits that touch.
STRINGS = SHIPPED / "strings"


def create_run(config: Config, environment: dict[str, Any]) -> Path:
    """Makes ``<log_dir>/<YYYYmmdd-HHMMSS>-<name>`` with what ran and on what.

    Raises:
      UsageError: the folder can't be made or written. OSError: the disk is full; no folder is left.
    """
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    log_dir = Path(config.log_dir)
    name = config.run_name or config.model
    if Path(name).name != name:
        raise UsageError(f"--run-name must be one name without slashes, not '{name}'")
    try:
        f"{log_dir}{name}".encode()
    except UnicodeEncodeError as error:
        # TensorBoard's files can't be called so.
        raise UsageError("--log-dir and --run-name must be UTF-8; name others") from error
    for attempt in itertools.count(1):
        directory = log_dir / f"{stamp}-{name}{f'-{attempt}' if attempt > 1 else ''}"
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            directory.mkdir()
            break
        except FileExistsError:
            if not log_dir.is_dir():
                raise UsageError(f"--log-dir {log_dir} is not a folder; name another one") from None
        except OSError as error:
            raise UsageError(
                f"--log-dir {log_dir} can't be written: {error.strerror}; name another one"
            ) from error
    try:
        write_json(directory / ENVIRONMENT, environment)
        with atomic_write(directory / "argv.txt") as file:
            file.write(os.fsencode(shlex.join(sys.argv) + "\n"))
        # Last, because a directory counts as a run once it has a configuration.
        write_json(directory / CONFIG, config.to_json())
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return directory


def find_run(run: str | Path | None, log_dir: str | Path = "logs", *, shipped: bool = True) -> Path:
    """The run directory ``run``, or the newest finished one under ``log_dir``, or the shipped weights.

    A directory whose name lacks `create_run`'s time stamp counts as older than any that has one.

    Args:
      shipped: fall back on the package's weights, which have no history.

    Raises:
      InputError: there is none.
    """
    if run is not None:
        # A name may be too long to ask for.
        with contextlib.suppress(OSError):
            if (Path(run) / CONFIG).is_file():
                return Path(run)
        raise InputError(f"{run} is not a run directory: it has no {CONFIG}; see the folders in {log_dir}")
    for directory in _newest_first(log_dir):
        if (directory / RESULT).is_file():
            return directory
    if shipped:
        return SHIPPED
    raise InputError(
        f"no finished run in {log_dir}; train one (python -m runners.train) or name one with --run"
    )


def find_unfinished_run(log_dir: str | Path) -> Path | None:
    """The newest run under ``log_dir`` that `create_run` made and that has not ended.

    Directories made by `Trainer.fit` alone don't count: they never get a result.json.
    """
    return next(
        (
            path
            for path in _newest_first(log_dir)
            if (path / ENVIRONMENT).is_file() and not (path / RESULT).is_file()
        ),
        None,
    )


def check_same(directory: Path, wanted: Config) -> None:
    """Checks that going on with the run in ``directory`` under ``wanted`` trains what it began.

    Raises:
      UsageError: a field differs that changes the weights; the message names it.
    """
    stored = read_json(directory / CONFIG)
    stops_early = stored.patience or stored.target_accuracy
    for field in dataclasses.fields(Config):
        old, new = getattr(stored, field.name), getattr(wanted, field.name)
        resumable = field.metadata["resumable"] and not (field.name == "eval_every" and stops_early)
        if old != new and not resumable:
            raise UsageError(
                f"{flag(field.name)} is {new}, but {directory} was started with {old}; "
                "leave the flag out, or start a new run without --resume"
            )


def newest_intact(directory: Path) -> Path | None:
    """The newest checkpoint of a run that is intact; says which ones it skips and why. None: it has none yet.

    Raises:
      InputError: the run has checkpoints, but none is intact.
    """
    from mnist_core.loop.checkpoint import CHECKPOINTS, Checkpoints, read_checkpoint

    paths = Checkpoints(directory / CHECKPOINTS).paths()
    for path in paths:
        try:
            read_checkpoint(path)
        except InputError as error:
            warn(f"skipped a checkpoint: {error}")
        else:
            return path
    if paths:
        raise InputError(f"{directory} has no intact checkpoint; train a new run, or name another one")
    return None


def load_model(run: str | Path | None = None, log_dir: str | Path = "logs") -> tuple[keras.Model, Path]:
    """The network of a run with the weights that were scored, and the run's directory.

    The run is the one that `find_run` finds: left out, the newest finished one, else the package's weights.
    It maps float32 ``[n, 28, 28, 1]`` in [0, 1] to logits ``[n, 10]``.

    Raises:
      InputError: there is no such run, no intact checkpoint, or the model's class is not registered.
    """
    import keras

    from mnist_core import models
    from mnist_core.loop.checkpoint import read_checkpoint
    from mnist_core.loop.ema import averaged_variables
    from mnist_core.loop.state import check_fit, dtype_policy

    directory = find_run(run, log_dir)
    path = newest_intact(directory)
    if path is None:
        raise InputError(f"{directory} has no checkpoint yet; wait for its first, or name another run")
    groups, meta = read_checkpoint(path)
    try:
        with dtype_policy(meta["precision"]):
            model = models.build(keras.saving.deserialize_keras_object(meta["model"]))
    except KeyError as error:
        raise InputError(f"{path}: holds no {error}; it is not the checkpoint of a run") from error
    except (TypeError, ValueError) as error:
        name, registered = (meta["model"].get(key) for key in ("class_name", "registered_name"))
        if keras.saving.get_registered_object(registered):
            problem = "can't be made anew; its __init__ must take what its get_config gives, such as **kwargs"
        else:
            problem = (
                "is not known here; import the module that registers it with "
                "keras.saving.register_keras_serializable"
            )
        raise InputError(f"{path}: its model {name} {problem}") from error
    # What was scored is the average where there is one.
    targets = {"model": [variable.value for variable in model.variables]}
    if "average" in groups:
        targets["average"] = averaged_variables(model)
    for name, variables in targets.items():
        check_fit(path, name, groups.get(name, []), variables)
        for variable, value in zip(variables, groups[name], strict=True):
            variable.assign(value)
    return model, directory


def read_result(directory: Path) -> dict[str, Any] | None:
    """The result of a finished run; None for one that has not ended.

    Raises:
      InputError: the file is damaged.
    """
    try:
        result = json.loads((directory / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{directory / RESULT} is damaged: {error}") from error
    if not isinstance(result, dict) or not result:
        raise InputError(f"{directory / RESULT} is damaged: it holds no result of a run")
    return result


def dataset_of(directory: Path) -> str:
    """The dataset to load for a run again; a finished run knows what ``auto`` stood for."""
    name = read_json(directory / CONFIG).dataset
    return (read_result(directory) or {}).get("dataset", name) if name == "auto" else name


def _newest_first(log_dir: str | Path) -> list[Path]:
    # The names begin with the time, to the second; the modification time orders the rest. A name without a
    # time comes last: it was given by hand, perhaps to a copy of an old run.
    ages: dict[Path, tuple[str, int]] = {}
    # One that begins in vain may be gone again meanwhile.
    with contextlib.suppress(OSError):
        for config in Path(log_dir).glob(f"*/{CONFIG}"):
            with contextlib.suppress(FileNotFoundError):
                stamp = STAMP.match(config.parent.name)
                ages[config.parent] = stamp[0] if stamp else "", config.stat().st_mtime_ns
    return sorted(ages, key=ages.__getitem__, reverse=True)
