"""Operations on batches of images (b, C, H, W) uint8, each with a strength per image: what `augment` chooses from.

They follow Pillow, whose operations TrivialAugment (Müller and Hutter, ICCV 2021, arXiv:2103.10158) uses. All arithmetic is per image, in
integers or in single float32 operations, so that an image becomes the same in a batch of any size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

COLOURS = (19595, 38470, 7471)  # weights of red, green and blue in grey, in 65536ths (ITU-R 601-2)


def _blend(degenerate: Tensor, images: Tensor, change: Tensor) -> Tensor:
    """Return degenerate + (1 + change) * (images - degenerate), limited to [0, 255] and truncated."""
    factor = (1 + change.float()).view(-1, 1, 1, 1)
    degenerate = degenerate.float()
    return (degenerate + factor * (images.float() - degenerate)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Return the luminance (b, 1, H, W) int32."""
    wide = images.int()
    if images.shape[1] == 1:
        return wide
    red, green, blue = (wide[:, c : c + 1] * weight for c, weight in enumerate(COLOURS))
    return (red + green + blue + 0x8000) >> 16


def brightness(images: Tensor, change: Tensor) -> Tensor:
    """Scale the pixels by 1 + change (b,); change is in [-1, 1]."""
    return _blend(images.new_zeros(()), images, change)


def contrast(images: Tensor, change: Tensor) -> Tensor:
    """Scale the differences from the image's mean luminance by 1 + change."""
    grey = _grey(images).flatten(1)
    mean = (grey.sum(1) * 2 + grey.shape[1]) // (2 * grey.shape[1])  # rounded
    return _blend(mean.view(-1, 1, 1, 1), images, change)


def color(images: Tensor, change: Tensor) -> Tensor:
    """Scale the differences from grey, the saturation, by 1 + change."""
    return _blend(_grey(images), images, change)


def sharpness(images: Tensor, change: Tensor) -> Tensor:
    """Scale the differences from the smoothed image by 1 + change; borders are not smoothed."""
    if min(images.shape[2:]) < 3:
        return images
    wide = images.int()
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]  # weights 1, and 5 in the middle
    smooth = wide.clone()
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26  # total / 13, rounded
    return _blend(smooth, images, change)


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert the pixels that are at least 256 (1 - strength); strength is in [0, 1]."""
    threshold = (256 * (1 - strength.float())).view(-1, 1, 1, 1)
    return torch.where(images < threshold, images, 255 - images)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the 8 - 4 strength highest bits of each pixel; strength is in [0, 1]."""
    removed = (4 * strength.float()).round().to(torch.uint8)
    return images & (255 << removed.int()).to(torch.uint8).view(-1, 1, 1, 1)


def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch each channel to [0, 255]."""
    low, high = images.amin((2, 3), keepdim=True).int(), images.amax((2, 3), keepdim=True).int()
    stretched = (255 * (images.int() - low)) // (high - low).clamp_min(1)
    return torch.where(high > low, stretched.to(torch.uint8), images)


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Make the histogram of each channel as uniform as a function of the pixel values can."""
    pixels = images.flatten(0, 1).flatten(1).long()  # (b C, H W)
    counts = torch.zeros(len(pixels), 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, pixels, torch.ones_like(pixels))
    highest = counts.gather(1, pixels.amax(1, keepdim=True))
    step = (pixels.shape[1] - highest) // 255
    below = counts.cumsum(1) - counts
    table = ((step // 2 + below) // step.clamp_min(1)).clamp_max(255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(1, pixels).to(torch.uint8).view_as(images)


POINTWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "solarize": solarize,
    "posterize": posterize,
    "color": color,
    "brightness": brightness,
    "contrast": contrast,
    "sharpness": sharpness,
}
"""All of them but those that move pixels: name -> (images (b, C, H, W) uint8, strengths (b,)) -> images."""
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def affine_matrices(strengths: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Return the maps from places in the result to places in the source: rotation, then shears, then translation.

    Args:
        strengths: (b,) of some of `GEOMETRIC`: degrees counter-clockwise, slopes, fractions of the size to the right and down.
        height: of the images.
        width: of the images.

    Returns:
        (b, 2, 3) float32, of places (x, y) relative to the centre of the image, in pixels.
    """
    zero = torch.zeros_like(next(iter(strengths.values())), dtype=torch.float64)
    angle, shear_x, shear_y, right, down = (strengths[name].double() if name in strengths else zero for name in GEOMETRIC)
    cos, sin = torch.deg2rad(angle).cos(), torch.deg2rad(angle).sin()
    # The places of the result, moved back, then sheared, then turned.
    (a, b), (d, e) = (cos - sin * shear_y, cos * shear_x - sin), (sin + cos * shear_y, sin * shear_x + cos)
    x, y = right * width, down * height
    return torch.stack([torch.stack([a, b, -a * x - b * y], 1), torch.stack([d, e, -d * x - e * y], 1)], 1).float()


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Move the pixels of images by maps (b, 2, 3) from `affine_matrices`: one gather, nearest neighbours, black outside of the image."""
    count, channels, height, width = images.shape
    x = torch.arange(width, device=images.device, dtype=torch.float32) + (0.5 - width / 2)
    y = (torch.arange(height, device=images.device, dtype=torch.float32) + (0.5 - height / 2)).unsqueeze(1)
    m = matrices.view(count, 6, 1, 1)
    column = (m[:, 0] * x + m[:, 1] * y + m[:, 2] + width / 2).floor().long()  # (b, H, W)
    row = (m[:, 3] * x + m[:, 4] * y + m[:, 5] + height / 2).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    places = torch.where(inside, row * width + column, 0).flatten(1).unsqueeze(1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, places).view_as(images) * inside.unsqueeze(1)


def crop(images: Tensor, top: Tensor, left: Tensor, pad_y: int, pad_x: int) -> Tensor:
    """Cut windows of the images' size, at (b,) offsets, out of the images padded with black."""
    height, width = images.shape[2:]
    # (b, C, H + 2 pad_y, W + 2 pad_x) -> a view of all windows (b, C, 2 pad_y + 1, 2 pad_x + 1, H, W) -> one window of each
    windows = F.pad(images, (pad_x, pad_x, pad_y, pad_y)).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def erase(images: Tensor, boxes: Tensor, fill: Tensor) -> Tensor:
    """Fill boxes (b, 4) of top, bottom, left and right with a colour (C,) uint8; an empty box changes nothing."""
    top, bottom, left, right = boxes.unbind(1)
    y = torch.arange(images.shape[2], device=images.device)
    x = torch.arange(images.shape[3], device=images.device)
    rows = (y >= top[:, None]) & (y < bottom[:, None])  # (b, H)
    columns = (x >= left[:, None]) & (x < right[:, None])
    return torch.where((rows[:, :, None] & columns[:, None]).unsqueeze(1), fill.view(1, -1, 1, 1), images)
