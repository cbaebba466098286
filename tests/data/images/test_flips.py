"""Whether mirrored images are of the same class."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

from studygroup.data import Dataset, Flips, decide_flips, open_dataset
from studygroup.data.images import flips
from studygroup.data.images.flips import histograms, judge_by_images
from studygroup.errors import UserError

Open = Callable[..., Dataset]
NEUTRAL = tuple(f"a{label}" for label in range(26))


def signs(letters: str, count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Letters in white on black with noise, moved and rotated: (n, 1, 40, 40), and their labels."""
    random = np.random.default_rng(seed)
    images = []
    for letter in letters:
        for _ in range(count):
            image = Image.new("L", (40, 40))
            x, y, size = random.integers(17, 24), random.integers(17, 24), random.integers(20, 30)
            ImageDraw.Draw(image).text((float(x), float(y)), letter, 255, ImageFont.load_default(float(size)), anchor="mm")
            pixels = np.asarray(image.rotate(random.uniform(-12, 12))) + random.normal(0, 15, (40, 40))
            images.append(np.clip(pixels, 0, 255).astype(np.uint8)[None])
    return np.stack(images), np.repeat(np.arange(len(letters)), count)


def digits(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first of scikit-learn's digits."""
    data = load_digits()
    return (data.images[:count, None] * 15).astype(np.uint8), data.target[:count].astype(np.int64)


@pytest.mark.parametrize("count", [300, 1294])
def test_digits_must_not_be_flipped(count: int) -> None:
    found = judge_by_images(*digits(count), NEUTRAL)
    assert not found.allowed
    assert found.reason.startswith("no flips, as mirrored images of a")
    assert found.reason.endswith(f", by the nearest of {count:,} training images")
    assert judge_by_images(*digits(count), NEUTRAL) == found, "nothing is random"


@pytest.mark.parametrize("letters", ["bd", "<>", "JLA"])
def test_classes_that_a_mirror_exchanges(letters: str) -> None:
    found = judge_by_images(*signs(letters, 30), letters)
    assert not found.allowed
    assert f"mirrored images of {letters[0]} look like {letters[1]}" in found.reason or (
        f"mirrored images of {letters[1]} look like {letters[0]}" in found.reason
    )


@pytest.mark.parametrize("letters", ["AHMO", "TUVW", "CEG"])
def test_classes_that_a_mirror_keeps_or_makes_into_none(letters: str) -> None:
    assert judge_by_images(*signs(letters, 40), letters).allowed


def test_clothes_may_be_flipped(tmp_path: Path) -> None:
    """Shoes of Fashion-MNIST all point to the left: their mirror images are unlike all others, but of no other class."""
    try:
        data = open_dataset("fashion-mnist", cache=tmp_path, progress=False, train_size=1000)
    except UserError:
        pytest.skip("Fashion-MNIST is not installed")
    images, labels = data.train.gather(np.arange(1000))
    found = judge_by_images(images.numpy(), labels.numpy(), data.classes)
    assert found == Flips(True, "mirrored images count as the same class, as far as the nearest of 1,000 training images tell")


@pytest.mark.parametrize(
    ("margin", "loss", "mirrored", "changes"),
    [
        (0.5, 0.05, 0.9, True),
        (0.5, 0.019, 0.9, False),  # too small to matter
        (2.1, 0.05, 0.9, False),  # images have nearly equal ones in their class
        (0.5, 0.05, 1.1, False),  # mirrored images of the own class are nearer
        (-0.1, 0.05, 0.9, True),
    ],
)
def test_when_a_loss_counts(margin: float, loss: float, mirrored: float, changes: bool) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 100).astype(np.float32)
    noise -= noise.mean()
    values = [np.full(100, value, dtype=np.float32) for value in (margin, loss, mirrored)]
    assert flips._changes(values[0] + noise, values[1] + noise, values[2], 0.02) == changes
    assert not flips._changes(values[0], values[1] + 50 * noise, values[2], 0.02), "it may be chance"


