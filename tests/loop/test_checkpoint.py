"""A restored run goes on as if it had never stopped; a checkpoint that doesn't fit changes nothing."""

import os
import resource
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.data.split import Dataset, Split
from mnist_core.errors import InputError, InterruptedRunError, UsageError
from mnist_core.loop.checkpoint import CHECKPOINTS, Checkpoints, read_checkpoint
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import Run
from mnist_core.loop.step import Scalars, TrainStep
from mnist_core.loop.trainer import Trainer
from tests.loop.small import AUGMENTED, DATA, Linear, Noisy, Recorder, make, weights

ARRAYS = {"model": [np.arange(6, dtype=np.float32)], "optimizer": [np.ones(3, np.float32)]}


class Overflow(TrainStep):
    """Its sixth step overflows."""

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        factor = tf.where(step == 5, np.inf, 1.0)
        return super().update([gradient * factor for gradient in gradients], step)


RUNS: dict[str, Callable[[], dict[str, Any]]] = {
    "float32 with averages and Keras's dropout": lambda: {
        "net": lambda: Noisy(stock_dropout=True),
        "ema": 0.9,
        "patience": 9,
        **AUGMENTED,
    },
    "mixed_bfloat16": lambda: {"net": Noisy, "precision": "mixed_bfloat16", **AUGMENTED},
    "mixed_float16 with an overflow": lambda: {
        "net": Linear,
        "precision": "mixed_float16",
        "step": Overflow,
    },
    "Keras's Adam": lambda: {"net": Linear, "optimizer": "adam"},
}
COMMON = {"max_steps": 10, "steps_per_block": 2, "validation_size": 50, "eval_every": "4", "keep": 9}


def same(one: dict[str, list[np.ndarray]], other: dict[str, list[np.ndarray]]) -> bool:
    """Whether all arrays are equal to the last bit."""
    bits = [
        {name: [a.tobytes() for a in arrays] for name, arrays in groups.items()} for groups in (one, other)
    ]
    return bits[0] == bits[1]


