"""Our recipe: a fixed length, scored once at the end."""

from collections.abc import Callable, Iterator

from benchmarks.contestants.race_to import images, serve, settings
from mnist_core.config import Config
from mnist_core.data.split import Dataset, Split
from mnist_core.loop.run import BlockLog, Run
from mnist_core.loop.trainer import Trainer
from mnist_core.recipes import recipe


class StopOnce:
    """Ends the first training after a block: all is compiled then."""

    def __init__(self) -> None:
        self._used = False

    def on_block(self, run: Run, log: BlockLog) -> None:
        if not self._used:
            run.stop("compiled")
            self._used = True


def main() -> None:
    """Trains a seed at a time."""
    given = settings()
    train, train_labels, test, test_labels = images(given)
    data = Dataset("mnist", Split(train, train_labels), Split(test, test_labels))
    config = Config.from_mapping(
        {
            **recipe(given["recipe"]),
            **given["changes"],
            "validation_size": 0,
            "eval_every": "0",
            "checkpoint_every": "0",
            "device": given["device"],
        }
    )

    def prepare(seed: int) -> Callable[[], Iterator[float]]:
        trainer = Trainer(config.replace(seed=seed), data=data, hooks=[] if given["cold"] else [StopOnce()])
        if not given["cold"]:
            state, counters = trainer.state.arrays(), trainer.run.counters()
            trainer.fit()
            trainer.state.assign("the state before", state)
            trainer.run.restore(counters)

        def training() -> Iterator[float]:
            yield trainer.fit().report.accuracy

        return training

    serve(given, prepare)


if __name__ == "__main__":
    main()