def test_against_all_pairs() -> None:
    """The losses equal those of a loop over all pairs, whatever the blocks."""
    images, labels = digits(60)
    features = histograms(np.repeat(np.repeat(images[:, 0], 4, 1), 4, 2))
    margin, loss, own, other, confused = flips._compare(features, labels)
    plain, mirrored = features
    for i, label in enumerate(labels):
        distance: dict[tuple[bool, bool], list[tuple[float, int]]] = {(a, b): [(np.inf, -1)] for a in (True, False) for b in (True, False)}
        for j in range(len(labels)):
            if i != j:
                for is_mirrored, vectors in ((False, plain), (True, mirrored)):
                    found = max(float(np.linalg.norm(plain[i].astype(float) - vectors[j])), flips.NEAREST)
                    distance[is_mirrored, bool(labels[j] == label)].append((found, int(labels[j])))
        near = {key: min(found) for key, found in distance.items()}
        before = near[False, False][0] / near[False, True][0]
        after = min(near[False, False][0], near[True, False][0]) / min(near[False, True][0], near[True, True][0])
        assert margin[i] == pytest.approx(np.log(before), abs=1e-4)
        assert loss[i] == pytest.approx(np.log(before / after), abs=1e-4)
        assert (own[i], other[i]) == pytest.approx((near[True, True][0], near[True, False][0]), abs=1e-4)
        assert confused[i] == near[True, False][1]


def test_histograms_of_mirror_images() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    plain, mirrored = histograms(image)
    assert np.allclose(np.linalg.norm(plain, axis=1), 1)
    again, back = histograms(np.ascontiguousarray(image[:, :, ::-1]))
    assert np.array_equal(again, mirrored)
    assert np.array_equal(back, plain)
    assert not np.isnan(histograms(np.zeros((1, 32, 32), dtype=np.uint8))[0]).any()


@pytest.mark.parametrize(
    ("labels", "why"), [([0, 1] * 4, "8 training images are too few"), ([0] * 12, "12 .* too few"), ([0] * 12 + [1], "13 .* too few")]
)
def test_too_few_images_to_test(labels: Sequence[int], why: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 8, 8), dtype=np.uint8)
    found = judge_by_images(images, np.array(labels), ("a", "b"))
    assert found.allowed
    assert re.search(why, found.reason)


def test_a_class_of_one_image_is_left_out() -> None:
    images, labels = digits(600)
    images = np.concatenate([images, images[:1]])
    assert not judge_by_images(images, np.append(labels, 10), NEUTRAL).allowed


def digit_folder(root: Path, names: Sequence[str], each: int) -> Path:
    images, labels = digits(1797)
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for k, image in enumerate(images[labels == label][:each]):
            Image.fromarray(image[0]).save(root / name / f"{k}.png")
    return root


def test_what_the_data_set_or_the_names_say_needs_no_test(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flips, "judge_by_images", lambda *_: pytest.fail("tested"))
    built_in = decide_flips(opened("digits"), tmp_path / "cache")
    assert built_in == Flips(False, "no flips, as mirrored images of digits are of another class or of none")
    named = decide_flips(opened(digit_folder(tmp_path / "d", [f"digit {k}" for k in range(10)], 12)), tmp_path / "cache")
    assert named == Flips(False, "no flips, as the classes are named like digits, letters or sides, which a mirror changes")


def test_a_folder_of_digits_with_neutral_names(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened(digit_folder(tmp_path / "photos", NEUTRAL[:10], 120), holdout=0.1)
    learned: dict[str, Any] = {}

    def judge(images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str]) -> Flips:
        learned.update(images=images, labels=labels)
        return judge_by_images(images, labels, classes)

    monkeypatch.setattr(flips, "judge_by_images", judge)
    found = decide_flips(data, tmp_path / "cache")
    assert not found.allowed
    inputs, labels = data.train.gather(np.arange(len(data.train)))
    assert np.array_equal(np.sort(learned["labels"]), np.sort(labels.numpy()))
    assert {image.tobytes() for image in learned["images"]} == {image.tobytes() for image in inputs.numpy()}, "no hold-out, no test images"
    monkeypatch.setattr(flips, "judge_by_images", lambda *_: pytest.fail("tested again"))
    assert decide_flips(data, tmp_path / "cache") == found
    (kept,) = (tmp_path / "cache" / "flips").glob("*/flips.json")
    kept.write_text("[]")
    monkeypatch.undo()
    assert decide_flips(data, tmp_path / "cache") == found


def test_of_many_images_a_stratified_sample_is_tested(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened(digit_folder(tmp_path / "photos", NEUTRAL[:10], 60), test_size=0)
    monkeypatch.setattr(flips, "SAMPLES", 200)

    def judge(images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str]) -> Flips:
        assert len(images) == 200
        return Flips(True, str(np.bincount(labels).tolist()))

    monkeypatch.setattr(flips, "judge_by_images", judge)
    assert decide_flips(data, tmp_path / "cache").reason == str([20] * 10)
