"""The pictures of the benchmarks."""

from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter


def peers(results: dict[str, Any], path: Path) -> None:
    """Bars of images a second for each contestant, one panel a batch size, with 95 % intervals."""
    figure = Figure(figsize=(11, 1.5 + 0.28 * max(map(len, results.values()))), layout="constrained")
    for axes, (batch_size, rows) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        speeds = {name: row["images_per_second"] for name, row in rows.items()}
        names = sorted(speeds, key=lambda name: speeds[name]["median"])
        medians = [speeds[name]["median"] for name in names]
        intervals = [speeds[name]["median_interval_95"] for name in names]
        errors = [
            [median - low for median, (low, _) in zip(medians, intervals, strict=True)],
            [high - median for median, (_, high) in zip(medians, intervals, strict=True)],
        ]
        colours = ["tab:orange" if name.startswith("ours") else "tab:blue" for name in names]
        axes.barh(names, medians, xerr=errors, color=colours)
        axes.set(title=f"batch size {batch_size}", xlabel="images/s (training)")
    figure.savefig(path, dpi=120)


def throughput(rows: dict[str, Any], curves: dict[str, dict[int, Any]], path: Path) -> None:
    """Images a second of each setting, the share of the peak beside them, and over the batch size."""
    figure = Figure(figsize=(14, 1.2 + 0.32 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for place, row in enumerate(rows.values()):
        speed = row["images_per_second"]
        low, high = speed["median_interval_95"]
        colour = "tab:orange" if "bfloat16" in row["precision"] else "tab:blue"
        errors = [[speed["median"] - low], [high - speed["median"]]]
        left.barh(place, speed["median"], xerr=errors, color=colour)
        left.text(1.05 * high, place, f"{row['of_peak']['median']:.0%}", va="center")
    left.set(xscale="log", xlabel="images/s (training), and the share of the peak")
    left.set_yticks(range(len(rows)), list(rows))
    left.margins(x=0.1)
    left.invert_yaxis()
    for name, curve in curves.items():
        right.plot(list(curve), [speed["median"] for speed in curve.values()], "o-", label=name)
    right.set(xscale="log", yscale="log", xlabel="batch size", ylabel="images/s (training)")
    right.legend()
    for axis in (left.xaxis, right.xaxis, right.yaxis):
        _number(axis)
    figure.savefig(path, dpi=120)


def time_to_accuracy(rows: dict[str, Any], path: Path) -> None:
    """Test accuracy against seconds of training, a dot for each score of each seed."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, row in rows.items():
        dots = [dot for trace in row["traces"] for dot in trace]
        axes.plot(
            [seconds for seconds, _ in dots],
            [100 * accuracy for _, accuracy in dots],
            "o",
            alpha=0.6,
            label=f"{name} (n = {len(row['traces'])})",
        )
    axes.set(xscale="log", xlabel="seconds of training and scoring", ylabel="test accuracy, %")
    _number(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def scaling(sweeps: dict[str, Any], path: Path) -> None:
    """Time above and memory below over what was varied, both axes logarithmic, with the fitted exponents."""
    figure = Figure(figsize=(3.6 * len(sweeps), 6), layout="constrained")
    rows = figure.subplots(2, len(sweeps), squeeze=False)
    panels = (("seconds", "time_exponent"), ("peak memory (MB)", "memory_exponent"))
    for axes_row, (label, fitted) in zip(rows, panels, strict=True):
        for axes, (varied, found) in zip(axes_row, sweeps.items(), strict=True):
            sizes = [float(size) for size in found["settings"]]
            costs = [
                row["seconds"]["median"] if label == "seconds" else row["peak_resident_bytes"] / 1e6
                for row in found["settings"].values()
            ]
            axes.loglog(sizes, costs, "o-")
            # Noise around a flat line shall look flat.
            axes.set_ylim(min(costs) / 2, max(costs) * 2)
            _number(axes.yaxis)
            axes.set(title=f"exponent {found[fitted]['exponent']:.2f}", xlabel=varied, ylabel=label)
            axes.grid(which="both", alpha=0.3)
    figure.savefig(path, dpi=120)


def inference(results: dict[str, Any], path: Path) -> None:
    """Latency at the smallest batch, p50 with marks up to p99, and images a second over the batch size."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    smallest, rows = next(iter(results.items()))
    for place, (name, row) in enumerate(rows.items()):
        p50, p95, p99 = (row[f"latency_us_{label}"]["median"] for label in ("p50", "p95", "p99"))
        colour = "tab:orange" if name.startswith("ours") else "tab:blue"
        left.barh(place, p50, color=colour)
        left.plot([p50, p95, p99], [place] * 3, color="black", marker="|", linewidth=1)
    left.set(xscale="log", xlabel=f"latency in us, p50, p95, p99 (batch size {smallest})")
    left.set_yticks(range(len(rows)), rows)
    left.invert_yaxis()
    sizes = list(map(int, results))
    # Of more ways than the usual cycle has colours.
    right.set_prop_cycle(color=colormaps["tab20"].colors)
    for name in rows:
        speeds = [results[size][name]["images_per_second"]["median"] for size in results]
        width = 2.5 if name.startswith("ours") else 1
        right.plot(sizes, speeds, label=name, marker="o", markersize=3, linewidth=width)
    right.set(xscale="log", yscale="log", xlabel="batch size", ylabel="images/s (inference)")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def accuracy(result: dict[str, Any], path: Path) -> None:
    """Test accuracy of each seed, their mean with its 95 % interval, and that of all networks together."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    runs, mean = result["runs"], result["test_accuracy"]
    axes.plot(
        [run["seed"] for run in runs], [100 * run["test_accuracy"] for run in runs], "o", label="a seed"
    )
    axes.axhline(100 * mean["mean"], color="tab:blue", label=f"mean, {mean['mean']:.3%}")
    if mean["interval_95"]:
        low, high = mean["interval_95"]
        axes.axhspan(100 * low, 100 * high, alpha=0.15, label="its 95 % interval")
    if together := result["ensemble_accuracy"]:
        axes.axhline(100 * together, color="tab:orange", label=f"all together, {together:.3%}")
    axes.set(title=f"recipe {result['recipe']}", xlabel="seed", ylabel="test accuracy, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def vision(kinds: dict[str, Any], path: Path) -> None:
    """The share of pictures of each kind that was read without a mistake, and its 95 % interval."""
    figure = Figure(figsize=(8, 1 + 0.22 * len(kinds)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(kinds.values()):
        exact, low, high = (100 * share for share in (row["exact"], *row["exact_interval_95"]))
        axes.barh(
            place,
            exact,
            color="tab:orange",
            xerr=[[exact - low], [high - exact]],
            error_kw={"linewidth": 0.8},
        )
        axes.text(101, place, f"{row['exact']:.0%} of {row['n']}", va="center", fontsize="small")
    axes.set(xlim=(0, 118), xlabel="read without a mistake, %")
    axes.set_yticks(range(len(kinds)), list(kinds))
    axes.invert_yaxis()
    axes.margins(y=0.01)
    figure.savefig(path, dpi=120)


def serve(clients: dict[str, Any], path: Path) -> None:
    """Pictures a second, and how long an answer takes, p50 with marks up to p99, by how many clients ask."""
    figure = Figure(figsize=(9, 2.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, row in enumerate(clients.values()):
        left.barh(place, row["pictures_per_second"]["median"], color="tab:orange")
        latencies = [row[name]["median"] for name in ("p50_ms", "p95_ms", "p99_ms")]
        right.barh(place, latencies[0], color="tab:orange")
        right.plot(latencies, [place] * 3, color="black", marker="|", linewidth=1)
    left.set(xlabel="pictures/s", ylabel="clients")
    right.set(xscale="log", xlabel="milliseconds to the answer, p50, p95, p99")
    for axes in (left, right):
        axes.set_yticks(range(len(clients)), list(clients))
    _number(right.xaxis)
    figure.savefig(path, dpi=120)


def _number(axis: Axis) -> None:
    """Marks 1, 2 and 5 of each power of ten on a logarithmic axis, of a long one only 1, in plain numbers."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axis.set_minor_formatter(NullFormatter())
