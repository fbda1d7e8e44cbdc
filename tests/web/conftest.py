"""A server that was started as people start it, and pictures to send to it."""

import dataclasses
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.forks import Forks, Training, wait_until

pytest.importorskip("fastapi", reason="needs FastAPI: pip install -e .[web]")
SEVEN = [[60, 50], [200, 50], [120, 230]]


@dataclasses.dataclass
class Server:
    """A running `serve` command."""

    process: Training
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def connect(self, seconds: float = 60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "image/png") -> tuple[int, Any]:
        """The status of an answer, and what it says: JSON where it claims so, else bytes."""
        connection = self.connect()
        connection.request(method, path, body, {"Content-Type": kind} if body else {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if "json" in answer.headers["content-type"] else data

    def predict(self, body: bytes, kind: str = "image/png") -> tuple[int, Any]:
        return self.ask("POST", "/api/predict", body, kind)


def start(forks: Forks, log_dir: Path, folder: Path) -> Server:
    """Starts a server on a free port, and waits until it listens."""
    argv = ["--json", "--log-dir", str(log_dir), "--port", "0"]
    process = Training(forks, argv, folder, "serve")
    said = wait_until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/", "\n".join(process.stderr)))
    return Server(process, int(said[1]))


@pytest.fixture(scope="session")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No logs: the weights that come with the package read."""
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="session")
def server(forks: Forks, log_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all; at the end it must not have met anything unexpected."""
    server = start(forks, log_dir, tmp_path_factory.mktemp("server") / "output")
    yield server
    server.process.signal(15)
    assert server.process.wait() == 0, server.process.stderr
    assert len(server.process.stderr) == 1, server.process.stderr


def png(points: list[list[int]] = SEVEN, size: tuple[int, int] = (280, 280)) -> bytes:
    """A stroke of a pen on white paper."""
    paper = np.full(size, 255, np.uint8)
    cv2.polylines(paper, [np.array(points)], False, 0, 18, cv2.LINE_AA)
    return cv2.imencode(".png", paper)[1].tobytes()
