"""Ctrl-C and SIGTERM: what is said, what is saved, and that the run goes on as if it had not been stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_core.data.split import Split
from mnist_core.errors import InterruptedRunError
from mnist_core.interrupt import SIGNALS, Interrupts
from mnist_core.loop.checkpoint import Checkpoints
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import BlockLog, Run
from mnist_core.metrics import Report
from mnist_core.reporting.journal import Journal
from tests.compare import check_same_run, journal, last_step
from tests.forks import ROOT, Training, wait_until
from tests.loop.small import make

Start = Callable[..., Training]
# Busy in one call that lets go of Python's lock, as a call of the device does. It takes half an hour.
BUSY = """
import hashlib
from mnist_core.interrupt import Interrupts
with Interrupts():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_request_and_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts() as interrupts:
        assert not interrupts.requested
        signal.raise_signal(number)
        assert interrupts.requested
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []

    def enter() -> None:
        with Interrupts() as interrupts:
            seen.append((interrupts.requested, [signal.getsignal(number) for number in SIGNALS]))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_ends_the_process_while_the_device_is_busy(second: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "busy\n"
        process.send_signal(signal.SIGINT)
        # Two of a kind at once may be delivered as one.
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(second)
        assert process.wait(timeout=30) == 130
        (line,) = process.stderr.read().splitlines()
        assert line.startswith("interrupted twice: left without saving")


def test_two_signals_at_once_are_one_request() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "busy\n"
        for number in SIGNALS:
            process.send_signal(number)
        time.sleep(1)
        running = process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert running


class Sender(Hook):
    """Sends this process a signal in a block that ends at a step, or in the evaluation there."""

    def __init__(self, event: str, step: int) -> None:
        self._event, self._step = event, step

    def on_block(self, run: Run, log: BlockLog) -> None:
        self._send("block", run.step)

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        self._send("evaluation", run.step)

    def _send(self, event: str, step: int) -> None:
        if (event, step) == (self._event, self._step):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("event", ["block", "evaluation"])
@pytest.mark.parametrize("step", [5, 10, 12])
def test_an_interrupt_at_any_point_of_the_loop_leaves_no_trace(event: str, step: int, tmp_path: Path) -> None:
    changes = {"max_steps": 12, "steps_per_block": 5, "eval_every": "5", "validation_size": 50, "lr": 0.1}
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    for folder in (whole, halted):
        folder.mkdir()
    expected = make(**changes, hooks=[Journal()]).fit(whole)
    with pytest.raises(InterruptedRunError, match=f"interrupted at step {step}, which is saved; go on with"):
        make(**changes, hooks=[Journal(), Sender(event, step)]).fit(halted)
    (saved,) = Checkpoints(halted / "checkpoints").paths()[:1]
    assert saved.name == f"step-{step:08d}.npz"
    again = make(**changes, hooks=[Journal()])
    again.restore(saved)
    assert again.fit(halted).weights_sha256 == expected.weights_sha256
    assert journal(halted) == journal(whole)


def test_a_signal_while_a_run_is_being_ended_is_one_too_many_and_harms_nothing(tmp_path: Path) -> None:
    class Late(Hook):
        def on_end(self, run: Run) -> None:
            signal.raise_signal(signal.SIGTERM)

    assert make(max_steps=5, hooks=[Late()]).fit(tmp_path).run.step == 5


@pytest.fixture
def begun(start: Start, options: list[str], tmp_path: Path) -> tuple[Training, Path]:
    """A command that has just been started, and its log folder."""
    return start(*options, "--log-dir", tmp_path / "logs"), tmp_path / "logs"


# At step 0 the first block is being traced.
@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 0), (signal.SIGTERM, 20)])
def test_a_stopped_command_says_so_in_one_line_and_goes_on_to_the_same_end(
    begun: tuple[Training, Path], start: Start, whole: Path, number: signal.Signals, step: int
) -> None:
    training, logs = begun
    wait_until(lambda: list(logs.glob("*/metrics.jsonl")) and last_step(logs) >= step, pause=0.002)
    training.signal(number)
    assert training.wait() == 130
    (directory,) = logs.iterdir()
    _, line = training.stderr
    stopped = f"interrupted at step {last_step(logs)}, which is saved; go on with --resume {directory}"
    assert line.endswith(f": error: {stopped}")
    assert training.stdout == ""
    start("--resume", directory).result()
    check_same_run(directory, whole)


def test_a_run_that_is_stopped_without_patience_goes_on_too(
    begun: tuple[Training, Path], start: Start, whole: Path
) -> None:
    training, logs = begun
    wait_until(lambda: last_step(logs) >= 14, pause=0.002)
    for _ in range(20):
        training.signal(signal.SIGINT)
        time.sleep(0.02)
    assert training.wait() == 130
    _, line = training.stderr
    assert "interrupted" in line
    start("--resume", "--log-dir", logs).result()
    (directory,) = logs.iterdir()
    check_same_run(directory, whole)


def test_a_stopped_dry_run_advises_nothing_that_is_gone(start: Start, options: list[str]) -> None:
    training = start(*options, "--dry-run", "--epochs", 1)
    (begun,) = wait_until(lambda: training.stderr)
    folder = Path(begun.rpartition(": ")[2])
    # From here on a signal is a request, and the first block is being traced.
    wait_until((folder / "metrics.jsonl").exists, pause=0.002)
    training.signal(signal.SIGINT)
    assert training.wait() == 130
    assert training.stderr[-1].endswith(": error: dry run interrupted; nothing was kept")
    assert not folder.exists()


# Before our code starts, Python ends with a traceback. TensorFlow's imports are not listed: it is silenced.
@pytest.mark.parametrize(
    ("imported", "seconds"),
    [("mnist_core.diagnosis", 0), ("mnist_core.diagnosis", 1), ("mnist_core.models", 0)],
)
def test_ctrl_c_while_everything_is_imported_ends_with_one_line_and_leaves_nothing(
    tmp_path: Path, imported: str, seconds: float
) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "runners.train", "--dataset", "synthetic"]
    argv += ["--log-dir", str(tmp_path / "logs")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPP")}
    with subprocess.Popen(argv, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert any(line.endswith(f" {imported}\n") for line in process.stderr)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        lines = [line for line in process.stderr if not line.startswith("import time:")]
    # Shells know both as 130: Python itself ends by the signal where C code has seen the interrupt.
    assert process.returncode in (130, -signal.SIGINT)
    assert lines == ["python -m runners.train: error: interrupted; nothing was left to save\n"]
    assert not (tmp_path / "logs").exists()
