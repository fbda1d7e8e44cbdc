"""The peak of the device: square matrix products, the roof over every network."""

import json
import sys
import time

import tensorflow as tf

SIDE = 2048


def main() -> None:
    """Answers with FLOP/s until nobody asks for more."""
    settings = json.loads(sys.argv[1])
    dtype = tf.bfloat16 if settings["precision"] == "mixed_bfloat16" else tf.float32
    one = tf.cast(tf.random.normal([SIDE, SIDE]), dtype)

    @tf.function
    def product() -> tf.Tensor:
        return tf.matmul(one, one)

    product()
    print(json.dumps({}), flush=True)
    for question in sys.stdin:
        begin = time.perf_counter()
        count = 0
        while time.perf_counter() < begin + float(question):
            product()
            tf.test.experimental.sync_devices()
            count += 1
        seconds = time.perf_counter() - begin
        print(json.dumps({"flops_per_second": 2 * SIDE**3 * count / seconds}), flush=True)


if __name__ == "__main__":
    main()
