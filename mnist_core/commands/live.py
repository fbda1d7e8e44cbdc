"""Reads digits as they come: drawn on a pad in a window, or from a camera, a video or a folder of pictures.

The pad: draw with the left button, rub out with the right one; c clears, u takes a stroke back, q leaves.
"""

import argparse
from pathlib import Path
from typing import Any

from mnist_core import cli
from mnist_core.errors import InterruptedRunError, UsageError
from mnist_core.imports import import_opencv, import_predictor
from mnist_core.interrupt import Interrupts

LEAVING = "interrupted twice: left at once; run it again"


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

    with Interrupts(LEAVING) as interrupts:
        pace, strokes = draw(predictor, lambda: interrupts.requested)
    redraw = round(float(np.percentile(strokes, 95)), 2) if strokes else None
    return _answer({**pace.to_json(), "redraw_ms_p95": redraw})


def _watch(args: argparse.Namespace) -> cli.Answer:
    from mnist_core.vision.sources import Recorder, open_source

    source = open_source(args.source)
    recorder = Recorder(args.out, source.frames_per_second) if args.out else None
    predictor = import_predictor()(args.run, args.log_dir, engine=args.engine)
    from mnist_core.vision.live import TITLE, watch
    from mnist_core.vision.window import Window

    window = None if args.headless else Window(TITLE)
    # The video is ended well between two frames; for a camera's next one there may be no end of waiting.
    with Interrupts(LEAVING, recorder.discard if recorder else None) as interrupts:
        whole = False
        try:
            pace = watch(source, predictor, lambda: interrupts.requested, window=window, recorder=recorder)
            whole = pace.frames > 0
        finally:
            if recorder:
                recorder.close(keep=whole)
    error = None
    if interrupts.requested and not source.endless:
        error = InterruptedRunError(f"interrupted after {pace.frames} frames; run it again for the others")
    return _answer(pace.to_json(), error)


def _answer(data: dict[str, Any], error: InterruptedRunError | None = None) -> cli.Answer:
    text = f"{data['frames']} frames"
    if data["frames"]:
        text += f", {data['latency_ms_p50']:.1f} ms each (95 % within {data['latency_ms_p95']:.1f} ms)"
    return cli.Answer(data, text, error)
