"""The journal holds every step once, in whole lines, whatever happens to the process or the disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_core.config import Config
from mnist_core.data.split import Split
from mnist_core.loop.run import BlockLog, Run
from mnist_core.metrics import Report, Tally
from mnist_core.reporting.journal import Journal, truncate
from tests.invoke import disk, leftovers

SPLIT = Split(np.zeros((20, 28, 28), np.uint8), np.zeros(20, np.uint8))


def make_run(directory: Path, step: int = 0, evaluated_at: int = -1, **changes: Any) -> Run:
    run = Run(Config(**changes), None, steps_per_epoch=4, total_steps=100, directory=directory)
    run.step, run.evaluated_at = step, evaluated_at
    return run


def block(first: int, last: int, **scalars: float) -> BlockLog:
    """Steps whose loss is 1 / step."""
    steps = np.arange(first, last + 1)
    rows = {"loss": (1 / steps).astype(np.float32)}
    rows |= {name: np.full(len(steps), value, np.float32) for name, value in scalars.items()}
    return BlockLog(steps, rows, 1.0, 1.0, len(steps), 1.0, 0.0)


def report() -> Report:
    tally = Tally()
    tally.add(np.eye(10, dtype=np.float32)[np.arange(20) % 10], np.arange(20) // 2)
    return tally.report()


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def write(run: Run, blocks: list[BlockLog], evaluated: bool = False, tested: bool = False) -> None:
    """What a process that starts at ``run`` writes."""
    journal = Journal()
    journal.on_start(run)
    for log in blocks:
        run.step = int(log.steps[-1])
        journal.on_block(run, log)
    if evaluated:
        journal.on_evaluation(run, report(), SPLIT)
    if tested:
        journal.on_test(run, report(), SPLIT)
    journal.before_checkpoint(run)
    journal.on_end(run)


def test_each_step_is_a_line_and_each_evaluation_and_the_test_one_more(tmp_path: Path) -> None:
    write(make_run(tmp_path), [block(1, 3, gradient_norm=2.5), block(4, 6, gradient_norm=0.5)], True, True)
    *trained, evaluated, tested = lines(tmp_path)
    assert [line["step"] for line in trained] == [1, 2, 3, 4, 5, 6]
    assert trained[2] == {"kind": "train", "step": 3, "epoch": 0.75, "loss": 0.33333334, "gradient_norm": 2.5}
    scores = report().to_json()
    assert tested == {"kind": "test", "step": 6, "epoch": 1.5, **scores}
    # The test's are drawn later; those of each evaluation would be most of the file.
    assert scores.pop("misclassified")
    assert evaluated == {"kind": "eval", "step": 6, "epoch": 1.5, **scores}


def test_log_every_thins_the_steps_out_whatever_the_blocks(tmp_path: Path) -> None:
    write(make_run(tmp_path, log_every=3), [block(1, 2), block(3, 7), block(8, 9)])
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 9]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_has_no_number_for_is_null(tmp_path: Path, value: float) -> None:
    write(make_run(tmp_path), [block(1, 1, gradient_norm=value)])
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert lines(tmp_path)[0]["gradient_norm"] is None


def test_numbers_keep_what_a_float32_holds(tmp_path: Path) -> None:
    written = [1.2345678e-7, 98765.43, 3.0e-38, 2.0**24, 0.1]
    write(make_run(tmp_path), [block(1, 1, **dict(zip("abcde", written, strict=True)))])
    assert [np.float32(lines(tmp_path)[0][name]) for name in "abcde"] == [np.float32(x) for x in written]
    assert '"e": 0.1' in (tmp_path / "metrics.jsonl").read_text()


def test_going_on_writes_the_later_steps_anew(tmp_path: Path) -> None:
    write(make_run(tmp_path), [block(1, 4), block(5, 9)], evaluated=True, tested=True)
    write(make_run(tmp_path, step=6), [block(7, 8), block(9, 10)])
    assert [(line["kind"], line["step"]) for line in lines(tmp_path)] == [("train", i) for i in range(1, 11)]


def test_the_test_at_the_end_is_written_anew_the_evaluation_there_is_not(tmp_path: Path) -> None:
    write(make_run(tmp_path), [block(1, 4)], evaluated=True, tested=True)
    before = lines(tmp_path)
    write(make_run(tmp_path, step=4, evaluated_at=4), [], tested=True)
    assert lines(tmp_path) == before


def test_an_evaluation_that_the_checkpoint_does_not_know_is_not_told_twice(tmp_path: Path) -> None:
    # An interrupt saves at once; the evaluation that is due at that step follows when the run goes on.
    write(make_run(tmp_path), [block(1, 4)], evaluated=True)
    before = lines(tmp_path)
    write(make_run(tmp_path, step=4, evaluated_at=-1), [], evaluated=True)
    assert lines(tmp_path) == before


def test_a_journal_that_a_kill_cut_at_any_byte_keeps_its_whole_lines(tmp_path: Path) -> None:
    write(make_run(tmp_path), [block(1, 4)])
    path = tmp_path / "metrics.jsonl"
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        truncate(path, step=3, evaluated_at=-1)
        whole = min(content[:size].count(b"\n"), 3)
        assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:whole])


def test_zeros_where_a_power_cut_lost_the_end_are_dropped(tmp_path: Path) -> None:
    write(make_run(tmp_path), [block(1, 2)])
    path = tmp_path / "metrics.jsonl"
    content = path.read_bytes()
    path.write_bytes(content + bytes(100) + b"\n")
    truncate(path, step=9, evaluated_at=-1)
    assert path.read_bytes() == content


def test_a_full_disk_takes_no_part_of_a_block(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=64k") as folder:
        run, journal, written = make_run(folder), Journal(), 0
        journal.on_start(run)
        with pytest.raises(OSError, match="No space left on device") as caught:
            for _ in range(1000):
                journal.on_block(run, block(written + 1, written + 7))
                written += 7
        journal.on_end(run)
        assert caught.value.filename == str(folder / "metrics.jsonl")
        assert [line["step"] for line in lines(folder)] == list(range(1, written + 1))
        assert not leftovers(folder)
        # Room isn't needed to go on.
        write(make_run(folder, step=7), [block(8, 9)])
        assert [line["step"] for line in lines(folder)] == list(range(1, 10))
