"""How accurate is a recipe? Trains it over seeds, each in a process of its own, and reports the mean.

The score is that of the last weights, or of their moving average where the recipe keeps one, on the test
images, once a run; nothing is chosen by it. That of all networks together, by the mean of their
probabilities, is given beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from benchmarks import plots
from benchmarks.harness import RESULTS, main, parser, summary, write
from mnist_core.config import read_json
from mnist_core.errors import UsageError
from mnist_core.imports import import_tensorflow
from mnist_core.recipes import RECIPES
from mnist_core.runs import CONFIG, dataset_of, load_model


def train(recipe: str, seed: int, flags: list[str], log_dir: str) -> dict[str, Any]:
    """The result of one training run, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "runners.train",
        "--json",
        "--recipe",
        recipe,
        "--seed",
        str(seed),
        *flags,
        "--log-dir",
        log_dir,
    ]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if run.returncode:
        sys.exit(run.returncode)  # The command has said why.
    return {**json.loads(run.stdout), "seed": seed}


def together(directories: list[Path]) -> float:
    """The test accuracy of the mean of several networks' probabilities."""
    import_tensorflow()
    from mnist_core import device
    from mnist_core.data.datasets import load
    from mnist_core.loop.evaluator import Evaluator

    device.choose("auto", parts=1)
    # The runs differ in their seeds alone.
    config = read_json(directories[0] / CONFIG)
    split = load(dataset_of(directories[0]), config.data_dir).test
    images = np.ascontiguousarray(split.images)
    probabilities = 0.0
    for directory in directories:
        logits = Evaluator(load_model(directory)[0], tta=config.tta).logits(images)
        probabilities += softmax(logits.astype(np.float64), axis=1)
    return float((probabilities.argmax(axis=1) == split.labels).mean())


def measure(args: argparse.Namespace, flags: list[str]) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints one line."""
    if args.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, not {args.seeds}")
    if any(flag.split("=")[0] == "--seed" for flag in flags):
        raise UsageError("--seed is set here, from 0 on; say how many with --seeds")
    if args.quick:
        flags = ["--epochs", "1", *flags]
    seeds = range(1 if args.quick else args.seeds)
    with tempfile.TemporaryDirectory() as log_dir:
        runs = [train(args.recipe, seed, flags, log_dir) for seed in seeds]
        all_of_them = together([Path(run["run_dir"]) for run in runs]) if len(runs) > 1 else None
    kept = ("seed", "test_accuracy", "test_errors", "train_seconds", "images_per_second", "weights_sha256")
    same = ("dataset", "recipe", "model", "parameters", "precision", "epochs")
    body = {name: runs[0][name] for name in same}
    for name in ("test_accuracy", "train_seconds", "images_per_second"):
        body[name] = summary([run[name] for run in runs])
    body["runs"] = [{name: run[name] for name in kept} for run in runs]
    body["ensemble_accuracy"] = all_of_them
    path = write("accuracy", args.json or RESULTS / f"accuracy-{args.recipe}.json", body)
    plots.accuracy(body, path.with_suffix(".png"))
    accuracy, seconds = body["test_accuracy"], body["train_seconds"]
    spread = ""
    if accuracy["interval_95"]:
        low, high = accuracy["interval_95"]
        spread = f" (95 % interval {low:.3%} to {high:.3%}, sd {accuracy['sd']:.3%})"
    print(
        f"{args.recipe} on {body['dataset']}, {len(runs)} seeds: mean test accuracy {accuracy['mean']:.3%}"
        f"{spread}, {seconds['mean']:.1f} s (at most {seconds['max']:.1f} s)"
        f"{f', all together {all_of_them:.3%}' if all_of_them else ''}: {path}"
    )


if __name__ == "__main__":
    made = parser("accuracy", __doc__, epilog="Other flags go to the train command.")
    made.add_argument("--recipe", choices=RECIPES, default="default", help="default: %(default)s")
    made.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: %(default)s)")
    main(made, measure, pass_on=True)
