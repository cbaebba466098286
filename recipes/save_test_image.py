"""Saves one test image of a data set as a PNG, to try `studygroup predict` on: `python recipes/save_test_image.py digits digit.png`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from studygroup.data import open_dataset


def main(data: str, out: str) -> None:
    dataset = open_dataset(data, progress=False)
    images, labels = dataset.test.gather(np.array([0]))
    pixels, label = images[0].numpy(), int(labels[0])
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(out)
    print(f"{out}: a test image of {data}, labelled {dataset.classes[label]}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python recipes/save_test_image.py DATA OUT.png")
    main(sys.argv[1], sys.argv[2])
