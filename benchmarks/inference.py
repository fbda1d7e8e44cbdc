"""How fast is an answer? Latency of one image and throughput of many, for our predictor and Keras's ways.

Each way is a process of its own with the same weights; their probabilities must agree. They take turns.
From uint8 pixels in memory to probabilities in memory, on a network with drawn weights.
"""

import argparse
from typing import Any

import numpy as np

from benchmarks.contestants.engines import ENGINES
from benchmarks.harness import add_turns, contest, main, parser, ratios, shown, summary, write

TOLERANCE = 1e-4


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON, prints a table."""
    sizes = [1, 64] if args.quick else args.batch_size
    rounds, seconds = (2, 0.1) if args.quick else (args.rounds, args.seconds)
    entries = {
        name: ("engines", {"engine": name, "model": args.model, "device": args.device}) for name in ENGINES
    }
    times: dict[int, dict[str, list[list[float]]]] = {size: {name: [] for name in ENGINES} for size in sizes}
    with contest(entries) as engines:
        answers = {name: np.array(one.ready["probabilities"]) for name, one in engines.items()}
        for name, answer in answers.items():
            if np.abs(answer - answers["ours"]).max() > TOLERANCE:
                raise RuntimeError(f"{name} gives other probabilities than ours")
        for size in sizes:
            for _ in range(rounds):
                for name, one in engines.items():
                    times[size][name].append(one.ask(f"[{size}, {seconds}]")["seconds"])
    results: dict[str, Any] = {}
    for size, found in times.items():
        p50 = {name: [quantiles[0] for quantiles in values] for name, values in found.items()}
        results[str(size)] = {
            name: {
                **{
                    f"latency_us_{label}": summary([quantiles[i] * 1e6 for quantiles in values])
                    for i, label in enumerate(("p50", "p95", "p99"))
                },
                "images_per_second": summary([size / value for value in p50[name]]),
                "ours_is_faster_by": ratios(p50[name], p50["ours"]),
            }
            for name, values in found.items()
        }
    path = write("inference", args.json, {"model": args.model, "device": args.device, "batch_sizes": results})
    for size, rows in results.items():
        print(f"batch size {size}: latency p50, p95, p99 in us; images/s; how many times faster ours is")
        for name, row in rows.items():
            latency = " ".join(
                f"{row[f'latency_us_{label}']['median']:9,.0f}" for label in ("p50", "p95", "p99")
            )
            speed = row["images_per_second"]["median"]
            print(f"{name:16} {latency} {speed:10,.0f} {shown(row['ours_is_faster_by'])}")
    print(path)


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
    main(made, measure)
