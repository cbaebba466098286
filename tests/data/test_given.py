"""Data from Python: DataFrames, lists and arrays, stored as files of the cache."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from studygroup.data import open_data
from studygroup.data.dataset import Dataset
from studygroup.data.given import stored
from studygroup.errors import UserError
from studygroup.options import DataOptions

TEXTS = ["good film", "bad\nfilm", "", "naïve 日本", 'a "quote", and more', "end"]
LABELS = ["pos", "neg", "neg", "pos", "pos", "neg"]


def options(data: Any, cache: Path, **more: Any) -> DataOptions:
    return stored(DataOptions(data, cache=cache, progress=False, **more))


def opened(given: DataOptions) -> Dataset:
    return open_data(DataOptions(given.data, cache=given.cache, progress=False, test_size=2.0, holdout=0.0), tokenizer="chars")


class Frame:
    """The part of a DataFrame that is used; pandas need not be installed."""

    __module__ = "pandas.core.frame"

    def __init__(self, **columns: list[Any]) -> None:
        self.content, self.columns = columns, list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.content.values())))

    def itertuples(self, *, index: bool, name: None) -> Any:
        assert not index
        return zip(*self.content.values(), strict=True)


def test_what_has_a_name_is_left_as_it_is(cache: Path) -> None:
    for data in ("digits", Path("photos")):
        assert options(data, cache).data == data
    assert not cache.exists()


def test_lists_become_a_table_named_by_its_content(cache: Path) -> None:
    first = options((TEXTS, LABELS), cache)
    assert Path(str(first.data)).match("given/lists-*.jsonl")
    assert options((tuple(TEXTS), np.array(LABELS)), cache).data == first.data
    assert options((TEXTS, LABELS[::-1]), cache).data != first.data
    assert len(list((cache / "given").iterdir())) == 2
    found = opened(first)
    assert found.classes == ("neg", "pos")
    assert len(found.train) == 4
    assert opened(options((TEXTS, np.array([1, 0, 0, 1, 1, 0])), cache)).classes == ("0", "1")


def test_a_frame_becomes_a_table(cache: Path) -> None:
    frame = Frame(
        title=TEXTS, stars=[np.int64(5), 1.0, np.float64(1.0), 5, 5, 1], date=[None, float("nan"), SimpleNamespace(), 1, "x", True]
    )
    given = options(frame, cache, text_columns=("title",), label_column="stars")
    assert Path(str(given.data)).match("given/dataframe-*.jsonl")
    assert opened(given).classes == ("1", "5")


def test_a_frame_of_pandas(cache: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "label": pandas.Categorical(LABELS)}, index=list("uvwxyz"))
    assert opened(options(frame, cache)).classes == ("neg", "pos")
    series = options((frame["text"], frame["label"]), cache)
    assert opened(series).classes == ("neg", "pos")


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_arrays_become_images(cache: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    given = options((pixels if kind == "array" else torch.from_numpy(pixels).permute(0, 3, 1, 2), LABELS), cache)
    found = opened(given)
    assert found.images.shape == (3, 5, 4)
    assert found.classes == ("neg", "pos")
    images, labels = found.train.gather(np.arange(4))
    rows = found.train.rows
    assert rows is not None
    assert (images.numpy() == pixels[rows].transpose(0, 3, 1, 2)).all()
    assert [found.classes[label] for label in labels] == [LABELS[row] for row in rows]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, r"data is a int; it must be the name of a data set, the path .*DataFrame, or a pair"),
        (TEXTS, r"data is a list; give a pair of lists, \(texts, labels\)"),
        ({"text": TEXTS}, r"data is a dict; give a pair of lists"),
        ((TEXTS, LABELS, LABELS), "data is a tuple; it must be"),
        ((TEXTS, LABELS[1:]), "6 samples, but 5 labels"),
        (([*TEXTS[1:], 3], LABELS), "item 5 of the texts is a int; give strings"),
        ((TEXTS, [0.5, 1, 1, 1, 1, 1]), "names or whole numbers, all of one kind; one is 0.5"),
        ((TEXTS, [None, *LABELS[1:]]), "one is None"),
        ((TEXTS, ["", *LABELS[1:]]), "one is ''"),
        ((TEXTS, [1, *LABELS[1:]]), "all of one kind"),
        (([], []), "no samples"),
        (("text", "label"), "the texts are a str; give a list"),
        ((np.zeros((6, 8, 8, 3)), LABELS), "has dtype float64; give uint8"),
        ((np.zeros((6, 8, 8), np.uint8), LABELS), r"have the shape \(6, 8, 8\); give one array \(N, H, W, C\)"),
        (Frame(text=[]), "has no rows"),
    ],
)
def test_everything_else_is_refused(cache: Path, data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(data, cache)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "cannot be read"),
        ({"images": np.zeros((2, 4, 4, 4), np.uint8), "labels": np.arange(2)}, "with C = 1 or 3"),
        ({"images": np.zeros((2, 4, 4, 3), np.float32), "labels": np.arange(2)}, "the type float32"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.arange(3)}, "a name or number per image"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.array([{}, 1])}, "cannot be read"),
    ],
)
def test_invalid_archives(tmp_path: Path, cache: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        open_data(DataOptions(tmp_path / "a.npz", cache=cache, progress=False))


def test_a_damaged_archive(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match=r"a.npz cannot be read"):
        open_data(DataOptions(tmp_path / "a.npz", cache=cache, progress=False))
