"""From image files to digits. Only this package imports cv2.

read, gray     a file or an array -> gray pixels
ink            gray pixels -> how much ink each has, in one of several looks
frames, parts  ink -> without boxes, ruling and holes; its connected parts
sheet          a picture's ink, and the way back to the picture's pixels
page           a sheet -> rows of digits: segment finds pieces and rows, touching cuts (along seams) and joins
               pieces, signs tells which are no digits
answers        what the networks say of a piece; strings reads one that is several digits
normalise      a sheet -> the ink of its one digit; ink -> 28x28 as MNIST was made, and views of that
predictor      one look after the other until there are digits; engines compute
explain        what was seen at each stage
live           frames of a camera, a video or a pad: sources, pad, window, overlay
"""

import os

# Above most cameras', and below what would fill a computer's memory: 10,000 x 10,000.
MOST_PIXELS = 100_000_000
# For kinds of files that only OpenCV knows, its own limit, ten times as high, is the only one. It is read as
# OpenCV is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))
