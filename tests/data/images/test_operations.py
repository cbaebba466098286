"""Operations on images: against Pillow where it has them, and properties of the rest."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from studygroup.data.images.operations import GEOMETRIC, POINTWISE, affine, affine_matrices, color, crop, equalize, erase, sharpness


def images(channels: int = 3, height: int = 20, width: int = 24, n: int = 40) -> Tensor:
    """Images of many kinds: smooth, noisy, dark, of few values, of one value."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (n, channels, height, width), generator=generator, dtype=torch.uint8)
    low = torch.randint(0, 128, (n, 1, 1, 1), generator=generator)
    high = low + torch.randint(0, 128, (n, 1, 1, 1), generator=generator)
    limited = (low + noise.long() * (high - low) // 255).to(torch.uint8)
    limited[0] = 77
    limited[1] = 0
    limited[2] = (noise[2] > 250) * 200
    limited[3] = noise[3]
    return limited


def pillow(image: Tensor) -> Image.Image:
    array = image.movedim(0, -1).numpy()
    return Image.fromarray(array if array.shape[-1] == 3 else array[..., 0])


def tensor(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0).copy())


REFERENCES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "solarize": lambda image, s: ImageOps.solarize(image, 256 * (1 - s)),  # type: ignore[arg-type]
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(4 * s)),
    "color": lambda image, s: ImageEnhance.Color(image).enhance(1 + s),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + s),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", POINTWISE)
def test_operations_equal_pillows(name: str, channels: int) -> None:
    raw = images(channels)
    signed = name in ("color", "brightness", "contrast", "sharpness")
    strengths = torch.linspace(-0.9 if signed else 0.03, 0.9, len(raw))
    out = POINTWISE[name](raw, strengths)
    assert out.dtype == torch.uint8
    assert out.shape == raw.shape
    expected = torch.stack([tensor(REFERENCES[name](pillow(x), float(s))) for x, s in zip(raw, strengths, strict=True)])
    difference = (out.int() - expected.int()).abs()
    # Pillow's autocontrast and blends round in other places; tables of whole numbers are equal.
    assert difference.max() <= (0 if name in ("equalize", "solarize", "posterize") else 1)
    assert (difference > 0).float().mean() < 0.01
    if name != "color" or channels == 3:
        assert (out != raw).float().mean() > 0.2, "the operation does something"


def test_color_of_grey_images_changes_nothing() -> None:
    raw = images(1)
    assert torch.equal(color(raw, torch.full((len(raw),), 0.9)), raw)


def test_small_images_are_not_smoothed() -> None:
    raw = images(1, 2, 5)
    assert torch.equal(sharpness(raw, torch.ones(len(raw))), raw)


def test_strength_zero_is_the_identity() -> None:
    raw, zero = images(), torch.zeros(40)
    for name in ("color", "brightness", "contrast", "sharpness", "posterize"):
        assert torch.equal(POINTWISE[name](raw, zero), raw), name
    assert torch.equal(affine(raw, affine_matrices(dict.fromkeys(GEOMETRIC, zero), 20, 24)), raw)


def test_equalized_images_stay_equalized_in_a_larger_batch() -> None:
    raw = images()
    assert torch.equal(equalize(raw, torch.zeros(40))[5:7], equalize(raw[5:7], torch.zeros(2)))


MATRICES: dict[str, Callable[[float, int, int], tuple[float, ...]]] = {  # from the result to the source, in pixels from the centre
    "rotate": lambda v, h, w: (
        math.cos(math.radians(v)),
        -math.sin(math.radians(v)),
        0,
        math.sin(math.radians(v)),
        math.cos(math.radians(v)),
        0,
    ),
    "shear_x": lambda v, h, w: (1, v, 0, 0, 1, 0),
    "shear_y": lambda v, h, w: (1, 0, 0, v, 1, 0),
    "translate_x": lambda v, h, w: (1, 0, -v * w, 0, 1, 0),
    "translate_y": lambda v, h, w: (1, 0, 0, 0, 1, -v * h),
}


