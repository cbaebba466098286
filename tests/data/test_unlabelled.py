"""Samples without labels: where they come from, and how they join the batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studygroup.batch import Batch, Partition
from studygroup.data import Batches, Dataset, ImageTransform, Split, Tokens, Unlabelled, open_unlabelled, read_image
from studygroup.data.transforms import TokenTransform
from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.options import DataOptions
from studygroup.randomness import generator
from tests.data.conftest import picture
from tests.data.test_batches import AUGMENTED, PLAIN, numbered, read
from tests.data.test_text_batches import split_of

Open = Callable[..., Dataset]
Make = Callable[..., Path]
TABLE = "text,label\n" + "".join(f"text number {i} of {i % 2},{'ab'[i % 2]}\n" for i in range(40))


def options(dataset_path: Path, cache: Path, **more: Any) -> DataOptions:
    return DataOptions(data=dataset_path, cache=cache, progress=False, **more)


@pytest.fixture
def photos(opened: Open, folder: Make) -> Dataset:
    return opened(folder({"cat": 8, "dog": 8}), image_size=10)


@pytest.fixture
def texts(opened: Open, tmp_path: Path) -> Dataset:
    (tmp_path / "labelled.csv").write_text(TABLE)
    return opened(tmp_path / "labelled.csv", max_length=4)


# ---------------------------------------------------------------- where they come from


def test_images_at_any_depth_are_prepared_as_the_training_images(photos: Dataset, cache: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    for number, name in enumerate(["b.png", "a.png", "inner/c.png", "test/dog/d.png", ".hidden/e.png"]):
        (pool / name).parent.mkdir(parents=True, exist_ok=True)
        picture(50 + number, height=20, width=30, channels=1).save(pool / name)  # grey, and of another size
    (pool / "notes.txt").write_text("no image")
    found = open_unlabelled(pool, options(tmp_path / "photos", cache), photos, 0.25)
    assert (found.name, found.share, len(found.split)) == ("pool", 0.25, 4)
    assert found.split.sample_names() == ["a.png", "b.png", "inner/c.png", "test/dog/d.png"]
    inputs, labels = found.split.gather(np.arange(4))
    assert labels.tolist() == [-1] * 4
    for pixels, name in zip(inputs, found.split.sample_names(), strict=True):
        assert np.array_equal(pixels.numpy(), read_image(pool / name, photos.images.shape))
    again = open_unlabelled(pool, options(tmp_path / "photos", cache), photos, 0.25)
    assert again.key == found.key
    picture(99).save(pool / "f.png")
    assert open_unlabelled(pool, options(tmp_path / "photos", cache), photos, 0.25).key != found.key


def test_texts_of_a_table_are_made_into_the_tokens_of_the_training_texts(
    texts: Dataset, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "more.csv").write_text("message\ntext number 7\n\nan unknown one of many words\n")
    found = open_unlabelled(tmp_path / "more.csv", options(tmp_path / "labelled.csv", cache), texts, 0.5)
    assert not [line for line in caplog.messages if "the labels in" in line]
    assert isinstance(texts.inputs, Tokens)
    wanted = [texts.inputs.tokenizer.encode([text], 4)[0].tolist() for text in ("text number 7", "an unknown one of many words")]
    rows = [[int(token) for token in found.split.gather(np.array([n]))[0][0]] for n in range(len(found.split))]
    assert [row[: len(own)] for row, own in zip(rows, wanted, strict=True)] == wanted
    assert max(found.split.lengths) <= 4  # type: ignore[arg-type]


def test_labels_of_a_table_are_not_read(texts: Dataset, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = open_unlabelled(tmp_path / "labelled.csv", options(tmp_path / "labelled.csv", cache), texts, 0.5)
    assert set(found.split.labels.tolist()) == {-1}
    assert len(found.split) == 40
    assert [line for line in caplog.messages if "the labels in labelled.csv are not read" in line]


def test_text_files_at_any_depth(texts: Dataset, cache: Path, tmp_path: Path) -> None:
    for name in ("one.txt", "deep/er/two.txt"):
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_text(f"text number {name}")
    found = open_unlabelled(tmp_path / "files", options(tmp_path / "labelled.csv", cache), texts, 0.5)
    assert found.split.sample_names() == ["deep/er/two.txt", "one.txt"]


def test_broken_images_stop_or_are_skipped(photos: Dataset, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    picture(1).save(tmp_path / "pool" / "good.png")
    (tmp_path / "pool" / "bad.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"bad\.png"):
        open_unlabelled(tmp_path / "pool", options(tmp_path / "photos", cache), photos, 0.5)
    found = open_unlabelled(tmp_path / "pool", options(tmp_path / "photos", cache, on_error="skip"), photos, 0.5)
    assert found.split.sample_names() == ["good.png"]
    (tmp_path / "pool" / "good.png").unlink()
    with pytest.raises(UserError, match=r"bad\.png"):
        open_unlabelled(tmp_path / "pool", options(tmp_path / "photos", cache, on_error="skip"), photos, 0.5)


def test_what_cannot_be_used(photos: Dataset, texts: Dataset, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("words")
    (tmp_path / "none.csv").write_text("text\n")
    (tmp_path / "two.csv").write_text("text,review,x\na,b,c\n")
    (tmp_path / "file.zip").write_bytes(b"")
    for data, given, message in (
        (photos, "nowhere", "unlabelled is .*nowhere, which does not exist; give a folder of images"),
        (photos, "empty", "unlabelled is .*empty, but it has no images; give a folder of images"),
        (photos, "words", "words, but it has texts, and photos has images; give a folder of images"),
        (photos, "labelled.csv", "labelled.csv, but photos has images; give a folder of images"),
        (photos, "file.zip", "file.zip, but photos has images"),
        (texts, "photos", "photos, but it has images, and labelled has texts; give a table"),
        (texts, "empty", "empty, but it has no texts; give a table"),
        (texts, "file.zip", "file.zip, but labelled has texts; give a table"),
        (texts, "none.csv", "none.csv"),
        (texts, "two.csv", "several columns of two.csv may hold the texts"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            open_unlabelled(tmp_path / given, options(tmp_path / "labelled.csv", cache), data, 0.5)
        assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- how they join the batches


def pool(count: int, share: float, first: int = 100) -> Unlabelled:
    """Images with the pixels 100, 101, ..., which no training sample has."""
    split = numbered(first + count).take(np.arange(first, first + count))
    return Unlabelled(replace(split, labels=np.full(count, -1)), share, "pool", "key")


def parts(batch: Batch) -> list[list[int]]:
    """Samples of each student."""
    numbers, found = read(batch), []
    for size in batch.student_sizes:
        found.append(numbers[:size])
        numbers = numbers[size:]
    return found


def test_an_epoch_is_one_pass_over_the_labelled_samples() -> None:
    made = Batches(numbered(20), PLAIN, batch_size=8, seed=1, unlabelled=pool(30, 0.25))
    assert made.steps() == 4  # 6 labelled samples each: 6, 6, 6, 2
    alone = Batches(numbered(20), PLAIN, batch_size=6, seed=1)
    drawn: list[int] = []
    for epoch in range(6):
        seen = []
        for batch, plain in zip(made.epoch(epoch), alone.epoch(epoch), strict=True):
            numbers = read(batch)
            assert numbers[:-2] == read(plain)  # in the order that they have without the others
            assert batch.labels.tolist() == [*plain.labels.tolist(), -1, -1]
            assert batch.indices.tolist() == [*plain.indices.tolist(), *(20 + number - 100 for number in numbers[-2:])]
            assert batch.label_weights is not None
            assert batch.label_weights.tolist() == pytest.approx([len(batch) / (len(batch) - 2)] * (len(batch) - 2) + [0, 0])
            drawn += numbers[-2:]
            seen += numbers[:-2]
        assert sorted(seen) == list(range(20))
    assert made.rows_per_epoch() == 20 + 4 * 2
    assert Counter(drawn[:30]) == Counter(range(100, 130))  # a pass of their own, across epochs
    assert len(set(drawn[30:48])) == 18
    assert drawn[:18] != drawn[30:48]
    order = torch.randperm(30, generator=generator(1, "unlabelled", 1)).tolist()
    assert drawn[30:48] == [100 + number for number in order[:18]]


def test_a_batch_may_need_several_passes() -> None:
    batch = next(Batches(numbered(20), PLAIN, batch_size=10, seed=0, unlabelled=pool(3, 0.8)).epoch(0))
    assert Counter(read(batch)[2:]).most_common()[0][1] == 3
    assert min(Counter(read(batch)[2:]).values()) == 2


def test_a_tail_of_an_epoch_is_the_same() -> None:
    make: Callable[[], Batches] = lambda: Batches(numbered(30), AUGMENTED, batch_size=8, seed=3, unlabelled=pool(11, 0.5))  # noqa: E731
    whole = list(make().epoch(2))
    for start in (1, 5):
        for one, other in zip(whole[start:], make().epoch(2, start), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.labels, other.labels)
    assert not torch.equal(
        whole[0].inputs, next(Batches(numbered(30), AUGMENTED, batch_size=8, seed=4, unlabelled=pool(11, 0.5)).epoch(2)).inputs
    )


@pytest.mark.parametrize("per_student", [False, True])
def test_each_student_has_samples_of_its_own(per_student: bool) -> None:
    partition = Partition(3, "epoch", 0.0, per_student)
    made = Batches(numbered(21), PLAIN, batch_size=4 if per_student else 12, partition=partition, seed=0, unlabelled=pool(150, 0.5))
    drawn: list[int] = []
    for batch in made.epoch(0):
        for own, targets in zip(parts(batch), batch.per_student(3), strict=True):
            known = [number for number in own if number < 100]
            others = [number for number in own if number >= 100]
            assert len(others) == (2 if known else 0)  # none for a student without labelled samples left
            assert targets.labels.tolist() == [number % 7 for number in known] + [-1] * len(others)
            if known:
                assert float(targets.targets.weights.mean()) == pytest.approx(1.0)  # type: ignore[union-attr]
            drawn += others
    assert len(drawn) == len(set(drawn))


def test_mixing_is_among_the_labelled_and_among_the_others() -> None:
    transform = ImageTransform((1, 2, 2), (0.0,), (1.0,), "mixup")
    found = [
        batch for epoch in range(3) for batch in Batches(numbered(40), transform, batch_size=10, unlabelled=pool(40, 0.5)).epoch(epoch)
    ]
    mixed = [batch for batch in found if batch.mix is not None]
    assert mixed
    for batch in mixed:
        assert batch.mix is not None
        assert torch.equal(batch.labels < 0, batch.mix.labels < 0)


@pytest.mark.parametrize("whole_batch", [False, True])
def test_ranks_share_the_same_batches(whole_batch: bool) -> None:
    partition = Partition(2, "epoch")
    whole = list(Batches(numbered(30), AUGMENTED, batch_size=12, partition=partition, seed=2, unlabelled=pool(17, 0.25)).epoch(1))
    shards = [
        list(
            Batches(
                numbered(30),
                AUGMENTED,
                batch_size=12,
                partition=partition,
                seed=2,
                unlabelled=pool(17, 0.25),
                ranks=DistContext(rank, 2),
                whole_batch=whole_batch,
            ).epoch(1)
        )
        for rank in range(2)
    ]
    for batch, *own in zip(whole, *shards, strict=True):
        for shard in own:
            rows = slice(None) if shard.shard is None else shard.shard.rows
            for name in ("inputs", "labels", "indices", "label_weights"):
                assert torch.equal(getattr(shard, name), getattr(batch, name)[rows]), name


def test_texts_are_padded_together() -> None:
    lengths = np.array([2, 3, 2, 4, 3, 2, 5, 3])
    more = Unlabelled(replace(split_of(np.array([9, 1, 7])), labels=np.full(3, -1)), 0.5, "texts", "key")
    made = Batches(split_of(lengths), TokenTransform(torch.device("cpu")), batch_size=4, unlabelled=more)
    for batch in made.epoch(0):
        assert batch.inputs.shape[1] == int((batch.inputs != 0).sum(1).max())
        assert (batch.labels < 0).sum() == 2


def test_parts_of_a_batch_keep_their_weights() -> None:
    batch = next(Batches(numbered(20), PLAIN, batch_size=8, seed=1, unlabelled=pool(30, 0.25)).epoch(0))
    assert batch.label_weights is not None
    split = batch.split(3)
    assert torch.equal(torch.cat([part.label_weights for part in split if part.label_weights is not None]), batch.label_weights)
    targets = batch.targets.split([3, 5])
    assert torch.equal(type(batch.targets).cat(targets).weights, batch.label_weights)  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch_size", "share", "partition"), [(4, 0.1, None), (4, 0.95, None), (6, 0.5, Partition(6, "epoch"))])
def test_a_batch_has_both(batch_size: int, share: float, partition: Partition | None) -> None:
    with pytest.raises(
        UserError, match=rf"unlabelled_share is {share:g}, which leaves .*a batch of {batch_size} without labelled or without"
    ):
        Batches(numbered(20), PLAIN, batch_size=batch_size, partition=partition, unlabelled=pool(9, share))


def test_a_last_labelled_sample_is_not_alone() -> None:
    made = Batches(numbered(9), PLAIN, batch_size=8, unlabelled=pool(20, 0.5))
    assert [int((batch.labels >= 0).sum()) for batch in made.epoch(0)] == [4, 4, 1]
    assert isinstance(made.split, Split)
