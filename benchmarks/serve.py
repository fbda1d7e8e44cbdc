"""How much does the server carry? Many clients at a time against one that asks after each answer.

The server is a process of its own, to which this one sends over the loopback; each client sends a drawing and
a photo in turn. The two loads take turns. 503 counts as an answer; any other failure ends the benchmark.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import plots
from benchmarks.harness import main, parser, ratios, shown, summary, write
from mnist_core.errors import MnistCoreError

HEAD = "POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n"
BUSY_SECONDS = 0.05


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints a table."""
    rounds, seconds = (1, 2.0) if args.quick else (args.rounds, args.seconds)
    found: dict[int, list[dict[str, Any]]] = {args.clients: [], 1: []}
    memory = []
    with server(args.run, args.log_dir) as (port, process):
        asyncio.run(load(port, args.clients, 1.0))
        for _ in range(rounds):
            for clients, turns in found.items():
                memory.append(resident_mib(process.pid))
                turns.append(asyncio.run(load(port, clients, seconds)))
        memory.append(resident_mib(process.pid))
        run = health(port)["run"]
    speeds = {clients: [turn["pictures_per_second"] for turn in turns] for clients, turns in found.items()}
    gain = ratios(speeds[args.clients], speeds[1])
    loads = {
        str(clients): {
            "pictures_per_second": summary(speeds[clients]),
            **{name: summary([turn[name] for turn in turns]) for name in ("p50_ms", "p95_ms", "p99_ms")},
            "pictures_per_network_call": summary([turn["pictures_per_network_call"] for turn in turns]),
            "statuses": dict(sum((Counter(turn["statuses"]) for turn in turns), Counter())),
        }
        for clients, turns in found.items()
    }
    body = {"run": run, "seconds": seconds, "clients": loads, "gain": gain, "server_resident_mib": memory}
    path = write("serve", args.json, body)
    plots.serve(loads, path.with_suffix(".png"))
    print("clients  pictures/s   p50 ms   p95 ms  per network call  statuses")
    for clients, row in loads.items():
        p50, p95, together = (
            row[name]["median"] for name in ("p50_ms", "p95_ms", "pictures_per_network_call")
        )
        speed = row["pictures_per_second"]["median"]
        print(f"{clients:>7} {speed:11.1f} {p50:8.1f} {p95:8.1f} {together:17.2f}  {row['statuses']}")
    print(
        f"many / one: {shown(gain)}; the server's memory in MiB: {', '.join(f'{one:.0f}' for one in memory)}"
    )
    print(path)


@contextlib.contextmanager
def server(run: str | None, log_dir: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """A running server's port and process."""
    command = [sys.executable, "-m", "runners.serve", "--port", "0", "--log-dir", log_dir]
    process = subprocess.Popen(
        [*command, *(["--run", run] if run else [])],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        line, port = "", None
        # TensorFlow may have something to say first.
        while not port:
            last, line = line, process.stderr.readline()
            if not line:
                raise MnistCoreError(f"the server doesn't start: {last.strip()}")
            port = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        yield int(port[1]), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def load(port: int, clients: int, seconds: float) -> dict[str, Any]:
    """What so many clients, each of which asks again as soon as it is answered, get in so many seconds."""
    before = health(port)
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds
    await asyncio.gather(*(client(port, number, end, statuses, latencies) for number in range(clients)))
    span, after = time.perf_counter() - begin, health(port)
    if set(statuses) - {200, 503} or not latencies:
        raise MnistCoreError(f"answers other than 200 and 503: {dict(statuses)}")
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]) * 1000
    calls = after["network_calls"] - before["network_calls"]
    return {
        "pictures_per_second": statuses[200] / span,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "pictures_per_network_call": statuses[200] / calls,
        "statuses": {str(status): count for status, count in statuses.items()},
    }


async def client(port: int, number: int, end: float, statuses: Counter[int], latencies: list[float]) -> None:
    """One client on one connection, who sends each of the pictures in turn, beginning with one of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    requests = [HEAD.format(len(picture)).encode() + picture for picture in PICTURES]
    for turn in itertools.count(number):
        if (begin := time.perf_counter()) >= end:
            break
        if writer.is_closing() or reader.at_eof():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(requests[turn % len(requests)])
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        await reader.readexactly(int(re.search(r"content-length: (\d+)", head, re.IGNORECASE)[1]))
        status = int(head.split()[1])
        statuses[status] += 1
        if status == 200:
            latencies.append(time.perf_counter() - begin)
        if "connection: close" in head.lower():
            writer.close()
            await asyncio.sleep(BUSY_SECONDS)
    writer.close()


def health(port: int) -> dict[str, Any]:
    """What the server says about itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
        return json.load(answer)


def resident_mib(pid: int) -> float:
    """Memory of a process; 0 where the system doesn't tell as Linux does."""
    status = Path(f"/proc/{pid}/status")
    text = status.read_text() if status.exists() else ""
    resident = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(resident[1]) / 1024 if resident else 0.0


def picture(height: int, width: int, paper: int, noise: float) -> bytes:
    """A seven in PNG."""
    sheet = np.full((height, width), paper, np.float32)
    stroke = np.array([[0.35, 0.2], [0.65, 0.2], [0.45, 0.8]]) * (width, height)
    cv2.polylines(sheet, [stroke.astype(np.int32)], False, 30, height // 16, cv2.LINE_AA)
    sheet += np.random.default_rng(0).normal(0, noise, sheet.shape)
    return cv2.imencode(".png", np.clip(sheet, 0, 255).astype(np.uint8))[1].tobytes()


PICTURES = [picture(240, 360, 255, 0), picture(480, 640, 200, 3)]

if __name__ == "__main__":
    made = parser("serve", __doc__)
    made.add_argument("--run", metavar="RUN", help="run directory (default: the newest finished one)")
    made.add_argument("--log-dir", default="logs", help="folder of the runs (default: %(default)s)")
    made.add_argument("--clients", type=int, default=64, help="default: %(default)s")
    made.add_argument("--rounds", type=int, default=3, help="turns of each load (default: %(default)s)")
    made.add_argument("--seconds", type=float, default=20.0, help="length of a turn (default: %(default)s)")
    main(made, measure)
