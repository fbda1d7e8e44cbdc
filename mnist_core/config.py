"""What a run does: one frozen dataclass, read from TOML and flags, checked once, kept as JSON."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from mnist_core.errors import InputError, UsageError
from mnist_core.recipes import RECIPES, recipe
from mnist_core.settings import checked, flag, period_steps, setting

# The file of a run directory.
CONFIG = "config.json"
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A run, completely. The defaults are the ``default`` recipe; `from_recipe` gives the others.

    Periods (``eval_every``, ``checkpoint_every``) are steps (``"500"``) or epochs (``"2ep"``);
    ``"0"`` is only at the end. Whatever the period, the weights that validation finds best are kept, too.

    Raises:
      UsageError: a value is out of its bounds; the message names the flag.
    """

    recipe: str = setting("default", "named configuration to start from", group="run", choices=tuple(RECIPES))

    # Data
    dataset: str = setting(
        "auto",
        "mnist, digits, synthetic, a folder of IDX files, an .npz; auto: mnist, else digits",
        group="data",
    )
    data_dir: str | None = setting(
        None, "folder of the MNIST files; no other is searched then", group="data", resumable=True
    )
    feed: str = setting(
        "resident",
        "images stay on the device, or stream from memory-mapped files",
        group="data",
        choices=("resident", "streaming"),
        resumable=True,
    )
    validation_size: int | None = setting(
        None, "training images held out to watch the run; none given: a twelfth", group="data", low=0
    )
    shift: float = setting(2.0, "augmentation: largest shift, pixels", group="data", low=0, high=14)
    rotation: float = setting(10.0, "augmentation: largest rotation, degrees", group="data", low=0, high=180)
    scale: float = setting(
        0.1, "augmentation: largest change of size, fraction", group="data", low=0, below=1
    )
    shear: float = setting(0.1, "augmentation: largest shear, fraction", group="data", low=0, high=1)
    thickness: float = setting(
        0.0, "augmentation: largest change of stroke thickness, 0-1", group="data", low=0, high=1
    )
    elastic: float = setting(
        0.0, "augmentation: largest elastic displacement, pixels", group="data", low=0, high=14
    )
    blur: float = setting(0.0, "augmentation: largest blur, 0-1", group="data", low=0, high=1)
    outliers: float = setting(
        0.0,
        "augmentation: share of images replaced by non-digits, whose labels are drawn; training "
        "accuracy then stays below that of validation",
        group="data",
        low=0,
        below=1,
    )

    # Model and optimisation
    model: str = setting("digitnet", "name of the network", group="optimisation")
    epochs: int = setting(6, "passes over the training images", group="optimisation", low=1)
    max_steps: int | None = setting(None, "end after so many steps", group="optimisation", low=1)
    batch_size: int = setting(128, "images a gradient is taken over", group="optimisation", low=1, high=2**30)
    gradient_accumulation: int = setting(
        1, "batches whose gradients are averaged into one step", group="optimisation", low=1
    )
    parts: int | None = setting(
        None,
        "parts of a batch that are computed side by side, each by its share of the cores; batch "
        "normalisation sees one part at a time. None given: 2 on a CPU of several cores, else 1",
        group="optimisation",
        low=1,
        high=64,
    )
    optimizer: str = setting(
        "sgd",
        "sgd (ours), or the name of a Keras optimizer, which takes --lr (adam wants about 0.001) and "
        "--schedule; the rest is its own",
        group="optimisation",
    )
    lr: float = setting(0.1, "peak learning rate", group="optimisation", above=0)
    schedule: str = setting(
        "onecycle",
        "shape of the learning rate",
        group="optimisation",
        choices=("constant", "cosine", "onecycle"),
    )
    warmup: float = setting(
        0.2, "share of the steps that warm up; constant has none", group="optimisation", low=0, below=1
    )
    momentum: float = setting(0.9, "momentum of sgd", group="optimisation", low=0, below=1)
    nesterov: bool = setting(True, "Nesterov's momentum, sgd only", group="optimisation")
    weight_decay: float = setting(
        5e-4, "decoupled weight decay of the kernels, sgd only", group="optimisation", low=0
    )
    clip_norm: float = setting(
        0.0, "largest global norm of the gradient; 0: any", group="optimisation", low=0
    )
    label_smoothing: float = setting(
        0.0, "share of the target spread evenly", group="optimisation", low=0, below=1
    )
    ema: float = setting(
        0.0,
        "decay of the averaged weights that are scored and kept; 0: none",
        group="optimisation",
        low=0,
        below=1,
    )
    tta: bool = setting(
        False, "score the mean over views of each image, a little turned and sized", group="optimisation"
    )

    # Device
    seed: int = setting(0, "of weights, order, augmentation and dropout", group="device", low=0, below=2**31)
    deterministic: bool = setting(False, "only ops that repeat bit for bit, also on a GPU", group="device")
    device: str = setting("auto", "auto, cpu, gpu or gpu:N", group="device", resumable=True)
    precision: str = setting(
        "auto", "of activations; weights stay float32", group="device", choices=PRECISIONS
    )
    jit: str = setting(
        "auto", "compile blocks with XLA; auto: on a GPU", group="device", choices=("auto", "on", "off")
    )
    steps_per_block: int = setting(
        32, "most training steps in one tf.function call", group="device", low=1, resumable=True
    )

    # Run
    log_dir: str = setting("logs", "folder of the runs", group="run", resumable=True)
    run_name: str = setting(
        "", "end of the run directory's name; empty: the model's", group="run", resumable=True
    )
    log_every: int = setting(1, "steps between two logged steps", group="run", low=1, resumable=True)
    eval_every: str = setting("1ep", "period of validation", group="run", resumable=True)
    checkpoint_every: str = setting("1ep", "period of checkpoints", group="run", resumable=True)
    keep: int = setting(3, "newest checkpoints kept, beside the best", group="run", low=1, resumable=True)
    patience: int = setting(
        0,
        "evaluations without a better one before an early stop; 0: no stop. Needs --validation-size and "
        "--eval-every above 0",
        group="run",
        low=0,
    )
    target_accuracy: float | None = setting(
        None,
        "stop once validation, if there is any, reaches it; exit code 6 when the test set then doesn't",
        group="run",
        above=0,
        high=1,
    )

    def __post_init__(self) -> None:
        for name in ("eval_every", "checkpoint_every"):
            if type(value := getattr(self, name)) is int:
                object.__setattr__(self, name, str(value))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name)))
        for name in ("eval_every", "checkpoint_every"):
            period_steps(getattr(self, name), steps_per_epoch=1, name=flag(name))

    @classmethod
    def from_recipe(cls, name: str, **changes: Any) -> Self:
        """The recipe ``name``, some of its fields changed.

        Raises:
          UsageError: there is no such recipe or field, or a value is out of its bounds.
        """
        return cls.from_mapping(recipe(name, **changes))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Makes a `Config`; an unknown key is an error."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"unknown key '{unknown[0]}'; known keys are {', '.join(sorted(known))}")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a flat table of `Config` fields.

    Raises:
      InputError: there is no such file. UsageError: it isn't TOML, or a key or its value is wrong.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        Config.from_mapping(values)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a readable TOML file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return values


def read_json(path: Path) -> Config:
    """Reads the ``config.json`` of a run.

    Raises:
      InputError: it is missing or was not written by this version.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        config = Config.from_mapping(values)
        # A field that an earlier version lacked may be missing where its default is falsy, which means off.
        if missing := [
            field.name for field in dataclasses.fields(Config) if field.default and field.name not in values
        ]:
            raise UsageError(f"it lacks {', '.join(sorted(missing))}")
        return config
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a run directory") from error
    except (ValueError, TypeError, UsageError) as error:
        raise InputError(f"{path}: not the configuration of a run: {error}") from error
