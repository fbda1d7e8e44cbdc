"""A progress bar on stderr, silent where nobody watches."""

from tqdm import tqdm

from mnist_core.data.split import Split
from mnist_core.loop.hooks import Hook
from mnist_core.loop.run import BlockLog, Run
from mnist_core.metrics import Report


class Progress(Hook):
    """Shows steps, loss, throughput and the latest validation accuracy."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._shown: dict[str, str] = {}

    def on_start(self, run: Run) -> None:
        # disable=None: tqdm stays silent when stderr is not a terminal.
        self._bar = tqdm(
            total=run.total_steps, initial=run.step, unit="step", disable=None, dynamic_ncols=True
        )

    def on_block(self, run: Run, log: BlockLog) -> None:
        self._shown["loss"] = f"{log.scalars['loss'].mean():.4f}"
        self._shown["images/s"] = f"{log.images_per_second:,.0f}"
        self._update(run)

    def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
        self._shown["validation"] = f"{report.accuracy:.2%}"
        self._update(run)

    def on_end(self, run: Run) -> None:
        if self._bar is not None:
            self._bar.close()

    def _update(self, run: Run) -> None:
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update(run.step - self._bar.n)
