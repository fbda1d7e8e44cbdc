"""Frames to read digits in: of a camera, a video file or a folder of pictures; and a video file to write."""

import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mnist_core.errors import DeviceError, InputError, UsageError, warn
from mnist_core.vision.read import read_image

# What fails is ours to tell, in one line; -8 is FFmpeg's AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
FOLDER_FRAMES_PER_SECOND = 10.0


@dataclasses.dataclass(frozen=True)
class Source:
    """Where frames come from.

    Attributes:
      frames: uint8 [height, width, 3], BGR; each is asked for when the one before has been dealt with.
      frames_per_second: of a video; of a camera, what it claims.
      endless: it ends only when it is stopped, as a camera does.
    """

    frames: Iterator[np.ndarray]
    frames_per_second: float
    endless: bool


def open_source(name: str) -> Source:
    """Opens ``camera:N``, a video file, or a folder whose pictures, in the order of their names, are frames.

    Raises:
      UsageError: N is no number, or none of a camera. DeviceError: there is no such camera.
      InputError: there is no such file, it is no video, or the folder has no files.
    """
    kind, _, number = name.partition(":")
    if kind == "camera":
        # OpenCV takes a C int.
        if not number.isdecimal() or len(number) > 9:
            raise UsageError(f"--source {name}: a camera is camera:N, the first camera:0")
        return _camera(int(number))
    path = Path(name)
    if name and path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError(f"--source {name}: no such file or folder; name one, or pad, or camera:0")
    return _video(path)


class Recorder:
    """Writes a video file that appears under its name only once it is whole.

    Raises:
      UsageError: the ending is none of `CODECS`, or the folder can't be written.
    """

    def __init__(self, path: Path, frames_per_second: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise UsageError(f"--out {path}: the name must end in {', '.join(CODECS)}")
        if not path.parent.is_dir() or path.is_dir():
            raise UsageError(f"--out {path} can't be written; name a file in a folder that is there")
        self.path, self._frames_per_second = path, frames_per_second
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
        self._size: tuple[int, int] | None = None
        self._count = 0
        self._writer = cv2.VideoWriter()

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 [height, width, 3] BGR; the first one's size is that of all."""
        if self._size is None:
            # These codecs store colour for two by two pixels.
            self._size = (max(2, frame.shape[1] // 2 * 2), max(2, frame.shape[0] // 2 * 2))
            code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
            if not self._writer.open(str(self._partial), code, self._frames_per_second, self._size):
                raise UsageError(f"--out {self.path} can't be written; name a file in a folder that may be")
        if frame.shape[1::-1] != self._size:
            frame = cv2.resize(frame, self._size)
        self._writer.write(frame)
        self._count += 1

    def close(self, *, keep: bool) -> None:
        """Ends the file; without ``keep`` it is removed.

        Raises:
          OSError: frames are missing, as on a full disk, of which OpenCV tells nothing; the file is removed.
        """
        self._writer.release()
        if not keep or not self._count:
            self.discard()
        elif self._is_whole():
            os.replace(self._partial, self.path)
        else:
            self.discard()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def discard(self) -> None:
        """Removes what is written so far; any thread may."""
        self._partial.unlink(missing_ok=True)

    def _is_whole(self) -> bool:
        # What the container itself says is written also where the frames before it were lost.
        capture, found = cv2.VideoCapture(str(self._partial)), 0
        # Packets, not pictures: these needn't be decoded to be counted.
        capture.set(cv2.CAP_PROP_FORMAT, -1)
        while capture.grab():
            found += 1
        capture.release()
        return found >= self._count


def _camera(number: int) -> Source:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise DeviceError(
            f"--source camera:{number}: no such camera, or it is in use; plug it in, or name another one"
        )
    # Else an old frame would be waiting each time.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return Source(_captured(capture), _rate(capture), endless=True)


def _video(path: Path) -> Source:
    capture = cv2.VideoCapture(str(path))
    frames = _captured(capture)
    first = next(frames, None)
    if first is None:
        raise InputError(f"--source {path}: no video that OpenCV reads, or damaged; save it anew as MP4")
    return Source(_with_first(first, frames), _rate(capture), endless=False)


def _captured(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    try:
        while (found := capture.read())[0]:
            yield found[1]
    finally:
        capture.release()


def _with_first(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _rate(capture: cv2.VideoCapture) -> float:
    claimed = capture.get(cv2.CAP_PROP_FPS)
    return claimed if 1 <= claimed <= 240 else 25.0


def _folder(folder: Path) -> Source:
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise InputError(f"--source {folder}: an empty folder; name one with pictures")

    def pictures() -> Iterator[np.ndarray]:
        read = 0
        for path in paths:
            try:
                yield cv2.cvtColor(read_image(path), cv2.COLOR_GRAY2BGR)
                read += 1
            except InputError as error:
                warn(f"skipped: {error}")
        if not read:
            raise InputError(
                f"--source {folder}: none of its {len(paths)} files is a picture; name another one"
            )

    return Source(pictures(), FOLDER_FRAMES_PER_SECOND, endless=False)
