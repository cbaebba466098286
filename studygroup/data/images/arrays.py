"""PIL images, arrays and tensors of pixels -> arrays of a given shape, converted as image files are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from studygroup.data.images.decode import fit
from studygroup.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

CHANNELS = (1, 3, 4)  # grey, colour, colour with alpha
SHAPES = "(H, W), (H, W, C) or (C, H, W), or a batch (N, H, W, C) or (N, C, H, W), with C = 1, 3 or 4"


def split_images(given: object) -> Iterable[Image.Image | NDArray[np.uint8]]:
    """Return a PIL image as it is, or the images of an array or tensor as views (H, W, C).

    Args:
        given: a PIL image, or uint8 pixels: (H, W), (H, W, C), (C, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4. If the first and
            the last axis of an image could both be its channels, an array's are the last and a tensor's the first.

    Raises:
        UserError: another type, dtype or shape, or no pixels.
    """
    from PIL import Image

    if isinstance(given, Image.Image):
        if 0 in given.size:
            raise UserError(f"a PIL image of size {given.size} has no pixels; leave it out")
        return [given]
    if not isinstance(given, np.ndarray | torch.Tensor):
        raise UserError(
            f"a value of type {type(given).__name__} is no image; give paths, PIL images, uint8 arrays or tensors, or one flat list of them"
        )
    kind = "tensor" if isinstance(given, torch.Tensor) else "array"
    dtype, shape = str(given.dtype).removeprefix("torch."), tuple(given.shape)
    what = f"{'a' if kind == 'tensor' else 'an'} {kind} of shape {shape}"
    if dtype != "uint8":
        raise UserError(f"{what} has dtype {dtype}; give uint8 pixels 0-255 (for values from 0 to 1, 255 times them, rounded)")
    if 0 in shape:
        raise UserError(f"{what} has no pixels; leave it out")
    pixels: NDArray[np.uint8] = given.cpu().numpy() if isinstance(given, torch.Tensor) else given
    if len(shape) == 2:
        return [pixels[:, :, None]]
    axes = (-3, -1) if kind == "tensor" else (-1, -3)
    axis = next((axis for axis in axes if shape[axis] in CHANNELS), None) if len(shape) in (3, 4) else None
    if axis is None:
        hint = f"; grey images (N, H, W) need an axis of channels, {kind}[..., None]" if len(shape) == 3 else ""
        raise UserError(f"{what} is no image; give {SHAPES}{hint}")
    pixels = np.moveaxis(pixels, axis, -1)
    return pixels if pixels.ndim == 4 else [pixels]


def convert_image(image: Image.Image | NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Convert one image to an array of a shape (channels, height, width), as a file with its pixels would be.

    Args:
        image: an item of `split_images`; the EXIF orientation of a PIL image is applied.
        shape: (channels, height, width), channels 1 (grey) or 3 (colour).

    Raises:
        UserError: the PIL image cannot be decoded or converted.
    """
    from PIL import Image, ImageOps

    if isinstance(image, np.ndarray):
        return fit(Image.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)), shape)
    try:
        upright = image
        with suppress(Exception):  # damaged EXIF data; damaged pixels raise when they are decoded
            upright = ImageOps.exif_transpose(image)
        return fit(upright, shape)
    except Exception as error:  # PIL raises nearly anything on nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"a PIL image of mode {image.mode} and size {image.size} cannot be read: {reason}; is it damaged?") from error
