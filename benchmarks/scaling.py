"""How do time and memory grow with the data, the batch, the network and the cores? Does streaming keep up?

Trains on drawn digits streamed from a file, which is made for this, sent to the disk before it is read, and
removed afterwards. Every setting is a process of its own and they take turns; of data size a turn is one
epoch. Exponents are fitted to the logarithms: 1 is in proportion, 0 not at all. The network is the mlp where
the feed is asked, because it needs images the fastest, and digitnet elsewhere.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plots
from benchmarks.drawn import write_dataset
from benchmarks.harness import (
    add_turns,
    contest,
    exponent,
    main,
    parser,
    ratios,
    shown,
    steps_for,
    summary,
    take_turns,
    write,
)
from mnist_core.errors import UsageError

MLP = {"model": "mlp", "widths": [128], "batch_size": 512}
DIGITNET = {"model": "digitnet", "widths": [16, 32, 32], "batch_size": 128}
SMALL = 60_000  # as many as MNIST's
# What is varied, by question.
VARIED = {"data": "images", "batch": "images in a batch", "width": "channels at first", "threads": "cores"}
QUESTIONS = (*VARIED, "feeds")
WARM_UP = 64
# Of one contestant, a turn each.
Answers = list[dict[str, Any]]


def variations(question: str, small: int, cores: int, *, quick: bool) -> dict[int, dict[str, Any]]:
    """Settings by what is varied: images in a batch, channels of the first layer, cores."""
    base = {**(MLP if quick else DIGITNET), "images": small}
    if question == "batch":
        return {
            size: {**base, "batch_size": size} for size in ([128, 512] if quick else [32, 128, 512, 2048])
        }
    if question == "width":
        widths = {64: [64], 128: [128]} if quick else {n: [n, 2 * n, 2 * n] for n in (8, 16, 32, 64)}
        return {first: {**base, "widths": all_of_them} for first, all_of_them in widths.items()}
    powers = [2**i for i in range(cores.bit_length())]
    return {threads: {**base, "threads": threads} for threads in sorted({*powers, cores})}


def growth(answers: Answers) -> dict[str, int]:
    """Resident bytes at the peak, and how much of them came after the start, and after the warm-up."""
    last = answers[-1]
    peak = last["peak_resident_bytes"]
    return {
        "peak_resident_bytes": peak,
        "growth_bytes": peak - last["start_resident_bytes"],
        "growth_when_warm_bytes": peak - last["warm_resident_bytes"],
    }


def scale(answers: dict[int, Answers], work: dict[int, int]) -> dict[str, Any]:
    """Time and memory of each setting, and their exponents; ``work`` is the images that are timed."""
    rows = {}
    for size, found in answers.items():
        seconds = [work[size] / answer["images_per_second"] for answer in found]
        rows[str(size)] = {
            "seconds": summary(seconds),
            "images_per_second": summary([answer["images_per_second"] for answer in found]),
            "start_seconds": found[0]["start_seconds"],
            **growth(found),
        }
    # A point a size: the rounds of one process know of each other.
    times = [row["seconds"]["median"] for row in rows.values()]
    return {
        "settings": rows,
        "time_exponent": exponent(list(answers), times),
        "memory_exponent": exponent(list(answers), [row["peak_resident_bytes"] for row in rows.values()]),
    }


def compare(answers: dict[str, Answers]) -> dict[str, Any]:
    """Speed of each feed as a share of the first one's, which is resident."""
    speeds = {name: [answer["images_per_second"] for answer in found] for name, found in answers.items()}
    resident = next(iter(speeds.values()))
    return {
        name: {
            "images_per_second": summary(values),
            "of_resident": ratios(values, resident),
            **growth(answers[name]),
        }
        for name, values in speeds.items()
    }


def feeds(base: dict[str, Any], small: int, large: int) -> dict[str, dict[str, Any]]:
    """The settings that compare streaming with resident, on as many images and on the whole file."""
    pairs = [("resident", small), ("streaming", small), ("streaming", large)]
    return {f"{feed} {count}": {**base, "feed": feed, "images": count} for feed, count in pairs}


