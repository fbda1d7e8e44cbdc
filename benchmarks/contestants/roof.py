"""The roofs of the device over every program: square matrix products, and copying."""

import json
import sys
import time

import tensorflow as tf

SIDE = 2048
# Floats that are copied: more than any cache holds.
COPIED = 2**26


def main() -> None:
    """Answers with operations, or bytes read and written, a second until nobody asks for more."""
    settings = json.loads(sys.argv[1])
    if settings["precision"] == "copy":
        numbers = tf.random.normal([COPIED])
        amount = 2 * 4 * COPIED
        # TensorFlow would hand the same memory on as a copy.
        work = tf.function(lambda: -numbers)
    else:
        dtype = tf.bfloat16 if settings["precision"] == "mixed_bfloat16" else tf.float32
        square = tf.cast(tf.random.normal([SIDE, SIDE]), dtype)
        amount = 2 * SIDE**3
        work = tf.function(lambda: tf.matmul(square, square))
    work()
    print(json.dumps({}), flush=True)
    for question in sys.stdin:
        begin = time.perf_counter()
        count = 0
        while time.perf_counter() < begin + float(question):
            work()
            tf.test.experimental.sync_devices()
            count += 1
        seconds = time.perf_counter() - begin
        print(json.dumps({"amount_per_second": amount * count / seconds}), flush=True)


if __name__ == "__main__":
    main()
