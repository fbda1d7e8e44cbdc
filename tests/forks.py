"""Commands as processes to be killed, each a fork of one that has imported TensorFlow: no test.

A start then takes none of the seven seconds of that import. Run with `-m` this file is the process that
forks. It is asked by lines: ``[name, argv, folder]`` in JSON starts a command whose output goes to files
of ``folder``, and is answered by its process id; that number is answered by the exit code, once it has ended.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_core import cli
from mnist_core.imports import import_tensorflow

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 120


class Forks:
    """The process that forks; closed, it ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, question: Any) -> int:
        """Sends one line of JSON, and waits for the number that answers it."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


class Training:
    """A running or ended command, `train` unless another one is named."""

    def __init__(self, forks: Forks, argv: list[str], folder: Path, command: str = "train") -> None:
        folder.mkdir()
        self._folder, self._forks = folder, forks
        self.pid = forks.ask([command, argv, str(folder)])

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> list[str]:
        """The lines so far."""
        return (self._folder / "stderr").read_text().splitlines()

    def signal(self, number: int) -> None:
        """Sends a signal; an ended process ignores it."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Waits for the end; returns the exit code, or minus the signal that killed it."""
        return self._forks.ask(self.pid)

    def result(self) -> dict[str, Any]:
        """Waits for a successful end; returns the JSON of the command."""
        code = self.wait()
        assert code == 0, (code, self.stderr)
        return json.loads(self.stdout)


def wait_until(holds: Callable[[], Any], pause: float = 0.01) -> Any:
    """Waits for ``holds`` to return something true, and returns that."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (value := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(pause)
    return value


def _start(name: str, argv: list[str], folder: str) -> int:
    with (Path(folder) / "stdout").open("wb") as stdout, (Path(folder) / "stderr").open("wb") as stderr:
        pid = os.fork()
        if not pid:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
    if not pid:
        sys.argv = [name, *argv]
        cli.run(name, argv)
    return pid


def _serve() -> None:
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if isinstance(asked, list):
            answer = _start(*asked)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1])
        print(answer, flush=True)


if __name__ == "__main__":
    import_tensorflow()
    for name in ("commands.plot", "loop.trainer", "reporting.progress", "reporting.tensorboard"):
        importlib.import_module(f"mnist_core.{name}")
    _serve()
