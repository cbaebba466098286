"""From stored bytes to what a network takes, on the device, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from studygroup.data.dataset import Augment
from studygroup.errors import UserError


class Preprocess:
    """Scale to [0, 1], augment if a seed is given, and normalise.

    The augmentation is kornia's: a random crop of the image padded by an eighth of its size (at least one pixel), then,
    for `crop+flip`, a horizontal flip with probability 1/2; each image has its own. The padding is black (pixel value 0), as
    it happens before the normalisation.

    Args:
        shape: (channels, height, width) of an image.
        mean: per channel, of pixels scaled to [0, 1].
        std: per channel, likewise; above 0.
        augment: `none`, `crop` or `crop+flip`.
        device: where the result lies and the work is done.
        memory_format: of the result.
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
        if augment not in ("none", "crop", "crop+flip"):
            raise UserError(f"augment is {augment!r}; it must be none, crop or crop+flip")
        self.shape = tuple(shape)
        self.augment = augment
        self.device = torch.device(device)
        self.memory_format = memory_format
        self.mean = torch.tensor(mean, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)

    @torch.no_grad()
    def __call__(self, raw: Tensor, *, seed: int | None = None) -> Tensor:
        """Preprocess a batch.

        Args:
            raw: (b, C, H, W) uint8.
            seed: of the augmentation, which is a function of it and of the batch; None for no augmentation. The global random
                state is as before afterwards.

        Returns:
            (b, C, H, W) float32 on the device.

        Raises:
            UserError: the images have another shape.
        """
        if tuple(raw.shape[1:]) != self.shape:
            given, wanted = ("x".join(map(str, shape)) for shape in (raw.shape[1:], self.shape))
            raise UserError(f"images are {given} (channels x height x width), not {wanted}; prepare them with that size and these channels")
        images = raw.to(self.device, non_blocking=True).float().div_(255.0)
        if seed is not None and self.augment != "none" and len(images):
            with torch.random.fork_rng(devices=[]):  # kornia draws on the CPU from the global generator
                torch.default_generator.manual_seed(seed)
                for augmentation in self._augmentations:
                    images = augmentation(images)
        return images.sub(self.mean).div_(self.std).contiguous(memory_format=self.memory_format)

    @cached_property
    def _augmentations(self) -> list[Callable[[Tensor], Tensor]]:
        # Imported here because kornia takes a while, and predicting needs none of it.
        from kornia.augmentation import RandomCrop, RandomHorizontalFlip

        _, height, width = self.shape
        padding = (max(width // 8, 1), max(height // 8, 1))  # left and right, top and bottom
        crop = RandomCrop((height, width), padding=padding, cropping_mode="slice")
        return [crop, RandomHorizontalFlip(p=0.5)] if self.augment == "crop+flip" else [crop]
