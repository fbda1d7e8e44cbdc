"""Our loop on so many images of a folder, with a network of some width, on some of the processor's cores."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Memory:
    """Resident memory of this process in bytes: at its peak, and at moments before.

    Raises:
      OSError: the system isn't Linux.
    """

    def __init__(self) -> None:
        self._moments: dict[str, Any] = {}

    def note(self, moment: str) -> None:
        """Keeps the figure of a moment, the first time."""
        self._moments.setdefault(f"{moment}_resident_bytes", self._read("VmRSS"))

    def answer(self) -> dict[str, int]:
        """The peak so far and the moments, of which this is ``warm`` when first asked."""
        self.note("warm")
        return {**self._moments, "peak_resident_bytes": self._read("VmHWM")}

    def _read(self, name: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def restrict(cores: int) -> None:
    """Leaves this process so many of its cores; before TensorFlow starts, which counts them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def main() -> None:
    """Trains until nobody asks for more."""
    settings = json.loads(sys.argv[1])
    restrict(settings["threads"])
    import numpy as np

    from benchmarks.contestants.ours import PLAIN, Counter
    from mnist_core.config import Config
    from mnist_core.data.datasets import load
    from mnist_core.data.idx import release
    from mnist_core.data.split import Dataset, Split
    from mnist_core.loop.trainer import Trainer
    from mnist_core.models import MODELS

    began = time.perf_counter()
    whole = load(settings["folder"], mmap=True)
    # Full batches only, so that every step is the same work.
    count = settings["images"] // settings["batch_size"] * settings["batch_size"]
    train = Split(whole.train.images[:count], whole.train.labels[:count])
    if settings["feed"] == "resident":
        train = Split(np.array(train.images), np.array(train.labels))
        release(whole.train.images)
    config = Config(
        **PLAIN,
        feed=settings["feed"],
        batch_size=settings["batch_size"],
        precision="float32",
        device=settings["device"],
        epochs=10_000,
        schedule="constant",
        lr=0.01,
        warmup=0.0,
        validation_size=0,
        eval_every="0",
        checkpoint_every="0",
    )
    network = MODELS[settings["model"]]
    resident, start = Memory(), {}
    trainer = Trainer(
        config,
        model=lambda: network(widths=tuple(settings["widths"])),
        data=Dataset(whole.name, train, whole.test),
        hooks=[Counter(settings, lambda: {**resident.answer(), **start})],
    )
    start["start_seconds"] = time.perf_counter() - began
    resident.note("start")
    trainer.fit()


if __name__ == "__main__":
    main()
