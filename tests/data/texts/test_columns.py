"""Choosing the columns with texts and labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import pytest

from studygroup.data.texts.columns import LABEL_NAMES, TEXT_NAMES, Columns, choose_columns, refuse_columns, refuse_encoding
from studygroup.errors import UserError
from studygroup.options import DataOptions


def chosen(
    names: Sequence[str],
    texts: str = "",
    label: str | None = None,
    first: Sequence[Sequence[object]] = (),
    label_columns: Sequence[str] = (),
) -> Columns:
    options = DataOptions("", text_columns=tuple(texts.split()), label_column=label)
    return choose_columns(names, options, "t.csv", lambda: first, label_columns=label_columns)


def test_given_columns_are_used_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(["id", "b", "text", "a", "label"], "a b", "id") == Columns(("a", "b"), "id")
    assert not caplog.records


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["text", "label"], Columns(("text",), "label")),
        (["id", "Review Text", "date", "Stars"], Columns(("Review Text",), "Stars")),
        (["category", "review-body", "x"], Columns(("review-body",), "category")),
        (["text", "x"], Columns(("text",), "x")),
        (["x", "rating"], Columns(("x",), "rating")),
    ],
)
def test_found_columns_are_logged(names: list[str], expected: Columns, caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(names) == expected
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for name in names:
        assert repr(name) in record.getMessage()
    assert ("not used" in record.getMessage()) == (len(names) > 2)
    assert "--text-columns and --label-column" in record.getMessage()


def test_one_column_given_and_the_other_found(caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(["text", "title", "label"], "title") == Columns(("title",), "label")
    assert chosen(["text", "class", "label"], label="class") == Columns(("text",), "class")
    assert chosen(["label", "x"], label="x") == Columns(("label",), "x")
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["title", "text", "label"], r"may hold the texts: 'title', 'text'; name one, or several.*--text-columns title,text"),
        (["text", "label", "stars", "x"], r"may hold the labels: 'label', 'stars'; name one \(--label-column label\)"),
        (["text", "x", "y"], r"which column of t.csv holds the labels \(--label-column\); name it: there is 'text', 'x', 'y'"),
        (["x", "y", "label"], r"which column of t.csv holds the texts \(--text-columns\); name"),
        (["x", "y", "z"], r"holds the texts \(--text-columns\) and the labels \(--label-column\)"),
        (["x", "y"], "not clear"),
        (["text", "text", "label"], "may hold the texts"),
        (["label"], "not clear"),
    ],
)
def test_ambiguous_columns_are_an_error(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(names)


def test_two_columns_are_told_apart_by_their_values() -> None:
    def table(texts: int, labels: int, count: int = 20) -> list[Sequence[object]]:
        return [(f"text {i % texts}", str(i % labels)) for i in range(count)]

    assert chosen(["x", "y"], first=table(20, 2)) == Columns(("x",), "y")
    assert chosen(["x", "y"], first=[row[::-1] for row in table(20, 2)]) == Columns(("y",), "x")
    assert chosen(["x", "y"], first=[*table(20, 2), ("unreadable",)]) == Columns(("x",), "y")
    for unclear in (table(20, 5), table(9, 4), table(4, 2), table(9, 1, count=9)):
        with pytest.raises(UserError, match="not clear"):
            chosen(["x", "y"], first=unclear)


def test_a_column_of_class_labels_takes_precedence() -> None:
    assert chosen(["text", "label", "mood"], label_columns=["mood"]) == Columns(("text",), "mood")
    assert chosen(["text", "label", "mood"], label="label", label_columns=["mood"]) == Columns(("text",), "label")
    assert chosen(["text", "label", "mood"], texts="mood", label_columns=["mood"]) == Columns(("mood",), "label")


def test_wrong_columns() -> None:
    with pytest.raises(UserError, match=r"t.csv has no column 'txt'; it has 'text', 'label'"):
        chosen(["text", "label"], "txt")
    with pytest.raises(UserError, match=r"t.csv has no column 'lab'"):
        chosen(["text", "label"], "text", "lab")
    with pytest.raises(UserError, match=r"'text' of t.csv cannot be both text and label"):
        chosen(["text", "label"], "text", "text")
    with pytest.raises(UserError, match="name each once"):
        chosen(["text", "label"], "text text", "label")
    with pytest.raises(UserError, match="more than one column 'text'; rename"):
        chosen(["text", "text", "label"], "text", "label")
    with pytest.raises(UserError, match=r"it has '0', .*, '29' and 70 more"):
        chosen([str(i) for i in range(100)], "x", "1")


def test_usual_names_are_disjoint() -> None:
    assert not TEXT_NAMES & LABEL_NAMES


def test_options_without_effect_are_refused() -> None:
    options = partial(DataOptions, "")
    refuse_columns(options(), "x")
    refuse_encoding(options(), "x")
    with pytest.raises(UserError, match="leave out --text-columns"):
        refuse_columns(options(text_columns=("a",)), "x")
    with pytest.raises(UserError, match="leave out --label-column"):
        refuse_columns(options(label_column="a"), "x")
    with pytest.raises(UserError, match="leave out --encoding latin-1"):
        refuse_encoding(options(encoding="latin-1"), "x")
