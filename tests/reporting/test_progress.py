"""The progress bar on a real terminal, and its silence elsewhere."""

import contextlib
import fcntl
import os
import pty
import struct
import termios

import numpy as np
import pytest

from mnist_core.config import Config
from mnist_core.data.split import Split
from mnist_core.loop.run import BlockLog, Run
from mnist_core.metrics import Report, Tally
from mnist_core.reporting.progress import Progress

SPLIT = Split(np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8))


def scores() -> Report:
    tally = Tally()
    tally.add(np.eye(10, dtype=np.float32)[:4], np.array([0, 1, 2, 9]))
    return tally.report()


def show(first: int, last: int) -> None:
    """What a run from one step to another shows, in blocks of ten, with an evaluation at its end."""
    run = Run(Config(), None, steps_per_epoch=10, total_steps=40, step=first)
    progress = Progress()
    progress.on_start(run)
    for begin in range(first, last, 10):
        run.step = begin + 10
        losses = np.full(10, begin / 100, np.float32)
        steps = np.arange(begin + 1, begin + 11)
        progress.on_block(run, BlockLog(steps, {"loss": losses}, 1.0, 1.0, 4321, 1.0, 0.0))
    progress.on_evaluation(run, scores(), SPLIT)
    progress.on_end(run)


def watch(first: int, last: int) -> list[str]:
    """The states of the bar's line on a terminal of 120 columns, one after the other."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with os.fdopen(writer, "w", encoding="utf-8") as stderr, contextlib.redirect_stderr(stderr):
        show(first, last)
    text = b""
    # A terminal whose last writer is gone gives what is left, then an error.
    with contextlib.suppress(OSError):
        while chunk := os.read(reader, 65536):
            text += chunk
    os.close(reader)
    text = text.decode()
    assert text.endswith("\n"), "the next message would begin at the bar's end"
    return text.strip().split("\r")


def test_a_terminal_sees_steps_loss_throughput_and_validation() -> None:
    first, *_, last = watch(0, 40)
    assert "0/40" in first
    for part in ("100%", "40/40", "loss=0.3000", "images/s=4,321", "validation=75.00%"):
        assert part in last
    assert len(last) <= 120


def test_a_run_that_goes_on_is_shown_from_where_it_stood() -> None:
    first, *_, last = watch(20, 30)
    assert "20/40" in first
    assert "30/40" in last


def test_nothing_is_written_where_nobody_watches(capfd: pytest.CaptureFixture) -> None:
    show(0, 40)
    assert capfd.readouterr() == ("", "")


def test_a_run_that_failed_before_its_start_can_be_closed() -> None:
    Progress().on_end(Run(Config(), None, steps_per_epoch=1, total_steps=1))
