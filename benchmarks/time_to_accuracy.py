"""How long does it take to learn to read 98, 99, 99.4 and 99.5 % of the test images?

Ours are recipes of a fixed length, chosen on held-out training images, whose mean over the seeds must reach
the target; for 99.5 % they are scored by the mean over views of each image. Keras's example recipe is scored
after each epoch and stops after the first that reached 99 % on the test images. The PyTorch recipe, from
train_mnist_fast, has one epoch. Warm: all is compiled, and the clock runs from the first step to the last
score. Cold: from the start of the process, loading included. The peers compute in float32, as they stand.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plots
from benchmarks.harness import (
    Contestant,
    add_only,
    contest,
    in_turn,
    main,
    parser,
    ratios,
    shown,
    summary,
    write,
)
from benchmarks.peers import chosen, installed
from mnist_core.data.datasets import load
from mnist_core.errors import UsageError

# Target, recipe, and what is changed in it.
OURS: dict[str, tuple[float, str, dict[str, Any]]] = {
    "ours, 98 %": (0.98, "quick", {"epochs": 1}),
    "ours, 99 %": (0.99, "quick", {}),
    "ours, 99.4 %": (0.994, "default", {"epochs": 4}),
    "ours, 99.5 %": (0.995, "default", {"epochs": 10, "tta": True}),
}
RACED = "ours, 99 %"
KERAS, PYTORCH = "Keras's example recipe, 99 %", "PyTorch, train_mnist_fast"


def entries(common: dict[str, Any], only: list[str] | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """The contestants by name: module and settings."""
    found = {
        name: ("race_to_ours", {**common, "recipe": recipe, "changes": {**changes, **common["changes"]}})
        for name, (_, recipe, changes) in OURS.items()
    }
    found[PYTORCH] = ("race_to_pytorch", common)
    found[KERAS] = ("race_to_keras", {**common, "target": OURS[RACED][0]})
    return chosen(installed(found), RACED, only)


def warm(found: dict[str, tuple[str, dict[str, Any]]], rounds: dict[str, int]) -> dict[str, list[Any]]:
    """The trace of each training, by contestant; they take turns, a seed each round."""
    traces: dict[str, list[Any]] = {name: [] for name in found}
    with contest(
        {name: (module, {**given, "cold": False}) for name, (module, given) in found.items()}
    ) as all_:
        for seed in range(max(rounds.values())):
            for name in in_turn(all_, seed):
                if seed < rounds[name]:
                    traces[name].append(all_[name].ask(str(seed))["trace"])
    return traces


def cold(found: dict[str, tuple[str, dict[str, Any]]], rounds: int) -> dict[str, list[float]]:
    """Seconds from the start of a process to its last score, for those that aim at 99 %."""
    seconds: dict[str, list[float]] = {name: [] for name in found if name in (RACED, PYTORCH, KERAS)}
    for seed in range(rounds):
        for name in in_turn(seconds, seed):
            module, given = found[name]
            begin = time.perf_counter()
            with Contestant(module, {**given, "cold": True, "cold_seed": seed}):
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints a table."""
    if min(args.seeds, args.keras_seeds) < 1:
        raise UsageError("--seeds and --keras-seeds must be at least 1")
    data = load(args.dataset)
    seeds, keras_seeds, cold_rounds = (1, 1, 0) if args.quick else (args.seeds, args.keras_seeds, args.cold)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        test, train = data.test, data.train
        np.savez(path, x_train=train.images, y_train=train.labels, x_test=test.images, y_test=test.labels)
        changes = {"epochs": 1} if args.quick else {}
        found = entries({"data": str(path), "device": args.device, "changes": changes}, args.only)
        traces = warm(found, {name: keras_seeds if name == KERAS else seeds for name in found})
        started = cold(found, cold_rounds) if cold_rounds else {}
    rows = {}
    for name, all_ in traces.items():
        seconds = [trace[-1][0] for trace in all_]
        # Who takes long may have fewer turns than ours, or more.
        pairs = list(zip(seconds, (trace[-1][0] for trace in traces[RACED]), strict=False))
        rows[name] = {
            "target": OURS[name][0] if name in OURS else OURS[RACED][0],
            "warm_seconds": summary(seconds),
            "test_accuracy": summary([trace[-1][1] for trace in all_]),
            "traces": all_,
            "ours_is_faster_by": ratios(*zip(*pairs, strict=True)),
        }
        if name in started:
            rows[name]["cold_seconds"] = summary(started[name])
    path = write("time_to_accuracy", args.json, {"dataset": data.name, "device": args.device, "rows": rows})
    plots.time_to_accuracy(rows, path.with_suffix(".png"))
    print(f"{'':32} warm seconds [95 %]       mean accuracy (n)   how many times as long as {RACED}")
    for name, row in rows.items():
        accuracy = row["test_accuracy"]
        print(
            f"{name:32} {shown(row['warm_seconds']):24} {accuracy['mean']:8.3%} ({accuracy['n']})   "
            f"{shown(row['ours_is_faster_by'])}"
        )
    print(path)


if __name__ == "__main__":
    made = parser("time_to_accuracy", __doc__)
    made.add_argument("--dataset", default="mnist", help="default: %(default)s")
    made.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="default: %(default)s")
    made.add_argument("--seeds", type=int, default=10, help="of each recipe (default: %(default)s)")
    made.add_argument(
        "--keras-seeds", type=int, default=10, help="of Keras's, the slowest (default: %(default)s)"
    )
    made.add_argument("--cold", type=int, default=3, help="cold starts; 0: none (default: %(default)s)")
    add_only(made)
    main(made, measure)
