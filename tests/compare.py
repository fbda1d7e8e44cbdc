"""What a run left in its directory, read back and compared with what another one left: no test."""

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.invoke import leftovers

# What the clock says, and where.
OWN = {"run_dir", "train_seconds", "images_per_second"}


def result(directory: Path) -> dict[str, Any]:
    """The content of ``result.json``."""
    return json.loads((directory / "result.json").read_text())


def journal(directory: Path) -> list[dict[str, Any]]:
    """The lines of the journal."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def trained(directory: Path) -> list[int]:
    """The steps that the journal tells of."""
    return [line["step"] for line in journal(directory) if line["kind"] == "train"]


def last_step(logs: Path) -> int:
    """The last step in a journal under ``logs``, which may be growing; 0 where there is none."""
    lines = b"".join(path.read_bytes() for path in logs.glob("*/metrics.jsonl")).split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else 0


def curves(folder: Path) -> dict[str, list[int]]:
    """The steps of each tag, as TensorBoard reads them; none comes twice."""
    everything = dict.fromkeys(("scalars", "images", "tensors"), 0)
    events = EventAccumulator(str(folder), size_guidance=everything).Reload()
    steps = {}
    for kind, read in (("scalars", events.Scalars), ("images", events.Images), ("tensors", events.Tensors)):
        steps |= {tag: [event.step for event in read(tag)] for tag in events.Tags()[kind]}
    for tag, found in steps.items():
        assert found == sorted(set(found)), tag
    return steps


def check_same_run(directory: Path, whole: Path) -> None:
    """Checks that a run ended as ``whole`` did: weights, scores, history, curves, and nothing left over."""
    mine, theirs = result(directory), result(whole)
    assert {key: mine[key] for key in mine.keys() - OWN} == {key: theirs[key] for key in theirs.keys() - OWN}
    assert (directory / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert trained(directory) == list(range(1, mine["steps"] + 1))
    assert curves(directory / "train")["loss"] == trained(directory)
    assert curves(directory / "train").keys() == curves(whole / "train").keys()
    assert curves(directory / "eval") == curves(whole / "eval")
    assert not leftovers(directory)
    checkpoints = [{path.name for path in (one / "checkpoints").iterdir()} for one in (directory, whole)]
    assert checkpoints[0] >= checkpoints[1]