def by_pillow(image: Tensor, matrix: tuple[float, ...]) -> Tensor:
    """Move by a matrix relative to the centre, with nearest neighbours."""
    height, width = image.shape[1:]
    a, b, c, d, e, f = matrix
    cx, cy = width / 2, height / 2
    from_corner = (a, b, c + cx - a * cx - b * cy, d, e, f + cy - d * cx - e * cy)
    return tensor(pillow(image).transform((width, height), Image.Transform.AFFINE, from_corner, Image.Resampling.NEAREST))


@pytest.mark.parametrize("size", [(20, 24), (28, 28), (9, 5)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_operations_against_pillow(name: str, channels: int, size: tuple[int, int]) -> None:
    raw = images(channels, *size)
    largest = 29.7 if name == "rotate" else 0.2937  # hardly a place halfway between two pixels
    strengths = torch.linspace(-largest, largest, len(raw))
    out = affine(raw, affine_matrices({name: strengths}, *size))
    expected = torch.stack([by_pillow(x, MATRICES[name](float(s), *size)) for x, s in zip(raw, strengths, strict=True)])
    assert (out != expected).float().mean() < 0.005  # a place between two pixels may be rounded to the other one
    assert (out != raw).float().mean() > 0.02


def test_rotation_is_counter_clockwise_like_pillows() -> None:
    raw = images(3, 21, 21)
    out = affine(raw, affine_matrices({"rotate": torch.full((len(raw),), 90.0)}, 21, 21))
    assert torch.equal(out, torch.rot90(raw, 1, (2, 3)))


def test_translation_is_to_the_right_and_down() -> None:
    raw = images(1, 10, 20)
    out = affine(raw, affine_matrices({"translate_x": torch.full((40,), 0.25), "translate_y": torch.full((40,), 0.2)}, 10, 20))
    assert torch.equal(out[:, :, 2:, 5:], raw[:, :, :-2, :-5])
    assert not out[:, :, :2].any()
    assert not out[:, :, :, :5].any()


def test_several_geometric_operations_are_one_after_the_other() -> None:
    """A rotation, shears and a translation compose as their matrices do."""
    strengths = {name: torch.tensor([value]).double() for name, value in zip(GEOMETRIC, (20.0, 0.2, -0.1, 0.1, -0.2), strict=True)}
    whole = affine_matrices(strengths, 20, 24)[0].double()

    def square(name: str) -> Tensor:
        matrix = affine_matrices({name: strengths[name]}, 20, 24)[0].double()
        return torch.cat([matrix, torch.tensor([[0.0, 0.0, 1.0]])])

    shear = torch.eye(3, dtype=torch.float64)
    shear[0, 1], shear[1, 0] = strengths["shear_x"], strengths["shear_y"]
    expected = square("rotate") @ shear @ square("translate_x") @ square("translate_y")
    torch.testing.assert_close(whole, expected[:2].double(), atol=1e-5, rtol=1e-5)


def test_erased_boxes_against_a_loop() -> None:
    raw = images(3)
    generator = torch.Generator().manual_seed(1)
    top, left = torch.randint(0, 15, (40,), generator=generator), torch.randint(0, 15, (40,), generator=generator)
    boxes = torch.stack([top, top + 4, left, left + 6], 1)
    boxes[::3, 1] = boxes[::3, 0]
    fill = torch.tensor([1, 2, 3], dtype=torch.uint8)
    out, expected = erase(raw, boxes, fill), raw.clone()
    for image, (top_y, bottom, left_x, right) in zip(expected, boxes.tolist(), strict=True):
        image[:, top_y:bottom, left_x:right] = fill.view(3, 1, 1)
    assert torch.equal(out, expected)
    assert torch.equal(out[::3], raw[::3])


def test_crop_against_a_loop() -> None:
    raw = images(1, 6, 8)
    top, left = torch.arange(40) % 5, torch.arange(40) % 3
    out = crop(raw, top, left, 2, 1)
    padded = np.pad(raw.numpy(), ((0, 0), (0, 0), (2, 2), (1, 1)))
    for k, (y, x) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        assert np.array_equal(out[k].numpy(), padded[k, :, y : y + 6, x : x + 8])
