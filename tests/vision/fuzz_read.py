"""Feeds `read_image` ever stranger bytes: `python -m tests.vision.fuzz_read -max_total_time=600`. No test.

Flags are those of libFuzzer (https://llvm.org/docs/LibFuzzer.html), by way of atheris, the extra ``fuzz``. It
starts from a picture in every format, and follows the branches of our own code and of Pillow's. A crash, a
traceback, two seconds for one file or 2 GiB in all end it, and the file is kept.
"""

import sys
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["PIL", "mnist_core"]):
    from benchmarks.mutations import originals
    from mnist_core.errors import InputError
    from mnist_core.vision.read import read_image

# A header may well be damaged into one that claims more, which takes longer by right.
MOST_PIXELS = 4_000_000
# Of the files that led to something new, and of those that ended it.
FOLDER = Path("logs/fuzz")


def read(data: bytes) -> None:
    """Reads a file of these bytes, or has it refused in one line."""
    try:
        pixels = read_image(data, most_pixels=MOST_PIXELS)
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than a line: {error}") from error
        return
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or not 0 < pixels.size <= MOST_PIXELS:
        raise AssertionError(f"{pixels.dtype} {pixels.shape}")


def main() -> None:
    """Runs until the time given is over, or something is wrong."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(originals(np.random.default_rng(0))):
        (FOLDER / f"original-{number}").write_bytes(data)
    flags = ["-timeout=2", "-rss_limit_mb=2048", f"-artifact_prefix={FOLDER}/"]
    atheris.Setup([sys.argv[0], *flags, *sys.argv[1:], str(FOLDER)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
