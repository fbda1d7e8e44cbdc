"""Event files as TensorBoard's own readers see them."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.pr_curve.pr_curves_plugin import PrCurvesPlugin

from mnist_core.data.split import Split
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import Run
from mnist_core.loop.step import Batch, TrainStep
from mnist_core.metrics import Report
from mnist_core.reporting import tags
from mnist_core.reporting.tensorboard import EventWriter, TensorBoard, purge
from tests.invoke import disk
from tests.loop.small import Linear, Recorder, make

STEPS, EVALUATED = 10, [4, 8, 10]
BLOCK_ENDS = [3, 4, 7, 8, 10]


class Reports(Hook):
    """Keeps what was reported of the validation images."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        self.reports.append(report)


class Telling(TrainStep):
    """A user's step with a scalar of its own."""

    def gradients(self, batch: Batch) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        gradients, scalars = super().gradients(batch)
        return gradients, {**scalars, "ink": tf.reduce_mean(batch.images)}


class Trained:
    """A mixed_float16 run and what its hooks saw."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.blocks, self.reports = Recorder(), Reports()
        self.trainer = make(
            max_steps=STEPS,
            steps_per_block=3,
            eval_every="4",
            validation_size=100,
            precision="mixed_float16",
            step=Telling,
            hooks=[TensorBoard(), self.blocks, self.reports],
        )
        self.trainer.fit(directory)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("run"))


def read(folder: Path) -> EventAccumulator:
    """All events of a folder; by default a reader keeps a sample."""
    everything = dict.fromkeys(("scalars", "images", "tensors"), 0)
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def values(events: EventAccumulator, tag: str) -> tuple[list[int], np.ndarray]:
    found = events.Scalars(tag)
    return [event.step for event in found], np.float32([event.value for event in found])


def test_the_tags_are_those_that_are_promised(trained: Trained) -> None:
    shared = {tags.LOSS, tags.ACCURACY, tags.ERROR_COUNT, tags.EPOCH}
    amp = {"amp/loss_scale", "amp/skipped_steps"}
    perf = {"perf/images_per_second", "perf/steps_per_second", "perf/data_wait_fraction"}
    norms = {"norm/gradient", "norm/weight", "norm/update"}
    train = read(trained.directory / "train").Tags()
    assert set(train["scalars"]) == {*shared, *amp, *perf, *norms, "learning_rate", "ink"}
    assert train["images"] == train["tensors"] == []

    digits = range(10)
    paths = [variable.path for variable in trained.trainer.state.model.trainable_variables]
    evaluated = read(trained.directory / "eval").Tags()
    assert set(evaluated["scalars"]) == {*shared, *(f"class/{digit}/recall" for digit in digits)}
    assert set(evaluated["images"]) == {"confusion_matrix", "images/misclassified"}
    curves = {f"pr_curves/digit_{digit}" for digit in digits}
    assert set(evaluated["tensors"]) == {*curves, *(f"hist/{path}" for path in paths)}


def test_every_step_of_training_is_there_at_its_number(trained: Trained) -> None:
    events = read(trained.directory / "train")
    for name, tag in {**tags.STEP_SCALARS, "ink": "ink"}.items():
        steps, found = values(events, tag)
        assert steps == list(range(1, STEPS + 1))
        np.testing.assert_array_equal(found, trained.blocks.scalars(name), tag)
    steps, epochs = values(events, tags.EPOCH)
    np.testing.assert_allclose(epochs, np.arange(1, STEPS + 1) / trained.trainer.run.steps_per_epoch)
    for tag, name in ((tags.WEIGHT_NORM, "weight_norm"), (tags.IMAGES_PER_SECOND, "images_per_second")):
        steps, found = values(events, tag)
        assert steps == BLOCK_ENDS
        np.testing.assert_allclose(found, [getattr(log, name) for log in trained.blocks.logs])


def test_every_evaluation_is_there_at_its_step(trained: Trained) -> None:
    events, reports = read(trained.directory / "eval"), trained.reports.reports
    expected = {tags.LOSS: "loss", tags.ACCURACY: "accuracy", tags.ERROR_COUNT: "errors"}
    for tag, name in expected.items():
        steps, found = values(events, tag)
        assert steps == EVALUATED
        np.testing.assert_allclose(found, [getattr(report, name) for report in reports])
    for digit in range(10):
        _, found = values(events, tags.recall(digit))
        np.testing.assert_allclose(found, [report.per_class[digit]["recall"] for report in reports])


@pytest.mark.parametrize("tag", [tags.CONFUSION_MATRIX, tags.MISCLASSIFIED])
def test_pictures_can_be_decoded(trained: Trained, tag: str) -> None:
    events = read(trained.directory / "eval").Images(tag)
    # Drawn at the end alone: the run is short.
    assert [event.step for event in events] == EVALUATED[-1:]
    for event in events:
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        assert (picture.format, picture.mode) == ("PNG", "RGBA")
        assert picture.size == (event.width, event.height)
        assert np.ptp(np.asarray(picture)[..., :3]) > 200


def test_pictures_are_drawn_on_the_way_where_their_time_is_a_small_share(tmp_path: Path) -> None:
    make(max_steps=STEPS, eval_every="4", validation_size=100, hooks=[TensorBoard(seconds_to_draw=0)]).fit(
        tmp_path
    )
    events = read(tmp_path / "eval").Images(tags.CONFUSION_MATRIX)
    assert [event.step for event in events] == EVALUATED


def test_tensorboards_plugin_reads_the_precision_recall_curves(trained: Trained) -> None:
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(trained.directory)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(trained.directory))
    plugin = PrCurvesPlugin(base_plugin.TBContext(data_provider=provider, multiplexer=multiplexer))
    for digit in range(10):
        curves = plugin.pr_curves_impl(RequestContext(), "", ["eval"], tags.pr_curve(digit))["eval"]
        assert [curve["step"] for curve in curves] == EVALUATED
        for curve, report in zip(curves, trained.reports.reports, strict=True):
            *_, precision, recall = report.pr_curves[digit]
            # The plugin leaves out the thresholds that no image reaches.
            reached = len(curve["precision"])
            assert reached > 1
            np.testing.assert_allclose(curve["precision"], precision[:reached], rtol=1e-6)
            np.testing.assert_allclose(curve["recall"], recall[:reached], rtol=1e-6)


def test_histograms_count_every_weight(trained: Trained) -> None:
    events = read(trained.directory / "eval")
    for variable in trained.trainer.state.model.trainable_variables:
        tag, weights = tags.histogram(variable.path), variable.value.numpy()
        assert events.SummaryMetadata(tag).plugin_data.plugin_name == "histograms"
        assert [event.step for event in events.Tensors(tag)] == EVALUATED
        buckets = tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto)
        assert buckets[:, 2].sum() == weights.size
        assert buckets[0, 0] == pytest.approx(weights.min())
        assert buckets[-1, 1] == pytest.approx(weights.max())


def test_log_every_thins_the_steps_out(tmp_path: Path) -> None:
    make(max_steps=10, log_every=4, steps_per_block=3, hooks=[TensorBoard()]).fit(tmp_path)
    steps, _ = values(read(tmp_path / "train"), tags.LOSS)
    assert steps == [4, 8]


def write(folder: Path, steps: range, first_step: int = 1) -> Path:
    """An event file with a loss at each step."""
    before = set(folder.glob("*"))
    writer = EventWriter(folder, first_step)
    for step in steps:
        writer.scalars(step, {tags.LOSS: step})
    writer.close()
    (path,) = set(folder.glob("*")) - before
    return path


def test_going_on_removes_the_later_events_of_all_files(tmp_path: Path) -> None:
    for first, last in ((1, 5), (6, 10), (11, 15)):
        write(tmp_path, range(first, last + 1), first)
    contents = {path: path.read_bytes() for path in tmp_path.iterdir()}
    purge(tmp_path, 15)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == contents
    purge(tmp_path, 8)
    # The name of a file from a machine whose clock is ahead would come after those of the next ones.
    early, *_, late = sorted(tmp_path.iterdir())
    late.rename(tmp_path / early.name.replace("events.out.tfevents.1", "events.out.tfevents.9"))
    write(tmp_path, range(9, 12), 9)
    assert values(read(tmp_path), tags.LOSS)[0] == list(range(1, 12))


def test_a_file_that_a_kill_cut_at_any_byte_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "whole", range(1, 4))
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / path.name).write_bytes(content[:size])
        purge(folder, 3)
        kept = (folder / path.name).read_bytes()
        assert content.startswith(kept)
        assert size - len(kept) < 100
        write(folder, range(4, 6), first_step=4)
        steps = values(read(folder), tags.LOSS)[0]
        assert steps == [*range(1, len(steps) - 1), 4, 5]
    assert len(steps) == 4


def test_an_open_tensorboard_forgets_what_is_trained_anew(tmp_path: Path) -> None:
    write(tmp_path, range(1, 10))
    viewer = read(tmp_path)
    purge(tmp_path, 4)
    write(tmp_path, range(5, 12), first_step=5)
    assert values(viewer.Reload(), tags.LOSS)[0] == list(range(1, 12))


def test_an_evaluation_that_the_checkpoint_does_not_know_is_not_told_twice(tmp_path: Path) -> None:
    # An interrupt saves at once; the evaluation that is due at that step follows when the run goes on.
    trainer = make(net=Linear, hooks=[])
    run, report = trainer.run, trainer.evaluate(trainer.data.test)
    run.directory, run.step = tmp_path, 4
    for evaluated_at in (-1, -1, 4):
        run.evaluated_at = evaluated_at
        hook = TensorBoard()
        hook.on_start(run)
        if evaluated_at < run.step:
            hook.on_evaluation(run, report, trainer.data.test)
        hook.on_end(run)
        events = read(tmp_path / "eval")
        weights = tags.histogram(run.model.trainable_variables[0].path)
        assert [event.step for event in events.Scalars(tags.LOSS)] == [4]
        assert [event.step for event in events.Tensors(weights)] == [4]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=64k") as folder:
        writer = EventWriter(folder)
        with pytest.raises(OSError, match="No space left on device") as caught:
            for step in range(10):
                writer.image(step, "noise", bytes(30_000))
                writer.flush()
        (path,) = folder.iterdir()
        assert caught.value.filename == str(path)
