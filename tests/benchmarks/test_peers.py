"""The race runs, its contestants do the same work, and what can't be raced is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def peers(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.peers", "--dataset", "synthetic", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_keras_trains_what_we_train_and_both_have_a_speed(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    done = peers("--quick", "--batch-size", "32", "--only", "our layers, bfloat16", "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert (result["benchmark"], result["schema"], result["device"]) == ("peers", 2, "cpu")
    rows = result["batch_sizes"]["32"]
    assert {"ours", "ours, bfloat16", "Keras fit, tuned, our layers, bfloat16"} == set(rows)
    for row in rows.values():
        assert row["mean_loss_without_dropout"] == pytest.approx(
            rows["ours"]["mean_loss_without_dropout"], abs=0.03
        )
        assert row["images_per_second"]["n"] == 2
        assert row["ours_is_faster_by"]["ours"]["min"] > 0
    assert path.with_suffix(".png").stat().st_size > 1000
    assert "ours" in done.stdout


@pytest.mark.parametrize("flags", [["--batch-size", "128"], ["--rounds", "0", "--batch-size", "32"]])
def test_what_can_not_be_raced_is_refused_in_one_line(flags: list[str]) -> None:
    done = peers(*flags)
    assert done.returncode == 2
    assert "full batches, whose losses are compared" in done.stderr.splitlines()[-1]
