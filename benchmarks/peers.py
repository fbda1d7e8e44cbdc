"""Who trains fastest? The same network, weights, batches and optimizer in our loop, Keras, PyTorch and JAX.

Each contestant is a process of its own and they take turns, so that what slows the machine slows them all.
The network is Keras's MNIST example (34,826 parameters), the optimizer SGD with Nesterov's momentum. Ours
pools before ReLU, which is the same function and less work; "our layers" are entries of Keras and PyTorch
that do so, too. Before the race all of them train the same 64 steps without dropout, and their mean losses
must agree.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plots
from benchmarks.harness import (
    Contestant,
    add_only,
    add_turns,
    contest,
    main,
    parser,
    ratios,
    shown,
    steps_for,
    summary,
    take_turns,
    write,
)
from mnist_core import device
from mnist_core.data.datasets import load
from mnist_core.data.split import Dataset
from mnist_core.errors import UsageError, warn
from mnist_core.imports import import_tensorflow

OURS, BFLOAT16 = "ours", "mixed_bfloat16"
# Rounding of bfloat16, 8 bits of mantissa, moves a mean loss of about 1 by this much; float32 far less.
TOLERANCE = {"float32": 2e-3, BFLOAT16: 3e-2}
# A multiple of the steps in one call of every contestant.
CHECKED_STEPS = 64
# Who is so many times slower than ours when checked would hold up the race for everybody.
HOPELESS = 10


def entries() -> dict[str, tuple[str, dict[str, Any]]]:
    """The contestants by name: module, and settings beside the common ones."""
    torch = {
        "eager": {"channels_last": False, "compile": False},
        "channels last": {"channels_last": True, "compile": False},
        "compiled": {"channels_last": False, "compile": True},
        "compiled, channels last": {"channels_last": True, "compile": True},
        "channels last, our layers": {"channels_last": True, "compile": False, "pool_first": True},
    }
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for precision, mark in (("float32", ""), (BFLOAT16, ", bfloat16")):
        common = {"precision": precision}
        found[OURS + mark] = ("ours", common)
        found["Keras fit" + mark] = ("keras_fit", {**common, "loop": "fit"})
        tuned = {**common, "loop": "fit", "steps_per_execution": 32}
        found["Keras fit, tuned" + mark] = ("keras_fit", tuned)
        # It tells the loop's share from that of pooling before ReLU.
        found["Keras fit, tuned, our layers" + mark] = ("keras_fit", {**tuned, "pool_first": True})
        found["Keras guide's loop" + mark] = ("keras_fit", {**common, "loop": "guide"})
        for name, settings in torch.items():
            found[f"PyTorch {name}{mark}"] = ("pytorch", {**common, **settings})
        for name, steps in (("jit", 1), ("scan", 8)):
            found[f"JAX {name}{mark}"] = ("jax_loop", {**common, "steps_per_call": steps})
    return found


def installed(found: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Leaves out what isn't installed, and says so."""
    needs = {"pytorch": "torch", "race_to_pytorch": "torch", "jax_loop": "jax"}
    missing = {module for module, package in needs.items() if importlib.util.find_spec(package) is None}
    for module in sorted(missing):
        warn(
            f"{needs[module]} is not installed and is left out; pip install -c constraints.txt -e '.[bench]'"
        )
    return {name: entry for name, entry in found.items() if entry[0] not in missing}


