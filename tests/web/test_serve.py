"""The server reads what it is sent, refuses what it should, reads together what comes together, and ends."""

import base64
import concurrent.futures
import io
import json
import os
import signal
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image

from mnist_core.commands.serve import listen
from mnist_core.vision.predictor import Predictor
from mnist_core.vision.read import read_image
from mnist_core.web.app import make_app
from mnist_core.web.together import SharedPredictor
from mnist_core.web.upload import Limits
from tests.forks import Forks, wait_until
from tests.invoke import ROOT, call, spawn
from tests.web.conftest import Server, png, start

BOUNDARY = "-----boundary"


def form(content: bytes, name: str = "a.png") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def in_json(text: str) -> bytes:
    return json.dumps({"image": text}).encode()


def png_of(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "png")
    return file.getvalue()


# Answers


def test_every_way_to_send_a_picture_has_the_predictor_s_answer(server, log_dir, tmp_path):
    path = tmp_path / "seven.png"
    path.write_bytes(png())
    expected = Predictor(None, log_dir).read(path)
    encoded = base64.b64encode(png()).decode()
    asked = [
        (png(), "image/png"),
        (png(), "application/octet-stream"),
        (form(png()), FORM),
        (in_json(encoded), "application/json"),
        (in_json(f"data:image/png;base64,{encoded}"), "application/json; charset=utf-8"),
    ]
    for body, kind in asked:
        status, answer = server.predict(body, kind)
        assert (status, answer["status"], answer["text"]) == (200, "ok", expected.text)
        assert (answer["width"], answer["height"]) == read_image(path).shape[::-1]
        for found, digit in zip(answer["digits"], expected.digits, strict=True):
            assert (found["digit"], tuple(found["box"])) == (digit.digit, digit.box)
            np.testing.assert_allclose(found["probabilities"], digit.probabilities, atol=1e-5)
            assert found["probability"] == max(found["probabilities"])
            assert base64.b64decode(found["image"]) == digit.image.tobytes()


def test_a_blank_sheet_holds_no_digit(server):
    status, answer = server.predict(png([[-99, -99], [-98, -98]]))
    assert (status, answer["status"], answer["text"], answer["digits"]) == (200, "no_digit", "", [])


def test_the_interface_describes_itself_and_says_that_it_is_up(server):
    status, description = server.ask("GET", "/openapi.json")
    operation = description["paths"]["/api/predict"]["post"]
    assert status == 200
    assert set(operation["requestBody"]["content"]) == {"image/*", "multipart/form-data", "application/json"}
    assert set(operation["responses"]) >= {"200", "400", "408", "413", "415", "422", "503"}
    status, health = server.ask("GET", "/healthz")
    assert (status, health["status"], health["waiting"]) == (200, "ok", 0)


def test_the_page_needs_nothing_from_elsewhere(server):
    for path in ("/", "/page.css", "/page.js", "/pad.js"):
        status, content = server.ask("GET", path)
        assert status == 200
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", ""), path


# Refusals

