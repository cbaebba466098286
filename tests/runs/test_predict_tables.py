"""DataFrames that are classified, and the encoding of texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import studygroup as sg
from studygroup import Member, UserError
from studygroup.data import Images, Tokens
from studygroup.data.inputs import inputs_of
from studygroup.data.texts.tokenizers import Chars
from studygroup.options import DataOptions
from studygroup.runs.predict_data import predict_data, write_predictions_to

CARD: dict[str, Any] = {"classes": ["short", "long"], "channels_last": False, "precision": "float32", "network": "x"}
ROWS = [("a", "short"), ("a text of letters", "long"), ("be", "long")]


class Frame:
    """The part of a DataFrame that is used; pandas need not be installed."""

    __module__ = "pandas.core.frame"

    def __init__(self, columns: dict[Any, list[Any]]) -> None:
        self.content = columns
        self.columns = list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.content.values()), []))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.columns)

    def itertuples(self, *, index: bool, name: None) -> Iterator[tuple[Any, ...]]:
        assert not index
        return zip(*self.content.values(), strict=True)


class CountTokens(nn.Module):
    """Long texts are of the class `long`."""

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != Chars().pad).sum(1, keepdim=True).float()
        return torch.cat([4 - lengths, lengths - 4], 1)


@pytest.fixture
def member() -> Member:
    return Member("best", CountTokens(), Tokens(Chars(), 16), CARD)


def frame(**columns: list[Any]) -> Any:
    return Frame(columns or {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})


def test_rows_of_a_frame(member: Member) -> None:
    found = member.predict(frame(), batch_size=2)
    assert [(row["row"], row["text"], row["true"], row["label"]) for row in found] == [
        (1, "a", "short", "short"),
        (2, "a text of letters", "long", "long"),
        (3, "be", "long", "short"),
    ]
    assert list(found[0]) == ["row", "true", "text", "label", "probability", "top"]
    assert np.allclose(member.predict_proba(frame()).max(1), [row["probability"] for row in found])
    assert [row["label"] for row in member.stream(frame(), as_text=True)] == ["short", "long", "short"]


def test_a_frame_of_pandas_itself(member: Member) -> None:
    pandas = pytest.importorskip("pandas")
    found = member.predict(pandas.DataFrame({"text": ["a", "a text of letters"]}, index=[7, 9]))
    assert [(row["row"], row["label"]) for row in found] == [(1, "short"), (2, "long")]
    assert "true" not in found[0]
    assert [row["label"] for row in member.predict(pandas.Series(["a", "a text of letters"]))] == ["short", "long"]
    with pytest.raises(UserError, match="a value of type float is no text"):
        member.predict(pandas.Series(["a", float("nan")], dtype=object))


def test_the_columns_of_the_training_are_taken_where_there_are_such(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = DataOptions("t.csv", text_columns=("head", "body"), label_column="kind")
    monkeypatch.setattr(type(member), "data_options", lambda _: trained)
    found = member.predict(frame(other=["x"], body=["text"], kind=["short"], head=["a"], text=["y"]))
    assert (found[0]["text"], found[0]["true"]) == ("a text", "short")
    found = member.predict(frame(text=["y"], class_=["x"]))
    assert (found[0]["text"], "true" in found[0]) == ("y", False)
    (row,) = predict_data(member, frame(text=["y"], k=["long"]), DataOptions("", label_column="k"), top=1, batch_size=5, device="cpu")
    assert (row["text"], row["true"]) == ("y", "long")


def test_a_file_of_predictions(member: Member, tmp_path: Path) -> None:
    rows = predict_data(member, frame(), DataOptions(""), top=1, batch_size=2, device="cpu")
    summary = write_predictions_to(tmp_path / "p.csv", rows, member.classes)
    assert (summary["samples"], summary["accuracy"]) == (3, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": ["x"], "b": ["y"], "c": ["z"]}, r"not clear which column of the DataFrame holds the texts"),
        ({"title": ["x"], "body": ["y"]}, "several columns of the DataFrame may hold the texts"),
        ({"text": []}, "the DataFrame has no rows"),
        ({"text": ["x", None]}, r"row 2 of the DataFrame \(column 'text' is missing\) cannot be read"),
        ({"text": ["x", 5]}, r"row 2 of the DataFrame \(column 'text' is 5, not a text\)"),
    ],
)
def test_frames_that_cannot_be_classified(member: Member, columns: dict[Any, list[Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        member.predict(Frame(columns))


def test_frames_as_inputs_and_as_data(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studygroup.commands.predict.open_classifier", lambda *_: member)
    for found in (sg.predict("run", frame()), sg.predict("run", data=frame())):
        assert [row["label"] for row in found] == ["short", "long", "short"]
    with pytest.raises(UserError, match="both inputs and --data are given"):
        sg.predict("run", frame(), data=frame())
    with pytest.raises(UserError, match="the DataFrame has an encoding of its own; leave out --encoding latin-1"):
        sg.predict("run", data=frame(), encoding="latin-1")
    with pytest.raises(UserError, match="the DataFrame is no CSV or TSV file; leave out --delimiter ;"):
        sg.predict("run", data=frame(), delimiter=";")
    with pytest.raises(UserError, match="the DataFrame has no rows"):
        member.predict(Frame({}))


def test_unreadable_rows_are_skipped_and_named(member: Member, caplog: pytest.LogCaptureFixture) -> None:
    found = member.predict(frame(text=["x", None, "y"]), on_error="skip")
    assert [row["row"] for row in found] == [1, 3]
    assert "skipped 1 row of the DataFrame that cannot be read: row 2 of the DataFrame" in caplog.text


def test_a_network_for_images_takes_no_frame() -> None:
    images = Member("best", nn.Identity(), Images((1, 8, 8), (0.5,), (0.5,)), CARD)
    with pytest.raises(UserError, match="the data is a DataFrame, and this network classifies images"):
        images.predict(frame())
    with pytest.raises(UserError, match="the data is a DataFrame, and this network classifies images"):
        predict_data(images, frame(), DataOptions(""), top=1, batch_size=2, device="cpu")


@pytest.mark.parametrize("data", [{"text": ["a"]}, 5, ["a"], None])
def test_data_of_other_types(member: Member, data: Any) -> None:
    with pytest.raises(UserError, match=rf"data is a {type(data).__name__}; give a DataFrame, the path of a table or a folder, or a list"):
        predict_data(member, data, DataOptions(""), top=1, batch_size=2, device="cpu")


# ---------------------------------------------------------------- encodings


def test_files_are_read_in_the_encoding_of_the_training(member: Member, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match=r"t.txt cannot be read: bytes that are not utf-8; give another encoding by --encoding"):
        member.predict(path)
    trained = Tokens(Chars(), 16, "latin-1")
    trained.save(tmp_path)
    opened = inputs_of(trained.to_card(), tmp_path)
    assert isinstance(opened, Tokens)
    assert opened.encoding == "latin-1"
    member.inputs = trained
    assert member.predict(path)[0]["text"] == str(path)
    marked = tmp_path / "marked.txt"
    marked.write_text("a text of letters", encoding="utf-16")
    member.inputs = Tokens(Chars(), 16)
    assert member.predict(marked)[0]["label"] == "long"


def test_an_encoding_of_images_is_refused() -> None:
    with pytest.raises(UserError, match="encoding is given, but the inputs are images"):
        Images((1, 8, 8), (0.5,), (0.5,)).with_encoding("latin-1")
    with pytest.raises(UserError, match="unknown encoding 'punycode'"):
        Tokens(Chars(), 16).with_encoding("punycode")


def test_a_folder_of_texts_in_another_encoding(member: Member, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("é".encode("utf-16-le"))
    options = DataOptions("", encoding="utf-16-le")
    (row,) = predict_data(member, tmp_path, options, top=1, batch_size=2, device="cpu")
    assert row["label"] == "short"