def chosen(
    found: dict[str, tuple[str, dict[str, Any]]], ours: str, only: Sequence[str] | None
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Those whose names begin with ``ours``, and the others that hold a part in ``only``; left out, all."""
    return {
        name: entry
        for name, entry in found.items()
        if only is None or name.startswith(ours) or any(part in name for part in only)
    }


def write_problem(path: Path, data: Dataset, batch_size: int) -> None:
    """Images, labels, the order of our first epoch in full batches, and He-normal weights."""
    import_tensorflow()
    from mnist_core.data.feed import Plan

    # A GPU's memory is for the contestants.
    device.choose("cpu")
    count = len(data.train) // batch_size * batch_size
    random = np.random.default_rng(0)
    shapes = [(3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,), (1600, 10), (10,)]
    weights = [
        random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape) if len(shape) > 1 else np.zeros(shape)
        for shape in shapes
    ]
    np.savez(
        path,
        images=data.train.images,
        labels=data.train.labels,
        order=Plan(count, batch_size, seed=0).order(0),
        **{f"weight_{i}": weight.astype(np.float32) for i, weight in enumerate(weights)},
    )


def check_losses(
    found: dict[str, tuple[str, dict[str, Any]]], common: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """Mean loss of the first steps without dropout, and images a second of a few more, for each contestant.

    Raises:
      RuntimeError: one trains something else than the others.
    """
    checked = {}
    for name, (module, settings) in found.items():
        check = {**common, **settings, "dropout": 0.0, "warm_up": CHECKED_STEPS}
        with Contestant(module, check) as contestant:
            ready = contestant.ready
            assert ready["steps"] == CHECKED_STEPS
            checked[name] = ready["mean_loss"], contestant.ask("32")["images_per_second"]
    reference, _ = checked[OURS]
    for name, (loss, _) in checked.items():
        if abs(loss - reference) > TOLERANCE[found[name][1]["precision"]]:
            raise RuntimeError(f"{name} has a mean loss of {loss}, {OURS} of {reference}: not the same work")
    return checked


def race(
    found: dict[str, tuple[str, dict[str, Any]]], common: dict[str, Any], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Images a second of each contestant, a figure a round."""
    warm = {name: (module, {**common, **settings}) for name, (module, settings) in found.items()}
    sizes = {name: settings["batch_size"] for name, (_, settings) in warm.items()}
    with contest(warm) as contestants:
        turns = take_turns(contestants, range(rounds), steps_for(seconds, contestants, sizes))
    return {name: [answer["images_per_second"] for answer in answers] for name, answers in turns.items()}


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints a table."""
    found = chosen(installed(entries()), OURS, args.only)
    data = load(args.dataset)
    least = len(data.train) // CHECKED_STEPS
    if args.rounds < 1 or not all(1 <= size <= least for size in args.batch_size):
        raise UsageError(
            f"--rounds must be at least 1, and --batch-size from 1 to {least}: an epoch of {data.name} must "
            f"have {CHECKED_STEPS} full batches, whose losses are compared"
        )
    results, too_slow = {}, {}
    for batch_size in args.batch_size:
        with tempfile.TemporaryDirectory() as folder:
            problem = Path(folder) / "problem.npz"
            write_problem(problem, data, batch_size)
            common = {
                "problem": str(problem),
                "batch_size": batch_size,
                "lr": 0.01,
                "device": args.device,
            }
            checked = check_losses(found, common)
            slowest = checked[OURS][1] / HOPELESS
            speeds = race(
                {name: entry for name, entry in found.items() if checked[name][1] > slowest},
                {**common, "dropout": 0.5, "warm_up": 64},
                2 if args.quick else args.rounds,
                0.5 if args.quick else args.seconds,
            )
        results[str(batch_size)] = {
            name: {
                "mean_loss_without_dropout": checked[name][0],
                "images_per_second": summary(values),
                "ours_is_faster_by": {
                    mine: ratios(speeds[mine], values) for mine in speeds if mine.startswith(OURS)
                },
            }
            for name, values in speeds.items()
        }
        left_out = {name: speed for name, (_, speed) in checked.items() if name not in speeds}
        for name, speed in left_out.items():
            warn(f"{name}: {speed:,.0f} images/s in the check, {HOPELESS} times slower than ours: not raced")
        # Each batch size takes minutes: what is there is kept.
        too_slow[str(batch_size)] = left_out
        body = {
            "dataset": data.name,
            "device": args.device,
            "batch_sizes": results,
            "too_slow_to_race_images_per_second": too_slow,
        }
        path = write("peers", args.json, body)
    plots.peers(results, path.with_suffix(".png"))
    print_table(results)
    print(path)


def print_table(results: dict[str, Any]) -> None:
    """One line a contestant: images a second, and how much faster ours are, with 95 % intervals."""
    for batch_size, rows in results.items():
        print(
            f"batch size {batch_size}: images/s, and how many times faster is "
            + ", ".join(name for name in rows if name.startswith(OURS))
        )
        for name, row in rows.items():
            faster = "".join(f"   {shown(ratio)}" for ratio in row["ours_is_faster_by"].values())
            print(f"{name:36} {row['images_per_second']['median']:10,.0f}{faster}")


if __name__ == "__main__":
    made = parser("peers", __doc__)
    made.add_argument("--dataset", default="mnist", help="default: %(default)s")
    made.add_argument("--batch-size", type=int, nargs="+", default=[128, 32], help="default: 128 32")
    add_turns(made, rounds=9, seconds=4.0)
    add_only(made)
    main(made, measure)
