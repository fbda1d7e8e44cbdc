"""From image files to digits: read, normalise as MNIST was made, recognise. Only this package imports cv2."""
