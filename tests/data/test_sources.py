"""Opening data sets by name and path, and the digits."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from studygroup import registry
from studygroup.data import SOURCES, Dataset, ImageSource, describe_sources, open_data, open_dataset, reads_texts
from studygroup.data.source import RawImages, RawSplit, cache_folder
from studygroup.data.sources import parse
from studygroup.data.texts.tokenizers import Chars
from studygroup.errors import UserError
from studygroup.options import DataOptions

Open = Callable[..., Dataset]


def test_digits(opened: Open) -> None:
    data = opened("digits")
    assert data.name == "digits"
    assert data.classes == tuple("0123456789")
    assert data.images.shape == (1, 8, 8)
    assert data.flips is False
    assert (len(data.train), len(data.test)) == (1438, 359)
    digits = load_digits()
    scaled = np.rint(digits.images * 255 / 16).astype(np.uint8)
    assert scaled.max() == 255
    assert np.array_equal(data.train.inputs[:, 0], scaled)
    for split in (data.train, data.test):
        assert split.rows is not None
        assert split.labels.tolist() == digits.target[split.rows].tolist()
    assert sorted([*data.train.rows, *data.test.rows]) == list(range(1797))  # type: ignore[misc]
    learned = data.train.gather(np.arange(1438))[0].double() / 255
    assert data.images.mean == pytest.approx((learned.mean().item(),))
    assert data.images.std == pytest.approx((learned.std(correction=0).item(),))


def test_digits_at_another_size(opened: Open) -> None:
    assert opened("digits", image_size=16, channels=3).train.inputs.shape == (1797, 3, 16, 16)


@pytest.mark.parametrize(
    "options", [{"tokenizer": "bpe"}, {"vocabulary": 300}, {"max_length": 5}, {"delimiter": ";"}, {"encoding": "utf-8"}]
)
def test_options_of_texts_are_refused_for_images(opened: Open, options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(UserError, match=f"{name} is given, but digits has images; leave it out"):
        opened("digits", **options)


def test_the_key_depends_on_the_options(opened: Open) -> None:
    keys = {opened("digits", **options).key for options in ({}, {"image_size": 16}, {"channels": 3}, {"split_seed": 1}, {"test_size": 0.3})}
    assert len(keys) == 5
    assert opened("digits").key in keys


def test_every_source_is_described() -> None:
    images = ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder", "arrays"]
    texts = ["imdb", "yelp_review_full", "yahoo_answers", "amazon_review_full", "hub", "table", "texts"]
    assert list(SOURCES) == list(describe_sources()) == images + texts
    assert all(line and "\n" not in line for line in describe_sources().values())
    for name in SOURCES:
        assert SOURCES[name].kind == ("images" if name in images else "texts")
        assert getattr(SOURCES[name], "name", name) == name


class Stripes(ImageSource):
    """A source of another package: three images per class, of the number of classes in a file or two."""

    name = "stripes"
    description = "striped images"

    def key(self) -> str:
        return str(self.path)

    def read(self) -> RawImages:
        classes = 2 if self.path is None else int(self.path.read_text())
        labels = np.arange(3 * classes) % classes
        images = np.full((len(labels), 1, 4, 4), 7, dtype=np.uint8)
        return RawImages(
            classes=tuple(f"class {i}" for i in range(classes)),
            splits={"train": RawSplit(iter([(images, labels)]), len(labels))},
            shape=(1, 4, 4),
        )


@pytest.mark.parametrize("with_path", [False, True])
def test_a_source_of_another_package(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_path: bool) -> None:
    entry = EntryPoint("stripes", f"{__name__}:Stripes", "studygroup.data")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == "studygroup.data" else [])
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Stripes=Stripes))
    SOURCES.__dict__.pop("entries", None)
    try:
        (tmp_path / "count").write_text("5")
        data = opened(f"stripes:{tmp_path / 'count'}" if with_path else "stripes", test_size=1 / 3)
        assert data.name == "stripes"
        assert len(data.classes) == (5 if with_path else 2)
        assert len(data.test) == (5 if with_path else 2)
        assert describe_sources()["stripes"] == "striped images"
        assert not reads_texts("stripes")
    finally:
        SOURCES.__dict__.pop("entries", None)


def test_a_given_tokenizer(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\n" + "a,x\nb,y\n" * 5)
    options = DataOptions(tmp_path / "t.csv", vocabulary=300, cache=cache, progress=False)
    assert open_data(options).inputs.to_card()["tokenizer"]["kind"] == "bpe", "auto"
    options = replace(options, vocabulary=None)
    assert open_data(options, tokenizer="chars").inputs.to_card()["tokenizer"]["kind"] == "chars"
    given = Chars()
    data = open_data(options, tokenizer=given)
    other, tokenizer = data.inputs.like_training(DataOptions("other.csv"))
    assert tokenizer is given
    assert (other.data, other.max_length) == ("other.csv", 1024)


@pytest.mark.parametrize(
    ("data", "options", "named"),
    [
        ("digits", {"encoding": "utf-8"}, "encoding is given, but digits has images"),
        ("digits", {"text_columns": ("text",)}, "text_columns is given, but digits has images"),
        ("imdb", {"image_size": 8}, "image_size is given, but imdb has texts"),
    ],
)
def test_options_of_the_other_kind_are_refused(opened: Open, data: str, options: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        opened(data, **options)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("digist", "unknown data set 'digist'; did you mean digits"),
        ("fashion_mnist", "did you mean fashion-mnist"),
        ("cifar", "did you mean cifar10"),
        ("cifar-10:/somewhere", "did you mean cifar10"),
        ("zzz", "known: amazon_review_full, arrays, cifar10.*no folder or table 'zzz'"),
        ("", "unknown data set ''"),
        ("./gone", "./gone does not exist"),
        ("gone/photos", "gone/photos does not exist; give a folder of images or texts, a table, or one of amazon"),
        ("folder", "folder needs a path: it is any folder of images .* give its path"),
        ("table", r"table needs a path: it is a table of texts and labels \(.csv"),
        ("texts", "texts needs a path"),
        ("hub", "give its name as hub:NAME"),
        ("imdb", "imdb is not there"),
        ("yelp_review_full", "yelp_review_full is not there"),
        ("amazon_review_full", "amazon_review_full is not there"),
        ("yahoo_answers", "yahoo_answers is not there"),
        ("folder:gone", "gone does not exist"),
        ("mnist:", "has no path after the colon"),
        ("digits:/data", "digits comes with scikit-learn"),
    ],
)
def test_unknown_data(opened: Open, data: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as error:
        opened(data)
    assert "\n" not in str(error.value)


def test_a_file_of_another_kind_is_refused(opened: Open, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("cifar-10-batches-py/data_batch_1"))
    with pytest.raises(UserError, match=r"has no images and no texts .*cifar10:.*cifar-10-python\.tar\.gz"):
        opened(tmp_path / "cifar-10-python.tar.gz")
    (tmp_path / "notes.doc").touch()
    with pytest.raises(UserError, match=r"notes.doc is a file, but not named like a table \(.csv, .* or an archive \(.zip, "):
        opened(tmp_path / "notes.doc")


def test_a_folder_with_the_name_of_a_data_set(
    opened: Open, folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder({"a": 2, "b": 2}, name="digits")
    monkeypatch.chdir(tmp_path)
    assert opened("digits").classes == tuple("0123456789")
    assert opened("./digits").classes == opened("folder:digits").classes == ("a", "b")
    assert opened("./digits").name == "digits"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"image_size": 10**6}, "image_size is 1000000; it must be at least 1 and at most 4,096"),
        ({"channels": 2}, "channels is 2"),
        ({"test_size": 1.0}, "test_size is 1"),
        ({"test_size": -0.1}, "test_size is -0.1"),
        ({"test_size": 5000}, "test_size is 5000"),
        ({"test_size": float("nan")}, "test_size is nan"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
    ],
)
def test_bad_options(opened: Open, options: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        opened("digits", **options)


def test_location_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STUDYGROUP_CACHE", raising=False)
    assert cache_folder(None) == tmp_path / ".cache" / "studygroup"
    monkeypatch.setenv("STUDYGROUP_CACHE", str(tmp_path / "mine"))
    assert cache_folder(None) == tmp_path / "mine"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    open_dataset("digits", progress=False)
    assert (tmp_path / "mine" / "prepared").is_dir()


def test_kind_of_files_at_a_path(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "1.txt").touch()
    for folder in ("tables", "empty"):
        (tmp_path / folder).mkdir()
    for file in ("t.csv", "tables/train.csv", "t.doc"):
        (tmp_path / file).touch()
    for path, name in {"texts": "texts", "t.csv": "table", "tables": "table", "empty": "folder"}.items():
        assert parse(str(tmp_path / path)) == (name, tmp_path / path)
        assert reads_texts(tmp_path / path) == (name != "folder")
    assert parse(f"table:{tmp_path}/t.doc") == ("table", tmp_path / "t.doc")
    for data, message in {
        f"{tmp_path}/gone.csv": r"gone.csv does not exist; give a folder of images or texts, a table, or one of",
        "gone.csv": r"^gone.csv does not exist; give a folder",
        f"{tmp_path}/t.doc": r"t.doc is a file, but not named like a table",
        "imbd": "did you mean imdb",
    }.items():
        with pytest.raises(UserError, match=message):
            parse(data)
