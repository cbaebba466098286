"""Names of samples: files and rows, which unreadable ones must not shift."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studygroup.data import Dataset, Split


def named(split: Split, dataset: Dataset) -> list[tuple[str, str]]:
    return list(zip(split.sample_names(), (dataset.classes[label] for label in split.labels), strict=True))


def test_files_of_images(opened: Callable[..., Dataset], tmp_path: Path, cache: Path) -> None:
    for split, count in (("train", 6), ("test", 5)):
        for label in ("cat", "dog"):
            for i in range(count):
                path = tmp_path / "photos" / split / label / "deep" / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((4, 4), 20 * i + (10 if label == "dog" else 0), dtype=np.uint8)).save(path)
    for broken in ("train/cat/deep/0.png", "test/cat/deep/1.png", "test/dog/deep/3.png"):
        (tmp_path / "photos" / broken).write_bytes(b"no image")
    found = opened(tmp_path / "photos", image_size=4, on_error="skip")
    expected = [(f"test/{label}/deep/{i}.png", label) for label in ("cat", "dog") for i in range(5)]
    kept = [pair for pair in expected if pair[0] not in ("test/cat/deep/1.png", "test/dog/deep/3.png")]
    assert named(found.test, found) == kept
    for name, image in zip(found.test.sample_names(), found.test.inputs, strict=True):
        _, label, _, file = name.split("/")
        assert image[0, 0, 0] == 20 * int(file[0]) + (10 if label == "dog" else 0), "the name is that of these pixels"
    assert named(found.test.take(np.array([5, 0])), found) == [kept[5], kept[0]]
    names = next(cache.glob("prepared/photos-*/test_names.jsonl"))
    names.unlink()
    assert named(opened(tmp_path / "photos", image_size=4, on_error="skip").test, found) == kept, "prepared again"


def test_a_cache_of_an_earlier_version_is_prepared_again(opened: Callable[..., Dataset], tmp_path: Path, cache: Path) -> None:
    import json

    with (tmp_path / "reviews.csv").open("w") as file:
        file.write("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(8)))
    opened(tmp_path / "reviews.csv", tokenizer="chars")
    path = next(cache.glob("texts/reviews-*/meta.json"))
    meta = json.loads(path.read_text())
    del meta["named"]
    path.write_text(json.dumps(meta))
    (path.parent / "train_names.jsonl").unlink()
    dataset = opened(tmp_path / "reviews.csv", tokenizer="chars")
    assert sorted(map(int, [*dataset.train.sample_names(), *dataset.test.sample_names()])) == list(range(1, 9))


@pytest.mark.parametrize("test_size", [3, 0.0])
def test_rows_of_tables_and_files_of_texts(opened: Callable[..., Dataset], tmp_path: Path, test_size: float) -> None:
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(12)]
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([*rows[:2], ("no label",), *rows[2:7], ("too", "many", "fields"), *rows[7:]])
    for i, (text, label) in enumerate(rows):
        path = tmp_path / "letters" / label / f"{i:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xfe\xff" if i == 4 else text.encode())

    def row(i: int) -> str:
        return str(i + 1 + (i >= 2) + (i >= 7))

    def file_of(i: int) -> str:
        return f"{'ab'[i % 2]}/{i:02}.txt"

    for data, name_of in (("reviews.csv", row), ("letters", file_of)):
        found = opened(tmp_path / data, tokenizer="chars", on_error="skip", test_size=test_size)
        for split in (found.train, found.test):
            assert split.texts is not None
            numbers = [int(split.texts.text(int(at)).split()[1]) for at in split.positions]
            assert split.sample_names() == [name_of(i) for i in numbers]


def test_samples_without_names_are_numbered(opened: Callable[..., Dataset]) -> None:
    from sklearn.datasets import load_digits

    test = opened("digits").test
    images = load_digits().images
    for name, image in list(zip(test.sample_names(), test.inputs[test.positions], strict=True))[:20]:
        assert np.array_equal(image[0], np.rint(images[int(name)] * 255 / 16).astype(np.uint8))
