"""Digits are read as they come: drawn with a mouse, in a video, in a folder; what isn't there is told."""

import contextlib
import ctypes.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnist_core.errors import InputError
from mnist_core.vision.live import TITLE, _Reader
from mnist_core.vision.pad import HEIGHT, PAPER, WIDTH, Pad
from mnist_core.vision.predictor import Predictor
from mnist_core.vision.sources import Recorder
from tests.forks import Forks, Training, wait_until
from tests.invoke import Done, call, disk, spawn

KEYS = {"frames", "fps", "latency_ms_p50", "latency_ms_p95"}
COUNT = 12


def frame(x: int) -> np.ndarray:
    """A one on gray paper; uint8 [240, 320, 3]."""
    made = np.full((240, 320, 3), 205, np.uint8)
    cv2.line(made, (x, 50), (x, 190), (40, 30, 30), 14, cv2.LINE_AA)
    return made


def place(number: int) -> int:
    """Where the one is in a frame."""
    return 60 + 15 * number


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "ones.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (320, 240))
    for number in range(COUNT):
        writer.write(frame(place(number)))
    writer.release()
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    capture, found = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        found.append(read[1])
    return found


# Without a window


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_a_video_comes_out_with_boxes_where_the_digit_is(whole, video, tmp_path, capsys, ending):
    out = tmp_path / f"out.{ending}"
    done = call(capsys, "live", "--run", whole, "--source", video, "--headless", "--out", out, "--json")
    assert done.code == 0, done
    result = done.json()
    assert set(result) == KEYS
    assert result["frames"] == COUNT
    assert 0 < result["latency_ms_p50"] <= result["latency_ms_p95"]
    assert result["fps"] > 0
    written = frames_of(out)
    assert len(written) == COUNT
    for number, seen in enumerate(written):
        changed = np.abs(seen.astype(int) - frame(place(number))).max(axis=2)[40:200] > 60
        columns = np.flatnonzero(changed.sum(axis=0) > 80)
        # The box's left and right side.
        assert columns.min() < place(number) < columns.max()
        assert columns.max() - columns.min() < 60
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([video.name, out.name])


def test_a_folder_is_read_in_the_order_of_its_names_and_what_is_no_picture_is_skipped(
    whole, tmp_path, capsys
):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (2, 0, 1):
        cv2.imwrite(str(folder / f"{number}.png"), frame(place(3 * number)))
    (folder / "notes.txt").write_text("ones")
    out = tmp_path / "out.avi"
    done = call(capsys, "live", "--run", whole, "--source", folder, "--headless", "--out", out, "--json")
    assert (done.code, done.json()["frames"]) == (0, 3)
    assert [line for line in done.stderr if "skipped" in line and "notes.txt" in line] == done.stderr
    centres = [int(np.argmin(seen[100:140].mean(axis=(0, 2)))) for seen in frames_of(out)]
    assert np.abs(np.subtract(centres, [place(0), place(3), place(6)])).max() <= 7


def damaged(folder: Path) -> list[object]:
    (folder / "a.mp4").write_bytes(os.urandom(9000))
    return ["--source", folder / "a.mp4", "--headless"]


def without_pictures(folder: Path) -> list[object]:
    (folder / "a.txt").write_text("a")
    return ["--source", folder, "--headless"]