def restore_refused(trainer: Trainer, path: Path, match: str = "npz") -> None:
    """Checks that ``trainer`` refuses a checkpoint by name, and stays as it is."""
    before, counters = trainer.state.arrays(), trainer.run.counters()
    with pytest.raises(InputError, match=match) as caught:
        trainer.restore(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(trainer.state.arrays(), before)
    assert trainer.run.counters() == counters


@pytest.mark.parametrize("case", RUNS)
def test_going_on_from_any_checkpoint_gives_the_same_bits(case: str, tmp_path: Path) -> None:
    whole = make(**RUNS[case](), **COMMON, checkpoint_every="3")
    whole.fit(tmp_path)
    expected = whole.state.arrays()
    assert "average" in expected or case != "float32 with averages and Keras's dropout"
    assert "loss_scale" in expected or case != "mixed_float16 with an overflow"
    again = make(**RUNS[case](), **COMMON)
    for step in (9, 3):
        again.restore(tmp_path / CHECKPOINTS / f"step-{step:08d}.npz")
        assert again.run.step == step
        again.fit()
        assert same(again.state.arrays(), expected)
        assert again.run.best == whole.run.best
        assert again._hooks.state() == whole._hooks.state()


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    """A trainer that a test may try to restore, in vain."""
    return make(net=Linear)


@pytest.fixture(scope="module")
def checkpoint(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that fits ``trainer``, with other weights."""
    groups = {name: [array + 1 for array in arrays] for name, arrays in trainer.state.arrays().items()}
    meta = {"run": {**trainer.run.counters(), "step": 4}, "hooks": {}}
    return Checkpoints(tmp_path_factory.mktemp("run")).save(4, groups, meta)


@pytest.mark.parametrize(
    "other",
    [
        {"net": Noisy},
        {"net": Linear, "optimizer": "adam"},
        {"net": Linear, "ema": 0.9},
        {"net": Linear, "precision": "mixed_float16"},
    ],
    ids=str,
)
def test_what_belongs_to_another_run_changes_nothing(
    other: dict[str, Any], trainer: Trainer, tmp_path: Path
) -> None:
    stranger = make(**other)
    meta = {"run": stranger.run.counters(), "hooks": {}}
    path = Checkpoints(tmp_path).save(1, stranger.state.arrays(), meta)
    restore_refused(trainer, path, "belongs to another")


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [("other", 300, "trained on drawn, but other was found"), ("drawn", 299, "trained on other images")],
)
def test_other_data_change_nothing(name: str, count: int, message: str, tmp_path: Path) -> None:
    make(net=Linear, max_steps=2).fit(tmp_path)
    train = Split(DATA.train.images[:count], DATA.train.labels[:count])
    other = make(net=Linear, data=Dataset(name, train, DATA.test))
    restore_refused(other, tmp_path / CHECKPOINTS / "step-00000002.npz", message)


def test_a_file_cut_short_anywhere_changes_nothing(
    trainer: Trainer, checkpoint: Path, tmp_path: Path
) -> None:
    content, cut = checkpoint.read_bytes(), tmp_path / "cut.npz"
    lengths = [*range(0, len(content), 997), len(content) - 1]
    assert len(lengths) > 50
    for length in lengths:
        cut.write_bytes(content[:length])
        restore_refused(trainer, cut, "damaged or not a checkpoint")


def test_a_changed_byte_anywhere_changes_nothing(trainer: Trainer, checkpoint: Path, tmp_path: Path) -> None:
    content, changed = checkpoint.read_bytes(), tmp_path / "changed.npz"
    groups, meta = read_checkpoint(checkpoint)
    assert not same(groups, trainer.state.arrays())
    # All over the file, and at every byte of the zip's own list of its members, which is at the end.
    positions = [*range(0, len(content), 499), *range(len(content) - 400, len(content))]
    refused = 0
    for position in positions:
        flipped = bytearray(content)
        flipped[position] ^= 0xFF
        changed.write_bytes(flipped)
        try:
            assert read_checkpoint(changed)[1] == meta
            assert same(read_checkpoint(changed)[0], groups)
        except InputError:
            refused += 1
            restore_refused(trainer, changed)
    # The zip has bytes that mean nothing, such as dates; the arrays have none.
    assert refused > len(positions) // 2


def test_what_is_no_checkpoint_is_named(trainer: Trainer, tmp_path: Path) -> None:
    restore_refused(trainer, tmp_path / "missing.npz", "no such checkpoint; name a run that has one")
    restore_refused(trainer, tmp_path, "damaged or not a checkpoint")
    np.save(tmp_path / "array.npy", np.zeros(3))
    restore_refused(trainer, tmp_path / "array.npy", "not a checkpoint of mnist_core")
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    restore_refused(trainer, tmp_path / "foreign.npz", "not a checkpoint of mnist_core")
    np.savez(tmp_path / "future.npz", meta=np.array('{"format": 99}'))
    restore_refused(trainer, tmp_path / "future.npz", "not a checkpoint of this version")
    with zipfile.ZipFile(tmp_path / "open.npz", "w") as archive:
        # numpy's parser says of it what nothing else says of a damaged file: tokenize.TokenError.
        archive.writestr("meta.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((\n")
    restore_refused(trainer, tmp_path / "open.npz", "damaged or not a checkpoint")


def test_a_good_checkpoint_is_taken_after_all(trainer: Trainer, checkpoint: Path) -> None:
    trainer = make(net=Linear)
    trainer.restore(checkpoint)
    assert trainer.run.step == 4
    assert same(trainer.state.arrays(), read_checkpoint(checkpoint)[0])


def test_arrays_come_back_as_they_were_and_in_their_order(tmp_path: Path) -> None:
    groups = {
        "many": [np.float32(i) for i in range(1203)],
        "kinds": [np.array(True), np.uint8(3), np.zeros((0, 2), np.int64), np.asfortranarray(np.eye(3))],
    }
    path = Checkpoints(tmp_path).save(7, groups, {"note": "é"})
    found, meta = read_checkpoint(path)
    assert same(found, groups)
    assert [array.dtype for array in found["kinds"]] == [array.dtype for array in groups["kinds"]]
    assert (meta["step"], meta["note"]) == (7, "é")


def test_the_newest_few_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 7):
        groups = {"model": [np.full(3, step, np.float32)]}
        checkpoints.save(step, groups, {}, best=step == 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.npz",
        "step-00000005.npz",
        "step-00000006.npz",
    ]
    assert [path.name for path in checkpoints.paths()] == ["step-00000006.npz", "step-00000005.npz"]
    groups, meta = read_checkpoint(tmp_path / "best.npz")
    assert meta["step"] == 2
    assert groups["model"][0].tolist() == [2, 2, 2]


def test_a_step_of_nine_digits_is_newer_than_one_of_eight(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    steps = (10**8 - 2, 10**8 - 1, 10**8)
    for step in steps:
        checkpoints.save(step, ARRAYS, {})
    assert [read_checkpoint(path)[1]["step"] for path in checkpoints.paths()] == [steps[2], steps[1]]
    checkpoints.go_back_to(steps[1], None)
    assert [read_checkpoint(path)[1]["step"] for path in checkpoints.paths()] == [steps[1]]


def test_a_checkpoint_just_written_is_kept_even_behind_later_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(100, ARRAYS, {})
    assert checkpoints.save(50, ARRAYS, {}).is_file()


def test_the_best_weights_are_saved_whatever_the_periods_are(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = make(
        net=Linear,
        lr=0.3,
        max_steps=24,
        steps_per_block=1,
        validation_size=50,
        eval_every="2",
        checkpoint_every="9",
        keep=1,
        hooks=[recorder],
    )
    trainer.fit(tmp_path)
    best = trainer.run.best["step"]
    groups, meta = read_checkpoint(tmp_path / CHECKPOINTS / "best.npz")
    assert meta["step"] == best
    np.testing.assert_array_equal(
        np.concatenate([array.ravel() for array in groups["model"]]), recorder.weights[best - 1]
    )


def test_weights_found_best_only_after_a_resume_are_saved_as_such(tmp_path: Path) -> None:
    class Interrupt(Hook):
        def on_block(self, run: Run, log: Any) -> None:
            if run.step == 4:
                os.kill(os.getpid(), signal.SIGINT)

    # Weights that stand still: the first evaluation stays the best.
    settings = {"net": Linear, "lr": 1e-30, "max_steps": 8, "validation_size": 50, "eval_every": "4"}
    with pytest.raises(InterruptedRunError, match="interrupted at step 4, which is saved"):
        make(**settings, hooks=[Interrupt()]).fit(tmp_path)
    folder = tmp_path / CHECKPOINTS
    assert [path.name for path in folder.iterdir()] == ["step-00000004.npz"]
    again = make(**settings)
    again.restore(folder / "step-00000004.npz")
    assert again.fit(tmp_path).run.best["step"] == 4
    assert read_checkpoint(folder / "best.npz")[1]["run"]["best"]["step"] == 4


def test_a_write_that_fails_midway_leaves_what_was_there(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, ARRAYS, {}, best=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoints.save(2, {"model": [np.zeros(1000), np.zeros(10_000)]}, {}, best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_model_that_can_not_be_made_again_is_refused_before_it_trains(tmp_path: Path) -> None:
    class Wrapper(Linear):
        def __init__(self, layer: object) -> None:
            super().__init__()
            self.layer = layer

        def get_config(self) -> dict[str, Any]:
            return {"layer": self.layer}

    recorder = Recorder()
    trainer = make(net=lambda: Wrapper(object()), max_steps=2, hooks=[recorder])
    with pytest.raises(UsageError, match=r"^Wrapper can't be saved: give it a get_config\(\)"):
        trainer.fit(tmp_path)
    assert not recorder.logs
    assert trainer.fit().run.step == 2


def test_a_checkpoint_is_read_without_the_loop(checkpoint: Path, trainer: Trainer) -> None:
    with np.load(checkpoint) as archive:
        np.testing.assert_array_equal(
            np.concatenate([archive["model/000"].ravel(), archive["model/001"]]), weights(trainer) + 1
        )
