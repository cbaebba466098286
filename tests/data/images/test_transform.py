"""Augmentation and normalisation of images."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from studygroup.data import ImageTransform
from studygroup.errors import UserError


def bright(n: int = 64, channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    """Random images without a black pixel."""
    return torch.randint(1, 256, (n, channels, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def identity(shape: tuple[int, int, int], augment: str) -> ImageTransform:
    return ImageTransform(shape, (0.0,) * shape[0], (1.0,) * shape[0], augment)


def bytes_of(images: Tensor) -> np.ndarray:
    return (images * 255).round().byte().numpy()


def test_normalisation_is_per_channel() -> None:
    raw = bright()
    out = ImageTransform((3, 16, 16), (0.1, 0.2, 0.3), (0.5, 0.25, 1.0))(raw)
    assert out.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (0.5, 0.25, 1.0), strict=True)):
        torch.testing.assert_close(out[:, channel], (raw[:, channel].float() / 255 - mean) / std)


def test_without_a_seed_nothing_is_augmented() -> None:
    raw = bright()
    assert np.array_equal(bytes_of(identity((3, 16, 16), "crop+flip")(raw)), raw.numpy())


def test_augment_none_ignores_the_seed() -> None:
    raw = bright()
    assert np.array_equal(bytes_of(identity((3, 16, 16), "none")(raw, seed=1)), raw.numpy())


@pytest.mark.parametrize(("shape", "pads"), [((3, 16, 24), (2, 3)), ((1, 5, 5), (1, 1)), ((1, 28, 28), (3, 3))])
@pytest.mark.parametrize("augment", ["crop", "crop+flip"])
def test_each_image_is_a_crop_of_itself_padded_with_black(shape: tuple[int, int, int], pads: tuple[int, int], augment: str) -> None:
    raw = bright(96, *shape)
    out = bytes_of(identity(shape, augment)(raw, seed=3))
    (pad_y, pad_x), (_, height, width) = pads, shape
    padded = np.pad(raw.numpy(), ((0, 0), (0, 0), (pad_y, pad_y), (pad_x, pad_x)))
    found = set()
    for image, result in zip(padded, out, strict=True):
        crops = {
            (y, x, flipped): image[:, y : y + height, x : x + width][:, :, :: -1 if flipped else 1]
            for y in range(2 * pad_y + 1)
            for x in range(2 * pad_x + 1)
            for flipped in ((False, True) if augment == "crop+flip" else (False,))
        }
        matches = [offset for offset, crop in crops.items() if np.array_equal(crop, result)]
        assert len(matches) == 1
        found.add(matches[0])
    assert {y for y, _, _ in found} == set(range(2 * pad_y + 1)), "every offset occurs, also the largest"
    assert {x for _, x, _ in found} == set(range(2 * pad_x + 1))
    assert {flipped for _, _, flipped in found} == ({False, True} if augment == "crop+flip" else {False})


def test_padding_is_black_before_normalisation() -> None:
    raw = torch.full((64, 1, 8, 8), 255, dtype=torch.uint8)
    out = ImageTransform((1, 8, 8), (0.5,), (0.25,), "crop")(raw, seed=0)
    assert set(out.unique().tolist()) == {2.0, -2.0}


def test_the_augmentation_depends_on_the_seed_only() -> None:
    transform = identity((3, 16, 16), "crop+flip")
    raw = bright()
    assert torch.equal(transform(raw, seed=1), transform(raw, seed=1))
    assert torch.equal(transform(raw, seed=1), identity((3, 16, 16), "crop+flip")(raw, seed=1))
    assert not torch.equal(transform(raw, seed=1), transform(raw, seed=2))


def test_the_global_random_state_is_restored() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    identity((3, 16, 16), "crop+flip")(bright(), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_memory_format() -> None:
    transform = ImageTransform((3, 16, 16), (0.0,) * 3, (1.0,) * 3, "crop+flip", "cpu", torch.channels_last)
    for seed in (None, 0):
        assert transform(bright(), seed=seed).is_contiguous(memory_format=torch.channels_last)


def test_the_given_batch_is_not_changed() -> None:
    raw = bright()
    before = raw.clone()
    identity((3, 16, 16), "crop+flip")(raw, seed=1)
    assert torch.equal(raw, before)


def test_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"3x16x16.*1x16x16"):
        identity((1, 16, 16), "none")(bright())


def test_unknown_augmentation_is_refused() -> None:
    with pytest.raises(UserError, match="'flop'; did you mean flip"):
        identity((1, 8, 8), "flop")


def test_import_is_light() -> None:
    code = "import sys, studygroup.data; print([name for name in ('sklearn', 'PIL', 'rich') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
