"""What the scores of reading say, and how sure they are."""

import types

import pytest

from benchmarks.vision import edit_distance, judged, scores


def test_edits_are_insertions_deletions_and_changes() -> None:
    assert [edit_distance(*pair) for pair in (("", "12"), ("12", ""), ("1234", "1243"), ("17", "7"))] == [
        2,
        2,
        2,
        1,
    ]


def test_scores_are_shares_of_pictures_and_of_characters() -> None:
    read = {"a": "12", "b": "1", "c": ""}
    made = [("a", "12"), ("b", "123"), ("c", "")]
    found = judged(lambda picture, single: types.SimpleNamespace(text=read[picture]), made)
    assert found == [(0, 2), (2, 3), (0, 0)]
    row = scores(found)
    assert (row["n"], row["exact"], row["characters"]) == (3, pytest.approx(2 / 3), pytest.approx(3 / 5))
    low, high = row["characters_interval_95"]
    assert low < row["characters"] < high


def test_more_pictures_narrow_the_intervals() -> None:
    few, many = (scores([(0, 5), (0, 5), (0, 5), (1, 5)] * times) for times in (5, 50))
    for name in ("exact", "characters"):
        widths = [row[f"{name}_interval_95"][1] - row[f"{name}_interval_95"][0] for row in (few, many)]
        assert 0 < widths[1] < widths[0] / 2


def test_pictures_without_a_text_have_no_share_of_characters() -> None:
    row = scores([(0, 0), (1, 0)])
    assert (row["exact"], row["characters"], row["characters_interval_95"]) == (0.5, None, None)
    assert row["exact_interval_95"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
