"""The race runs, its contestants do the same work, and what can't be raced is refused."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import measure
from mnist_core.errors import UsageError

ROOT = Path(__file__).parents[2]


def test_keras_trains_what_we_train_and_both_have_a_speed(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    flags = ["--quick", "--batch-size", "32", "--only", "tuned, our layers, bfloat16", "--json", str(path)]
    command = [sys.executable, "-m", "benchmarks.peers", "--dataset", "synthetic", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
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


@pytest.mark.parametrize(("rounds", "batch_size"), [(7, 128), (0, 32)])
def test_what_can_not_be_raced_is_refused(rounds: int, batch_size: int) -> None:
    flags = argparse.Namespace(dataset="synthetic", rounds=rounds, batch_size=[batch_size], only=["ours"])
    with pytest.raises(UsageError, match="full batches, whose losses are compared"):
        measure(flags)
