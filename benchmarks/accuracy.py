"""How accurate is a recipe? Trains it over seeds, each in a process of its own, and reports the mean.

The score is that of the last weights on the test images, once a run; nothing is chosen by it.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mnist_core.cli import Parser
from mnist_core.errors import UsageError, warn
from mnist_core.files import write_json
from mnist_core.recipes import RECIPES

SCHEMA = 1


def arguments() -> argparse.ArgumentParser:
    """Declares the flags; what is not known here goes to the train command."""
    parser = Parser(
        prog="python -m benchmarks.accuracy", description=__doc__, epilog="Other flags go to train."
    )
    parser.add_argument("--recipe", choices=RECIPES, default="default", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one seed and one epoch: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: logs/bench/accuracy-RECIPE.json")
    return parser


def train(recipe: str, seed: int, flags: list[str]) -> dict[str, Any]:
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
    ]
    with tempfile.TemporaryDirectory() as log_dir:
        run = subprocess.run([*command, "--log-dir", log_dir], stdout=subprocess.PIPE, check=True)
        directory = Path(json.loads(run.stdout)["run_dir"])
        environment = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    return {**json.loads(run.stdout), "seed": seed, "environment": environment}


def summary(values: list[float]) -> dict[str, Any]:
    """Mean, standard deviation and the bootstrap 95 % interval of the mean (Efron 1979)."""
    sample = np.array(values)
    random = np.random.default_rng(0)
    means = random.choice(sample, (10_000, len(sample))).mean(axis=1)
    return {
        "n": len(sample),
        "mean": float(sample.mean()),
        "sd": float(sample.std(ddof=1)) if len(sample) > 1 else None,
        "min": float(sample.min()),
        "max": float(sample.max()),
        "interval_95": np.quantile(means, [0.025, 0.975]).tolist(),
    }


def main() -> None:
    """Runs the benchmark and writes its JSON."""
    try:
        args, flags = arguments().parse_known_args()
        if args.seeds < 1:
            raise UsageError(f"--seeds must be at least 1, not {args.seeds}")
    except UsageError as error:
        warn(f"python -m benchmarks.accuracy: error: {error}")
        sys.exit(error.exit_code)
    seeds = 1 if args.quick else args.seeds
    runs = [
        train(args.recipe, seed, ["--epochs", "1", *flags] if args.quick else flags) for seed in range(seeds)
    ]
    environment = runs[0]["environment"]
    kept = ("seed", "test_accuracy", "test_errors", "train_seconds", "images_per_second", "weights_sha256")
    result = {
        "schema": SCHEMA,
        "benchmark": "accuracy",
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python -m benchmarks.accuracy", *sys.argv[1:]]),
        "environment": environment,
        **{
            name: runs[0][name]
            for name in ("dataset", "recipe", "model", "parameters", "precision", "epochs")
        },
        "test_accuracy": summary([run["test_accuracy"] for run in runs]),
        "train_seconds": summary([run["train_seconds"] for run in runs]),
        "images_per_second": summary([run["images_per_second"] for run in runs]),
        "runs": [{name: run[name] for name in kept} for run in runs],
    }
    path = args.json or Path("logs/bench") / f"accuracy-{args.recipe}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    accuracy, seconds = result["test_accuracy"], result["train_seconds"]
    print(
        f"{args.recipe} on {result['dataset']}, {seeds} seeds: mean test accuracy {accuracy['mean']:.3%} "
        f"(95 % interval {accuracy['interval_95'][0]:.3%} to {accuracy['interval_95'][1]:.3%}, "
        f"sd {accuracy['sd'] or 0:.3%}), {seconds['mean']:.1f} s (at most {seconds['max']:.1f} s): {path}"
    )


if __name__ == "__main__":
    main()
