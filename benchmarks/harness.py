"""What all benchmarks share: flags, statistics, one JSON schema, contestants in processes of their own."""

import argparse
import contextlib
import datetime
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from scipy import stats

from mnist_core import environment
from mnist_core.cli import Parser
from mnist_core.errors import MnistCoreError, warn
from mnist_core.files import write_json
from mnist_core.imports import import_tensorflow

SCHEMA = 2
RESULTS = Path("logs/bench")
# The benchmarks with a function of their name in `benchmarks.plots`.
PLOTTED = (
    "accuracy",
    "inference",
    "peers",
    "scaling",
    "serve",
    "throughput",
    "time_to_accuracy",
    "vision",
)


def parser(name: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    # Abbreviations would take a flag that is meant for the train command.
    made = Parser(
        prog=f"python -m benchmarks.{name}", description=description, epilog=epilog, allow_abbrev=False
    )
    made.add_argument(
        "--quick", action="store_true", help="little work: does it run? The figures mean nothing"
    )
    plot = "; a plot beside it" if name in PLOTTED else ""
    made.add_argument("--json", type=Path, metavar="FILE", help=f"default: {RESULTS}/{name}.json{plot}")
    return made


def add_turns(
    made: argparse.ArgumentParser,
    *,
    rounds: int,
    seconds: float,
    devices: tuple[str, ...] = ("cpu", "gpu"),
) -> None:
    """The flags of a benchmark whose contestants take turns; the first device is the default."""
    made.add_argument("--device", choices=devices, default=devices[0], help="default: %(default)s")
    made.add_argument(
        "--rounds", type=int, default=rounds, help="turns of each contestant (default: %(default)s)"
    )
    made.add_argument(
        "--seconds", type=float, default=seconds, help="length of a turn (default: %(default)s)"
    )


def add_only(made: argparse.ArgumentParser) -> None:
    """The flag that leaves contestants out."""
    made.add_argument(
        "--only", nargs="+", metavar="PART", help="ours, and who else has one of these in its name"
    )


def main(made: argparse.ArgumentParser, measure: Callable[..., None], *, pass_on: bool = False) -> NoReturn:
    """Runs a benchmark; an expected failure is one line and an exit code, as in the runners.

    Args:
      pass_on: give ``measure`` the unknown flags too, instead of refusing them.
    """
    try:
        if pass_on:
            measure(*made.parse_known_args())
        else:
            measure(made.parse_args())
    except MnistCoreError as error:
        warn(f"{made.prog}: error: {error}")
        sys.exit(error.exit_code)
    sys.exit(0)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """n, median, mean, standard deviation, range, and 95 % intervals.

    The median's interval is the bootstrap's (Efron 1979), which holds the truth in 96 cases of a hundred for
    nine values, 88 for seven, 75 for three. The mean's is Student's, because a bootstrap of the mean of five
    values would hold it in 86 only.
    """
    sample = np.asarray(values, np.float64)
    picks = np.random.default_rng(0).choice(sample, (10_000, len(sample)))
    sd = float(sample.std(ddof=1)) if len(sample) > 1 else None
    half = stats.t.ppf(0.975, len(sample) - 1) * sd / math.sqrt(len(sample)) if sd is not None else None
    return {
        "n": len(sample),
        "median": float(np.median(sample)),
        "median_interval_95": np.quantile(np.median(picks, axis=1), [0.025, 0.975]).tolist(),
        "mean": float(sample.mean()),
        "interval_95": None if half is None else [float(sample.mean() - half), float(sample.mean() + half)],
        "sd": sd,
        "min": float(sample.min()),
        "max": float(sample.max()),
        "values": sample.tolist(),
    }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """`summary` of ours / theirs, round by round: what slows the machine for a while slows both."""
    return summary(np.asarray(ours) / np.asarray(theirs))


def shown(ratio: dict[str, Any]) -> str:
    """The median of a `summary` and its 95 % interval, for a table."""
    low, high = ratio["median_interval_95"]
    return f"{ratio['median']:6.2f} [{low:.2f}, {high:.2f}]"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> dict[str, Any]:
    """The b of costs = a * sizes ** b: least squares on the logarithms, and Student's 95 % interval.

    Costs that lie on a curve, not on a line, widen the interval; fewer than three leave none.
    """
    line = stats.linregress(np.log(sizes), np.log(costs))
    freedom = len(sizes) - 2
    half = float(stats.t.ppf(0.975, freedom) * line.stderr) if freedom > 0 else None
    slope = float(line.slope)
    return {
        "n": len(sizes),
        "exponent": slope,
        "interval_95": None if half is None else [slope - half, slope + half],
    }


def write(name: str, path: Path | None, body: dict[str, Any]) -> Path:
    """Writes a result in the one schema of all benchmarks, and returns its path."""
    import_tensorflow()
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {
        "schema": SCHEMA,
        "benchmark": name,
        "date": datetime.date.today().isoformat(),
        "command": f"python -m benchmarks.{name} {shlex.join(sys.argv[1:])}".rstrip(),
        "environment": environment.describe(),
    }
    write_json(path, {**head, **body})
    return path


class Contestant:
    """A program in a process of its own, which answers each line that it is asked with one JSON line.

    It begins when asked and waits otherwise: one at a time has the machine. On the CPU it sees no GPU.
    """

    def __init__(self, module: str, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", f"benchmarks.contestants.{module}", json.dumps(settings)]
        # Frameworks talk much at their start; what they said matters only when they fail.
        self._said = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            env=os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if settings["device"] == "cpu" else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self.ready = self._answer()

    def ask(self, question: str = "run") -> dict[str, Any]:
        """One measurement."""
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._said.seek(0)
            raise RuntimeError(f"{self._process.args} ended with code {code}:\n{self._said.read()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._said.close()


@contextlib.contextmanager
def contest(entries: dict[str, tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Contestant]]:
    """Starts the contestants, by name: ``(module, settings)``."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(Contestant(module, settings))
            for name, (module, settings) in entries.items()
        }


def steps_for(
    seconds: float, contestants: dict[str, Contestant], batch_sizes: dict[str, int]
) -> dict[str, int]:
    """How many steps each trainer does in about so many seconds."""
    speeds = {name: one.ask("32")["images_per_second"] for name, one in contestants.items()}
    return {name: max(1, int(speed * seconds / batch_sizes[name])) for name, speed in speeds.items()}


def in_turn(names: Iterable[str], number: int) -> list[str]:
    """The order of a round, the first being 0: every other one goes backwards."""
    return list(names)[:: -1 if number % 2 else 1]


def take_turns(
    contestants: dict[str, Contestant], rounds: Iterable[int], steps: dict[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """What trainers answer to their number of steps, once a round."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in steps}
    for number in rounds:
        for name in in_turn(steps, number):
            answers[name].append(contestants[name].ask(str(steps[name])))
    return answers
