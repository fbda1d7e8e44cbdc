"""How many images a second does the loop train, by precision, batch size and block size?

The network is Keras's MNIST example, and once a tower of wider convolutions. Every setting is a process of
its own and they take turns. The share of the peak is that of the network's FLOPs (forward, and backward
without the gradient of the images) in those of 2048 x 2048 matrix products of the same precision; of the
input alone, that of its bytes in those of copying. Reports are the journal, TensorBoard and the bar, in
training that evaluates every epoch.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plots
from benchmarks.harness import (
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
from benchmarks.peers import race, write_problem
from mnist_core.data.datasets import load

# Weights of each layer, and the places in an image where they are used.
LAYERS = {
    "keras_convnet": [(3 * 3 * 32, 26 * 26), (3 * 3 * 32 * 64, 11 * 11), (1600 * 10, 1)],
    "tower": [
        (3 * 3 * 64, 26 * 26),
        (3 * 3 * 64 * 64, 24 * 24),
        (3 * 3 * 64 * 128, 10 * 10),
        (3 * 3 * 128 * 128, 8 * 8),
        (2048 * 10, 1),
    ],
}
PRECISIONS = ("float32", "mixed_bfloat16")
ROOFS = (*PRECISIONS, "copy")
# An image is read as uint8, laid beside the others of its step, read again and written as float32.
INPUT_BYTES = (1 + 1 + 1 + 4) * 28 * 28
BASE = {"network": "keras_convnet", "batch_size": 128, "steps_per_block": 32}
# The reports of an evaluation need turns of an epoch or so.
REPORTS_SECONDS = 10.0


def flops(network: str) -> int:
    """Those of training on an image: a backward pass is two forward ones, but for the first layer's input."""
    forward = [2 * weights * places for weights, places in LAYERS[network]]
    return 3 * sum(forward) - forward[0]


def title(precision: str, variation: dict[str, Any]) -> str:
    """The name of a setting in the table."""
    name = f"{precision}, batch {variation['batch_size']}, block {variation['steps_per_block']}"
    if variation["network"] != BASE["network"]:
        name += f", {variation['network']}"
    return name + (f", {variation['only']} only" if "only" in variation else "")


def variations(quick: bool) -> list[dict[str, Any]]:
    """The base, what differs from it in one thing, and the tower."""
    if quick:
        return [BASE]
    return [
        BASE,
        {**BASE, "only": "compute"},
        {**BASE, "only": "input"},
        *({**BASE, "batch_size": size} for size in (32, 512)),
        *({**BASE, "steps_per_block": steps} for steps in (1, 8, 128)),
        {**BASE, "network": "tower", "steps_per_block": 8, "warm_up": 32},
    ]


def measured(
    entries: dict[str, tuple[str, dict[str, Any]]], common: dict[str, Any], args: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Images a second of each setting, and what the roofs do a second, a figure a round.

    They take turns too: what slows the machine for a while slows both.
    """
    ours = {name: (module, {**common, **settings}) for name, (module, settings) in entries.items()}
    sizes = {name: settings["batch_size"] for name, (_, settings) in ours.items()}
    limits = {name: ("roof", {"precision": name, "device": args.device}) for name in ROOFS}
    speeds: dict[str, list[float]] = {name: [] for name in ours}
    roofs: dict[str, list[float]] = {name: [] for name in limits}
    with contest(ours) as contestants, contest(limits) as above:
        steps = steps_for(args.seconds, contestants, sizes)
        for _ in range(args.rounds):
            for name, one in above.items():
                roofs[name].append(one.ask(str(args.seconds / 4))["amount_per_second"])
            for name, (answer,) in take_turns(contestants, 1, steps).items():
                speeds[name].append(answer["images_per_second"])
    return speeds, roofs


def with_reports(problem: Path, common: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """How many times as fast the loop is with journal, TensorBoard and progress bar as without, by precision.

    It evaluates every epoch, either way.
    """
    found = {}
    for precision in PRECISIONS:
        settings = {**BASE, "problem": str(problem), "precision": precision}
        entries = {name: ("ours", {**settings, "reports": name == "with"}) for name in ("with", "without")}
        speeds = race(entries, common, args.rounds, args.seconds if args.quick else REPORTS_SECONDS)
        found[precision] = ratios(speeds["with"], speeds["without"])
    return found


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints a table."""
    if args.quick:
        args.rounds, args.seconds = 2, 0.4
    data = load(args.dataset)
    entries = {}
    with tempfile.TemporaryDirectory() as folder:
        for variation in variations(args.quick):
            problem = Path(folder) / f"{variation['batch_size']}.npz"
            write_problem(problem, data, variation["batch_size"])
            for precision in PRECISIONS:
                settings = {**variation, "problem": str(problem), "precision": precision}
                entries[title(precision, variation)] = ("ours", settings)
        common = {"lr": 0.01, "dropout": 0.5, "warm_up": 256, "device": args.device}
        speeds, roofs = measured(entries, common, args)
        reports = with_reports(Path(folder) / f"{BASE['batch_size']}.npz", common, args)
    rows = {}
    for name, values in speeds.items():
        settings = entries[name][1]
        precision = settings["precision"]
        is_input = settings.get("only") == "input"
        amount, limit = (INPUT_BYTES, "copy") if is_input else (flops(settings["network"]), precision)
        rows[name] = {
            "images_per_second": summary(values),
            "of_base": ratios(values, speeds[title(precision, BASE)]),
            "of_peak": ratios([speed * amount for speed in values], roofs[limit]),
        }
    body = {
        "dataset": data.name,
        "device": args.device,
        "peak_flops_per_second": {name: summary(roofs[name]) for name in PRECISIONS},
        "copied_bytes_per_second": summary(roofs["copy"]),
        "settings": rows,
        "with_reports_of_without": reports,
    }
    path = write("throughput", args.json, body)
    plots.throughput(rows, path.with_suffix(".png"))
    for name, values in roofs.items():
        what = "copying: {:,.1f} GB/s" if name == "copy" else f"matrix products, {name}: {{:,.0f}} GFLOP/s"
        print("peak of " + what.format(np.median(values) / 1e9))
    print("images/s, as a share of the base setting [95 % interval], share of the peak")
    for name, row in rows.items():
        speed, of_peak = row["images_per_second"]["median"], row["of_peak"]["median"]
        print(f"{name:48} {speed:8,.0f} {shown(row['of_base'])} {of_peak:6.1%}")
    for precision, ratio in reports.items():
        print(f"with reports, as a share of without, {precision}: {shown(ratio)}")
    print(path)


if __name__ == "__main__":
    made = parser("throughput", __doc__)
    made.add_argument("--dataset", default="mnist", help="default: %(default)s")
    add_turns(made, rounds=7, seconds=2.0)
    main(made, measure)