REFUSED = {
    "nothing": (b"", "image/png", 400),
    "text": (b"a digit, honestly", "image/png", 422),
    "noise": (os.urandom(5000), "image/jpeg", 422),
    "a cut picture": (png()[:500], "image/png", 422),
    "another kind": (b"<digit/>", "application/xml", 415),
    "no kind": (png(), "", 415),
    "broken JSON": (b'{"image": ', "application/json", 400),
    "JSON of another shape": (b'["image"]', "application/json", 400),
    "a number": (b'{"image": 7}', "application/json", 400),
    "nested JSON": (b"[" * 200_000, "application/json", 400),
    "no base64": (in_json("*** not base64 ***"), "application/json", 400),
    "base64 of text": (in_json(base64.b64encode(b"a digit").decode()), "application/json", 422),
    "a broken form": (b"--other\r\n", FORM, 400),
    "a form without boundary": (form(png()), "multipart/form-data", 400),
    "a form without file": (form(png()).replace(b'; filename="a.png"', b""), FORM, 400),
    "too long": (bytes(16 * 2**20 + 1), "image/png", 413),
    "too many pixels": (png_of(20_000, 2_001), "image/png", 413),
    "a bomb": (png_of(20_000, 20_000), "image/png", 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_read_is_refused_in_one_line(server, name):
    body, kind, expected = REFUSED[name]
    status, answer = server.predict(body, kind)
    assert status == expected
    assert set(answer) == {"error"}
    assert "\n" not in answer["error"]
    for secret in ("Traceback", ".py", "/tmp", "mnist-core-", "object at"):
        assert secret not in answer["error"]


@pytest.mark.parametrize("of", [str, Path.as_uri, lambda path: os.path.relpath(path, ROOT)])
def test_no_path_of_a_client_is_opened(server, tmp_path, of):
    path = tmp_path / "seven.png"
    path.write_bytes(png())
    name = of(path)
    assert name.startswith("file:") or (ROOT / name).samefile(path), "the server could open it"
    for body, kind, expected in (
        (in_json(name), "application/json", 400),
        (in_json(base64.b64encode(name.encode()).decode()), "application/json", 422),
        (form(b"rubbish", name), FORM, 422),
        (form(name.encode(), name), FORM, 422),
        (name.encode(), "image/png", 422),
        (b"-", "image/png", 422),
    ):
        assert server.predict(body, kind)[0] == expected
    assert server.predict(form(png([[-99, -99], [-98, -98]]), name), FORM)[1]["status"] == "no_digit"
    assert server.ask("GET", f"/{name.lstrip('/')}")[0] == 404


def test_pages_of_other_sites_may_not_ask(server):
    own = server.url.rstrip("/")
    origins = {own: 200, own[:-1]: 403, "http://elsewhere.example": 403, "null": 403}
    for origin, expected in origins.items():
        connection = server.connect()
        headers = {"Content-Type": FORM, "Origin": origin}
        connection.request("POST", "/api/predict", form(png()), headers)
        assert connection.getresponse().status == expected, origin
        connection.close()


@pytest.mark.skipif(not Path("/proc/self/fd/2").exists(), reason="needs Linux's /proc")
def test_decoders_write_their_complaints_to_nowhere_for_good(server):
    assert Path(f"/proc/{server.process.pid}/fd/2").readlink() == Path(os.devnull)


def test_other_methods_and_pages_are_refused_in_json(server):
    assert server.ask("GET", "/api/predict")[0] == 405
    assert server.ask("DELETE", "/")[0] == 405
    assert server.ask("GET", "/docs") == (404, {"error": "Not Found"})


def test_a_body_of_unknown_length_is_cut_at_the_limit(server):
    connection = server.connect()
    connection.request("POST", "/api/predict", iter([bytes(2**20)] * 17), {"Content-Type": "image/png"})
    answer = connection.getresponse()
    assert answer.status == 413
    connection.close()


def test_who_sends_too_slowly_or_nothing_is_hung_up_on_while_others_are_served(server):
    rest = b" HTTP/1.1\r\nHost: x\r\n"
    body = b"Content-Type: image/png\r\nContent-Length: 99\r\n\r\nslow"
    # What is sent at once, what is sent after the answer to that, and how many answers come in all.
    sent = [
        (b"", b"", 0),
        (b"GET /heal", b"", 0),
        (b"POST /api/predict" + rest + body, b"", 1),
        (b"GET /healthz" + rest + b"\r\n", b"GET /heal", 1),
        (b"GET /healthz" + rest + body, b"er still", 1),
    ]
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in sent]
    for connection, (first, _, _) in zip(slow, sent, strict=True):
        connection.sendall(first)
    for connection, (_, second, _) in zip(slow, sent, strict=True):
        if second:
            connection.recv(1, socket.MSG_PEEK)
            connection.sendall(second)
    assert server.predict(png())[0] == 200
    answers = [connection.makefile("rb").read() for connection in slow]
    assert [answer.count(b"HTTP/1.1 ") for answer in answers] == [count for _, _, count in sent]
    assert answers[2].startswith(b"HTTP/1.1 408")


# Many at a time


def test_more_than_it_takes_are_told_to_come_again_and_the_rest_is_answered(server):
    before = server.ask("GET", "/healthz")[1]
    small = png([[40, 10], [40, 90]], size=(100, 80))
    held = [server.connect() for _ in range(128)]
    for connection in held:
        connection.putrequest("POST", "/api/predict")
        connection.putheader("Content-Type", "image/png")
        connection.putheader("Content-Length", str(len(small)))
        connection.endheaders()
    wait_until(lambda: server.ask("GET", "/healthz")[1]["waiting"] == 128)
    status, answer = server.predict(png())
    assert (status, "come again" in answer["error"]) == (503, True)
    for connection in held:
        connection.send(small)
    answers = [connection.getresponse() for connection in held]
    assert [answer.status for answer in answers] == [200] * 128
    assert len({json.loads(answer.read())["text"] for answer in answers}) == 1
    after = server.ask("GET", "/healthz")[1]
    assert after["waiting"] == 0
    assert after["pictures"] - before["pictures"] == 128
    # Fewer calls than pictures: some were read together.
    assert after["network_calls"] - before["network_calls"] < 128


def test_the_bodies_of_all_that_is_under_way_have_a_limit(log_dir):
    app = make_app(SharedPredictor(None, log_dir), Limits(all_bytes=100_000))
    listener = socket.create_server(("127.0.0.1", 0))
    small = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=small.run, args=([listener],), daemon=True)
    thread.start()
    server = Server(None, listener.getsockname()[1])
    for _ in range(3):
        assert server.predict(bytes(90_000))[0] == 422, "what is done takes no room"
    held = server.connect()
    held.putrequest("POST", "/api/predict")
    held.putheader("Content-Type", FORM)
    held.putheader("Content-Length", str(len(form(bytes(80_000)))))
    held.endheaders()
    held.send(form(bytes(80_000))[:-1])
    # Until it is there.
    wait_until(lambda: server.predict(bytes(60_000))[0] == 503)
    assert "come again" in server.predict(bytes(60_000))[1]["error"]
    assert server.predict(bytes(10_000))[0] == 422
    held.send(b"\n")
    assert held.getresponse().status == 422
    assert server.predict(bytes(60_000))[0] == 422
    held.close()
    small.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def test_answers_that_were_made_together_go_to_who_asked(log_dir, monkeypatch):
    shared, network = SharedPredictor(None, log_dir), Predictor.probabilities
    asked = [np.random.default_rng(i).integers(0, 256, (i % 4, 28, 28), np.uint8) for i in range(60)]
    expected = [network(shared, images) for images in asked]
    gate, calls = threading.Event(), []

    def held_up(predictor: Predictor, images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        assert gate.wait(60)
        return network(predictor, images)

    monkeypatch.setattr(Predictor, "probabilities", held_up)
    with concurrent.futures.ThreadPoolExecutor(60) as threads:
        answers = [threads.submit(shared.probabilities, asked[0])]
        wait_until(lambda: calls)
        # While the first one is being answered, all others come.
        answers += [threads.submit(shared.probabilities, images) for images in asked[1:]]
        wait_until(lambda: shared._waiting.qsize() == 59)
        gate.set()
        for answer, probabilities in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer.result(60), probabilities, atol=1e-5)
    assert calls == [0, sum(map(len, asked))]
    assert shared.network_calls == 2
    shared.close()


