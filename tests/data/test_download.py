"""Downloads from real servers on this machine: the right file arrives whole, or nothing does."""

import gzip
import hashlib
import http.server
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnist_core.data.download import Patience, fetch
from mnist_core.errors import InputError

NAME = "images"
# Noise can't be compressed, so an answer is longer than one piece of a download.
CONTENT = np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT)

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Mirrors(http.server.ThreadingHTTPServer):
    """Each mirror is a folder of this server, with its own way to answer; `requests` lists who was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()

    def add(self, name: str, answer: Answer) -> str:
        self.answers[name] = answer
        return f"http://127.0.0.1:{self.server_port}/{name}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is what many of these tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirrors

    def do_GET(self) -> None:
        mirror = self.path.split("/")[1]
        self.server.requests.append(mirror)
        assert self.path == f"/{mirror}/{NAME}.gz"
        self.server.answers[mirror](self)

    def log_message(self, *_: object) -> None:
        """Nothing, since stderr is looked at by the tests."""


def sends(body: bytes, length: int | None = None) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def stalls_after(body: bytes) -> Answer:
    def answer(handler: Handler) -> None:
        sends(body, length=len(PACKED))(handler)
        handler.server.closing.wait()

    return answer


def sends_slowly(handler: http.server.BaseHTTPRequestHandler) -> None:
    sends(b"", length=len(PACKED))(handler)
    step = len(PACKED) // 8 + 1
    for first in range(0, len(PACKED), step):
        time.sleep(0.2)
        handler.wfile.write(PACKED[first : first + step])


def refuses(code: int) -> Answer:
    return lambda handler: handler.send_error(code)


good = sends(PACKED)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def mirrors():
    with Mirrors() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def attempt(folder: Path, *addresses: str, patience: Patience | None = None) -> Path:
    return fetch(NAME, SHA256, folder, addresses, size=len(CONTENT), patience=patience)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


BAD_ANSWERS = {
    "not found": (refuses(404), "HTTP 404"),
    "server error": (refuses(500), "HTTP 500"),
    "truncated": (sends(PACKED[:100_000], length=len(PACKED)), "cut short"),
    "truncated, and honest about it": (sends(PACKED[:-4]), "cut short"),
    "empty": (sends(b""), "cut short"),
    "corrupt": (sends(PACKED[:1000] + b"?" + PACKED[1001:]), "corrupt"),
    "not compressed": (sends(CONTENT), "corrupt"),
    "an error page": (sends(b"<html>log in</html>"), "corrupt"),
    "other content": (sends(gzip.compress(bytes(len(CONTENT)))), "wrong content"),
    "shorter content": (sends(gzip.compress(CONTENT[:-1])), "wrong content"),
    "longer content": (sends(gzip.compress(CONTENT + b"1")), "more than the 200000 bytes"),
    "a bomb": (sends(gzip.compress(bytes(50_000_000), 1)), "more than the 200000 bytes"),
    "endless nothing": (
        sends(gzip.compress(b"")[:10] + bytes([0, 0, 0, 255, 255]) * 60_000),
        "more than the",
    ),
    "silent": (stalls_after(b""), "no answer"),
    "silent half-way": (stalls_after(PACKED[:100_000]), "no answer"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_a_bad_answer_leaves_nothing_and_names_cause_address_and_remedy(tmp_path, mirrors, case):
    answer, cause = BAD_ANSWERS[case]
    bad = mirrors.add("bad", answer)
    with pytest.raises(InputError) as raised:
        attempt(tmp_path, bad, patience=Patience(stall=0.3) if "silent" in case else None)
    message = str(raised.value)
    assert cause in message
    assert f"{bad}{NAME}.gz" in message
    for remedy in ("--data-dir", "MNIST_CORE_DATA_DIR", "--dataset digits"):
        assert remedy in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_not_unpacked_in_memory(tmp_path, mirrors):
    bomb = mirrors.add("bomb", sends(gzip.compress(bytes(50_000_000))))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than"):
            attempt(tmp_path, bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_the_next_mirror_makes_up_for_a_bad_one(tmp_path, mirrors, case):
    addresses = mirrors.add("bad", BAD_ANSWERS[case][0]), mirrors.add("good", good)
    path = attempt(tmp_path, *addresses, patience=Patience(stall=1) if "silent" in case else None)
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_a_good_mirror_is_the_only_one_asked(tmp_path, mirrors):
    attempt(tmp_path, mirrors.add("first", good), mirrors.add("second", good))
    assert mirrors.requests == ["first"]


def test_a_missing_folder_is_made(tmp_path, mirrors):
    path = attempt(tmp_path / "cache" / "mnist_core", mirrors.add("good", good))
    assert path.read_bytes() == CONTENT


def test_a_wrong_file_in_its_place_is_replaced_only_by_the_right_one(tmp_path, mirrors):
    (tmp_path / NAME).write_bytes(b"wrong")
    with pytest.raises(InputError):
        attempt(tmp_path, mirrors.add("bad", refuses(404)))
    assert (tmp_path / NAME).read_bytes() == b"wrong"
    assert attempt(tmp_path, mirrors.add("good", good)).read_bytes() == CONTENT


def test_a_closed_port_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="refused"):
        attempt(tmp_path, closed_port())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_input_error_before_any_request(tmp_path, mirrors):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        attempt(tmp_path / "file" / "cache", mirrors.add("good", good))
    assert mirrors.requests == []


def test_silence_is_paid_for_once_by_all_files_and_mirrors(tmp_path, mirrors):
    silent = [mirrors.add(name, stalls_after(b"")) for name in ("one", "two", "three")]
    patience = Patience(seconds=1.2, stall=0.6)
    for _ in range(2):
        with pytest.raises(InputError, match="used up the time"):
            attempt(tmp_path, *silent, patience=patience)
    assert mirrors.requests == ["one", "two"]


def test_a_mirror_that_failed_is_asked_last_for_the_next_file(tmp_path, mirrors):
    addresses = mirrors.add("bad", refuses(500)), mirrors.add("good", good)
    patience = Patience()
    for folder in ("one", "two"):
        attempt(tmp_path / folder, *addresses, patience=patience)
    assert mirrors.requests == ["bad", "good", "good"]


def test_a_slow_download_that_makes_progress_is_not_cut_off(tmp_path, mirrors):
    # Eight pieces, 0.2 s apart, take longer than all the patience with silence.
    path = attempt(tmp_path, mirrors.add("slow", sends_slowly), patience=Patience(seconds=1, stall=1))
    assert path.read_bytes() == CONTENT


def test_a_name_look_up_that_hangs_is_left_behind(tmp_path, monkeypatch):
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait()
        raise OSError

    # No real resolver can be made to hang from here.
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(InputError, match="no answer"):
        attempt(tmp_path, "http://mirror.invalid/", patience=Patience(stall=0.2))
    assert not released.is_set()
    released.set()


# The other process, or this one, may keep it waiting longer than silence from a mirror is borne.
SCRIPT = f"""
import sys
from mnist_core.data.download import Patience, fetch
fetch("{NAME}", "{SHA256}", sys.argv[1], sys.argv[2:], size={len(CONTENT)}, patience=Patience(60, 60))
"""


def start(folder: Path, *addresses: str) -> subprocess.Popen:
    arguments = [sys.executable, "-c", SCRIPT, str(folder), *addresses]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


def test_two_processes_may_download_at_the_same_time(tmp_path, mirrors):
    both = threading.Barrier(2)

    def together(handler: http.server.BaseHTTPRequestHandler) -> None:
        sends(PACKED[:100_000], length=len(PACKED))(handler)
        both.wait(timeout=60)
        handler.wfile.write(PACKED[100_000:])

    address = mirrors.add("together", together)
    processes = [start(tmp_path, address) for _ in range(2)]
    for process in processes:
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_an_interrupted_download_leaves_nothing(tmp_path, mirrors):
    asked = threading.Event()

    def stall(handler: Handler) -> None:
        sends(PACKED[:100_000], length=len(PACKED))(handler)
        asked.set()
        handler.server.closing.wait()

    process = start(tmp_path, mirrors.add("stall", stall))
    assert asked.wait(timeout=60)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert list(tmp_path.iterdir()) == []
