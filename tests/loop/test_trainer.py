"""The outer loop keeps its order, stops where it should, saves nothing bad and leaks nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import models
from mnist_core.config import Config
from mnist_core.errors import DeviceError, DivergedError, UsageError
from mnist_core.loop.block import check_finite
from mnist_core.loop.checkpoint import CHECKPOINTS, Checkpoints
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import BlockLog, Run
from mnist_core.loop.state import weights_sha256
from mnist_core.loop.step import Batch, Scalars, TrainStep
from mnist_core.loop.trainer import Trainer
from tests.invoke import spawn
from tests.loop.small import AUGMENTED, DATA, PLAIN, Linear, Noisy, Recorder, make, train, weights


class Chronicle(Hook):
    """Writes down what happens, and at which step."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def on_start(self, run: Run) -> None:
        self.events.append(("start", run.step))

    def on_block(self, run: Run, log: BlockLog) -> None:
        self.events.append(("hooks", run.step))

    def on_evaluation(self, run: Run, *args: Any) -> None:
        self.events.append(("evaluated", run.step))

    def before_checkpoint(self, run: Run) -> None:
        self.events.append(("saving", run.step))

    def on_checkpoint(self, run: Run, path: Path) -> None:
        assert path.is_file()
        self.events.append(("saved", run.step))

    def on_test(self, run: Run, *args: Any) -> None:
        self.events.append(("test", run.step))

    def on_exception(self, run: Run, error: BaseException) -> None:
        self.events.append((type(error).__name__, run.step))

    def on_end(self, run: Run) -> None:
        self.events.append(("end", run.step))


class Observed(Trainer):
    """Writes down its blocks in ``events`` too."""

    events: list[tuple[str, int]]

    def _blocks(self) -> Iterator[BlockLog]:
        for log in super()._blocks():
            self.events.append(("block", self.run.step))
            yield log


class Poisoned(TrainStep):
    """The loss of step 8 is not a number."""

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        self.poison = tf.where(step == 7, np.nan, 0.0)
        return super().update(gradients, step)

    def __call__(self, batch: Batch, step: tf.Tensor) -> Scalars:
        scalars = super().__call__(batch, step)
        return {**scalars, "loss": scalars["loss"] + self.poison}


class Exploding(TrainStep):
    """The fourth update throws the weights out of float32, while loss and gradients look well."""

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        scalars = super().update(gradients, step)
        bias = self.model.trainable_variables[-1]
        bias.assign(bias.value * tf.where(step == 3, np.inf, 1.0))
        return scalars


def test_the_order_of_the_outer_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chronicle = Chronicle()

    def checked(log: BlockLog, **options: bool) -> None:
        chronicle.events.append(("finite?", trainer.run.step))
        check_finite(log, **options)

    monkeypatch.setattr("mnist_core.loop.trainer.check_finite", checked)
    periods = {"steps_per_block": 2, "eval_every": "4", "checkpoint_every": "2"}
    config = Config(**{**PLAIN, "max_steps": 6, "validation_size": 50, **periods})
    trainer = Observed(config, model=Linear, data=DATA, hooks=[chronicle])
    trainer.events = chronicle.events
    trainer.fit(tmp_path)

    def block(first: int, last: int) -> list[tuple[str, int]]:
        return [("block", first - 1), ("finite?", last), ("hooks", last)]

    def saved(step: int) -> list[tuple[str, int]]:
        return [("saving", step), ("saved", step)]

    assert chronicle.events == [
        ("start", 0),
        *block(1, 2),
        *saved(2),
        # An epoch of 250 images has four steps, the last one smaller and so a block of its own.
        *block(3, 3),
        *block(4, 4),
        ("evaluated", 4),
        *saved(4),
        *block(5, 6),
        ("evaluated", 6),
        *saved(6),
        ("test", 6),
        ("end", 6),
    ]


def test_a_loss_that_is_not_a_number_ends_the_run_and_is_not_saved(tmp_path: Path) -> None:
    chronicle, recorder = Chronicle(), Recorder()
    trainer = make(
        net=Linear,
        step=Poisoned,
        steps_per_block=3,
        checkpoint_every="1ep",
        max_steps=20,
        hooks=[chronicle, recorder],
    )
    # Epochs of five steps are cut into 1-3, 4 and the ragged 5; so 6-8 is a block.
    with pytest.raises(DivergedError, match=r"loss became nan at step 8, in the block of steps 6-8; lower"):
        trainer.fit(tmp_path)
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["step-00000005.npz"]
    assert chronicle.events[-2:] == [("DivergedError", 8), ("end", 8)]
    assert ("hooks", 8) not in chronicle.events
    assert recorder.logs[-1].steps.tolist() == [5]


