"""How fast is an answer? Latency of one image and throughput of many, for our predictor and other ways.

Each way is a process of its own with the same weights; their probabilities must agree. They take turns.
From uint8 pixels in memory to probabilities in memory, in float32, on a network with drawn weights; ours also
in the precision that a network has which was trained as it is, bfloat16 where the device has that.
"""

import argparse
import importlib.util
import os
from typing import Any

import numpy as np

from benchmarks import plots
from benchmarks.harness import add_turns, contest, in_turn, main, parser, ratios, shown, summary, write
from mnist_core.errors import UsageError, warn

OURS, AS_IT_IS = "ours", "ours as it is"
# What else each way needs to be installed.
NEEDS = {
    "ours, LiteRT": ("ai_edge_litert",),
    "ours, ONNX": ("tf2onnx", "onnxruntime"),
    "LiteRT, one thread": ("ai_edge_litert",),
    "LiteRT, all cores": ("ai_edge_litert",),
    "ONNX Runtime, one thread": ("tf2onnx", "onnxruntime"),
    "ONNX Runtime, all cores": ("tf2onnx", "onnxruntime"),
}
# Largest differences of a probability: of float32, and of bfloat16, which has 8 bits.
TOLERANCE, COARSE = 1e-4, 2e-2
QUANTILES = ("p50", "p95", "p99")
Times = dict[int, dict[str, list[list[float]]]]


def contestants(args: argparse.Namespace) -> list[str]:
    """The ways to race: without those that aren't installed, or can't use the device."""
    names = [OURS, AS_IT_IS, "model(x)", "model.predict", "SavedModel", "SavedModel, one thread", *NEEDS]
    if args.only:
        names = [name for name in names if name == OURS or any(part in name for part in args.only)]
    if args.device == "gpu":
        warn("LiteRT and ONNX Runtime compute on the CPU here and are left out")
        names = [name for name in names if name not in NEEDS]
    missing = {
        package
        for name in names
        for package in NEEDS.get(name, ())
        if importlib.util.find_spec(package) is None
    }
    for package in sorted(missing):
        warn(f"{package} is not installed, what needs it is left out; pip install -e '.[litert,onnx]'")
    return [name for name in names if missing.isdisjoint(NEEDS.get(name, ()))]


def race(args: argparse.Namespace, names: list[str]) -> Times:
    """Seconds of a call, their quantiles in each round, by batch size and way.

    Raises:
      RuntimeError: one gives other probabilities than ours.
    """
    entries = {
        name: ("engines", {"engine": name, "model": args.model, "device": args.device}) for name in names
    }
    times: Times = {size: {name: [] for name in names} for size in args.batch_size}
    with contest(entries) as engines:
        answers = {name: np.array(one.ready["probabilities"]) for name, one in engines.items()}
        for name, answer in answers.items():
            if np.abs(answer - answers[OURS]).max() > (COARSE if name == AS_IT_IS else TOLERANCE):
                raise RuntimeError(f"{name} gives other probabilities than ours")
        for size in args.batch_size:
            for number in range(args.rounds):
                for name in in_turn(names, number):
                    times[size][name].append(engines[name].ask(f"[{size}, {args.seconds}]")["seconds"])
    return times


def table(size: int, found: dict[str, list[list[float]]]) -> dict[str, dict[str, Any]]:
    """Latencies, throughput and ratios to ours, by way, at one batch size."""
    p50 = {name: [quantiles[0] for quantiles in values] for name, values in found.items()}
    return {
        name: {
            **{
                f"latency_us_{label}": summary([quantiles[i] * 1e6 for quantiles in values])
                for i, label in enumerate(QUANTILES)
            },
            "images_per_second": summary([size / value for value in p50[name]]),
            "ours_is_faster_by": {
                mine: ratios(p50[name], p50[mine]) for mine in p50 if mine.startswith(OURS)
            },
        }
        for name, values in found.items()
    }


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints a table."""
    if args.rounds < 1 or not all(1 <= size <= 4096 for size in args.batch_size):
        raise UsageError("--rounds must be at least 1, and --batch-size from 1 to 4096")
    if args.quick:
        args.batch_size, args.rounds, args.seconds = [1, 64], 2, 0.1
    times = race(args, contestants(args))
    results = {str(size): table(size, found) for size, found in times.items()}
    body = {
        "model": args.model,
        "device": args.device,
        # The machine's own: above the number of cores, others computed as well.
        "load_average": os.getloadavg(),
        "batch_sizes": results,
    }
    path = write("inference", args.json, body)
    plots.inference(results, path.with_suffix(".png"))
    print_table(results)
    print(path)


def print_table(results: dict[str, Any]) -> None:
    """One line a way: latencies, images a second, and how much faster ours are, with 95 % intervals."""
    for size, rows in results.items():
        mine = ", ".join(name for name in rows if name.startswith(OURS))
        print(f"batch size {size}: latency p50, p95, p99 in us; images/s; how many times faster is {mine}")
        for name, row in rows.items():
            latency = " ".join(f"{row[f'latency_us_{label}']['median']:9,.0f}" for label in QUANTILES)
            faster = "".join(f"   {shown(ratio)}" for ratio in row["ours_is_faster_by"].values())
            print(f"{name:26} {latency} {row['images_per_second']['median']:10,.0f}{faster}")


if __name__ == "__main__":
    made = parser("inference", __doc__)
    made.add_argument("--model", default="keras_convnet", help="default: %(default)s")
    made.add_argument(
        "--batch-size",
        type=int,
        nargs="+",
        default=[1, 16, 128, 1024, 4096],
        help="default: 1 16 128 1024 4096",
    )
    add_turns(made, rounds=9, seconds=1.0)
    made.add_argument("--only", nargs="+", metavar="PART", help="ways whose names hold one of these")
    main(made, measure)
