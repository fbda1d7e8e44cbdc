"""The scores agree with scikit-learn and brute force, and don't depend on the batches."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as oracle

from mnist_core.errors import DivergedError, InputError
from mnist_core.metrics import CLASSES, Misclassified, Report, Tally, wilson_interval

DIGITS = np.arange(CLASSES)


def scored(logits: np.ndarray, labels: np.ndarray, sizes: list[int] | None = None) -> Report:
    """The report on the examples, added in batches of the sizes (default: in one go)."""
    tally = Tally()
    for part in np.split(np.arange(len(labels)), np.cumsum(sizes or [])):
        tally.add(logits[part], labels[part])
    return tally.report()


def examples(seed: int, count: int = 1000, skill: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that favour the label, with errors at many confidences; digit 7 is rare."""
    rng = np.random.default_rng(seed)
    shares = np.where(DIGITS == 7, 0.2, 1.0)
    labels = rng.choice(CLASSES, count, p=shares / shares.sum())
    logits = rng.normal(size=(count, CLASSES)) * rng.uniform(0.2, 4, size=(count, 1))
    logits[np.arange(count), labels] += skill
    return logits.astype(np.float32), labels


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, the plain way."""
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(20))
def test_the_batching_changes_nothing(seed: int) -> None:
    logits, labels = examples(seed, count=500)
    whole = scored(logits, labels)
    rng = np.random.default_rng(1000 + seed)
    cuts = np.sort(rng.integers(0, 501, size=rng.integers(1, 60)))
    for sizes in (np.diff(cuts, prepend=0).tolist(), [1] * 500, [0, 128, 128, 128, 0]):
        pieces = scored(logits, labels, sizes)
        assert pieces.count == whole.count == 500
        assert pieces.errors == whole.errors
        assert pieces.accuracy == whole.accuracy
        assert pieces.per_class == whole.per_class
        assert pieces.misclassified == whole.misclassified
        np.testing.assert_array_equal(pieces.confusion, whole.confusion)
        np.testing.assert_array_equal(pieces.pr_curves, whole.pr_curves)
        assert pieces.loss == pytest.approx(whole.loss, rel=1e-12)
        assert pieces.calibration_error == pytest.approx(whole.calibration_error, rel=1e-9, abs=1e-15)


def test_a_report_is_not_moved_by_later_batches() -> None:
    logits, labels = examples(0)
    tally = Tally()
    tally.add(logits[:400], labels[:400])
    early = tally.report()
    before = json.dumps(early.to_json())
    tally.add(logits[400:], labels[400:])
    assert json.dumps(early.to_json()) == before
    assert tally.report().count == tally.count == 1000


@pytest.mark.parametrize("skill", [0.0, 3.0, 30.0])
def test_scores_agree_with_scikit_learn(skill: float) -> None:
    logits, labels = examples(1, skill=skill)
    report = scored(logits, labels, [333, 1, 500])
    predicted = logits.argmax(axis=1)
    assert report.confusion.dtype == np.int64
    np.testing.assert_array_equal(report.confusion, oracle.confusion_matrix(labels, predicted, labels=DIGITS))
    assert report.accuracy == pytest.approx(oracle.accuracy_score(labels, predicted), rel=1e-12)
    assert report.errors == np.count_nonzero(predicted != labels)
    assert report.loss == pytest.approx(oracle.log_loss(labels, softmax(logits), labels=DIGITS), rel=1e-9)
    columns = oracle.precision_recall_fscore_support(labels, predicted, labels=DIGITS)
    for name, column in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        np.testing.assert_allclose([row[name] for row in report.per_class], column, rtol=1e-12)
    assert [row["digit"] for row in report.per_class] == DIGITS.tolist()


def test_calibration_error_agrees_with_brute_force() -> None:
    logits, labels = examples(2)
    probabilities = softmax(logits)
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert expected > 0.01
    assert scored(logits, labels, [300, 300]).calibration_error == pytest.approx(expected, rel=1e-9)


def test_a_sure_and_right_network_is_calibrated_and_a_sure_and_wrong_one_is_not() -> None:
    labels = np.arange(CLASSES)
    logits = np.eye(CLASSES, dtype=np.float32) * 1000
    assert scored(logits, labels).calibration_error == 0.0
    assert scored(logits, (labels + 1) % CLASSES).calibration_error == 1.0


def test_pr_curves_agree_with_brute_force() -> None:
    logits, labels = examples(3, count=600)
    curves = scored(logits, labels, [7, 500]).pr_curves
    assert curves.shape == (CLASSES, 6, 128)
    assert curves.dtype == np.float32
    probabilities = softmax(logits)
    for digit in range(CLASSES):
        truth = labels == digit
        for i in range(128):
            said = probabilities[:, digit] >= i / 127
            tp, fp = np.sum(said & truth), np.sum(said & ~truth)
            tn, fn = np.sum(~said & ~truth), np.sum(~said & truth)
            expected = (tp, fp, tn, fn, tp / max(tp + fp, 1), tp / max(tp + fn, 1))
            np.testing.assert_allclose(curves[digit, :, i], expected, rtol=1e-6)


def test_misclassified_examples_are_those_that_were_wrong() -> None:
    logits, labels = examples(4)
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    report = scored(logits, labels, [100, 1, 250])
    assert [example.index for example in report.misclassified] == np.flatnonzero(predicted != labels).tolist()
    assert len(report.misclassified) == report.errors > 10
    for example in report.misclassified:
        i = example.index
        expected = Misclassified(i, labels[i], predicted[i], pytest.approx(probabilities[i].max(), rel=1e-9))
        assert example == expected


def test_huge_logits_neither_overflow_nor_lose_the_loss() -> None:
    logits = np.full((2, CLASSES), -3e38, np.float32)
    logits[:, 3] = 3e38
    report = scored(logits, np.array([3, 4]))
    assert report.loss == pytest.approx(3e38, rel=1e-6)
    assert report.errors == 1


def test_a_tiny_loss_keeps_its_digits() -> None:
    logits = np.zeros((1, CLASSES), np.float32)
    logits[0, 0] = 20
    assert scored(logits, np.array([0])).loss == pytest.approx(9 * np.exp(-20.0), rel=1e-6)


def test_json_is_plain_and_complete() -> None:
    report = scored(*examples(5))
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert value == report.to_json()
    names = "count loss accuracy errors confusion per_class calibration_error misclassified"
    assert list(value) == names.split()
    assert np.array(value["confusion"]).sum() == value["count"] == 1000
    assert list(value["misclassified"][0]) == ["index", "label", "predicted", "probability"]


def test_undefined_shares_are_zero() -> None:
    never_predicted = scored(np.eye(CLASSES, dtype=np.float32)[[1, 1]], np.array([0, 1]))
    assert never_predicted.per_class[0] == {
        "digit": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1
    }  # fmt: skip
    empty = Tally().report()
    assert (empty.count, empty.loss, empty.accuracy, empty.calibration_error) == (0, 0.0, 0.0, 0.0)
    assert not empty.pr_curves.any()


def test_unusable_batches_are_refused_and_leave_the_tally_alone() -> None:
    logits, labels = examples(6, count=20)
    tally = Tally()
    tally.add(logits, labels)
    before = tally.report().to_json()
    for poison in (np.nan, np.inf, -np.inf):
        bad = logits.copy()
        bad[3, 4] = poison
        with pytest.raises(DivergedError, match="NaN or infinite"):
            tally.add(bad, labels)
    for wrong in (-1, 10):
        with pytest.raises(InputError, match=f"label {wrong} "):
            tally.add(logits, np.where(labels == labels[0], wrong, labels))
    with pytest.raises(ValueError, match="must be"):
        tally.add(logits[:5], labels)
    assert tally.report().to_json() == before


def test_any_layout_and_integer_type_scores_the_same() -> None:
    logits, labels = examples(7)
    expected = scored(logits, labels).to_json()
    assert scored(np.asfortranarray(logits), labels.astype(np.uint8)).to_json() == expected


def test_wilson_intervals_agree_with_scipy() -> None:
    hits, count = np.array([0, 1, 7, 971, 980]), np.array([5, 1, 9, 982, 980])
    expected = [
        binomtest(int(k), int(n)).proportion_ci(0.95, "wilson") for k, n in zip(hits, count, strict=True)
    ]
    low, high = wilson_interval(hits, count)
    np.testing.assert_allclose(np.column_stack([low, high]), expected, atol=1e-6)