def test_weights_that_left_float32_are_not_saved_either(tmp_path: Path) -> None:
    trainer = make(net=Linear, step=Exploding, steps_per_block=1, checkpoint_every="1", max_steps=4)
    with pytest.raises(DivergedError, match=r"weight_norm became (inf|nan) at step 4"):
        trainer.fit(tmp_path)
    assert not (tmp_path / CHECKPOINTS / "step-00000004.npz").exists()
    assert (tmp_path / CHECKPOINTS / "step-00000003.npz").exists()


def test_too_high_a_rate_ends_in_a_diverged_error() -> None:
    with pytest.raises(DivergedError, match=r"in the block of steps \d+-\d+; lower --lr or set --clip-norm"):
        train(lr=1e12, max_steps=20)


@pytest.mark.parametrize("event", ["on_start", "on_block", "on_evaluation", "on_checkpoint"])
def test_a_hook_may_stop_the_run_whenever_it_likes(event: str, tmp_path: Path) -> None:
    chronicle = Chronicle()
    stop = type("Stop", (Hook,), {event: lambda self, run, *args: run.stop(f"by {event}")})()
    trainer = make(
        net=Linear,
        max_steps=10,
        steps_per_block=2,
        eval_every="2",
        checkpoint_every="2",
        validation_size=50,
        hooks=[stop, chronicle],
    )
    result = trainer.fit(tmp_path)
    assert result.run.stop_reason == f"by {event}"
    last = 0 if event == "on_start" else 2
    assert result.run.step == last
    saved = [("saving", last), ("saved", last)]
    # A checkpoint that was written before the stop is written anew, so that it knows.
    saved *= 2 if event == "on_checkpoint" else 1
    expected = [("evaluated", last), *saved, ("test", last), ("end", last)]
    assert chronicle.events[-len(expected) :] == expected
    again = make(net=Linear, max_steps=10, validation_size=50)
    again.restore(Checkpoints(tmp_path / CHECKPOINTS).paths()[0])
    assert again.run.finished


def test_a_run_that_a_hook_stops_at_a_checkpoint_is_evaluated_there(tmp_path: Path) -> None:
    stop = type("Stop", (Hook,), {"on_checkpoint": lambda self, run, path: run.stop("enough")})()
    trainer = make(
        net=Linear, max_steps=10, eval_every="0", checkpoint_every="4", validation_size=50, hooks=[stop]
    )
    run = trainer.fit(tmp_path).run
    assert (run.step, run.evaluated_at) == (4, 4)


def test_a_run_stops_early_where_validation_no_longer_improves() -> None:
    # A rate of nothing to speak of: the second evaluation is as good as the first.
    trainer = make(net=Linear, lr=1e-30, eval_every="2", validation_size=50, patience=3, max_steps=30)
    run = trainer.fit().run
    assert run.step == 8
    assert run.stop_reason == "eval/accuracy has not improved in 3 evaluations"
    assert run.best["step"] == 2


def test_a_run_stops_once_its_target_is_reached() -> None:
    run = train(lr=0.05, eval_every="5", validation_size=50, target_accuracy=0.6).run
    assert run.best["accuracy"] >= 0.6
    assert run.step == run.best["step"] < run.total_steps
    assert run.stop_reason == "eval/accuracy reached 0.6"


def test_the_exception_of_a_hook_names_it_and_others_are_told() -> None:
    class Broken(Hook):
        def on_block(self, run: Run, log: BlockLog) -> None:
            raise KeyError("missing")

    chronicle = Chronicle()
    with pytest.raises(Exception, match="hook Broken failed in on_block: KeyError: 'missing'"):
        make(net=Linear, max_steps=5, hooks=[Broken(), chronicle]).fit()
    assert [name for name, _ in chronicle.events] == ["start", "hooks", "HookError", "end"]


class Hungry(TrainStep):
    """Asks for more memory than there is an address for."""

    def loss(self, batch: Batch, logits: tf.Tensor) -> tf.Tensor:
        # The size is the batch's, so that TensorFlow doesn't try while it traces.
        size = tf.cast(tf.shape(logits)[:1], tf.int64) * 2**53
        return super().loss(batch, logits) + 0.0 * tf.reduce_sum(tf.zeros(size))


