"""How many images a second does the loop train, on CPU and GPU, by precision, batch size and block size?

The network is Keras's MNIST example, and once a tower of wider convolutions. Every setting is a process of
its own; those of a device and a precision take turns. The share of the peak is that of the network's FLOPs
(forward, and backward without the gradient of the images) in those of 2048 x 2048 matrix products of the same
precision; of the input alone, that of its bytes in those of copying. Reports are the journal, TensorBoard and
the bar, in training that evaluates every epoch. Without a GPU the CPU alone is measured.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

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
from benchmarks.peers import write_problem
from mnist_core import device, environment
from mnist_core.data.datasets import load
from mnist_core.errors import DeviceError, warn

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
# An image is read as uint8, laid beside the others of its step, read again and written as float32.
INPUT_BYTES = (1 + 1 + 1 + 4) * 28 * 28
NETWORK, BATCH_SIZE, OTHER_SIZES = "keras_convnet", 128, (8, 32, 512, 2048)
# A GPU has done a block of so few images before the next one is asked for.
IMAGES_PER_BLOCK = {"cpu": 2**12, "gpu": 2**16}
WARM_UP_IMAGES, MOST_WARM_UP = 2**15, 256
# What reports cost is less than most turns differ by.
REPORTS_ROUNDS = 60

Settings = dict[str, Any]


def flops(network: str) -> int:
    """Those of training on an image: a backward pass is two forward ones, but for the first layer's input."""
    forward = [2 * weights * places for weights, places in LAYERS[network]]
    return 3 * sum(forward) - forward[0]


