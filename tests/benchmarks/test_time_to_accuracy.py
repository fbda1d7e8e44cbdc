"""Each training starts from its own seed with nothing learned before, and its score is the recipe's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_a_warm_training_is_the_recipes(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    flags = ["--dataset", "digits", "--only", "no other", "--seeds", "1", "--cold", "0", "--json", str(path)]
    command = [sys.executable, "-m", "benchmarks.time_to_accuracy", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads(path.read_text())["rows"]["ours, 99 %"]
    assert row["warm_seconds"]["n"] == row["test_accuracy"]["n"] == 1
    assert row["warm_seconds"]["min"] > 0
    assert path.with_suffix(".png").stat().st_size > 1000
    trained = train("--seed", "0", "--log-dir", str(tmp_path))
    # The compiling block before must leave no trace in the weights.
    assert row["test_accuracy"]["values"][0] == pytest.approx(trained["test_accuracy"])


def train(*flags: str) -> dict:
    command = [sys.executable, "-m", "runners.train", "--json", "--recipe", "quick", "--dataset", "digits"]
    done = subprocess.run(
        [*command, "--validation-size", "0", *flags], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)
