"""The description of a data set, and the faults that it points out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from studygroup.data import Dataset, Ragged, Split
from studygroup.data import describe as describe_module
from studygroup.data.describe import Copies, Description, compare_samples, describe, find_copies, hash_samples

Open = Callable[..., Dataset]
Make = Callable[..., Path]


def split_of(values: list[int], labels: list[int]) -> Split:
    """Images of one value each."""
    images = np.array(values, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Split(np.broadcast_to(images, (len(values), 1, 2, 2)).copy(), np.array(labels, dtype=np.int64))


def described(counts: dict[str, int], **more: Any) -> Description:
    samples = {"training": sum(counts.values()), "hold-out": 0, "test": 50, "unused": 0}
    facts: dict[str, Any] = {"samples": samples, "origins": {}, "inputs": {"shape": [3, 8, 8]}, "copies": Copies()}
    return Description("photos", "images", counts, **{**facts, **more})


def test_lines_on_images(opened: Open, folder: Make, cache: Path) -> None:
    root = folder({"cat": 30, "dog": 20})
    Image.new("RGB", (40, 20), "red").save(root / "cat" / "wide.png")
    Image.new("RGB", (6, 9), "blue").save(root / "dog" / "tiny.png")
    data = opened(root, holdout=0.25, train_size=20, split_seed=3)
    found = describe(data, split_seed=3, cache=cache)
    cats, dogs = np.bincount(data.train.labels)
    split_off = "split off the training samples by class, seed 3"
    assert found.lines() == [
        f"photos: images of 2 classes (training samples): cat {cats}, dog {dogs}",
        f"splits: 20 training, 10 hold-out ({split_off}), 10 test ({split_off}), 12 unused",
        "images: 3x32x32, from files of 6x9 to 40x20 (median 12x12) pixels, of which the centre is taken and resized",
    ]
    assert found.plain()["classes"] == {"cat": cats, "dog": dogs}
    assert found.plain()["warnings"] == found.warnings()


def test_splits_of_its_own(opened: Open, folder: Make, cache: Path) -> None:
    root = folder({f"{split}/{label}": count for split, count in (("train", 12), ("val", 3), ("test", 2)) for label in "ab"})
    lines = describe(opened(root), cache=cache).lines()
    assert lines[1] == "splits: 24 training, 6 hold-out (the data's own), 4 test (the data's own)"
    assert lines[2] == "images: 3x32x32, from files of 12x12 pixels, of which the centre is taken and resized"


def test_lines_on_texts(opened: Open, tmp_path: Path, cache: Path) -> None:
    rows = [("abcdefgh"[: 1 + i % 8] + "xyz"[i % 3] * (i // 8), "ab"[i % 2]) for i in range(60)]
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    data = opened(tmp_path / "t.csv", tokenizer="chars", max_length=8, test_size=0)
    lengths = sorted(min(len(text), 8) for text, _ in rows)
    share = sum(length == 8 for length in lengths) / 60
    classes, splits, texts = describe(data, cache=cache).lines()
    assert classes == "t: texts of 2 classes (training samples): a 30, b 30"
    assert splits == "splits: 60 training, 0 hold-out, 0 test"
    assert texts == (
        f"texts: 1 to 8 tokens (median {lengths[30]}), {data.inputs.spec().vocabulary} different ones; "
        f"{share:.1%} reach 8 (--max-length), where longer ones are cut"
    )


def test_many_classes_are_summed_up() -> None:
    [line, *_] = described({f"class{i}": 100 + i for i in range(100)}).lines()
    assert line == "photos: images of 100 classes (training samples): from 100 (class0) to 199 (class99)"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"a": 10, "b": 100}, []),
        ({"a": 9, "b": 90}, ["a class has fewer than 10 training samples (a 9): collect more"]),
        ({"a": 9, "b": 8, "c": 7, "d": 0, "e": 10}, ["4 of 5 classes have fewer than 10 training samples (d 0, c 7, b 8, …)"]),
        ({"a": 10, "b": 101}, ["the classes are unequal: b has 101 training samples, a 10."]),
        ({"a": 0, "b": 11}, ["a class has fewer", "b has 11 training samples, a 0"]),
    ],
)
def test_small_and_unequal_classes(counts: dict[str, int], expected: list[str]) -> None:
    found = described(counts).warnings()
    assert len(found) == len(expected)
    assert all(part in line for part, line in zip(expected, found, strict=True))


def brute_force(train: Split, holdout: Split, test: Split) -> tuple[int, int, int]:
    """Count copies by comparing all pairs."""
    learned = [(train.inputs[row].tobytes(), label) for row, label in zip(train.positions, train.labels, strict=True)]
    held = [(holdout.inputs[row].tobytes(), label) for row, label in zip(holdout.positions, holdout.labels, strict=True)]
    known = learned + held
    tested = [test.inputs[row].tobytes() for row in test.positions]
    return (
        sum(any(one == other for other, _ in known) for one in tested),
        sum(any(one == other for other, _ in learned) for one, _ in held),
        sum(any(one == other and label != its for other, its in known) for one, label in known),
    )


@pytest.mark.parametrize("seed", range(10))
def test_copies_against_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    images: NDArray[np.uint8] = random.integers(0, 4, (60, 1, 1, 2), dtype=np.uint8)
    everything = Split(images, random.integers(0, 3, 60))
    rows = random.permutation(60)
    parts = [everything.take(rows[: 30 - seed]), everything.take(rows[30:40]), everything.take(rows[45:])]
    found = compare_samples(parts[0], parts[1], parts[2], "abc")
    assert (found.test, found.holdout, found.labels) == brute_force(*parts)


def test_names_of_copies() -> None:
    train, holdout, test = split_of([1, 2, 3, 2], [0, 1, 0, 0]), split_of([7, 3], [0, 0]), split_of([9, 7, 1], [0, 0, 0])
    found = compare_samples(train, holdout, test, ["cat", "dog"])
    assert found == Copies(2, ("1", "0"), 1, ("1", "2"), 2, ("1", "dog", "3", "cat"))
    lines = described({"cat": 20, "dog": 20}, copies=found, samples={"training": 4, "hold-out": 2, "test": 3, "unused": 0}).warnings()
    assert [line.split(":")[0] for line in lines] == [
        "2 of 3 test images are among the training or hold-out images, too (such as 1, equal to 0)",
        "1 of 2 hold-out images are among the training images, too (such as 1, equal to 2)",
        "2 training or hold-out images are equal to ones of another class (such as 1, dog, and 3, cat)",
    ]
    assert compare_samples(train.take(np.array([0])), split_of([], []), split_of([], []), ["cat", "dog"]) == Copies()


def test_equal_texts_are_found_whatever_the_padding() -> None:
    rows = Ragged.of([np.array(row, dtype=np.int64) for row in ([1, 2], [1, 2, 0], [3], [], [1, 2])])
    hashes = hash_samples(Split(rows, np.zeros(5, dtype=np.int64))).tolist()
    assert hashes[0] == hashes[4]
    assert len(set(hashes)) == 4
    assert hash_samples(Split(rows, np.zeros(2, dtype=np.int64), np.array([4, 2]))).tolist() == [hashes[4], hashes[2]]


def test_a_file_in_two_classes_and_in_the_test_set(opened: Open, folder: Make, cache: Path) -> None:
    root = folder({"train/cat": 12, "train/dog": 12, "test/cat": 3, "test/dog": 3})
    content = (root / "train" / "cat" / "003.png").read_bytes()
    (root / "train" / "dog" / "copy.png").write_bytes(content)
    (root / "test" / "cat" / "copy.png").write_bytes(content)
    found = describe(opened(root), cache=cache).copies
    assert found is not None
    assert (found.test, found.holdout, found.labels) == (1, 0, 2)
    assert list(found.test_example) == ["test/cat/copy.png", "train/cat/003.png"]
    assert list(found.labels_example) == ["train/cat/003.png", "cat", "train/dog/copy.png", "dog"]


def test_copies_are_looked_for_once(opened: Open, folder: Make, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder({"a": 12, "b": 12})
    first = find_copies(opened(root), cache)
    monkeypatch.setattr(describe_module, "compare_samples", lambda *_: pytest.fail("looked for again"))
    assert find_copies(opened(root), cache) == first
    (damaged,) = cache.glob("copies/*/copies.json")
    damaged.write_text("{")
    monkeypatch.undo()
    assert find_copies(opened(root), cache) == first
    monkeypatch.setattr(describe_module, "MAX_BYTES", 100)
    assert find_copies(opened(root), cache) is None


def test_classes_that_may_be_one(opened: Open, folder: Make, caplog: pytest.LogCaptureFixture) -> None:
    opened(folder({"Dog": 2, "dogs": 2, "cat ": 2, "gas": 2, "ga": 2, "bus": 2}))
    assert "'Dog', 'dogs'" in caplog.text
    assert "gas" not in caplog.text
    assert "bus" not in caplog.text
