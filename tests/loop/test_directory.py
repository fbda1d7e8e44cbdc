"""The directory that a training keeps: whose it is, what is in it, and what goes on from it."""

from pathlib import Path

import numpy as np
import pytest

from mnist_core.config import CONFIG, read_json
from mnist_core.data.datasets import load
from mnist_core.errors import DivergedError, InputError, UsageError
from mnist_core.files import claimed
from mnist_core.loop.checkpoint import CHECKPOINTS, Checkpoints, read_checkpoint
from mnist_core.loop.hooks import Hook, HookError
from mnist_core.loop.run import BlockLog, Run
from mnist_core.reporting.journal import Journal
from mnist_core.reporting.tensorboard import TensorBoard
from mnist_core.runs import dataset_of, load_model
from tests.loop.small import DATA, Linear, flat, make, train


def test_a_network_that_python_trained_is_found_in_its_directory(tmp_path: Path) -> None:
    trainer = make(max_steps=2)
    trainer.fit(str(tmp_path / "runs" / "mine"))
    model, directory = load_model(tmp_path / "runs" / "mine")
    assert directory == tmp_path / "runs" / "mine"
    np.testing.assert_array_equal(flat(model), flat(trainer.state.model))


def test_a_second_training_without_a_directory_leaves_that_of_the_first_alone(tmp_path: Path) -> None:
    trainer = make(net=Linear, max_steps=2)
    trainer.fit(tmp_path)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    trainer.run.total_steps = 4
    assert trainer.fit().run.directory is None
    assert trainer.run.step == 4
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("hook", [Journal, TensorBoard])
def test_a_hook_that_writes_asks_for_a_directory(hook: type[Hook]) -> None:
    with pytest.raises(UsageError, match=r"has no place: give fit\(\) a directory"):
        train(net=Linear, max_steps=2, hooks=[hook()])


def test_a_second_directory_gets_the_network_too(tmp_path: Path) -> None:
    trainer = make(net=Linear, max_steps=2)
    for name in ("first", "second"):
        trainer.fit(tmp_path / name)
        assert [path.name for path in (tmp_path / name / CHECKPOINTS).glob("step-*")] == ["step-00000002.npz"]


def test_a_directory_of_another_training_is_refused_and_left_alone(tmp_path: Path) -> None:
    make(net=Linear, max_steps=4).fit(tmp_path)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    other = make(net=Linear, max_steps=2, seed=1)
    with pytest.raises(UsageError, match="another training"):
        other.fit(tmp_path)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before
    assert other.fit(tmp_path / "own").run.step == 2


def test_a_checkpoint_of_one_training_is_no_way_into_the_directory_of_another(tmp_path: Path) -> None:
    for name in ("mine", "yours"):
        make(net=Linear, max_steps=2).fit(tmp_path / name)
    before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "yours").rglob("*"))
    trainer = make(net=Linear, max_steps=4)
    trainer.restore(tmp_path / "mine" / CHECKPOINTS / "step-00000002.npz")
    with pytest.raises(UsageError, match="another training"):
        trainer.fit(tmp_path / "yours")
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "yours").rglob("*")) == before


def test_a_directory_in_which_another_trains_is_refused_and_left_alone(tmp_path: Path) -> None:
    make(net=Linear, max_steps=4, hooks=[TensorBoard(), Journal()]).fit(tmp_path)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    again = make(net=Linear, max_steps=8, hooks=[TensorBoard(), Journal()])
    again.restore(tmp_path / CHECKPOINTS / "step-00000004.npz")
    with claimed(tmp_path), pytest.raises(UsageError, match=f"another process is training {tmp_path}; wait"):
        again.fit(tmp_path)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before
    assert again.fit(tmp_path).run.step == 8


def test_what_a_run_went_back_from_is_not_gone_on_with(tmp_path: Path) -> None:
    make(net=Linear, max_steps=6, checkpoint_every="2", keep=5).fit(tmp_path)
    folder = tmp_path / CHECKPOINTS

    class Kill(Hook):
        def on_block(self, run: Run, log: BlockLog) -> None:
            raise KeyError

    again = make(net=Linear, max_steps=6, checkpoint_every="2", keep=5, hooks=[Kill()])
    again.restore(folder / "step-00000002.npz")
    with pytest.raises(HookError, match="Kill"):
        again.fit(tmp_path)
    assert [path.name for path in Checkpoints(folder).paths()] == ["step-00000002.npz"]


def test_a_directory_keeps_the_configuration_that_its_checkpoints_were_made_by(tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        make(net=Linear, lr=1e30).fit(tmp_path)
    make(net=Linear, lr=0.05, max_steps=2).fit(tmp_path)
    assert read_json(tmp_path / CONFIG).lr == 0.05
    again = make(net=Linear, lr=0.05, max_steps=2, keep=7)
    again.restore(Checkpoints(tmp_path / CHECKPOINTS).paths()[0])
    again.fit(tmp_path)
    assert read_json(tmp_path / CONFIG).keep == 7


def test_a_directory_knows_the_data_that_were_given(tmp_path: Path) -> None:
    make(net=Linear, max_steps=2).fit(tmp_path)
    assert dataset_of(tmp_path) == DATA.name
    with pytest.raises(InputError, match=DATA.name):
        load(dataset_of(tmp_path))


def test_the_best_goes_back_with_the_run(tmp_path: Path) -> None:
    settings = {"net": Linear, "validation_size": 50, "eval_every": "1", "checkpoint_every": "1", "keep": 9}
    trainer = make(**settings, lr=0.3, max_steps=6)
    trainer.fit(tmp_path)
    folder = tmp_path / CHECKPOINTS
    assert trainer.run.best["step"] > 1
    # Weights that stand still: none is better than those it went back to.
    again = make(**settings, lr=1e-30, max_steps=6)
    again.restore(folder / "step-00000001.npz")
    assert again.fit(tmp_path).run.best["step"] == 1
    assert read_checkpoint(folder / "best.npz")[1]["step"] == 1


def test_a_checkpoint_of_another_precision_is_refused(tmp_path: Path) -> None:
    make(net=Linear, precision="float32", max_steps=2).fit(tmp_path)
    (path,) = (tmp_path / CHECKPOINTS).glob("step-*")
    other = make(net=Linear, precision="mixed_bfloat16", max_steps=2)
    with pytest.raises(InputError, match=r"trained in float32, .* set --precision float32"):
        other.restore(path)