class Careless(Hook):
    """Fails when a run has failed."""

    def on_exception(self, run: Run, error: BaseException) -> None:
        raise RuntimeError("one more thing")


def test_a_hook_that_fails_does_not_hide_a_device_without_memory(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(DeviceError, match=r"is out of memory; lower --batch-size"):
        train(step=Hungry, hooks=[Careless()])
    assert "warning: hook Careless failed in on_exception: RuntimeError: one more" in capsys.readouterr().err


def test_a_run_ends_at_its_last_step_or_its_last_epoch() -> None:
    assert train(net=Linear, epochs=2).run.step == 2 * 5
    assert train(net=Linear, epochs=2, max_steps=7).run.step == 7
    assert make(net=Linear, epochs=2, max_steps=70).run.total_steps == 10


def test_a_result_is_the_score_of_the_last_weights_on_the_test_images() -> None:
    trainer = make(net=Linear, max_steps=4, validation_size=50)
    result = trainer.fit()
    logits = trainer.state.model(DATA.test.images[..., np.newaxis] / np.float32(255)).numpy()
    assert result.report.count == len(DATA.test)
    assert result.report.errors == (logits.argmax(axis=1) != DATA.test.labels).sum()
    assert result.weights_sha256 == weights_sha256(trainer.state.model)


def test_a_run_within_a_run_disturbs_neither() -> None:
    outer = {"net": Noisy, "seed": 1, "steps_per_block": 2, "max_steps": 8, **AUGMENTED}
    inner = {"net": Noisy, "seed": 2, "precision": "mixed_bfloat16", "max_steps": 5, "ema": 0.9, **AUGMENTED}
    alone = [make(**changes).fit().weights_sha256 for changes in (outer, inner)]
    nested = []

    class Inner(Hook):
        def on_block(self, run: Run, log: BlockLog) -> None:
            if run.step == 4:
                nested.append(make(**inner).fit().weights_sha256)

    together = make(**outer, hooks=[Inner()]).fit().weights_sha256
    assert [together, *nested] == alone
    assert keras.config.dtype_policy().name == "float32"


def test_a_ready_model_keeps_its_precision_and_an_explicit_other_one_is_refused() -> None:
    model = Linear()
    assert make(net=model, precision="auto").state.precision == "float32"
    with pytest.raises(UsageError, match=r"--precision is mixed_bfloat16, but linear.* was made as float32"):
        make(net=model, precision="mixed_bfloat16")


def test_what_xla_can_not_compile_is_refused() -> None:
    with pytest.raises(UsageError, match="--jit on works with one replica and without"):
        make(jit="on", gradient_accumulation=2)
    with pytest.raises(UsageError, match="--jit on has no --deterministic max-pooling"):
        make(jit="on", deterministic=True)


def test_a_data_set_smaller_than_a_batch_is_one_step_an_epoch() -> None:
    trainer = train(net=Linear, batch_size=5000, epochs=2)
    assert trainer.run.step == 2
    assert np.isfinite(weights(trainer)).all()


class Memory(Hook):
    """The process's resident memory after each block."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def on_block(self, run: Run, log: BlockLog) -> None:
        status = Path("/proc/self/status").read_text().split()
        self.megabytes.append(int(status[status.index("VmRSS:") + 1]) / 1024)


def megabytes_by_block() -> list[float]:
    """The memory of this process over two thousand steps."""
    memory = Memory()
    make(
        net=lambda: models.MLP(widths=(8,)),
        batch_size=16,
        epochs=1000,
        max_steps=2000,
        steps_per_block=8,
        eval_every="100",
        validation_size=50,
        hooks=[memory],
    ).fit()
    return memory.megabytes


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="/proc doesn't tell a process's memory here"
)
def test_two_thousand_steps_take_no_more_memory_than_four_hundred() -> None:
    # In a process of its own: what other tests left makes the allocator take megabytes at a time.
    code = f"import json, {__name__} as own; print(json.dumps(own.megabytes_by_block()))"
    done = spawn("-c", code)
    assert done.code == 0, done.stderr
    megabytes = done.json()
    count = len(megabytes)
    settled, end = megabytes[count // 10 : count // 5], megabytes[-count // 10 :]
    # A leak of 3 kB a step would show.
    assert max(end) - max(settled) < 3
