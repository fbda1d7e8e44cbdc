"""Several networks are scored by the mean of their probabilities."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import together
from mnist_core.data.datasets import load
from mnist_core.runs import load_model
from mnist_core.vision.predictor import Predictor
from tests.forks import Forks, Training


@pytest.fixture(scope="module")
def directories(forks: Forks, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short runs of different seeds."""
    folder = tmp_path_factory.mktemp("accuracy")
    flags = "--json --model mlp --max-steps 20 --batch-size 32 --device cpu --precision float32"
    found = []
    for seed in ("0", "1"):
        argv = [*flags.split(), "--seed", seed, "--dataset", str(drawn), "--log-dir", str(folder / "logs")]
        found.append(Path(Training(forks, argv, folder / seed).result()["run_dir"]))
    return found


def test_one_network_scores_what_its_run_did(directories: list[Path]) -> None:
    result = json.loads((directories[0] / "result.json").read_text(encoding="utf-8"))
    assert 0.1 < result["test_accuracy"] < 1
    assert together(directories[:1]) == pytest.approx(result["test_accuracy"])


def test_two_networks_are_one_that_averages_their_probabilities(directories: list[Path], drawn: Path) -> None:
    test = load(str(drawn)).test
    probabilities = [Predictor(model=load_model(run)[0]).probabilities(test.images) for run in directories]
    assert np.abs(probabilities[0] - probabilities[1]).max() > 0.1
    mean = np.mean(probabilities, axis=0)
    assert together(directories) == pytest.approx((mean.argmax(axis=1) == test.labels).mean())
