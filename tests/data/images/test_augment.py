"""Augmentation: presets and lists, what is drawn, and that an image becomes the same wherever it is prepared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from studygroup import randomness
from studygroup.data import Images, ImageTransform
from studygroup.data.images import operations
from studygroup.data.images.augment import (
    ERASED,
    OPERATIONS,
    TRIVIAL,
    Augmentation,
    asks_for_flips,
    flip_changes,
    format_augment,
    parse_augment,
)
from studygroup.errors import UserError

CPU = torch.device("cpu")


def raw_images(n: int = 64, channels: int = 3, height: int = 16, width: int = 20) -> Tensor:
    return torch.randint(1, 256, (n, channels, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def augmentation(augment: str, channels: int = 3) -> Augmentation:
    return Augmentation(augment, (channels, 16, 20), (0.5,) * channels, CPU)


def augmented(augment: str, raw: Tensor, seed: int = 0) -> Tensor:
    return augmentation(augment, raw.shape[1])(raw, seed, torch.arange(len(raw)), len(raw))


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("none", "none"),
        ("crop", "crop"),
        ("crop+flip", "crop+flip"),
        ("flip,crop", "crop+flip"),
        ("light", "crop+flip"),
        ("auto", "crop+flip"),
        ("medium", "crop+flip+trivial+erase"),
        ("strong", "crop+flip+trivial+erase+mixup+cutmix"),
        ("light, cutmix=0.5", "crop+flip+cutmix=0.5"),
        ("crop,flip,rotate,cutmix", "crop+flip+rotate+cutmix"),
        ("medium,trivial=0.5", "crop+flip+trivial=0.5+erase"),
    ],
)
def test_presets_and_lists(given: str, resolved: str) -> None:
    assert format_augment(parse_augment(given)) == resolved
    assert format_augment(parse_augment(resolved)) == resolved, "what a run records means the same"


def test_presets_flip_only_where_that_keeps_the_class() -> None:
    for preset in ("auto", "light", "medium", "strong"):
        assert "flip" not in parse_augment(preset, flips=False)
    assert "flip" in parse_augment("crop,flip", flips=False), "whoever names it gets it"
    digits = Images((1, 28, 28), (0.5,), (0.5,))
    assert digits.resolve_augment("auto") == "crop"
    assert digits.resolve_augment("medium") == "crop+trivial+erase"
    assert digits.resolve_augment("medium", flips=True) == "crop+flip+trivial+erase"
    assert all(map(asks_for_flips, ("auto", "crop,strong")))
    assert not any(map(asks_for_flips, ("crop,flip", "light,flip", "none", "mixup")))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mixpu", r"unknown augmentation 'mixpu'; did you mean mixup\?"),
        ("crop,none", "none stands alone"),
        ("light=2", "takes no strength"),
        ("crop=", "the strength of crop is ''"),
        ("rotate=720", "the strength of rotate is '720'; it must be a number above 0 and at most 180, such as rotate=30"),
        ("mixup=nan", "the strength of mixup is 'nan'"),
        ("", "unknown augmentation ''"),
        ("rotate=ten", "the strength of rotate is 'ten'"),
    ],
)
def test_mistakes_are_named(given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_augment(given)


def test_color_of_grey_images_is_refused() -> None:
    with pytest.raises(UserError, match="augment has color, but the images are grey"):
        Images((1, 8, 8), (0.5,), (0.5,)).resolve_augment("crop,color")
    assert "color" not in augmentation("medium", 1).trivial
    assert "color" in augmentation("medium", 3).trivial


@pytest.mark.parametrize(
    ("classes", "changes"),
    [
        (("0", "1", "7"), True),
        (("a", "B", "é"), True),
        (("digit 0", "digit 1"), True),
        (("three", "eight"), True),
        (("Sign_left", "Sign_right", "Stop"), True),
        (("cat", "dog"), False),
        (("x", "horse", "tree", "car"), False),
        (("leftovers", "soup"), False),
    ],
)
def test_a_flip_is_left_out_by_the_names_of_the_classes(classes: tuple[str, ...], changes: bool) -> None:
    assert flip_changes(classes) == changes


@pytest.mark.parametrize("augment", [*OPERATIONS, "medium", "strong"])
def test_an_image_becomes_the_same_in_any_part_of_the_batch(augment: str) -> None:
    """Ranks and microbatches: also in parts of odd sizes, where vectorised arithmetic differs at the ends."""
    raw, change = raw_images(37), augmentation(augment)
    whole = change(raw, 5, torch.arange(37), 37)
    for rows in (torch.tensor([36, 0, 7]), torch.tensor([3]), torch.arange(1, 37, 2)):
        assert torch.equal(change(raw[rows], 5, rows, 37), whole[rows])


@pytest.mark.parametrize("augment", [name for name in OPERATIONS if name not in ("mixup", "cutmix")])
def test_every_operation_changes_images_as_its_seed_says(augment: str) -> None:
    raw = raw_images()
    before = raw.clone()
    first, again, other = augmented(augment, raw), augmented(augment, raw), augmented(augment, raw, seed=1)
    assert torch.equal(first, again)
    assert torch.equal(raw, before), "the given images are not changed"
    assert not torch.equal(first, raw)
    if augment != "autocontrast":  # noise is stretched already, or a little
        assert not torch.equal(first, other)
    assert first.dtype == torch.uint8
    assert first.shape == raw.shape


@pytest.mark.parametrize("channels", [1, 3])
def test_trivial_applies_one_operation_to_each_image(channels: int) -> None:
    """Against a loop over the images, which are not grouped there."""
    raw = raw_images(200, channels)
    out = augmented("trivial=0.7", raw, seed=3)
    names = [name for name in TRIVIAL if name != "color" or channels == 3]
    generator = randomness.generator(3, "trivial")
    chosen = torch.randint(len(names), (200,), generator=generator).tolist()
    draws = torch.rand(200, generator=generator)
    for k, number in enumerate(chosen):
        name, image = names[number], raw[k : k + 1]
        if name == "identity":
            assert torch.equal(out[k], raw[k])
            continue
        kind = OPERATIONS[name]
        strength = (2 * draws[k : k + 1] - 1 if kind.signed else draws[k : k + 1]) * kind.default * 0.7
        if name in operations.GEOMETRIC:
            expected = operations.affine(image, operations.affine_matrices({name: strength}, 16, 20))
        else:
            expected = operations.POINTWISE[name](image, strength)
        assert (out[k] != expected[0]).float().mean() < 0.02, name  # a place between two pixels may be rounded to the other one
    assert set(chosen) == set(range(len(names)))


def test_strengths_are_drawn_up_to_the_given_one() -> None:
    raw = torch.full((500, 1, 16, 20), 100, dtype=torch.uint8)
    values = augmented("brightness=0.4", raw)[:, 0, 0, 0].float() / 100
    assert 0.6 <= values.min() < 0.63
    assert 1.37 < values.max() <= 1.4


def test_erased_boxes() -> None:
    raw = torch.full((2000, 1, 16, 20), 255, dtype=torch.uint8)
    erased = augmented("erase=0.4", raw)[:, 0] == 128  # the mean colour
    share = erased.float().mean((1, 2))
    assert 0.35 < (share > 0).float().mean() < 0.45
    assert ERASED[0] * 0.5 < share[share > 0].min()
    assert share.max() < ERASED[1] * 1.15
    for image in erased[share > 0][:50]:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        assert image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all(), "one box"


def test_a_larger_crop() -> None:
    raw = raw_images(300, 1)
    out = augmented("crop=0.5", raw)
    empty = (out == 0).all(3).sum((1, 2))  # black rows
    assert empty.max() == 8


def test_transforms_without_a_seed_do_nothing() -> None:
    raw = raw_images()
    plain, strong = (ImageTransform((3, 16, 20), (0.5,) * 3, (0.2,) * 3, augment)(raw) for augment in ("none", "strong"))
    assert torch.equal(plain, strong)
