"""A window on the screen, where there is one."""

import contextlib
import ctypes
import os
import subprocess
import sys

import cv2
import numpy as np

from mnist_core.errors import DeviceError

# Qt, in which OpenCV's windows are written, talks about the fonts it lacks.
os.environ.setdefault("QT_LOGGING_RULES", "*=false")
# OpenCV's wheel brings a libX11-xcb of its own to the libX11 of the system. Where that one is of another
# version, Xlib is not told that it must leave the events to Qt, and now and then takes those after which a
# window is painted: it stays black. The one that belongs to the system's goes first, where there is one.
with contextlib.suppress(OSError):
    ctypes.CDLL("libX11-xcb.so.1", ctypes.RTLD_GLOBAL)
TRIAL = "import cv2; cv2.namedWindow('trial')"
# A display may take the connection and then never answer.
TRIAL_SECONDS = 20


def check_display() -> None:
    """Checks that windows can be opened: in a process of its own, because Qt ends one without a screen.

    Raises:
      DeviceError: they can't.
    """
    try:
        subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, check=True, timeout=TRIAL_SECONDS)
    except subprocess.SubprocessError:
        screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        reason = f"the display {screen} can't be used" if screen else "there is no display"
        raise DeviceError(
            f"{reason} for a window; run it on a desktop, or use --source FILE --headless --out FILE.mp4"
        ) from None


class Window:
    """One window, from its first picture on until it is closed."""

    def __init__(self, title: str) -> None:
        self.title = title
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)

    @property
    def closed(self) -> bool:
        """Whether the person has closed it."""
        return cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1

    def show(self, picture: np.ndarray, milliseconds: int = 1) -> str:
        """Shows uint8 [height, width, 3] BGR, and waits as `wait` does."""
        cv2.imshow(self.title, picture)
        return self.wait(milliseconds)

    def wait(self, milliseconds: int = 1) -> str:
        """Attends to events for so long, or until a key is pressed: that key, or ''."""
        code = cv2.waitKey(milliseconds)
        return chr(code & 255) if code >= 0 else ""

    def close(self) -> None:
        """Removes it from the screen."""
        cv2.destroyAllWindows()
        cv2.waitKey(1)
