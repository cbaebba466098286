"""Augmentation and normalisation of images on the device, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from studygroup.data.images.augment import Augmentation
from studygroup.data.images.mixing import PairMix
from studygroup.errors import UserError


class ImageTransform:
    """Scale to [0, 1], augment if a seed is given, and normalise.

    Augmentation precedes the normalisation, on bytes (see `Augmentation`): image libraries augment image by image, which on the CPU takes
    15 to 30 times as long, for a crop a tenth of a small network's step (LOG.md).

    Args:
        shape: (channels, height, width) of an image.
        mean: per channel, of pixels scaled to [0, 1].
        std: per channel, of pixels scaled to [0, 1]; above 0.
        augment: operations and presets; see `parse_augment`.
        device: device of the computation and of the result.
        memory_format: memory format of the result.

    Raises:
        UserError: the augmentation is unknown, or cannot be of such images.

    Example:
        >>> from studygroup import data
        >>> digits = data.open_dataset("digits")
        >>> transform = data.ImageTransform(digits.inputs.shape, digits.inputs.mean, digits.inputs.std, "crop")
        >>> batch = next(data.Batches(digits.train, transform, batch_size=64, seed=0).epoch(0))
        >>> batch.inputs.shape
        torch.Size([64, 1, 8, 8])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        augment: str = "none",
        device: str | torch.device = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.shape = tuple(shape)
        self.device = torch.device(device)
        self.augmentation = Augmentation(augment, shape, mean, self.device)
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
        if seed is not None and len(images):
            images = self.augmentation(images, seed, torch.arange(len(raw)) if rows is None else rows, total or len(raw))
        return images.float().mul_(self.scale).sub_(self.shift).contiguous(memory_format=self.memory_format)

    def draw_mix(self, seed: int, sizes: Sequence[int]) -> PairMix | None:
        """Draw how the samples of a batch are mixed with each other; see `Transform.draw_mix`."""
        mixing = self.augmentation.mixing
        return None if mixing is None else mixing.draw(seed, sizes, *self.shape[1:])