def test_a_network_that_fails_tells_who_asked_and_goes_on(log_dir, monkeypatch):
    shared, image = SharedPredictor(None, log_dir), np.zeros((1, 28, 28), np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "probabilities", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shared.probabilities(image)
    assert shared.probabilities(image).shape == (1, 10)
    shared.close()
    assert not shared._thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        shared.probabilities(image)


# Beginning and end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_it_with_its_result_also_while_somebody_holds_on(
    forks: Forks, log_dir, tmp_path, number
):
    server = start(forks, log_dir, tmp_path / "output")
    idle, sending = server.connect(), server.connect()
    idle.request("GET", "/healthz")
    assert idle.getresponse().status == 200
    sending.putrequest("POST", "/api/predict")
    sending.putheader("Content-Length", "9")
    sending.endheaders()
    assert server.predict(png())[0] == 200
    server.process.signal(number)
    assert server.process.wait() == 0
    result = json.loads(server.process.stdout)
    assert (result["url"], result["pictures"]) == (server.url, 1)
    assert len(server.process.stderr) == 1
    with pytest.raises(ConnectionRefusedError):
        server.ask("GET", "/healthz")


def test_a_port_that_is_in_use_is_one_line(server, capsys):
    done = call(capsys, "serve", "--port", server.port)
    message = done.failure(2)
    assert f"--port {server.port}" in message
    assert "in use" in message
    assert len(done.stderr) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "99999"],
        ["--port", "-1"],
        ["--host", "no.such.host.invalid"],
        ["--host", "a..b"],
        ["--host", 70 * "a"],
    ],
)
def test_an_address_that_can_not_be_is_one_line(capsys, flags):
    assert flags[1] in call(capsys, "serve", *flags).failure(2)


def test_an_answer_is_sent_at_once():
    # Else its body would wait until the other side has confirmed its head, which takes 40 ms on Linux.
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_run_that_is_not_there_is_one_line(tmp_path, capsys):
    done = call(capsys, "serve", "--port", 0, "--run", tmp_path / "none")
    assert str(tmp_path / "none") in done.failure(3)


def test_without_the_extra_one_line_says_which_to_install(tmp_path):
    # A package that can't be imported is found first.
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from mnist_core import cli; cli.run('serve', [])"
    )
    message = spawn("-c", code).failure(2)
    assert "fastapi can't be imported" in message
    assert ".[web]" in message
