"""How do time and memory grow with the data, the batch, the network and the cores? Does streaming keep up?

Trains on drawn digits streamed from a file, which is made for this, sent to the disk before it is read, and
removed afterwards. Every setting is a process of its own and they take turns; of data size a turn is one
epoch. Exponents are fitted to the logarithms: 1 is in proportion, 0 not at all. The network is the mlp where
the feed is asked, because it needs images the fastest, and digitnet elsewhere.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plots
from benchmarks.harness import add_turns, exponent, main, parser, ratios, shown, summary, take_turns, write
from mnist_core.data.datasets import FILES
from mnist_core.data.idx import write_idx, write_idx_pieces
from mnist_core.data.synthetic import SIDE, draw
from mnist_core.errors import UsageError

IMAGE_BYTES = SIDE * SIDE + 1
SPARE_BYTES = 1 << 30
DRAWN = 10_000  # images drawn; more are these, moved
MLP = {"model": "mlp", "widths": [128], "batch_size": 512}
DIGITNET = {"model": "digitnet", "widths": [16, 32, 32], "batch_size": 128}
SMALL = 60_000  # as many as MNIST's
SWEEPS = ("data-size", "batch-size", "width", "threads", "feeds")
QUICK = ("data-size", "feeds")


def settings_of(sweep: str, small: int, large: int, cores: int, quick: bool) -> dict[float, dict[str, Any]]:
    """The settings of a sweep, by what is varied: images, images a batch, first width, cores."""
    if sweep == "data-size":
        sizes = np.geomspace(small, large, 2 if quick else 5).round().astype(int).tolist()
        return {size: {**MLP, "images": size} for size in sizes}
    base = {**(MLP if quick else DIGITNET), "images": small}
    if sweep == "batch-size":
        return {
            size: {**base, "batch_size": size} for size in ([128, 512] if quick else [32, 128, 512, 2048])
        }
    if sweep == "width":
        widths = [64, 128] if quick else [8, 16, 32, 64]
        return {
            width: {**base, "widths": [width] if quick else [width, 2 * width, 2 * width]} for width in widths
        }
    powers = [2**i for i in range(cores.bit_length())]
    return {threads: {**base, "threads": threads} for threads in sorted({*powers, cores})}


def write_dataset(folder: Path, count: int) -> None:
    """Four IDX files of ``count`` training images and a few to test with.

    Raises:
      UsageError: the disk has no room for them.
    """
    needed, free = count * IMAGE_BYTES + SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"{count:,} images and room to spare need {needed / 1e9:.1f} GB, but {folder} has "
            f"{free / 1e9:.1f} GB; lower --images, or name another disk with --folder"
        )
    images, labels = draw(min(count, DRAWN), seed=0)

    def moved() -> Iterator[np.ndarray]:
        for i, begin in enumerate(range(0, count, len(images))):
            yield np.roll(images, (i % 5 - 2, i // 5 % 5 - 2), axis=(1, 2))[: count - begin]

    write_idx_pieces(folder / FILES[0], (count, SIDE, SIDE), moved())
    write_idx_pieces(folder / FILES[1], (count,), [np.resize(labels, count)])
    write_idx(folder / FILES[2], images[:1000])
    write_idx(folder / FILES[3], labels[:1000])
    with (folder / FILES[0]).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def growth(answers: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes that a process gained at most since its first step, and since it was warm."""
    peak = answers[-1]["peak_resident_bytes"]
    return {
        "peak_resident_bytes": peak,
        "growth_bytes": peak - answers[0]["start_resident_bytes"],
        "growth_when_warm_bytes": peak - answers[0]["warm_resident_bytes"],
    }


