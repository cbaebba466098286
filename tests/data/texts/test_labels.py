"""Order and validity of classes."""

from __future__ import annotations

import pytest

from studygroup.data.texts.labels import check_classes, is_number, odd_names, sort_classes
from studygroup.errors import UserError
from studygroup.escape import shortened


def test_order_of_classes() -> None:
    assert sort_classes(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert sort_classes(["10", "9", "b"]) == ("10", "9", "b")
    assert sort_classes(["1.5", "10", "9"]) == ("1.5", "10", "9"), "not all are whole"
    assert sort_classes(["01", "1"]) == ("01", "1")
    assert sort_classes(["²", "1"]) == ("1", "²"), "a digit that is no number"
    assert sort_classes([]) == ()


@pytest.mark.parametrize("name", ["0", "-1.5", "+3.", ".5", "1e-3", "2.0E5"])
def test_numbers(name: str) -> None:
    assert is_number(name)
    float(name)


@pytest.mark.parametrize("name", ["", "pos", "nan", "inf", "1_000", "1e99999", "1.2.3", "٣", "-"])
def test_other_text_is_no_number(name: str) -> None:
    assert not is_number(name)


def test_valid_classes() -> None:
    check_classes({"neg", "pos"}, 2, "x")
    check_classes({"1", "2"}, None, "x")
    check_classes({"1.0", "2.0", "3.0"}, 100, "x")
    check_classes({"1.5", "good"}, 100, "x")
    check_classes({"only one so far"}, None, "x")
    check_classes([str(i) for i in range(1000)], 5000, "x")
    check_classes([str(i) for i in range(9)], 9, "x")


@pytest.mark.parametrize(
    ("names", "count", "message"),
    [
        ([str(i) for i in range(1001)], None, r"more than 1000 values \('0', '1', '10', …\).*--label-column"),
        ([f"{i / 7:.3f}" for i in range(1, 100)], 500, r"numbers with fractions \('0.143', '0.286', '0.429', …\), not classes"),
        (["0.5", "1"], 500, r"numbers with fractions \('0.5'\), not classes; give a column of classes \(--label-column\)"),
        ([], 0, "t.csv has no rows"),
        ([f"text {i}" for i in range(10)], 10, "different in all of its 10 rows"),
    ],
)
def test_invalid_classes(names: list[str], count: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_classes(set(names), count, "t.csv")


def test_near_equal_names_are_pointed_out_and_not_merged() -> None:
    assert odd_names(["games", "news", "1", "2"], "t") == []
    (line,) = odd_names(["GAMES", "games", "news", "world news", "World  News", "world-news"], "t")
    assert "'GAMES', 'games'; 'world news', 'World  News', 'world-news'. If they are one class, write them alike" in line
    (line,) = odd_names([word + end for word in "abcde" for end in ("x", "X")], "t")
    assert "'cx', 'cX'; 2 more such groups" in line
    assert "'dx'" not in line


def test_whole_numbers_with_fractions_are_pointed_out() -> None:
    (line,) = odd_names(["1.0", "2.0", "3"], "t")
    assert "written as numbers with fractions: '1.0', '2.0'. If" in line
    assert "Int64" in line
    (line,) = odd_names(["1.0", "1"], "t")
    assert "'1.0' is another class than '1'" in line
    assert odd_names(["1.5", "v1.0"], "t") == []


def test_long_labels_are_shortened() -> None:
    with pytest.raises(UserError, match=r"'a b a b.*…', …") as caught:
        check_classes({"a b\n" * 10_000 + str(i) for i in range(20)}, 20, "t.csv")
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)
    assert shortened("short") == "short"
    assert shortened("x" * 40) == "x" * 40
    assert shortened("x" * 41) == "x" * 39 + "…"
    assert shortened("x\udcff") == "x?"
