"""Commands as the tests call them, inside this process or as one of their own, and disks to fill: no test."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_core import cli

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended: its exit code, its stdout, the lines of its stderr."""

    code: int
    stdout: str
    stderr: list[str]

    def json(self) -> Any:
        """The one document that stdout holds."""
        return json.loads(self.stdout)

    def failure(self, code: int) -> str:
        """The last line of stderr, after checks that all failures have in common."""
        assert self.code == code, self
        assert not any("Traceback" in line for line in self.stderr), self
        assert [line for line in self.stderr if ": error: " in line] == self.stderr[-1:], self
        return self.stderr[-1]


def call(captured: pytest.CaptureFixture, name: str, *argv: object) -> Done:
    """Runs a command in this process, which imports TensorFlow only once."""
    # TensorFlow warns when many commands of one process trace functions of the same name.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with pytest.raises(SystemExit) as left:
        cli.run(name, [str(argument) for argument in argv])
    output = captured.readouterr()
    return Done(left.value.code, output.out, output.err.splitlines())


def spawn(*argv: object, cwd: Path = ROOT, stdout: Any = subprocess.PIPE, **variables: str) -> Done:
    """Runs Python with ``argv`` in a process of its own, with the environment of a user."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TF_CPP", "KERAS", "PYTHON"))
    }
    done = subprocess.run(
        [sys.executable, *map(str, argv)],
        cwd=cwd,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.splitlines())


def mount(folder: Path, options: str) -> None:
    """Mounts an empty disk in memory, or skips the test where that isn't allowed."""
    if not shutil.which("mount"):
        pytest.skip("no mount command: can't make a small disk")
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"can't mount a small disk: {' '.join(done.stderr.split())}")


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A small disk at ``folder``, such as of ``size=64k``, or ``ro``."""
    mount(folder, options)
    try:
        yield folder
    finally:
        # Lazy: a process that failed may still hold a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leftovers(folder: Path) -> list[Path]:
    """Half-written files under ``folder``, and journals that end within a line."""
    torn = [
        path
        for path in folder.rglob("*.jsonl")
        if path.read_bytes() and not path.read_bytes().endswith(b"\n")
    ]
    return [*folder.rglob("*.partial"), *torn]
