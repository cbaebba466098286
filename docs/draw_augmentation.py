"""Draw docs/augmentation.png: the first training images of Fashion-MNIST under each preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from studygroup.data import Batches, ImageTransform, open_dataset
from studygroup.data.images.augment import PRESETS

IMAGES, SCALE, GAP, SEED = 16, 2, 6, 11


def main() -> None:
    """Write the picture."""
    dataset = open_dataset("fashion-mnist")
    rows = []
    for preset in ("none", *PRESETS):
        transform = ImageTransform(dataset.images.shape, dataset.images.mean, (1.0,), preset)
        batches = Batches(dataset.train.take(np.arange(IMAGES)), transform, batch_size=IMAGES, seed=SEED)
        batch = next(batches.epoch(0))
        pixels = ((batch.inputs + dataset.images.mean[0]) * 255).round().to(torch.uint8)[batch.indices.argsort(), 0].numpy()
        rows.append(np.pad(np.concatenate(list(pixels), axis=1), ((0, GAP), (0, 0)), constant_values=255))
    picture = Image.fromarray(np.concatenate(rows)[:-GAP])
    picture = picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)
    picture.save(Path(__file__).parent / "augmentation.png", optimize=True)


if __name__ == "__main__":
    main()
