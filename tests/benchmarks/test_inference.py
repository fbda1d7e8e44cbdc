"""The latencies are measured, on ways that give the same probabilities."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.contestants.engines import ENGINES
from benchmarks.inference import NEEDS, measure
from mnist_core import models
from mnist_core.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return models.build(models.create("mlp"))


@pytest.mark.parametrize("name", ENGINES)
def test_every_way_gives_the_same_probabilities(name: str, network: keras.Model) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")
    engine = ENGINES[name](network)
    for count in (3, 1, 20):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        np.testing.assert_allclose(engine(images), ENGINES["model(x)"](network)(images), atol=1e-5)


def test_the_ways_that_are_raced_have_their_latencies(tmp_path: Path) -> None:
    path = tmp_path / "inference.json"
    command = [sys.executable, "-m", "benchmarks.inference", "--quick", "--model", "mlp"]
    command += ["--only", "(x)", "as it is", "ours, L", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert set(result["batch_sizes"]) == {"1", "64"}
    names = {"ours", "ours as it is", "model(x)"}
    if importlib.util.find_spec("ai_edge_litert"):
        names.add("ours, LiteRT")
    else:
        assert "ai_edge_litert is not installed" in done.stderr
    for rows in result["batch_sizes"].values():
        assert set(rows) == names
        for row in rows.values():
            p50, p95, p99 = (row[f"latency_us_{name}"]["median"] for name in ("p50", "p95", "p99"))
            assert 0 < p50 <= p95 <= p99
            assert set(row["ours_is_faster_by"]) == names - {"model(x)"}
        assert rows["ours"]["ours_is_faster_by"]["ours"]["values"] == [1.0, 1.0]
    assert path.with_suffix(".png").stat().st_size > 1000


def test_a_batch_that_can_not_be_asked_is_refused() -> None:
    with pytest.raises(UsageError, match="--batch-size from 1 to 4096"):
        measure(argparse.Namespace(rounds=1, batch_size=[1, 5000]))
