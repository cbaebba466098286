"""Folders of images."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studygroup.data import Dataset, Split, read_image
from studygroup.data.cache import fingerprint
from studygroup.data.images import decode
from studygroup.data.images import folder as image_folder
from studygroup.errors import UserError

Open = Callable[..., Dataset]
Make = Callable[..., Path]


def pixels(split: Split) -> list[bytes]:
    """All images of a split, to compare."""
    return [image.numpy().tobytes() for image in split.gather(np.arange(len(split)))[0]]


def test_one_folder_is_divided(opened: Open, folder: Make) -> None:
    root = folder({"dog": 12, "cat": 8})
    data = opened(root)
    assert data.name == "photos"
    assert data.classes == ("cat", "dog")
    assert data.images.shape == (3, 32, 32)
    assert data.flips is None
    assert (len(data.train), len(data.test)) == (16, 4)
    expected = {
        read_image(path, data.images.shape).tobytes(): label for label, name in enumerate(data.classes) for path in (root / name).iterdir()
    }
    assert len(expected) == 20
    for split in (data.train, data.test):
        inputs, labels = split.gather(np.arange(len(split)))
        for image, label in zip(inputs, labels, strict=True):
            assert expected.pop(image.numpy().tobytes()) == label
    assert not expected, "every image is in one split, once"


def test_what_operating_systems_leave_is_no_class_and_no_image(opened: Open, folder: Make) -> None:
    root = folder({"dog": 12, "cat": 8})
    plain = pixels(opened(root).train)
    for name in (
        "__MACOSX/dog/._00.png",
        "__macosx/._dog",
        "dog/._00.png",
        "dog/.DS_Store",
        "cat/Thumbs.db",
        "desktop.ini",
        ".Trashes/x/y.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7")
    data = opened(root)
    assert data.classes == ("cat", "dog")
    assert pixels(data.train) == plain


def test_division_by_share_number_and_seed(opened: Open, folder: Make) -> None:
    root = folder({"dog": 12, "cat": 8})
    assert len(opened(root, test_size=0.5).test) == 10
    assert len(opened(root, test_size=7).test) == 7
    assert len(opened(root, test_size=0).test) == 0
    assert pixels(opened(root).test) == pixels(opened(root).test)
    assert pixels(opened(root, split_seed=1).test) != pixels(opened(root).test)
    assert opened(root, split_seed=1).key != opened(root).key != opened(root, test_size=0.5).key


def test_another_hold_out_leaves_the_test_set(opened: Open, folder: Make) -> None:
    root = folder({"dog": 12, "cat": 8})
    first, same, other = (opened(root, holdout=4, holdout_seed=seed) for seed in (None, 0, 1))
    assert pixels(first.holdout) == pixels(same.holdout) != pixels(other.holdout)
    assert pixels(first.test) == pixels(other.test)
    assert first.key == other.key
    assert pixels(opened(root, holdout=4, split_seed=1).holdout) == pixels(opened(root, holdout=4, split_seed=1, holdout_seed=1).holdout)


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing")])
def test_folders_of_training_and_test_set(opened: Open, folder: Make, train: str, test: str) -> None:
    root = folder({f"{train}/a": 4, f"{train}/b": 5, f"{test}/a": 2, f"{test}/b": 3})
    data = opened(root, test_size=0.9)
    assert (len(data.train), len(data.test)) == (9, 5)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 5
    assert data.test.labels.tolist() == [0] * 2 + [1] * 3
    assert pixels(data.test)[2] == read_image(root / test / "b" / "000.png", data.images.shape).tobytes()
    flat = data.train.gather(np.arange(9))[0].double() / 255
    assert data.images.mean == pytest.approx(flat.mean((0, 2, 3)).tolist())
    assert data.images.std == pytest.approx(flat.std((0, 2, 3), correction=0).tolist())


@pytest.mark.parametrize("val", ["val", "Valid", "validation"])
def test_val_is_the_hold_out(opened: Open, folder: Make, caplog: pytest.LogCaptureFixture, val: str) -> None:
    root = folder({"train/a": 9, "train/b": 6, "test/a": 2, "test/b": 3, f"{val}/a": 3, f"{val}/b": 1})
    data = opened(root)
    assert [len(split) for split in (data.train, data.holdout, data.unused, data.test)] == [15, 4, 0, 5]
    assert data.holdout.sample_names() == [f"{val}/a/{i:03}.png" for i in range(3)] + [f"{val}/b/000.png"]
    assert pixels(data.holdout)[3] == read_image(root / val / "b" / "000.png", data.images.shape).tobytes()
    assert data.images.mean == pytest.approx((data.train.gather(np.arange(15))[0].double() / 255).mean((0, 2, 3)).tolist())
    fewer = opened(root, train_size=10)
    assert [len(split) for split in (fewer.train, fewer.holdout, fewer.unused, fewer.test)] == [10, 4, 5, 5]
    assert not caplog.records


def test_val_without_test(opened: Open, folder: Make) -> None:
    root = folder({"train/a": 12, "train/b": 8, "val/a": 3, "val/b": 1})
    data = opened(root)
    assert [len(split) for split in (data.train, data.holdout, data.test)] == [16, 4, 4]
    assert np.bincount(data.test.labels).tolist() in ([2, 2], [3, 1])
    assert {name.split("/")[0] for name in (*data.train.sample_names(), *data.test.sample_names())} == {"train"}


def test_a_hold_out_beside_val_is_refused(opened: Open, folder: Make) -> None:
    root = folder({"train/a": 4, "train/b": 4, "val/a": 3, "val/b": 1})
    with pytest.raises(UserError, match=r"holdout is 0.2, but photos has a hold-out set of its own \(val\); leave holdout out"):
        opened(root, holdout=0.2)
    assert len(opened(root, holdout=0).holdout) == 0


def test_statistics_are_those_of_the_samples_to_learn_from(opened: Open, folder: Make) -> None:
    data = opened(folder({"a": 30, "b": 20}), holdout=0.4, train_size=10)
    assert [len(split) for split in (data.train, data.holdout, data.unused, data.test)] == [10, 16, 14, 10]
    learned = data.train.gather(np.arange(10))[0].double() / 255
    assert data.images.mean == pytest.approx(learned.mean((0, 2, 3)).tolist())
    assert data.images.std == pytest.approx(learned.std((0, 2, 3), correction=0).tolist())


def test_the_division_is_stratified(opened: Open, folder: Make) -> None:
    data = opened(folder({"a": 40, "b": 20}), holdout=0.25)
    assert [np.bincount(split.labels).tolist() for split in (data.train, data.holdout, data.test)] == [[24, 12], [8, 4], [8, 4]]


def test_images_at_any_depth_without_hidden_and_other_files(opened: Open, folder: Make) -> None:
    root = folder({"a": 2, "b/deep/down": 3, ".hidden": 4})
    (root / "README.txt").write_text("not a class")
    (root / "a" / "notes.txt").write_text("not an image")
    (root / "a" / ".DS_Store.png").write_text("hidden")
    (root / "b" / ".thumbs").mkdir()
    shutil.copy(root / "a" / "000.png", root / "b" / ".thumbs" / "t.png")
    data = opened(root, test_size=0)
    assert data.classes == ("a", "b")
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1]


def test_size_and_channels(opened: Open, folder: Make) -> None:
    root = folder({"a": 3, "b": 3})
    assert opened(root, image_size=20, channels=1).images.shape == (1, 20, 20)
    assert opened(root, image_size=20).train.inputs.shape == (6, 3, 20, 20)


def test_grey_only_if_all_images_are(opened: Open, folder: Make) -> None:
    grey = folder({"a": 3, "b": 3}, name="grey", channels=1)
    assert opened(grey).images.shape == (1, 32, 32)
    assert opened(grey, channels=3).images.shape == (3, 32, 32)
    Image.new("RGB", (8, 8), "red").save(grey / "a" / "red.png")
    assert opened(grey).images.shape == (3, 32, 32)


def test_a_constant_channel_has_deviation_one(opened: Open, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "flat" / label).mkdir(parents=True)
        Image.new("L", (8, 8), 51).save(tmp_path / "flat" / label / "0.png")
    data = opened(tmp_path / "flat", test_size=0)
    assert data.images.mean == pytest.approx((0.2,))
    assert data.images.std == (1.0,)


def test_changed_content_is_prepared_again(opened: Open, folder: Make) -> None:
    root = folder({"a": 3, "b": 3})
    first = opened(root, test_size=0)
    path = root / "b" / "001.png"
    times = path.stat()
    content = path.read_bytes()
    Image.new("RGB", (12, 12), "green").save(path)
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))  # the same size and time: the status change time tells
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = opened(root, test_size=0)
    assert second.key != first.key
    assert pixels(second.train)[4] == read_image(path, second.images.shape).tobytes() != pixels(first.train)[4]
    path.write_bytes(content)
    assert opened(root, test_size=0).key == first.key, "the content decides, not the time"
    path.rename(root / "a" / "moved.png")
    assert opened(root, test_size=0).key not in (first.key, second.key)


def test_an_unchanged_folder_is_not_read_again(opened: Open, folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "SETTLED", -(10**18))  # do not wait until the files are two seconds old
    root = folder({"a": 5, "b": 5})
    first = opened(root)

    def read(*args: object) -> None:
        raise AssertionError("a file is read again")

    monkeypatch.setattr(hashlib, "file_digest", read)
    monkeypatch.setattr(decode, "decode", read)
    monkeypatch.setattr(image_folder, "decode", read)
    monkeypatch.setattr(image_folder, "image_header", read)
    again = opened(root)
    assert again.key == first.key
    assert pixels(again.train) == pixels(first.train)


def test_more_than_one_chunk(opened: Open, folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder({"a": 5, "b": 6})
    whole = opened(root, image_size=12, test_size=0)
    monkeypatch.setattr(image_folder, "CHUNK", 3 * 12 * 12 * 4)  # four images
    shutil.rmtree(root.parent / "cache")
    chunked = opened(root, image_size=12, test_size=0)
    assert pixels(chunked.train) == pixels(whole.train)
    assert chunked.images.mean == whole.images.mean


def damaged_folder(folder: Make) -> Path:
    root = folder({"a": 5, "b": 4})
    (root / "a" / "002.png").write_bytes(b"torn")
    (root / "b" / "000.png").write_bytes((root / "b" / "000.png").read_bytes()[:60])
    return root


def test_unreadable_images_stop(opened: Open, folder: Make, cache: Path) -> None:
    root = damaged_folder(folder)
    with pytest.raises(UserError, match=r"2 images of photos.*a/002\.png, b/000\.png;.*skip"):
        opened(root)
    assert [path.suffix for path in (cache / "prepared").iterdir()] == [".lock"], "nothing unfinished is left"


def test_many_unreadable_images_are_counted(opened: Open, folder: Make) -> None:
    root = folder({"a": 9, "b": 2})
    for i in range(8):
        (root / "a" / f"{i:03d}.png").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"8 images.*a/004\.png, …;") as error:
        opened(root)
    assert "a/005.png" not in str(error.value)


def test_unreadable_images_are_skipped_and_logged(opened: Open, folder: Make, caplog: pytest.LogCaptureFixture) -> None:
    root = damaged_folder(folder)
    for _ in range(2):  # prepared, and opened again
        caplog.clear()
        data = opened(root, on_error="skip", test_size=0)
        assert data.train.labels.tolist() == [0] * 4 + [1] * 3
        assert pixels(data.train)[2] == read_image(root / "a" / "003.png", data.images.shape).tobytes()
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "a/002.png, b/000.png" in caplog.text
    with pytest.raises(UserError, match=r"2 images of photos.*a/002\.png"):
        opened(root, on_error="stop")


def test_skipping_must_leave_images_of_every_class(opened: Open, folder: Make) -> None:
    root = folder({"a": 5, "b": 1})
    (root / "b" / "000.png").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"no image of class 'b'.*b/000\.png"):
        opened(root, on_error="skip")


def test_broken_links_are_unreadable_images(opened: Open, folder: Make) -> None:
    root = folder({"a": 3, "b": 3})
    (root / "a" / "link.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match=r"1 image of photos.*a/link\.png"):
        opened(root)
    assert len(opened(root, on_error="skip", test_size=0).train) == 6


def test_names_that_are_not_utf8(opened: Open, folder: Make) -> None:
    root = folder({"a": 3, "b": 3})
    strange = os.fsdecode(b"\xff.png")
    (root / "a" / strange).write_bytes((root / "a" / "000.png").read_bytes())
    assert len(opened(root, test_size=0).train) == 7
    (root / "a" / strange).write_bytes(b"torn")
    with pytest.raises(UserError, match=r"a/\?\.png"):
        opened(root)
    (root / "b").rename(root / os.fsdecode(b"\xff"))
    with pytest.raises(UserError, match="not UTF-8"):
        opened(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read anything")
def test_files_without_permission_are_named(opened: Open, folder: Make) -> None:
    root = folder({"a": 3, "b/inside": 3})
    (root / "a" / "001.png").chmod(0)
    with pytest.raises(UserError, match=r"1 image.*a/001\.png"):
        opened(root)
    (root / "b" / "inside").chmod(0)
    with pytest.raises(UserError, match="inside cannot be read: Permission denied"):
        opened(root)
    (root / "b" / "inside").chmod(0o755)


def test_bad_folders_are_refused(opened: Open, folder: Make, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"nothing.*no sub-folders"):
        opened(tmp_path / "nothing")
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("L", (4, 4)).save(flat / "0.png")
    with pytest.raises(UserError, match="its images are directly in it"):
        opened(flat)
    with pytest.raises(UserError, match="single class 'a'"):
        opened(folder({"a": 3}, name="single"))
    with pytest.raises(UserError, match=r"class 'b'.*no images"):
        opened(folder({"a": 3, "b": 0, "c": 1}, name="empty-class"))
    with pytest.raises(UserError, match=r"imageless.*has no images"):
        opened(folder({"a": 0, "b": 0}, name="imageless"))


def test_bad_train_and_test_folders_are_refused(opened: Open, folder: Make) -> None:
    with pytest.raises(UserError, match=r"'c' is in test/, but not in train/"):
        opened(folder({"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1, "test/c": 1}, name="more"))
    with pytest.raises(UserError, match=r"'b' is in train/, but not in test/"):
        opened(folder({"train/a": 1, "train/b": 1, "train/c": 1, "test/a": 1, "test/c": 1}, name="fewer"))
    with pytest.raises(UserError, match=r"class 'b' of .*test has no images"):
        opened(folder({"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 0}, name="empty-test"))
    with pytest.raises(UserError, match=r"has train/, but no val/ or test/ with a folder per class"):
        opened(folder({"train/a": 1, "train/b": 1, "tset/a": 1, "tset/b": 1}, name="no-test"))
    with pytest.raises(UserError, match=r"'c' is in val/, but not in train/; both need the same"):
        opened(folder({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "val/c": 1}, name="more-val"))
    with pytest.raises(UserError, match=r"class 'b' of .*val has no images"):
        opened(folder({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 0}, name="empty-class-of-val"))
    with pytest.raises(UserError, match=r"has train/, but no val/ or test/ with a folder per class"):
        opened(folder({"train/a": 1, "train/b": 1, "val": 0}, name="empty-val"))
    with pytest.raises(UserError, match=r"has val/, but no train/"):
        opened(folder({"val/a": 1, "val/b": 1}, name="only-val"))
    with pytest.raises(UserError, match=r"has test/, but no train/"):
        opened(folder({"test/a": 1, "test/b": 1}, name="no-train"))
