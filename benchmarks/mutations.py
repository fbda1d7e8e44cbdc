"""What do damaged files do? `predict` reads many: crashes, the slowest, and the most memory that was held.

A file is a small picture of one of seven formats with bits turned, bytes replaced or cut off, or numbers of
its header replaced by others, small and huge.
"""

import argparse
import io
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from benchmarks.harness import main, parser, write
from mnist_core.errors import InputError
from mnist_core.imports import import_predictor
from mnist_core.runs import SHIPPED

FORMATS = ("png", "jpeg", "webp", "tiff", "gif", "bmp", "jpeg2000")
NUMBERS = (0, 1, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 20_000, 100_000)


def originals(rng: Generator) -> list[bytes]:
    """A picture of a stroke in every format."""
    pixels = rng.integers(200, 255, (48, 64, 3), np.uint8)
    pixels[8:40, 28:34] = 20
    files = []
    for name in FORMATS:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name)
        files.append(file.getvalue())
    return files


def mutated(data: bytes, rng: Generator) -> bytes:
    """``data`` with one to eight damages."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        kind, at = int(rng.integers(4)), int(rng.integers(len(content)))
        if kind == 0:
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content[at : at + int(rng.integers(1, 16))] = rng.bytes(int(rng.integers(1, 16)))
        elif kind == 2:
            number, order = int(rng.choice(NUMBERS)), str(rng.choice(["little", "big"]))
            place = int(rng.integers(min(len(content), 64)))
            content[place : place + 4] = number.to_bytes(4, order)
        elif rng.random() < 0.3:
            del content[max(1, at) :]
    return bytes(content)


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON, prints one line."""
    predictor = import_predictor()(SHIPPED)
    predictor.read(np.zeros((28, 28), np.uint8), single=True)
    rng = np.random.default_rng(args.seed)
    files = originals(rng)
    count = 50 if args.quick else args.count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        for i in range(count):
            path.write_bytes(mutated(files[i % len(files)], rng))
            start = time.perf_counter()
            try:
                predictor.read(path)
                read += 1
            except InputError:
                pass
            slowest = max(slowest, time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    body = {
        "files": count,
        "read": read,
        "slowest_seconds": slowest,
        "memory_mib_before": before // 1024,
        "memory_mib_most": after // 1024,
    }
    path = write("mutations", args.json, body)
    print(
        f"{count:,} damaged files: {read:,} could still be read, the rest refused; slowest {slowest:.2f} s, "
        f"memory {before // 1024} to {after // 1024} MiB: {path}"
    )


if __name__ == "__main__":
    made = parser("mutations", __doc__)
    made.add_argument("--count", type=int, default=10_000, help="default: %(default)s")
    made.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    main(made, measure)
