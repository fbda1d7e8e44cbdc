"""One network call for the digits of all the pictures that are being read at a time."""

import concurrent.futures
import queue
import threading
from typing import Any

import numpy as np

from mnist_core.vision import strings
from mnist_core.vision.predictor import Predictor

# Of one network call; a larger one would keep the others waiting for no gain.
MOST_IMAGES = 256

Question = tuple[np.ndarray, "concurrent.futures.Future[np.ndarray]"]


class SharedPredictor(Predictor):
    """A `Predictor` for many threads: the questions that wait while the network is busy are asked as one.

    Nobody waits for company: a question that comes alone is asked at once. The arguments are those of
    `Predictor`.

    Attributes:
      network_calls: how often the network was asked.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # No client shall wait until it is loaded.
        strings.reader()
        self.network_calls = 0
        self._closed = False
        self._waiting: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._answer, name="network", daemon=True)
        self._thread.start()

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 ``[n, 10]`` for uint8 ``[n, 28, 28]``, bright ink on black; to be called by any thread.

        Raises:
          RuntimeError: it was closed.
        """
        if self._closed:
            raise RuntimeError("a closed predictor answers nothing")
        answer: concurrent.futures.Future[np.ndarray] = concurrent.futures.Future()
        self._waiting.put((images, answer))
        return answer.result()

    def close(self) -> None:
        """Ends the thread, once what waits is answered."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _answer(self) -> None:
        while (first := self._waiting.get()) is not None:
            self._answer_together(self._with_company(first))

    def _with_company(self, first: Question) -> list[Question]:
        questions, count = [first], len(first[0])
        while count < MOST_IMAGES:
            try:
                question = self._waiting.get_nowait()
            except queue.Empty:
                break
            if question is None:
                # For the next turn: what came before it is answered first.
                self._waiting.put(None)
                break
            questions.append(question)
            count += len(question[0])
        return questions

    def _answer_together(self, questions: list[Question]) -> None:
        images = [images for images, _ in questions]
        self.network_calls += 1
        try:
            found = super().probabilities(np.concatenate(images))
        except Exception as error:  # Whoever asks gets it, and this thread goes on.
            for _, answer in questions:
                answer.set_exception(error)
            return
        ends = np.cumsum([len(part) for part in images])[:-1]
        for (_, answer), part in zip(questions, np.split(found, ends), strict=True):
            answer.set_result(part)
