"""Which columns hold texts and labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from studygroup.data.texts.columns import LABEL_NAMES, TEXT_NAMES, Columns, choose
from studygroup.errors import UserError
from tests.data.texts import asked


def chosen(
    names: Sequence[str], texts: str = "", label: str | None = None, first: Sequence[Sequence[object]] = (), typed: Sequence[str] = ()
) -> Columns:
    options = asked(None, Path(), text_columns=tuple(texts.split()), label_column=label)
    return choose(names, options, "t.csv", lambda: first, typed=typed)


def test_named_columns_are_taken_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
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
def test_what_is_found_is_said(names: list[str], expected: Columns, caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(names) == expected
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for name in names:
        assert repr(name) in record.getMessage()
    assert ("not used" in record.getMessage()) == (len(names) > 2)
    assert "--text-columns and --label-column" in record.getMessage()


def test_one_named_and_the_other_found(caplog: pytest.LogCaptureFixture) -> None:
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
def test_what_is_ambiguous_is_an_error(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(names)


def test_two_columns_are_told_apart_where_it_is_clear() -> None:
    def table(texts: int, labels: int, count: int = 20) -> list[Sequence[object]]:
        return [(f"text {i % texts}", str(i % labels)) for i in range(count)]

    assert chosen(["x", "y"], first=table(20, 2)) == Columns(("x",), "y")
    assert chosen(["x", "y"], first=[row[::-1] for row in table(20, 2)]) == Columns(("y",), "x")
    assert chosen(["x", "y"], first=[*table(20, 2), ("broken",)]) == Columns(("x",), "y")
    for unclear in (table(20, 5), table(9, 4), table(4, 2), table(9, 1, count=9)):
        with pytest.raises(UserError, match="not clear"):
            chosen(["x", "y"], first=unclear)


def test_a_column_of_labels_by_its_type_wins() -> None:
    assert chosen(["text", "label", "mood"], typed=["mood"]) == Columns(("text",), "mood")
    assert chosen(["text", "label", "mood"], label="label", typed=["mood"]) == Columns(("text",), "label")
    assert chosen(["text", "label", "mood"], texts="mood", typed=["mood"]) == Columns(("mood",), "label")


def test_wrong_names() -> None:
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


def test_the_usual_names_are_told_apart() -> None:
    assert not TEXT_NAMES & LABEL_NAMES
