"""From image files to digits: read, normalise as MNIST was made, recognise. Only this package imports cv2."""

import os

# Above most cameras', and below what would fill a computer's memory: 10,000 x 10,000.
MOST_PIXELS = 100_000_000
# For kinds of files that only OpenCV knows, its own limit, ten times as high, is the only one. It is read as
# OpenCV is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))
