"""Augmentation and normalisation of images on the device, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.options import Augment


class ImageTransform:
    """Scale to [0, 1], augment if a seed is given, and normalise.

    The augmentation is a random crop of the image padded by an eighth of its size (at least one pixel), then, for `crop+flip`, a
    horizontal flip with probability 1/2, drawn for each image. The padding is black (pixel value 0), as it precedes the normalisation.
    The whole batch is one gather of bytes: image libraries crop image by image, which on the CPU takes 15 to 30 times as long, a tenth of
    a small network's step (LOG.md).

    Args:
        shape: (channels, height, width) of an image.
        mean: per channel, of pixels scaled to [0, 1].
        std: per channel, of pixels scaled to [0, 1]; above 0.
        augment: `none`, `crop` or `crop+flip`.
        device: device of the computation and of the result.
        memory_format: memory format of the result.

    Raises:
        UserError: the augmentation is unknown.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment = "none",
        device: str | torch.device = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        if augment not in get_args(Augment):
            raise UserError(f"augment is {augment!r}; it must be none, crop or crop+flip")
        self.shape = tuple(shape)
        self.augment = augment
        self.device = torch.device(device)
        self.memory_format = memory_format
        # (pixel / 255 - mean) / std = pixel * scale - shift
        scale = torch.tensor(std, dtype=torch.float64).reciprocal().view(1, -1, 1, 1)
        self.scale = (scale / 255).to(self.device, torch.float32)
        self.shift = (torch.tensor(mean, dtype=torch.float64).view(1, -1, 1, 1) * scale).to(self.device, torch.float32)

    @torch.no_grad()
    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        """Transform a batch.

        Args:
            raw: (b, C, H, W) uint8.
            seed: seed of the augmentation, which depends on it, on the batch size and on the row in the batch; None for no augmentation.
            rows: (b,) rows of these images in the batch of `total` images of which they are a part; by default the whole batch.
            total: size of that batch.

        Returns:
            (b, C, H, W) float32 on the device.

        Raises:
            UserError: the images do not have the shape `shape`.
        """
        if tuple(raw.shape[1:]) != self.shape:
            given, expected = ("x".join(map(str, shape)) for shape in (raw.shape[1:], self.shape))
            raise UserError(
                f"images are {given} (channels x height x width), not {expected}; prepare them with that size and these channels"
            )
        images = raw.to(self.device, non_blocking=True)
        if seed is not None and self.augment != "none" and len(images):
            images = self._augment(images, seed, torch.arange(len(raw)) if rows is None else rows, total or len(raw))
        return images.float().mul_(self.scale).sub_(self.shift).contiguous(memory_format=self.memory_format)

    def _augment(self, images: Tensor, seed: int, rows: Tensor, total: int) -> Tensor:
        _, height, width = self.shape
        pad_y, pad_x = max(height // 8, 1), max(width // 8, 1)
        generator = torch.Generator().manual_seed(seed)
        top = torch.randint(2 * pad_y + 1, (total,), generator=generator)[rows].to(self.device)
        left = torch.randint(2 * pad_x + 1, (total,), generator=generator)[rows].to(self.device)
        # (b, C, H + 2 pad_y, W + 2 pad_x) -> a view of all windows (b, C, 2 pad_y + 1, 2 pad_x + 1, H, W) -> one window of each
        windows = F.pad(images, (pad_x, pad_x, pad_y, pad_y)).unfold(2, height, 1).unfold(3, width, 1)
        cropped = windows[torch.arange(len(images), device=self.device), :, top, left]
        if self.augment == "crop":
            return cropped
        flipped = (torch.rand(total, generator=generator) < 0.5)[rows].to(self.device)
        return torch.where(flipped.view(-1, 1, 1, 1), cropped.flip(-1), cropped)