def ask_data(
    small: int, large: int, common: dict[str, Any], args: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Epochs of more and more images, then both feeds in turns."""
    sizes = np.geomspace(small, large, 3 if args.quick else 5).round().astype(int).tolist()
    compared = feeds(MLP, small, large)
    streamed = {f"streaming {size}": {**MLP, "images": size} for size in sizes}
    entries = {name: ("sized", {**common, **one}) for name, one in {**streamed, **compared}.items()}
    epochs = {name: one["images"] // one["batch_size"] for name, one in streamed.items()}
    with contest(entries) as contestants:
        found = take_turns(contestants, range(args.rounds if args.quick else 1), epochs)
        some = {name: contestants[name] for name in compared}
        steps = steps_for(args.seconds, some, dict.fromkeys(some, MLP["batch_size"]))
        turns = take_turns(some, range(args.rounds), steps)
    by_size = {size: found[f"streaming {size}"] for size in sizes}
    return scale(by_size, dict(zip(sizes, sizes, strict=True))), compare(turns)


def race(settings: dict[Any, dict[str, Any]], common: dict[str, Any], args: argparse.Namespace) -> Any:
    """The answers of each setting to turns of some seconds."""
    entries = {str(name): ("sized", {**common, **one}) for name, one in settings.items()}
    sizes = {name: one["batch_size"] for name, (_, one) in entries.items()}
    with contest(entries) as contestants:
        found = take_turns(contestants, range(args.rounds), steps_for(args.seconds, contestants, sizes))
    return dict(zip(settings, found.values(), strict=True))


def ask(
    small: int, large: int, common: dict[str, Any], args: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers to all that is asked: exponents by question, feeds by network."""
    sweeps, compared = {}, {}
    for question in args.only or (QUESTIONS[:1] if args.quick else QUESTIONS):
        if question == "data":
            sweeps[question], compared["mlp"] = ask_data(small, large, common, args)
        elif question == "feeds":
            compared["digitnet"] = compare(race(feeds(DIGITNET, small, large), common, args))
        else:
            settings = variations(question, small, common["threads"], quick=args.quick)
            # Of a step, but with another number of cores of one image.
            work = {size: 1 if question == "threads" else one["batch_size"] for size, one in settings.items()}
            sweeps[question] = scale(race(settings, common, args), work)
    return sweeps, compared


def print_tables(sweeps: dict[str, Any], compared: dict[str, Any]) -> None:
    """A line a setting."""
    for question, found in sweeps.items():
        time, memory = fitted(found["time_exponent"]), fitted(found["memory_exponent"])
        print(f"{question}: time grows with exponent {time}, memory with {memory}")
        for size, row in found["settings"].items():
            seconds, speed = row["seconds"]["median"], row["images_per_second"]["median"]
            print(f"{int(size):12,} {seconds:11.5f} s {speed:9,.0f} images/s {in_memory(row)}")
    for network, rows in compared.items():
        print(f"{network}: images/s, as a share of resident [95 % interval]")
        for name, row in rows.items():
            speed = row["images_per_second"]["median"]
            print(f"{name:20} {speed:9,.0f} {shown(row['of_resident'])} {in_memory(row)}")


def in_memory(row: dict[str, Any]) -> str:
    """Peak and growth, for a table."""
    peak, grown = row["peak_resident_bytes"] / 1e6, row["growth_bytes"] / 1e6
    return f"{peak:6,.0f} MB, of these {grown:.0f} since the start"


def fitted(found: dict[str, Any]) -> str:
    """An exponent and its 95 % interval, for a table."""
    interval = found["interval_95"]
    return f"{found['exponent']:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints tables."""
    if sys.platform != "linux":
        raise UsageError("memory and cores are told and set as only Linux can; run this benchmark there")
    small, large = SMALL, args.images
    if args.quick:
        small, large, args.rounds, args.seconds = 4_096, 16_384, 2, 0.2
    if large < 2 * small or args.rounds < 1:
        raise UsageError(f"--images must be at least {2 * small:,}, and --rounds at least 1")
    if args.folder and not args.folder.is_dir():
        raise UsageError(f"{args.folder}: no such folder; name one with --folder that is there")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_dataset(Path(folder), large)
        cores = len(os.sched_getaffinity(0))
        common = {"folder": folder, "feed": "streaming", "threads": cores}
        sweeps, compared = ask(small, large, {**common, "device": args.device, "warm_up": WARM_UP}, args)
    body = {"device": args.device, "cores": cores, "images": large, "sweeps": sweeps, "feeds": compared}
    path = write("scaling", args.json, body)
    if sweeps:
        plots.scaling(
            {VARIED[question]: found for question, found in sweeps.items()}, path.with_suffix(".png")
        )
    print_tables(sweeps, compared)
    print(path)


if __name__ == "__main__":
    made = parser("scaling", __doc__)
    made.add_argument(
        "--images", type=int, default=10_000_000, help="in the largest file (default: %(default)s, 7.9 GB)"
    )
    made.add_argument("--folder", type=Path, help="where the file is made (default: that of temporary files)")
    made.add_argument("--only", nargs="+", choices=QUESTIONS, help="some of the questions (default: all)")
    add_turns(made, rounds=9, seconds=2.0)
    main(made, measure)
