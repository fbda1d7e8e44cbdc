"""Turns a run into weights that come with the package: in float32, for single digits calibrated, with a card.

The temperature (C. Guo et al., "On calibration of modern neural networks", ICML 2017) is fitted on the
validation split and divided into the last layer, so that whatever uses the network gets its probabilities.
"""

import argparse
import hashlib
import shlex
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from benchmarks.harness import main
from mnist_core import runs
from mnist_core.cli import Parser
from mnist_core.config import Config, read_json
from mnist_core.data.split import Split
from mnist_core.errors import UsageError
from mnist_core.files import atomic_write, write_json
from mnist_core.imports import import_tensorflow
from mnist_core.metrics import Tally

MOST_BYTES = 2_000_000


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by for the least cross-entropy; 1 leaves them as they are."""

    def loss(log_temperature: float) -> float:
        tally = Tally()
        tally.add(logits / np.exp(log_temperature), labels)
        return tally.report().loss

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def ship(args: argparse.Namespace) -> None:
    """Writes the folder that `runs.find_run` falls back to.

    Raises:
      UsageError: the run isn't finished, or held no images out to calibrate on.
      RuntimeError: its weights are too large; nothing was changed.
    """
    config = read_json(args.run / runs.CONFIG)
    trained = runs.read_result(args.run)
    if not trained:
        raise UsageError(
            f"{args.run} isn't finished; python -m runners.train --resume {args.run} goes on with it"
        )
    if config.validation_size == 0 and config.model != "stringnet":
        raise UsageError(
            f"{args.run} held no images out to fit the temperature on; name a run with a --validation-size"
        )
    import_tensorflow()
    from mnist_core import device, models
    from mnist_core.data.datasets import load
    from mnist_core.loop.evaluator import Evaluator
    from mnist_core.loop.state import weights_sha256

    device.choose("cpu", parts=1)
    data = load("mnist", args.data_dir)
    kept, validation = data.training_and_validation(config.validation_size)
    model = _in_float32(args.run)
    result = {**_result(trained), "precision": "float32"}
    if isinstance(model, models.StringNet):
        out = args.out or runs.STRINGS
        result |= _scores_of_strings(model, config, data.test)
        rows, text = _rows_of_strings(result), STRINGS_CARD
    else:
        out = args.out or runs.SHIPPED
        factor = temperature(Evaluator(model).logits(validation.images), validation.labels)
        for variable in (model.head.kernel, model.head.bias):
            variable.assign(variable / factor)
        result |= _scores(Evaluator(model)(data.test), factor)
        rows, text = _rows(result, len(validation)), CARD
    result["weights_sha256"] = weights_sha256(model)
    path = _save(model, int(result["steps"]), out)
    write_json(
        out / runs.CONFIG,
        config.replace(data_dir=None, log_dir="logs", run_name="", device="auto").to_json(),
    )
    write_json(out / runs.RESULT, result)
    with atomic_write(out / "CARD.md") as file:
        file.write(_card(args.run, result, path, len(kept), "\n".join([*rows, text])).encode())
    print("\n".join([str(path), *rows]))


def _save(model: Any, step: int, out: Path) -> Path:
    """Writes the only checkpoint of ``out``; the old one goes once the new one is whole and small enough."""
    from mnist_core.loop.checkpoint import CHECKPOINTS, Checkpoints

    groups = {"model": [variable.numpy() for variable in model.variables]}
    meta = {"model": _model_config(model), "precision": "float32"}
    folder = out / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as aside:
        made = Checkpoints(Path(aside)).save(step, groups, meta)
        if (size := made.stat().st_size) > MOST_BYTES:
            raise RuntimeError(f"the weights have {size:,} bytes, more than {MOST_BYTES:,}")
        path = made.replace(folder / made.name)
    for old in folder.glob("*.npz"):
        if old != path:
            old.unlink()
    return path


def _in_float32(run: Path) -> Any:
    """The network of a run, its weights in layers that compute in float32."""
    from mnist_core import models

    trained, _ = runs.load_model(run)
    settings = trained.get_config()
    # The dtype of a network that was trained in bfloat16.
    settings.pop("dtype", None)
    model = models.build(type(trained).from_config(settings))
    for variable, value in zip(model.variables, trained.variables, strict=True):
        variable.assign(value.numpy())
    return model


def _model_config(model: Any) -> dict[str, Any]:
    import keras

    return keras.saving.serialize_keras_object(model)


def _result(trained: dict[str, Any]) -> dict[str, Any]:
    """What is known of a run before its weights are scored anew."""
    kept = ("dataset", "recipe", "model", "parameters", "epochs", "steps")
    return {name: trained[name] for name in kept} | {"trained_weights_sha256": trained["weights_sha256"]}


def _scores(report: Any, factor: float) -> dict[str, Any]:
    return {
        "test_accuracy": report.accuracy,
        "test_errors": report.errors,
        "test_count": report.count,
        "test_loss": report.loss,
        "test_calibration_error": report.calibration_error,
        "temperature": factor,
    }


def _rows(result: dict[str, Any], held_out: int) -> list[str]:
    return [
        f"| temperature | {result['temperature']:.4f}, fitted on the {held_out:,} validation images |",
        f"| MNIST test accuracy | {result['test_accuracy']:.2%}, "
        f"{result['test_errors']} of {result['test_count']:,} wrong |",
        f"| expected calibration error | {result['test_calibration_error']:.3%} (15 bins, test images) |",
    ]


def _scores_of_strings(model: Any, config: Config, test: Split) -> dict[str, Any]:
    """How many strings of test images are read right, by their length, as the recipe makes them of digits."""
    import tensorflow as tf

    from mnist_core.data.augment import Augmentation
    from mnist_core.data.strings import LONGEST, Strings
    from mnist_core.loop.strings import decodes_to
    from mnist_core.randomness import StepRandom

    strings = Strings(Augmentation.from_config(config.replace(outliers=0.0)))
    right, counts = np.zeros(LONGEST, int), np.zeros(LONGEST, int)
    for step in range(len(test) // 1000):
        part = slice(1000 * step, 1000 * step + 1000)
        random = StepRandom(config.seed, tf.constant(step, tf.int64), tf.constant(1000), tf.range(1000))
        images = tf.cast(test.images[part, ..., np.newaxis], tf.float32) / 255.0
        frames, texts = strings(images, tf.cast(test.labels[part], tf.int32), random)
        lengths = (texts.numpy() >= 0).sum(axis=1)
        is_right = decodes_to(texts, model.columns(frames)).numpy()
        counts += np.bincount(lengths, minlength=LONGEST + 1)[1:]
        right += np.bincount(lengths[is_right], minlength=LONGEST + 1)[1:]
    return {"test_strings": counts.tolist(), "test_strings_right": right.tolist()}


def _rows_of_strings(result: dict[str, Any]) -> list[str]:
    pairs = zip(result["test_strings_right"], result["test_strings"], strict=True)
    return [
        f"| strings of {length} test digits read right | {right / count:.1%} of {count:,} |"
        for length, (right, count) in enumerate(pairs, 1)
    ]


CARD = """
For digits that people write by hand, one or many in a picture. Of what is no digit it knows random strokes,
some letters, figures, turned digits and pairs of digits, all drawn by program or from MNIST; what looks much
like a digit is read as one. Earlier versions of the recipe were scored on the test images too, and these
scores were known when it was changed: the accuracy above is slightly optimistic.
"""
STRINGS_CARD = """
For parts of a page that may be several digits, since they touch. It learned from strings of up to four, whose
digits overlap by up to 4 of their 20 pixels, and reads longer ones in the same way. Of what is no digit it
knows some letters.
"""


def _card(run: Path, result: dict[str, Any], path: Path, images: int, scores: str) -> str:
    """The page beside the weights.

    Args:
      images: it was trained on.
      scores: the last rows of the table, and what the weights are for.
    """
    config = read_json(run / runs.CONFIG)
    file_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    train = f"python -m runners.train --recipe {config.recipe}"
    command = shlex.split((run / "argv.txt").read_text())[1:]
    flags = [word for word in command if word.startswith("--")]
    options = (
        f" ({', '.join(flags)} given)"
        if set(flags) - {"--json", "--recipe", "--run-name", "--log-dir"}
        else ""
    )
    table = "\n".join(
        [
            "| | |",
            "| --- | --- |",
            f"| made by | `{train}`{options}, then `python -m benchmarks.ship --run RUN` |",
            f"| seed | {config.seed} |",
            f"| epochs, steps | {result['epochs']:g}, {result['steps']:,} |",
            f"| file | `{path.name}`, {path.stat().st_size:,} bytes, sha256 `{file_hash}` |",
            f"| weights | sha256 `{result['weights_sha256']}` |",
            f"| weights of the run | sha256 `{result['trained_weights_sha256']}` |",
        ]
    )
    title = f"`{result['model']}`, {result['parameters']:,} parameters"
    return f"""# Weights that come with mnist_core

{title}, trained on {images:,} of MNIST's training images.

{table}
{scores}"""


if __name__ == "__main__":
    made = Parser(prog="python -m benchmarks.ship", description=__doc__, allow_abbrev=False)
    made.add_argument("--run", type=Path, required=True, help="a finished run of recipe robust or strings")
    made.add_argument("--out", type=Path, help="default: mnist_core/shipped, or strings in there")
    made.add_argument("--data-dir", help="folder of the MNIST files")
    main(made, ship)
