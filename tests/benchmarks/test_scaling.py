"""The growth of time and memory is measured, and nothing is left of the data made for it."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.drawn import write_dataset
from mnist_core.data.datasets import load

ROOT = Path(__file__).parents[2]


def scaling(*flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.scaling", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_data_of_three_sizes_are_streamed_beside_resident_ones(tmp_path: Path) -> None:
    path, folder = tmp_path / "scaling.json", tmp_path / "data"
    folder.mkdir()
    done = scaling("--quick", "--json", path, "--folder", folder)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    result = json.loads(path.read_text())
    assert (result["benchmark"], result["schema"], result["device"]) == ("scaling", 2, "cpu")
    found = result["sweeps"]["data"]
    assert set(found["settings"]) == {"4096", "8192", "16384"}
    low, high = found["time_exponent"]["interval_95"]
    assert low <= found["time_exponent"]["exponent"] <= high
    # The sizes lie evenly, so that the line through their medians rises as its ends do.
    seconds = [row["seconds"]["median"] for row in found["settings"].values()]
    expected = math.log(seconds[-1] / seconds[0]) / math.log(16384 / 4096)
    assert found["time_exponent"]["exponent"] == pytest.approx(expected)
    feeds = result["feeds"]["mlp"]
    assert list(feeds) == ["resident 4096", "streaming 4096", "streaming 16384"]
    for row in [*found["settings"].values(), *feeds.values()]:
        assert row["images_per_second"]["n"] == 2
        assert row["images_per_second"]["min"] > 0
        assert 0 <= row["growth_when_warm_bytes"] <= row["growth_bytes"] < row["peak_resident_bytes"]
    assert feeds["resident 4096"]["of_resident"]["median"] == 1
    assert path.with_suffix(".png").stat().st_size > 1000
    assert "of these" in done.stdout


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--images", 10**12], "room to spare need 785,001"),
        (["--images", 100], "--images must be at least"),
        (["--folder", "absent"], "absent: no such folder"),
    ],
)
def test_what_can_not_be_measured_is_refused_in_one_line(tmp_path: Path, flags: list, named: str) -> None:
    done = scaling("--folder", tmp_path, *flags, "--json", tmp_path / "scaling.json")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert named in line
    assert list(tmp_path.iterdir()) == []


def test_the_data_made_are_a_dataset_whose_repeats_are_moved(tmp_path: Path) -> None:
    write_dataset(tmp_path, 20_005)
    train = load(str(tmp_path), mmap=True).train
    assert len(train) == 20_005
    assert (train.labels[:10_000] == train.labels[10_000:20_000]).all()
    for number in (0, 1, 4):
        assert train.images[number].any()
        assert (train.images[number] != train.images[10_000 + number]).any()