WRONG = {
    "no such camera": (lambda _: ["--source", "camera:93", "--headless"], 4, "camera:93"),
    "no camera's number": (lambda _: ["--source", "camera:99999999999", "--headless"], 2, "camera:0"),
    "no number": (lambda _: ["--source", "camera:front", "--headless"], 2, "camera:0"),
    "no such file": (lambda folder: ["--source", folder / "none.mp4", "--headless"], 3, "none.mp4"),
    "damaged": (damaged, 3, "a.mp4"),
    "an empty folder": (lambda folder: ["--source", folder, "--headless"], 3, "empty"),
    "no pictures": (without_pictures, 3, "none of its 1 files"),
    "a pad without a window": (lambda _: ["--source", "pad", "--headless"], 2, "--source pad"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_can_not_be_read_is_named_in_one_line(whole, tmp_path, capfd, name):
    flags, code, expected = WRONG[name]
    done = call(capfd, "live", "--run", whole, *flags(tmp_path))
    assert expected in done.failure(code)
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["out.xyz", "none/out.mp4"])
def test_a_video_that_can_not_be_written_is_named_and_nothing_is_left(whole, video, tmp_path, capfd, name):
    flags = ["--source", video, "--headless", "--out", tmp_path / name]
    assert name in call(capfd, "live", "--run", whole, *flags).failure(2)
    assert list(tmp_path.iterdir()) == [video]


def test_without_a_display_one_line_says_so():
    message = spawn("-m", "runners.live", DISPLAY="", WAYLAND_DISPLAY="").failure(4)
    assert "no display" in message
    assert "--headless" in message


def test_ctrl_c_ends_a_video_well(forks: Forks, whole, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(400):
        cv2.imwrite(str(folder / f"{number:03}.bmp"), frame(100))
    argv = ["--run", whole, "--source", folder, "--headless", "--out", tmp_path / "out.avi", "--json"]
    process = Training(forks, list(map(str, argv)), tmp_path / "output", "live")
    wait_until(lambda: [path for path in tmp_path.glob(".out*") if path.stat().st_size > 10_000])
    process.signal(signal.SIGINT)
    done = Done(process.wait(), process.stdout, process.stderr)
    frames = done.json()["frames"]
    assert 0 < frames < 400
    assert f"after {frames} frames" in done.failure(130)
    assert len(frames_of(tmp_path / "out.avi")) == frames


def test_ctrl_c_while_a_video_is_being_ended_does_not_lose_it(whole, video, tmp_path):
    code = (
        "import signal\n"
        "from mnist_core.imports import import_opencv\n"
        "import_opencv()\n"
        "from mnist_core.vision import sources\n"
        "is_whole = sources.Recorder._is_whole\n"
        "sources.Recorder._is_whole = lambda self: signal.raise_signal(signal.SIGTERM) or is_whole(self)\n"
        "from mnist_core.cli import run\n"
        "run('live')\n"
    )
    spawn("-c", code, "--run", whole, "--source", video, "--headless", "--out", tmp_path / "out.avi")
    assert len(frames_of(tmp_path / "out.avi")) == len(frames_of(video))
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_a_full_disk_leaves_no_part_of_a_video(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    with disk(tmp_path / "small", "size=200k") as folder:
        recorder = Recorder(folder / f"out.{ending}", 25)
        for _ in range(30):
            recorder.write(noise)
        with pytest.raises(OSError, match="No space left"):
            recorder.close(keep=True)
        assert list(folder.iterdir()) == []


def test_a_second_ctrl_c_ends_also_a_camera_that_never_answers(tmp_path):
    # A lock of C's library that is taken twice is waited for in spite of signals.
    code = (
        "import ctypes, numpy, pathlib\n"
        "from mnist_core.interrupt import Interrupts\n"
        "from mnist_core.vision.sources import Recorder\n"
        f"recorder = Recorder(pathlib.Path({str(tmp_path / 'out.avi')!r}), 25)\n"
        "recorder.write(numpy.zeros((240, 320, 3), numpy.uint8))\n"
        "lock, c = ctypes.create_string_buffer(256), ctypes.CDLL(None)\n"
        "c.pthread_mutex_lock(lock)\n"
        "with Interrupts('left', recorder.discard):\n"
        "    print('waits', flush=True)\n"
        "    c.pthread_mutex_lock(lock)\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        assert len(list(tmp_path.iterdir())) == 1
        # Two that come at a time may count as one.
        wait_until(lambda: process.poll() is not None or process.send_signal(signal.SIGINT))
        assert process.returncode == 130
        assert process.stderr.read() == "left\n"
    assert list(tmp_path.iterdir()) == []


# The pad


def test_the_pad_draws_rubs_out_and_takes_back():
    pad = Pad()
    assert pad.empty
    pad.on_mouse(cv2.EVENT_LBUTTONDOWN, 50, 60, cv2.EVENT_FLAG_LBUTTON, None)
    pad.on_mouse(cv2.EVENT_MOUSEMOVE, 150, 60, cv2.EVENT_FLAG_LBUTTON, None)
    pad.on_mouse(cv2.EVENT_LBUTTONUP, 150, 60, 0, None)
    pad.on_mouse(cv2.EVENT_MOUSEMOVE, 150, 160, 0, None)
    assert (pad.picture[60, 50:151] == 0).all()
    assert (pad.picture[100:] == 255).all(), "a mouse that only moves draws nothing"
    drawn, version = pad.picture.copy(), pad.version
    pad.on_mouse(cv2.EVENT_RBUTTONDOWN, 100, 60, cv2.EVENT_FLAG_RBUTTON, None)
    pad.on_mouse(cv2.EVENT_RBUTTONUP, 100, 60, 0, None)
    assert (pad.picture[60, 80:121] == 255).all()
    assert pad.version > version
    pad.on_key("u")
    assert np.array_equal(pad.picture, drawn)
    pad.on_key("c")
    assert pad.empty
    pad.on_key("u")
    assert np.array_equal(pad.picture, drawn)


def test_what_reading_raises_is_raised_where_the_answer_is_looked_for(whole):
    reader = _Reader(Predictor(whole))
    reader.ask(None)
    assert reader.page.text == ""
    reader.ask(np.empty((0, 0), np.uint8))

    with pytest.raises(InputError, match="an image is numbers"):
        wait_until(lambda: reader.page.text)
    reader.close()


# In a window


def test_a_display_that_never_answers_is_one_line(capfd, monkeypatch):
    # X looks for display N at the port 6000 + N.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1] - 6000
        monkeypatch.setenv("DISPLAY", f"127.0.0.1:{number}")
        monkeypatch.setenv("WAYLAND_DISPLAY", "")
        monkeypatch.setattr("mnist_core.vision.window.TRIAL_SECONDS", 4)
        message = call(capfd, "live").failure(4)
    assert f"127.0.0.1:{number} can't be used" in message


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A display that nobody sees."""
    if not shutil.which("Xvfb") or not shutil.which("xdotool"):
        pytest.skip("no Xvfb or no xdotool: can't open a window and move a mouse")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-noreset"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as pipe:
            yield f":{pipe.readline().strip()}"
        server.terminate()


@pytest.fixture
def mouse(screen: str) -> Callable[..., str]:
    """Calls xdotool, and gives what it prints."""

    def do(*argv: object) -> str:
        command = ["xdotool", *map(str, argv)]
        done = subprocess.run(
            command, env={**os.environ, "DISPLAY": screen}, capture_output=True, text=True, check=False
        )
        return done.stdout

    return do


@contextlib.contextmanager
def window(screen: str, do: Callable[..., str], folder: Path, *argv: object) -> Iterator[tuple]:
    """A `live` command, once its window is there: the process and the window's place."""
    # As people have it, who never silence TensorFlow.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPP")}
    with (folder / "stderr").open("wb") as stderr:
        command = [sys.executable, "-m", "runners.live", "--json", *map(str, argv)]
        process = subprocess.Popen(
            command, env={**environment, "DISPLAY": screen}, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        found = wait_until(lambda: process.poll() is not None or do("search", "--name", TITLE))
        # Until it shows its sheet, its place may change and what a mouse does is lost.
        wait_until(lambda: process.poll() is not None or shows_paper(screen), 0.1)
        assert process.poll() is None, (folder / "stderr").read_text()
        place = do("getwindowgeometry", "--shell", found.split()[-1])
        yield process, [int(re.search(rf"{axis}=(-?\d+)", place)[1]) for axis in "XY"]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_of_many_windows_none_stays_black(screen):
    if not ctypes.util.find_library("X11-xcb"):
        pytest.skip("no libX11-xcb but OpenCV's own, which loses events")
    # Each busies the machine for the others, so that events wait for the thread that reads them.
    code = (
        "import cv2, numpy, sys\n"
        "from mnist_core.vision.window import Window\n"
        "window, place = Window(sys.argv[1]), int(sys.argv[1])\n"
        "cv2.moveWindow(window.title, 120 * (place % 10), 120 * (place // 10))\n"
        "window.show(numpy.full((100, 100, 3), 255, numpy.uint8))\n"
        "while True: window.wait(5)\n"
    )
    middles = np.array([(120 * (place // 10) + 50, 120 * (place % 10) + 50) for place in range(24)])
    with contextlib.ExitStack() as stack:
        processes = []
        for place in range(len(middles)):
            command = [sys.executable, "-c", code, str(place)]
            process = stack.enter_context(subprocess.Popen(command, env={**os.environ, "DISPLAY": screen}))
            stack.callback(process.kill)
            processes.append(process)
        wait_until(
            lambda: (grab(screen)[tuple(middles.T)] == 255).all() or any(one.poll() for one in processes), 0.1
        )
        assert [one.poll() for one in processes] == [None] * len(processes)


def shows_paper(screen: str) -> bool:
    return (grab(screen) == PAPER).all(axis=2).sum() > 0.9 * WIDTH * HEIGHT


def grab(screen: str) -> np.ndarray:
    from PIL import ImageGrab

    return np.asarray(ImageGrab.grab(xdisplay=screen))


def test_a_digit_drawn_with_the_mouse_is_read_while_it_is_drawn(screen, mouse, tmp_path):
    with window(screen, mouse, tmp_path) as (process, (left, top)):
        assert grab(screen)[top + 62 : top + 174, left + 574 : left + 686].std() < 3, "nothing is seen yet"
        mouse("mousemove", left + 280, top + 80, "mousedown", 1)
        for y in range(90, 330, 10):
            mouse("mousemove", left + 280, top + y)
        # While the button is down.
        wait_until(lambda: grab(screen)[top + 62 : top + 174, left + 574 : left + 686].max() > 200, 0.1)
        mouse("mouseup", 1)
        # The stroke, with the box around it.
        wait_until(lambda: grab(screen)[top + 90 : top + 310, left + 280].max() < 60, 0.1)
        mouse("key", "q")
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    result = json.loads(stdout)
    assert set(result) == {*KEYS, "redraw_ms_p95"}
    assert result["frames"] > 0
    assert result["redraw_ms_p95"] > 0
    assert (tmp_path / "stderr").read_text() == ""