def run_sweep(sweep: str, variations: dict[float, dict[str, Any]], common: dict[str, Any], args: Any) -> Any:
    """Time and memory of each setting, and their exponents."""
    entries = {str(size): ("sized", {**common, **settings}) for size, settings in variations.items()}
    batches = {size: entries[str(size)][1]["batch_size"] for size in variations}
    epochs = {str(size): int(size) // batches[size] for size in variations} if sweep == "data-size" else None
    found = take_turns(entries, 1 if epochs and not args.quick else args.rounds, args.seconds, epochs)
    rows, sizes, costs = {}, [], []
    for size, answers in zip(variations, found.values(), strict=True):
        # The work of an epoch, of a step, or of one image.
        work = {"data-size": size, "threads": 1}.get(sweep, batches[size])
        seconds = [work / answer["images_per_second"] for answer in answers]
        rows[str(size)] = {
            "seconds": summary(seconds),
            "images_per_second": summary([answer["images_per_second"] for answer in answers]),
            "start_seconds": answers[0]["start_seconds"],
            **growth(answers),
        }
        sizes += [size] * len(seconds)
        costs += seconds
    memory = [row["peak_resident_bytes"] for row in rows.values()]
    return {
        "settings": rows,
        "time_exponent": exponent(sizes, costs),
        "memory_exponent": exponent(list(variations), memory),
    }


def compare_feeds(small: int, large: int, common: dict[str, Any], args: Any) -> dict[str, Any]:
    """Streaming against resident, on as many images and on all of the file."""
    results = {}
    for base in [MLP] if args.quick else [MLP, DIGITNET]:
        kinds = [("resident", small), ("streaming", large)]
        if not args.quick:
            kinds.append(("streaming", small))
        entries = {
            f"{feed}, {count:,} images": ("sized", {**common, **base, "feed": feed, "images": count})
            for feed, count in kinds
        }
        found = take_turns(entries, args.rounds, args.seconds)
        speeds = {
            name: [answer["images_per_second"] for answer in answers] for name, answers in found.items()
        }
        resident = next(iter(speeds.values()))
        results[f"{base['model']}, batch {base['batch_size']}"] = {
            name: {
                "images_per_second": summary(values),
                "of_resident": ratios(values, resident),
                **growth(found[name]),
            }
            for name, values in speeds.items()
        }
    return results


def print_tables(sweeps: dict[str, Any], feeds: dict[str, Any]) -> None:
    """What was found, a line a setting."""
    for sweep, found in sweeps.items():
        print(
            f"{sweep}: time ~ {fitted(found['time_exponent'])}, memory ~ {fitted(found['memory_exponent'])}"
        )
        for size, row in found["settings"].items():
            print(
                f"{float(size):12,.0f} {row['seconds']['median']:10.4f} s {row['images_per_second']['median']:9,.0f} "
                f"images/s, peak {row['peak_resident_bytes'] / 1e6:6,.0f} MB, "
                f"grown by {row['growth_bytes'] / 1e6:4,.0f} MB"
            )
    for network, rows in feeds.items():
        print(f"{network}: images/s, as a share of resident [95 % interval], memory grown by")
        for name, row in rows.items():
            speed, share = row["images_per_second"]["median"], shown(row["of_resident"])
            print(f"{name:30} {speed:9,.0f} {share} {row['growth_bytes'] / 1e6:4,.0f} MB")


def fitted(found: dict[str, Any]) -> str:
    """An exponent and its 95 % interval, for a table."""
    interval = found["interval_95"]
    return f"size^{found['exponent']:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints tables."""
    cores = len(os.sched_getaffinity(0))
    small, large = SMALL, args.images
    if args.quick:
        small, large, args.rounds, args.seconds = 4_096, 16_384, 2, 0.2
    if large < small or args.rounds < 1:
        raise UsageError(f"--images must be at least {small:,}, and --rounds at least 1")
    wanted = args.only or (QUICK if args.quick else SWEEPS)
    sweeps, feeds = {}, {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_dataset(Path(folder), large)
        common = {
            "folder": folder,
            "feed": "streaming",
            "threads": cores,
            "device": args.device,
            "warm_up": 64,
        }
        for sweep in wanted:
            if sweep == "feeds":
                feeds = compare_feeds(small, large, common, args)
            else:
                variations = settings_of(sweep, small, large, cores, args.quick)
                sweeps[sweep] = run_sweep(sweep, variations, common, args)
    body = {"device": args.device, "cores": cores, "images": large, "sweeps": sweeps, "feeds": feeds}
    path = write("scaling", args.json, body)
    if sweeps:
        plots.scaling(sweeps, path.with_suffix(".png"))
    print_tables(sweeps, feeds)
    print(path)


if __name__ == "__main__":
    made = parser("scaling", __doc__)
    made.add_argument(
        "--images", type=int, default=10_000_000, help="in the largest file (default: %(default)s, 7.9 GB)"
    )
    made.add_argument("--folder", type=Path, help="where the file is made (default: that of temporary files)")
    made.add_argument("--only", nargs="+", choices=SWEEPS, help="some of the questions (default: all)")
    add_turns(made, rounds=7, seconds=2.0)
    main(made, measure)
