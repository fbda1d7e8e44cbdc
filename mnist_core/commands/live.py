"""Reads digits as they come: drawn on a pad in a window, or from a camera, a video or a folder of pictures.

The pad: draw with the left button, rub out with the right one; c clears, u takes a stroke back, q leaves.
"""

import argparse
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from mnist_core import cli
from mnist_core.errors import InterruptedRunError, UsageError
from mnist_core.imports import import_opencv, import_predictor
from mnist_core.loop.interrupt import SIGNALS, leave_at_the_second

LEAVING = b"interrupted twice: left without a video; run it again\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_run_argument(parser)
    cli.add_engine_argument(parser)
    parser.add_argument(
        "--source",
        default="pad",
        metavar="{pad,camera:N,FILE,FOLDER}",
        help="a pad to draw on, a camera (the first is camera:0), a video file, or a folder of "
        "pictures (default: %(default)s)",
    )
    parser.add_argument("--headless", action="store_true", help="open no window")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="video of what was seen and read: .mp4, .avi or .mkv"
    )


def main(args: argparse.Namespace) -> cli.Answer:
    """Reads until the source ends, the window is closed or Ctrl-C."""
    if args.source == "pad" and (args.headless or args.out):
        raise UsageError("--source pad needs a window and makes no video; leave --headless and --out away")
    # Before TensorFlow, which takes its time: the source may not be there.
    import_opencv()
    from mnist_core.vision.window import check_display

    if not args.headless:
        check_display()
    return _draw(args) if args.source == "pad" else _watch(args)


def _draw(args: argparse.Namespace) -> cli.Answer:
    predictor = import_predictor()(args.run, args.log_dir, engine=args.engine)
    import numpy as np

    from mnist_core.vision.live import draw

    stop = _Stop()
    pace, strokes = draw(predictor, stop)
    stop.close()
    redraw = round(float(np.percentile(strokes, 95)), 2) if strokes else None
    return _answer({**pace.to_json(), "redraw_ms_p95": redraw})


def _watch(args: argparse.Namespace) -> cli.Answer:
    from mnist_core.vision.sources import Recorder, open_source

    source = open_source(args.source)
    recorder = Recorder(args.out, source.frames_per_second) if args.out else None
    whole = False
    try:
        predictor = import_predictor()(args.run, args.log_dir, engine=args.engine)
        from mnist_core.vision.live import TITLE, watch
        from mnist_core.vision.window import Window

        window = None if args.headless else Window(TITLE)
        stop = _Stop(recorder.discard if recorder else None)
        pace = watch(source, predictor, stop, window=window, recorder=recorder)
        whole = pace.frames > 0
    finally:
        if recorder:
            recorder.close(keep=whole)
    stop.close()
    error = None
    if stop() and not source.endless:
        error = InterruptedRunError(f"interrupted after {pace.frames} frames; run it again for the others")
    return _answer(pace.to_json(), error)


class _Stop:
    """Whether Ctrl-C or SIGTERM has come; asked between two frames, so that the video is ended well.

    A second one ends the program at once, for a camera may be waited for without end. Python runs signal
    handlers only between two such calls, so a thread counts the signals as the system delivers them.

    Args:
      discard: called before the program ends so.
    """

    def __init__(self, discard: Callable[[], None] | None = None) -> None:
        self._requested = False
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=leave_at_the_second, args=(reader, LEAVING, discard), daemon=True).start()
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def __call__(self) -> bool:
        return self._requested

    def close(self) -> None:
        """From now on a signal does nothing: the result is there, and about to be told."""
        signal.set_wakeup_fd(-1)
        os.close(self._writer)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._requested = True


def _answer(data: dict[str, Any], error: InterruptedRunError | None = None) -> cli.Answer:
    text = f"{data['frames']} frames"
    if data["frames"]:
        text += f", {data['latency_ms_p50']:.1f} ms each (95 % within {data['latency_ms_p95']:.1f} ms)"
    return cli.Answer(data, text, error)
