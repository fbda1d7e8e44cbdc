"""TensorBoard event files, written as plain records so that logging every step costs next to nothing."""

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.pr_curve.metadata import create_summary_metadata as pr_curve_metadata
from tensorboard.util.tensor_util import make_tensor_proto

from mnist_core.data.split import Split
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import BlockLog, Run
from mnist_core.metrics import Report
from mnist_core.reporting import figures, tags

EVENT_FILES = "events.out.tfevents.*"
DRAWING_SHARE = 0.01
RECORD_FRAME = 16  # bytes around each record of a TFRecord file: its length and two checksums


class EventWriter:
    """Appends events to a new file in ``folder``.

    A TensorBoard that is open forgets what it has read from ``first_step`` on.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names, whatever a clock says.
        stamps = [int(path.name.split(".")[3]) for path in folder.glob(EVENT_FILES)]
        stamp = max([int(time.time()), *(older + 1 for older in stamps)])
        self._path = folder / f"events.out.tfevents.{stamp}.{socket.gethostname()}.{os.getpid()}"
        with _os_errors(self._path):
            self._writer = tf.io.TFRecordWriter(str(self._path))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=first_step, wall_time=time.time(), session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One event that holds all ``values`` by tag."""
        self.series([step], {tag: [value] for tag, value in values.items()})

    def series(self, steps: ArrayLike, values: Mapping[str, ArrayLike]) -> None:
        """An event for each of ``steps`` that holds its ``values`` by tag."""
        # To fill one event again and again takes a third of the time that new ones take.
        event = Event(
            wall_time=time.time(), summary=Summary(value=[Summary.Value(tag=tag) for tag in values])
        )
        scalars = list(event.summary.value)
        columns = (np.asarray(column, np.float64).tolist() for column in values.values())
        with _os_errors(self._path):
            for step, *row in zip(np.asarray(steps).tolist(), *columns, strict=True):
                event.step = step
                for scalar, value in zip(scalars, row, strict=True):
                    scalar.simple_value = value
                self._writer.write(event.SerializeToString())

    def image(self, step: int, tag: str, png: bytes) -> None:
        """A PNG image in RGBA."""
        width, height = struct.unpack(">2I", png[16:24])
        picture = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        self._summary(step, [Summary.Value(tag=tag, image=picture)])

    def pr_curve(self, step: int, tag: str, curve: np.ndarray) -> None:
        """A precision-recall curve, float32 ``[6, thresholds]`` in the order of `Report.pr_curves`."""
        metadata = pr_curve_metadata(display_name=tag, description="", num_thresholds=curve.shape[1])
        self._summary(
            step, [Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto(curve.astype("f4")))]
        )

    def histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        """The distribution of ``values``."""
        self._summary(step, histogram_pb(tag, values).value)

    def flush(self) -> None:
        """Hands all events to the operating system."""
        with _os_errors(self._path):
            self._writer.flush()

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        with _os_errors(self._path):
            self._writer.close()

    def _summary(self, step: int, values: Iterable[Summary.Value]) -> None:
        self._write(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        with _os_errors(self._path):
            self._writer.write(event.SerializeToString())


class TensorBoard(Hook):
    """Writes ``train/`` and ``eval/`` under the run directory, the same tags side by side.

    When a run goes on from a checkpoint, events after its step are removed first: curves don't overlap.
    Pictures are those of the last evaluation, and of earlier ones no more often than costs a hundredth of
    the time.

    Args:
      flush_seconds: most seconds between two flushes.
      seconds_to_draw: estimated cost of drawing the pictures.
    """

    def __init__(self, flush_seconds: float = 2.0, seconds_to_draw: float = 1.0) -> None:
        self._flush_seconds = flush_seconds
        self._seconds_to_draw = seconds_to_draw
        self._flushed = 0.0
        self._drawn = 0.0
        self._undrawn: tuple[int, Report, Split] | None = None
        self._writers: dict[str, EventWriter] = {}

    def on_start(self, run: Run) -> None:
        self._drawn, self._undrawn = time.monotonic(), None
        for name, last in (("train", run.step), ("eval", run.evaluated_at)):
            # The version, an event of step 0, stays.
            last_kept = max(last, 0)
            purge(run.path(name), last_kept)
            self._writers[name] = EventWriter(run.path(name), first_step=last_kept + 1)

    def on_block(self, run: Run, log: BlockLog) -> None:
        writer = self._writers["train"]
        steps, scalars = log.logged(run.config.log_every)
        curves = {tags.STEP_SCALARS.get(name, name): values for name, values in scalars.items()}
        writer.series(steps, {**curves, tags.EPOCH: steps / run.steps_per_epoch})
        writer.scalars(
            run.step,
            {
                tags.IMAGES_PER_SECOND: log.images_per_second,
                tags.STEPS_PER_SECOND: log.steps_per_second,
                tags.DATA_WAIT_FRACTION: log.data_wait_fraction,
                tags.WEIGHT_NORM: log.weight_norm,
                tags.UPDATE_NORM: log.update_norm,
            },
        )
        if time.monotonic() - self._flushed > self._flush_seconds:
            self._flush()

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        writer = self._writers["eval"]
        writer.scalars(
            run.step,
            {
                tags.LOSS: report.loss,
                tags.ACCURACY: report.accuracy,
                tags.ERROR_COUNT: report.errors,
                tags.EPOCH: run.epoch,
                **{tags.recall(row["digit"]): row["recall"] for row in report.per_class},
            },
        )
        self._undrawn = run.step, report, split
        if run.finished or DRAWING_SHARE * (time.monotonic() - self._drawn) > self._seconds_to_draw:
            self._draw()
        for digit, curve in enumerate(report.pr_curves):
            writer.pr_curve(run.step, tags.pr_curve(digit), curve)
        for variable in run.model.trainable_variables:
            writer.histogram(run.step, tags.histogram(variable.path), variable.value.numpy())
        self._flush()

    def before_checkpoint(self, run: Run) -> None:
        self._flush()

    def on_exception(self, run: Run, error: BaseException) -> None:
        # The run may go on, and draws then.
        self._undrawn = None

    def on_end(self, run: Run) -> None:
        self._draw()
        for writer in self._writers.values():
            writer.close()

    def _draw(self) -> None:
        """The pictures of the last evaluation, unless they are there."""
        if self._undrawn is None:
            return
        step, report, split = self._undrawn
        pictures = {
            tags.CONFUSION_MATRIX: figures.confusion_matrix(report.confusion, "validation"),
            tags.MISCLASSIFIED: figures.misclassified_grid(split.images, report.misclassified, "validation"),
        }
        for tag, figure in pictures.items():
            self._writers["eval"].image(step, tag, figures.to_png(figure))
        self._drawn, self._undrawn = time.monotonic(), None

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()
        self._flushed = time.monotonic()


def purge(folder: Path, step: int) -> None:
    """Cuts the files of ``folder`` off before the first event after ``step``, or before a torn record."""
    for path in sorted(folder.glob(EVENT_FILES)):
        end = 0
        for record in _intact_records(path):
            if Event.FromString(record).step > step:
                break
            end += len(record) + RECORD_FRAME
        os.truncate(path, end)


@contextlib.contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        # TensorFlow's own message is "PATH; No space left on device".
        raise OSError(errno.EIO, error.message.rpartition("; ")[2], str(path)) from error


def _intact_records(path: Path) -> Iterable[bytes]:
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()
    except tf.errors.DataLossError:
        # The writer was killed in the middle of this record; it was the last one.
        return
