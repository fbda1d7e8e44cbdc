"""Does nothing, a millisecond a step: the measure of what the measuring costs."""

import time

from benchmarks.contestants.pace import Pace, problem


def main() -> None:
    """Idles until nobody asks for more."""
    settings, _ = problem()
    pace = Pace(settings)
    while True:
        time.sleep(0.001)
        pace(1, lambda: 1.0)


if __name__ == "__main__":
    main()