def base(kind: str, batch_size: int = BATCH_SIZE, **more: Any) -> Settings:
    """A setting of the usual network with the usual block, in what ``more`` doesn't say."""
    block = max(1, IMAGES_PER_BLOCK[kind] // batch_size)
    return {"network": NETWORK, "batch_size": batch_size, "steps_per_block": block, **more}


def variations(kind: str, quick: bool) -> list[Settings]:
    """The base, what differs from it in one thing, and the tower."""
    if quick:
        return [base(kind)]
    block = base(kind)["steps_per_block"]
    return [
        base(kind),
        base(kind, only="compute"),
        base(kind, only="input"),
        *(base(kind, size) for size in OTHER_SIZES),
        *(base(kind, steps_per_block=steps) for steps in (1, block // 4, 4 * block)),
        base(kind, network="tower", steps_per_block=8, warm_up=32),
    ]


def title(settings: Settings) -> str:
    """The name of a setting in the table."""
    name = "{device}, {precision}, batch {batch_size}, block {steps_per_block}".format(**settings)
    if settings["network"] != NETWORK:
        name += f", {settings['network']}"
    return name + (f", {settings['only']} only" if "only" in settings else "")


def devices(wanted: str) -> list[str]:
    """The kinds of device to measure.

    Raises:
      DeviceError: there is no GPU, and nothing else is wanted.
    """
    has_gpu = bool(environment.describe()["gpus"])
    if wanted == "gpu" and not has_gpu:
        raise DeviceError(f"--device gpu: TensorFlow sees no GPU; {device.MORE}")
    if wanted == "all" and not has_gpu:
        warn(f"TensorFlow sees no GPU, the CPU alone is measured; {device.MORE}")
    return [wanted] if wanted != "all" else ["cpu", "gpu"] if has_gpu else ["cpu"]


def measured(
    common: Settings, settings: list[Settings], args: argparse.Namespace
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The rows of settings that share device and precision, and how much the roofs over them do a second.

    They take turns too: what slows the machine for a while slows both.
    """
    made = {title(common | one): common | one for one in settings}
    roofs = {name: ("roof", common | {"precision": name}) for name in (common["precision"], "copy")}
    speeds: dict[str, list[float]] = {name: [] for name in made}
    limits: dict[str, list[float]] = {name: [] for name in roofs}
    with contest({name: ("ours", one) for name, one in made.items()}) as contestants, contest(roofs) as peaks:
        steps = steps_for(args.seconds, contestants, {name: one["batch_size"] for name, one in made.items()})
        for number in range(args.rounds):
            for name, one in peaks.items():
                limits[name].append(one.ask(str(args.seconds / 4))["amount_per_second"])
            for name, (answer,) in take_turns(contestants, [number], steps).items():
                speeds[name].append(answer["images_per_second"])
    rows = {}
    first = next(iter(speeds.values()))
    for name, values in speeds.items():
        one = made[name]
        is_input = one.get("only") == "input"
        amount = INPUT_BYTES if is_input else flops(one["network"])
        roof = limits["copy" if is_input else one["precision"]]
        rows[name] = {
            **{
                field: one[field]
                for field in ("device", "precision", "network", "batch_size", "steps_per_block")
            },
            "only": one.get("only"),
            "images_per_second": summary(values),
            "of_base": ratios(values, first),
            "of_peak": ratios([speed * amount for speed in values], roof),
        }
    return rows, {name: summary(values) for name, values in limits.items()}


def with_reports(common: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """How many times as fast the loop is with journal, TensorBoard and progress bar as without.

    It evaluates every epoch, either way. One process takes all turns, an epoch each, because two processes
    differ by more than reports cost.
    """
    settings = common | base(common["device"], reports=True)
    rounds = args.rounds if args.quick else REPORTS_ROUNDS
    with contest({"ours": ("ours", settings)}) as contestants:
        epoch = contestants["ours"].ready["steps_per_epoch"]
        answers = take_turns(contestants, range(2 * rounds), {"ours": epoch})["ours"]
    speeds = [[one["images_per_second"] for one in answers if one["reports"] == has] for has in (True, False)]
    return ratios(*speeds)


def by_batch_size(rows: dict[str, Any], kind: str, precision: str) -> dict[int, dict[str, Any]]:
    """Images a second over the batch size, from the smallest one on, where a block has the usual images."""
    found = {
        row["batch_size"]: row["images_per_second"]
        for row in rows.values()
        if (row["device"], row["precision"], row["network"], row["only"]) == (kind, precision, NETWORK, None)
        and row["steps_per_block"] == base(kind, row["batch_size"])["steps_per_block"]
    }
    return dict(sorted(found.items()))


def overtaken_at(rows: dict[str, Any], precision: str) -> int | None:
    """The batch size from which on the GPU has the higher median; None where it has not, or was not asked."""
    slow, fast = (by_batch_size(rows, kind, precision) for kind in ("cpu", "gpu"))
    found = None
    for size in sorted(slow.keys() & fast.keys(), reverse=True):
        if fast[size]["median"] <= slow[size]["median"]:
            break
        found = size
    return found


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints a table."""
    if args.quick:
        args.rounds, args.seconds = 2, 0.4
    data = load(args.dataset)
    kinds = devices(args.device)
    rows: dict[str, Any] = {}
    roofs: dict[str, Any] = {}
    reports: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (BATCH_SIZE, *OTHER_SIZES):
            write_problem(Path(folder) / f"{size}.npz", data, size)
        for kind in kinds:
            settings = [
                {
                    "problem": str(Path(folder) / f"{one['batch_size']}.npz"),
                    "warm_up": max(2 * one["steps_per_block"], warm_up(one["batch_size"])),
                    **one,
                }
                for one in variations(kind, args.quick)
            ]
            for precision in PRECISIONS:
                common = {"device": kind, "precision": precision, "lr": 0.01, "dropout": 0.5}
                found, peaks = measured(common, settings, args)
                rows |= found
                roofs |= {f"{kind}, {name}": roof for name, roof in peaks.items()}
                reports[f"{kind}, {precision}"] = with_reports(common | settings[0], args)
    crossings = {precision: overtaken_at(rows, precision) for precision in PRECISIONS}
    body = {
        "dataset": data.name,
        "devices": kinds,
        "roofs_per_second": roofs,
        "settings": rows,
        "with_reports_of_without": reports,
        "gpu_overtakes_at_batch_size": crossings,
    }
    path = write("throughput", args.json, body)
    curves = {
        f"{kind}, {precision}": by_batch_size(rows, kind, precision)
        for kind in kinds
        for precision in PRECISIONS
    }
    plots.throughput(rows, curves, path.with_suffix(".png"))
    print_tables(body)
    print(path)


def warm_up(batch_size: int) -> int:
    """Steps after which a network of this batch size runs as it will."""
    return min(MOST_WARM_UP, WARM_UP_IMAGES // batch_size)


def print_tables(body: dict[str, Any]) -> None:
    """Roofs, settings, what reports cost, and where a GPU is faster."""
    for name, roof in body["roofs_per_second"].items():
        unit = "GB/s of copying" if name.endswith("copy") else "GFLOP/s of matrix products"
        print(f"{name}: {roof['median'] / 1e9:,.0f} {unit}")
    print("images/s, as a share of the base setting [95 % interval], share of the peak")
    for name, row in body["settings"].items():
        speed, of_peak = row["images_per_second"]["median"], row["of_peak"]["median"]
        print(f"{name:56} {speed:11,.0f} {shown(row['of_base'])} {of_peak:6.1%}")
    for name, ratio in body["with_reports_of_without"].items():
        print(f"with reports, as a share of without, {name}: {shown(ratio)}")
    if len(body["devices"]) > 1:
        for precision, size in body["gpu_overtakes_at_batch_size"].items():
            print(
                f"{precision}: "
                + (f"the GPU is faster from batches of {size} on" if size else "the CPU is faster")
            )


if __name__ == "__main__":
    made = parser("throughput", __doc__)
    made.add_argument("--dataset", default="mnist", help="default: %(default)s")
    add_turns(made, rounds=9, seconds=2.0, devices=("all", "cpu", "gpu"))
    main(made, measure)
