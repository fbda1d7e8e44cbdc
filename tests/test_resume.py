"""A run that is killed, or whose disk is full, goes on and ends with the same weights and the same history.

The number of kills, their moments and what is trained can be chosen by hand, all of MNIST for example::

    MNIST_CORE_KILLS=20 MNIST_CORE_KILL_SEED=1 MNIST_CORE_KILL_RUN="--epochs 2 --checkpoint-every 40" \
        python -m pytest tests/test_resume.py -k kill --timeout 3000 -s
"""

import dataclasses
import os
import random
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mnist_core import runs
from mnist_core.config import Config
from mnist_core.errors import InputError, UsageError
from mnist_core.loop.checkpoint import Checkpoints, read_checkpoint
from tests.compare import check_same_run, journal, last_step, result, trained
from tests.forks import Training, wait_until
from tests.invoke import disk, leftovers

KILLS = max(4, int(os.environ.get("MNIST_CORE_KILLS", "4")))
SEED = int(os.environ.get("MNIST_CORE_KILL_SEED", "0"))
CHOSEN = shlex.split(os.environ.get("MNIST_CORE_KILL_RUN", ""))
Start = Callable[..., Training]


@pytest.fixture
def halted(whole: Path, tmp_path: Path) -> Path:
    """The same run as a kill would have left it at step 59: its newest checkpoint is of step 56."""
    directory = tmp_path / "logs" / whole.name
    shutil.copytree(whole, directory)
    for name in ("result.json", "checkpoints/step-00000060.npz"):
        (directory / name).unlink()
    return directory


class Moments:
    """Waits for the moments of a run at which to kill it."""

    def __init__(self, logs: Path, steps: int) -> None:
        self._logs = logs
        self._random = random.Random(SEED)
        later = sorted(self._random.randrange(steps) for _ in range(KILLS - 3))
        ways = [self._writing_a_checkpoint, self._after_a_block]
        self.waits = [
            lambda: time.sleep(self._random.uniform(0, 1)),  # most likely before the run has a directory
            self._tracing,
            *(lambda step=step, way=ways[i % 2]: way(step) for i, step in enumerate(later)),
            lambda: self._before_the_result(steps),
        ]
        self.half_written: set[Path] = set()

    def _tracing(self) -> None:
        wait_until(lambda: list(self._logs.glob("*/metrics.jsonl")))
        time.sleep(self._random.uniform(0, 1))

    def _after_a_block(self, step: int) -> None:
        # What the attempt before this one left doesn't count.
        before = self._journals()
        wait_until(lambda: self._journals() != before and last_step(self._logs) >= step)
        time.sleep(self._random.uniform(0, 0.2))

    def _writing_a_checkpoint(self, step: int) -> None:
        before = self._partial_files()
        wait_until(lambda: last_step(self._logs) >= step)
        wait_until(lambda: self._partial_files() - before, pause=0.0005)

    def _before_the_result(self, steps: int) -> None:
        wait_until(lambda: list(self._logs.glob(f"*/checkpoints/step-{steps:08d}.npz")))

    def _journals(self) -> list[int]:
        return [path.stat().st_mtime_ns for path in self._logs.glob("*/metrics.jsonl")]

    def _partial_files(self) -> set[Path]:
        return set(self._logs.glob("*/checkpoints/.*.partial"))

    def check_after_a_kill(self) -> None:
        """Every checkpoint that has its name is whole."""
        self.half_written |= self._partial_files()
        for path in self._logs.glob("*/checkpoints/*.npz"):
            read_checkpoint(path)


def test_kills_at_any_moment_leave_no_trace(
    start: Start, whole: Path, options: list[str], tmp_path: Path
) -> None:
    if CHOSEN:
        options = CHOSEN
        whole = Path(start(*CHOSEN, "--log-dir", tmp_path / "whole").result()["run_dir"])
    logs = tmp_path / "logs"
    moments = Moments(logs, result(whole)["steps"])
    for wait in moments.waits:
        training = start(*options, "--log-dir", logs, "--resume")
        wait()
        training.signal(signal.SIGKILL)
        assert training.wait() == -signal.SIGKILL
        moments.check_after_a_kill()
        print(f"killed at step {last_step(logs)}; it said {training.stderr[-1:]}")
    ended = start(*options, "--log-dir", logs, "--resume").result()
    print(
        f"{len(moments.waits)} kills, {len(moments.half_written)} of them while writing a checkpoint: {ended}"
    )
    check_same_run(Path(ended["run_dir"]), whole)


