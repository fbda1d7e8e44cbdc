"""Streaming classification metrics from logits: counts, and every number that follows from them."""

import dataclasses
from typing import Any

import numpy as np

from mnist_core.errors import DivergedError, InputError

CLASSES = 10
CALIBRATION_BINS = 15
PR_THRESHOLDS = 128


@dataclasses.dataclass(frozen=True)
class Misclassified:
    """One wrong answer: ``index`` among the examples scored, ``probability`` given to ``predicted``."""

    index: int
    label: int
    predicted: int
    probability: float


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """The scores of all examples added to a `Tally`.

    Where nothing was scored or predicted a share is undefined, and given as 0.0.

    Attributes:
      loss: mean cross-entropy, nats.
      confusion: int64 [10, 10]; rows are true labels, columns predictions.
      per_class: a dict of digit, precision, recall, f1 and support for each digit.
      calibration_error: expected calibration error over 15 bins of equal width (Guo et al. 2017,
        "On Calibration of Modern Neural Networks").
      misclassified: every wrong answer, in the order of the examples.
      pr_curves: float32 [10, 6, 128], one table a digit in the layout of TensorBoard's pr_curve plugin:
        true and false positives, true and false negatives, precision, recall; column i counts a
        probability of at least i / 127 as a prediction of the digit.
    """

    count: int
    loss: float
    accuracy: float
    errors: int
    confusion: np.ndarray = dataclasses.field(repr=False)
    per_class: list[dict[str, Any]] = dataclasses.field(repr=False)
    calibration_error: float
    misclassified: tuple[Misclassified, ...] = dataclasses.field(repr=False)
    pr_curves: np.ndarray = dataclasses.field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The scores as plain JSON values, without the precision-recall curves."""
        return {
            "count": self.count,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "errors": self.errors,
            "confusion": self.confusion.tolist(),
            "per_class": self.per_class,
            "calibration_error": self.calibration_error,
            "misclassified": [dataclasses.asdict(example) for example in self.misclassified],
        }


class Tally:
    """Counts over examples that come in batches of any size; the report doesn't depend on the sizes."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._confusion = np.zeros((CLASSES, CLASSES), np.int64)
        self._bin_hits = np.zeros(CALIBRATION_BINS, np.int64)
        self._bin_confidence = np.zeros(CALIBRATION_BINS)
        self._positives = np.zeros((CLASSES, PR_THRESHOLDS), np.int64)
        self._negatives = np.zeros((CLASSES, PR_THRESHOLDS), np.int64)
        self._misclassified: list[Misclassified] = []

    @property
    def count(self) -> int:
        """Examples added so far."""
        return int(self._confusion.sum())

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Scores a batch.

        Args:
          logits: float32 [n, 10].
          labels: int [n], 0-9.

        Raises:
          DivergedError: a logit is NaN or infinite. InputError: a label isn't a digit.
          ValueError: the shapes don't fit.
        """
        # float64: a sum over 10,000 float32 losses would depend on how they were batched.
        logits = np.ascontiguousarray(logits, np.float64)
        labels = np.asarray(labels, np.int64)
        _check(logits, labels)
        rows = np.arange(len(labels))
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        probabilities = np.exp(log_probabilities)
        predicted = logits.argmax(axis=1)
        confidence = probabilities[rows, predicted]

        start = self.count
        self._misclassified += [
            Misclassified(start + int(i), int(labels[i]), int(predicted[i]), float(confidence[i]))
            for i in np.flatnonzero(predicted != labels)
        ]
        self._loss -= float(log_probabilities[rows, labels].sum())
        self._confusion += _counts(labels, predicted, CLASSES)
        self._add_calibration(confidence, predicted == labels)
        self._add_pr_curves(probabilities, labels)

    def report(self) -> Report:
        """The scores of everything added so far."""
        count = self.count
        correct = int(np.trace(self._confusion))
        gaps = np.abs(self._bin_hits - self._bin_confidence)
        return Report(
            count=count,
            loss=self._loss / max(count, 1),
            accuracy=correct / max(count, 1),
            errors=count - correct,
            confusion=self._confusion.copy(),
            per_class=_per_class(self._confusion),
            calibration_error=float(gaps.sum()) / max(count, 1),
            misclassified=tuple(self._misclassified),
            pr_curves=_pr_curves(self._positives, self._negatives),
        )

    def _add_calibration(self, confidence: np.ndarray, hit: np.ndarray) -> None:
        # The bins of Guo et al. are open on the left: ]m/M, (m+1)/M].
        bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1
        self._bin_hits += np.bincount(bins[hit], minlength=CALIBRATION_BINS)
        self._bin_confidence += np.bincount(bins, confidence, minlength=CALIBRATION_BINS)

    def _add_pr_curves(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        # How many of the thresholds i / (T - 1) a probability reaches, less the one at 0 that all reach.
        reached = (probabilities * (PR_THRESHOLDS - 1)).astype(np.int64)
        digits = np.broadcast_to(np.arange(CLASSES), reached.shape)
        positive = digits == labels[:, np.newaxis]
        self._positives += _counts(digits[positive], reached[positive], PR_THRESHOLDS)
        self._negatives += _counts(digits[~positive], reached[~positive], PR_THRESHOLDS)


def wilson_interval(hits: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval of the shares ``hits / count`` (Wilson 1927), which fits shares near 1."""
    z = 1.959964
    share, shrink = hits / count, 1 + z**2 / count
    middle = (share + z**2 / (2 * count)) / shrink
    half = z / shrink * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


def _check(logits: np.ndarray, labels: np.ndarray) -> None:
    if labels.ndim != 1 or logits.shape != (len(labels), CLASSES):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must be [n, {CLASSES}] and [n]")
    if not np.isfinite(logits).all():
        raise DivergedError("the network's outputs are NaN or infinite; lower --lr or set --clip-norm")
    if len(labels) and not 0 <= labels.min() <= labels.max() < CLASSES:
        wrong = labels[(labels < 0) | (labels >= CLASSES)][0]
        raise InputError(f"label {wrong} is not a digit from 0 to 9; score a --dataset of ten classes")


def _counts(rows: np.ndarray, columns: np.ndarray, width: int) -> np.ndarray:
    flat = np.bincount(rows * width + columns, minlength=CLASSES * width)
    return flat.reshape(CLASSES, width)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)


def _per_class(confusion: np.ndarray) -> list[dict[str, Any]]:
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _share(hits, predicted), _share(hits, support)
    # 2pr / (p + r), in counts: it has no division by zero of its own.
    f1 = _share(2 * hits, predicted + support)
    return [
        {
            "digit": digit,
            "precision": float(precision[digit]),
            "recall": float(recall[digit]),
            "f1": float(f1[digit]),
            "support": int(support[digit]),
        }
        for digit in range(CLASSES)
    ]


def _pr_curves(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    # An example that reaches threshold i has reached all lower ones.
    true_positives = positives[:, ::-1].cumsum(axis=1)[:, ::-1]
    false_positives = negatives[:, ::-1].cumsum(axis=1)[:, ::-1]
    false_negatives = true_positives[:, :1] - true_positives
    true_negatives = false_positives[:, :1] - false_positives
    precision = _share(true_positives, true_positives + false_positives)
    recall = _share(true_positives, true_positives + false_negatives)
    table = (true_positives, false_positives, true_negatives, false_negatives, precision, recall)
    return np.stack(table, axis=1).astype(np.float32)
