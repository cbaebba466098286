"""Keys of the cache, compared with recorded ones: a changed key makes users prepare their data again."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from studygroup.data import SOURCES, Dataset
from studygroup.data.sources import parse
from studygroup.options import DataOptions
from tests.data.images.test_cifar import cifar_tables, python2_pickle

KEYS = {  # key of the source, key of the data set
    "digits": ("a79e829c01a4795ad6bf65dcd9af3f7f", "3006281979e3a7f9a94bcdfdb200a84f"),
    "mnist:ROOT/idx": ("e2baca038b71f7e57684204cc6c74b9f", "3bf5837c59d5d82f3446e79345a907b4"),
    "fashion-mnist:ROOT/idx": ("e2baca038b71f7e57684204cc6c74b9f", "3bf5837c59d5d82f3446e79345a907b4"),
    "cifar10:ROOT": ("a397721ebd987a0ecd7fd34fce307b5e", "43652eb32e14859e3febcdbaf6d01bdf"),
    "cifar100:ROOT": ("8fd05d2513d4418eeb0c09a0d2ebb9de", "948a718c589ad8068df9408a64d0e40c"),
    "ROOT/photos": ("fa7c493e087f31bd6a1d557e1c0461d1", "26198a16e22a4c1f1e87c46e85a2fb4a"),
    "ROOT/reviews.csv": ("cdccf4ec469df3194c257f075cd58442", "9e3de23acdfd38479dd7492ce910a986"),
    "ROOT/reviews.jsonl": ("3a2c4d0e678855e0e07cd03357aa86ee", "44924b8ed62326195271735b2002fb58"),
    "ROOT/letters": ("d53df353ca30346d10a5685ad043c53e", "01b8e8d10850a8f26963e7235b0ecbbd"),
    "imdb:ROOT": ("475a22ae958fa982332c64cd4c7fe73f", "c4df3a5156ca21954a67c0dcdf798385"),
    "yelp_review_full:ROOT": ("2e5e998c88e81de417fd69f4e52c8a49", "b3e075a25a56d343320ecf5924d9220d"),
    "amazon_review_full:ROOT": ("139094f3c897b0805d4861bf48da3297", "a4e3a17bec8bb7038a1ac2458b7ce922"),
    "yahoo_answers:ROOT": ("1aaf8390e014104299184a31225b20ec", "3e0e6ec315823e0f23100371c01c0afe"),
}
ENTRIES = {  # of the folder of images and of the CSV table
    "prepared/photos-96a486ea39a569ae18463c5babb114eb": ["train_inputs.npy", "train_labels.npy", "train_moments.npy", "train_names.jsonl"],
    "texts/reviews-b4f489787d0fc43671245261d12db25d": ["train_bytes.npy", "train_ends.npy", "train_labels.npy", "train_names.jsonl"],
    "tokens/reviews-f329d45fff6ec99fe14540ea5f19d7fa": ["train_ends.npy", "train_tokens.npy"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files for every source."""

    def write(name: str, content: str | bytes) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    for i in range(6):
        write(f"photos/{'ab'[i % 2]}/{i}.pgm", b"P5 2 2 255\n" + bytes([i, 1, 2, 3]))
    for stem, n in (("train", 4), ("t10k", 2)):
        write(f"idx/{stem}-images-idx3-ubyte", struct.pack(">4I", 0x803, n, 2, 2) + bytes(range(4 * n)))
        write(f"idx/{stem}-labels-idx1-ubyte", struct.pack(">2I", 0x801, n) + bytes(range(n)))
    for name, folder in (("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")):
        for file, table in cifar_tables(name).items():
            write(f"{folder}/{file}", python2_pickle(table))
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(8)]
    write("reviews.csv", "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    write("reviews.jsonl", "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    for i, (text, label) in enumerate(rows):
        write(f"letters/{label}/{i}.txt", text)
    for split in ("train", "test"):
        for label in ("neg", "pos"):
            write(f"aclImdb/{split}/{label}/0_1.txt", f"{split} {label}")
        for name, fields in (("yelp_review_full", 1), ("amazon_review_full", 2), ("yahoo_answers", 3)):
            write(f"{name}_csv/{split}.csv", "".join(f'"{i + 1}"' + ',"x"' * fields + "\n" for i in range(3)))
    return tmp_path


@pytest.mark.parametrize("data", KEYS)
def test_keys_are_unchanged(opened: Callable[..., Dataset], root: Path, cache: Path, data: str) -> None:
    source_key, dataset_key = KEYS[data]
    name, path = parse(data.replace("ROOT", str(root)))
    assert SOURCES[name](path, DataOptions(data, cache=cache, progress=False)).key() == source_key
    texts = {"tokenizer": "chars"} if SOURCES[name].kind == "texts" else {}
    assert opened(data.replace("ROOT", str(root)), **texts).key == dataset_key


def test_keys_with_options_are_unchanged(opened: Callable[..., Dataset], root: Path) -> None:
    photos = opened(root / "photos", image_size=4, channels=3, split_seed=3)
    assert photos.key == "e01f51a2e57e98c5d488baa5d6a1452e"
    columns = {"text_columns": ["text"], "encoding": "latin-1"}
    reviews = opened(root / "reviews.csv", tokenizer="chars", max_length=5, test_size=3, **columns)
    assert reviews.key == "ae2df5190bf818f236ddd92dfeb16278"


def test_files_of_the_cache_are_unchanged(opened: Callable[..., Dataset], root: Path, cache: Path) -> None:
    opened(root / "photos")
    opened(root / "reviews.csv", tokenizer="chars")
    found = {str(path.relative_to(cache)): path for path in cache.glob("*/*") if path.is_dir()}
    assert {name: sorted(file.name for file in folder.iterdir()) for name, folder in found.items()} == {
        name: ["meta.json", *files] for name, files in ENTRIES.items()
    }
    meta = json.loads(next(cache.glob("texts/*/meta.json")).read_text())
    assert meta == {"name": "reviews", "classes": ["a", "b"], "rows": {"train": 8}, "broken": [], "named": ["train"]}