def test_a_half_written_checkpoint_is_passed_over_and_removed(
    start: Start, halted: Path, whole: Path
) -> None:
    newest = halted / "checkpoints/step-00000056.npz"
    # As a kill leaves it whose moment no clock hits for certain.
    (newest.parent / ".step-00000063.npz.k1ll.partial").write_bytes(newest.read_bytes()[:9999])
    start("--resume", halted).result()
    check_same_run(halted, whole)
    assert not leftovers(halted)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_taken(
    start: Start, halted: Path, whole: Path
) -> None:
    newest = halted / "checkpoints/step-00000056.npz"
    os.truncate(newest, newest.stat().st_size // 2)
    training = start("--resume", halted)
    training.result()
    skipped, begun = training.stderr
    assert skipped.startswith(f"skipped a checkpoint: {newest}: damaged")
    assert "from step 49 to 60" in begun
    check_same_run(halted, whole)


def test_no_changed_bit_of_a_checkpoint_goes_unnoticed(tmp_path: Path) -> None:
    meta = {"run": {"step": 1}, "hooks": {}}
    arrays = [np.arange(7, dtype=np.float32), np.ones((2, 3), np.float32)]
    path = Checkpoints(tmp_path).save(1, {"model": arrays}, meta)
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            groups, found = read_checkpoint(path)
        except InputError:
            continue
        # The container has bytes of its own, such as the times of its members, that mean nothing here.
        assert found == {"format": 1, "step": 1, "arrays": 2, **meta}
        for array, wanted in zip(groups["model"], arrays, strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_a_run_without_an_intact_checkpoint_or_with_a_foreign_one_is_refused(
    start: Start, halted: Path
) -> None:
    folder = halted / "checkpoints"
    groups, meta = read_checkpoint(folder / "step-00000049.npz")
    (folder / "step-00000049.npz").unlink()
    (folder / "step-00000056.npz").write_bytes(b"no zip file")
    training = start("--resume", halted)
    assert training.wait() == 3
    assert training.stderr[-1].endswith("has no intact checkpoint; train a new run, or name another one")

    # A checkpoint of this kind, but not of this network.
    (folder / "step-00000056.npz").unlink()
    Checkpoints(folder).save(58, {"model": groups["model"][1:], "optimizer": groups["optimizer"]}, meta)
    training = start("--resume", halted)
    assert training.wait() == 3
    (line,) = training.stderr
    assert "step-00000058.npz: its 17 model variables" in line
    assert "don't fit the 18 of the run; it belongs to another network or optimizer" in line


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_only_what_leaves_the_weights_alone_may_change(field: dataclasses.Field, whole: Path) -> None:
    stored = runs.read_json(whole / runs.CONFIG)
    value = getattr(stored, field.name)
    others = [*(field.metadata["choices"] or ()), not value, 0.3, 3, "7", "mlp"]
    for other in others:
        try:
            changed = stored.replace(**{field.name: other})
        except UsageError:
            continue
        if getattr(changed, field.name) != value:
            break
    if field.metadata["resumable"]:
        runs.check_same(whole, changed)
    else:
        with pytest.raises(UsageError, match=f"--{field.name.replace('_', '-')} is .* was started with"):
            runs.check_same(whole, changed)


def test_another_configuration_is_refused_by_name_and_nothing_is_touched(start: Start, halted: Path) -> None:
    before = (halted / "metrics.jsonl").read_bytes()
    training = start("--resume", halted, "--momentum", 0.8)
    assert training.wait() == 2
    (line,) = training.stderr
    assert f"--momentum is 0.8, but {halted} was started with 0.9" in line
    assert (halted / "metrics.jsonl").read_bytes() == before


def test_how_a_run_is_cut_and_kept_may_change_and_its_time_adds_up(
    start: Start, halted: Path, whole: Path
) -> None:
    newest = halted / "checkpoints/step-00000056.npz"
    groups, meta = read_checkpoint(halted / "checkpoints/step-00000049.npz")
    meta["run"]["seconds"] = 1000.0
    Checkpoints(newest.parent).save(49, groups, meta)
    newest.unlink()
    begun = time.monotonic()
    ended = start("--resume", halted, "--steps-per-block", 5, "--log-every", 3, "--keep", 1).result()
    assert ended["weights_sha256"] == result(whole)["weights_sha256"]
    assert 1000 < ended["train_seconds"] < 1000 + time.monotonic() - begun
    assert trained(halted) == [*range(1, 50), 51, 54, 57, 60]
    as_whole = runs.read_json(whole / runs.CONFIG)
    assert runs.read_json(halted / runs.CONFIG) == as_whole.replace(steps_per_block=5, log_every=3, keep=1)
    assert [path.name for path in newest.parent.glob("step-*")] == ["step-00000060.npz"]


def test_a_finished_run_gives_its_result_again(start: Start, whole: Path) -> None:
    history = (whole / "metrics.jsonl").stat()
    # What auto stood for when it began is what it goes on with.
    training = start("--resume", whole, "--precision", "auto")
    assert training.result() == result(whole)
    assert training.stderr == [f"{whole} has already ended; this is its result"]
    assert (whole / "metrics.jsonl").stat() == history


def test_a_run_has_one_writer(start: Start, halted: Path, whole: Path) -> None:
    first = start("--resume", halted)
    wait_until(lambda: last_step(halted.parent) == 56)
    second = start("--resume", halted)
    assert second.wait() == 2
    assert second.stderr[-1].endswith(
        f"another process is training {halted}; wait for it, or start a new run without --resume"
    )
    first.result()
    check_same_run(halted, whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk(tmp_path / "disk", "size=8m") as folder:
        yield folder


@pytest.mark.parametrize("left", [0, 200_000])
def test_a_full_disk_ends_a_run_that_can_go_on_later(
    start: Start, small_disk: Path, options: list[str], whole: Path, left: int
) -> None:
    logs, filler = small_disk / "logs", small_disk / "filler"
    training = start(*options, "--log-dir", logs)
    wait_until(lambda: list(logs.glob("*/checkpoints/step-*")))
    with filler.open("wb", buffering=0) as file:
        while (free := os.statvfs(small_disk).f_bavail * 4096 - left) > 0 and file.write(bytes(free)):
            pass
    assert training.wait() == 1
    _, line = training.stderr
    (directory,) = logs.iterdir()
    assert str(directory) in line
    assert "No space left on device; free space or mend the folder, then run again" in line
    assert journal(directory)
    assert not leftovers(directory)
    for path in (directory / "checkpoints").iterdir():
        read_checkpoint(path)

    filler.unlink()
    start("--resume", directory).result()
    check_same_run(directory, whole)
