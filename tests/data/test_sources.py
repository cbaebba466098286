"""What the user types, and the embedded data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from studygroup.data import SOURCES, Dataset, open_dataset
from studygroup.data.sources import cache_folder
from studygroup.data.texts.sources import TEXT_SOURCES
from studygroup.errors import UserError

Open = Callable[..., Dataset]


def test_digits(opened: Open) -> None:
    data = opened("digits")
    assert data.name == "digits"
    assert data.classes == tuple("0123456789")
    assert data.images.shape == (1, 8, 8)
    assert data.augment == "crop"
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


def test_keys_tell_options_apart(opened: Open) -> None:
    keys = {opened("digits", **options).key for options in ({}, {"image_size": 16}, {"channels": 3}, {"split_seed": 1}, {"test_size": 0.3})}
    assert len(keys) == 5
    assert opened("digits").key in keys


def test_every_source_has_a_line() -> None:
    assert list(SOURCES) == ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder", *TEXT_SOURCES]
    assert all(line and "\n" not in line for line in SOURCES.values())


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("digist", "unknown data set 'digist'; did you mean digits"),
        ("fashion_mnist", "did you mean fashion-mnist"),
        ("cifar", "did you mean cifar10"),
        ("cifar-10:/somewhere", "did you mean cifar10"),
        ("zzz", "known: amazon_review_full, cifar10.*no folder or table 'zzz'"),
        ("", "unknown data set ''"),
        ("./gone", "./gone does not exist"),
        ("gone/photos", "gone/photos does not exist; give a folder of images or texts, a table, or one of amazon"),
        ("folder", "give its path"),
        ("folder:gone", "gone does not exist"),
        ("mnist:", "names no place after the colon"),
        ("digits:/data", "digits comes with scikit-learn"),
    ],
)
def test_unknown_data(opened: Open, data: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as error:
        opened(data)
    assert "\n" not in str(error.value)


def test_a_file_is_no_data_set(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").touch()
    with pytest.raises(UserError, match=r"is a file, and none of a table's kind; .*cifar10:.*cifar-10-python\.tar\.gz"):
        opened(tmp_path / "cifar-10-python.tar.gz")


def test_a_folder_that_is_called_like_a_data_set(
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
        ({"image_size": 10**6}, "image_size is 1000000"),
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


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STUDYGROUP_CACHE", raising=False)
    assert cache_folder(None) == tmp_path / ".cache" / "studygroup"
    monkeypatch.setenv("STUDYGROUP_CACHE", str(tmp_path / "mine"))
    assert cache_folder(None) == tmp_path / "mine"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    open_dataset("digits", progress=False)
    assert (tmp_path / "mine" / "prepared").is_dir()
