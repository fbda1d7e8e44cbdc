"""The README is true: its commands run, its Python runs, its table is the committed result."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_core.runs import SHIPPED, STRINGS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"
DETAILS = (RESULTS / "README.md").read_text(encoding="utf-8")
IGNORED = shutil.ignore_patterns(".venv", ".git", "__pycache__", "*.egg-info", "2*-*", "bench", ".*_cache")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, whose new .venv borrows the packages installed here."""
    folder = tmp_path_factory.mktemp("readme") / "mnist_core"
    shutil.copytree(ROOT, folder, ignore=IGNORED)
    subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True)
    packages = next((folder / ".venv").glob("lib/python*/site-packages"))
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(commands: str, checkout: Path, *, timeout: float = 600) -> str:
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MNIST_CORE", "VIRTUAL_ENV", "MAKE", "MFLAGS", "PYTEST"))
        },
        "XDG_CACHE_HOME": str(checkout / "cache"),
        "KERAS_HOME": str(checkout / "keras"),
        # `make test` collects the tests without running them: they are running now.
        "PYTEST_ADDOPTS": "--collect-only --quiet",
    }
    script = f"set -eux\n. .venv/bin/activate\n{commands}"
    process = subprocess.run(
        ["bash", "-c", script],
        check=False,
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


@pytest.mark.timeout(1500)
def test_every_shell_block_runs_in_order(checkout: Path) -> None:
    said = "".join(run(block, checkout) for block in blocks("sh") if "tensorboard" not in block)
    assert "note.jpg  2026 1123  " in said
    assert list(checkout.glob("logs/*-first/result.json"))
    assert list(checkout.glob("logs/plots/*.png"))
    assert list(checkout.glob("logs/bench/accuracy-default.json"))


def test_the_tensorboard_command_serves_the_runs(checkout: Path) -> None:
    command = next(block for block in blocks("sh") if "tensorboard" in block).split()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "tensorboard.main", *command[1:], "--port", str(port)]
    server = subprocess.Popen(program, cwd=checkout, stderr=subprocess.DEVNULL)
    try:
        page = _fetch(f"http://127.0.0.1:{port}/")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)
    assert b"<title>TensorBoard</title>" in page


def _fetch(url: str) -> bytes:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.read()
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


@pytest.mark.parametrize("code", blocks("python"))
def test_every_python_block_runs(code: str, checkout: Path) -> None:
    (checkout / "example.py").write_text(code, encoding="utf-8")
    assert "wrong" in run("python example.py", checkout)


def test_the_results_table_is_the_committed_measurement() -> None:
    for path in RESULTS.glob("accuracy-*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        accuracy, seconds = result["test_accuracy"], result["train_seconds"]
        row = next(line for line in README.splitlines() if line.startswith(f"| `{result['recipe']}`"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert f"{accuracy['mean']:.3%}".replace("%", " %") in cells
        assert f"{seconds['mean']:.1f} s" in cells
        assert str(accuracy["n"]) in cells
    for path in RESULTS.glob("precision-*.json"):
        accuracy = json.loads(path.read_text(encoding="utf-8"))["test_accuracy"]
        for value in (accuracy["mean"], accuracy["sd"]):
            assert f"{value:.3%}".replace("%", " %") in DETAILS


def test_the_table_of_pictures_is_of_the_weights_in_the_package() -> None:
    result = json.loads((RESULTS / "vision.json").read_text(encoding="utf-8"))
    for key, folder in (("weights_sha256", SHIPPED), ("strings_weights_sha256", STRINGS)):
        shipped = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        assert result[key] == shipped["weights_sha256"]
    for kind, found in result["kinds"].items():
        if kind.startswith("page"):
            right = round(found["exact"] * found["n"])
            assert f"| {found['n']} | {right} | {found['characters'] * 100:.1f} % |" in DETAILS, kind
    assert len(result["groups"]) == 4
    for group, found in result["groups"].items():
        exact, low, high = (100 * share for share in (found["exact"], *found["exact_interval_95"]))
        assert f"| {found['n']:,} | {exact:.1f} % [{low:.1f}, {high:.1f}] |" in README, group


MIDDLES = (("median", "median_interval_95"), ("mean", "interval_95"), ("exponent", "interval_95"))


def summaries(found: Any) -> Iterator[tuple[float, float, float]]:
    """Middle and both ends of each interval in a benchmark's JSON."""
    if isinstance(found, dict):
        for middle, interval in MIDDLES:
            if found.get(interval) and middle in found:
                yield found[middle], *found[interval]
    if isinstance(found, (dict, list)):
        for one in found.values() if isinstance(found, dict) else found:
            yield from summaries(one)


def test_every_interval_is_one_of_the_committed_measurements() -> None:
    known = [
        summary
        for path in RESULTS.glob("*.json")
        for summary in summaries(json.loads(path.read_text(encoding="utf-8")))
    ]
    number = r"(\d[\d,]*(?:\.\d+)?)"
    shown = [re.findall(rf"{number} \[{number}, {number}\]", text) for text in (README, DETAILS)]
    assert min(map(len, shown)) > 30
    for triple in itertools.chain(*shown):
        assert any(
            all(
                f"{value / unit:,.{len(text.partition('.')[2])}f}" == text
                for value, text in zip(summary, triple, strict=True)
            )
            for summary in known
            for unit in (1, 1e9)
        ), triple


def test_links_and_pictures_are_there() -> None:
    for folder, text in ((ROOT, README), (RESULTS, DETAILS)):
        for target in re.findall(r"\]\(([^)#]+)[)#]", text):
            assert (folder / target).exists(), target
