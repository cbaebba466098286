"""Write scikit-learn's handwritten digits as a folder of images, one sub-folder per class: photos to try things on.

    python recipes/digit_photos.py photos/
    python recipes/digit_photos.py photos/ --classes zero,one,two --each 40 --size 32

The digits are scans of 43 people's handwriting (UCI's "Optical Recognition of Handwritten Digits"), 8x8 pixels, which are enlarged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write(folder: Path, classes: tuple[str, ...] = NAMES, each: int | None = None, size: int = 32, skip: int = 0) -> int:
    """Write the images and return their number.

    Args:
        folder: gets a sub-folder per class.
        classes: names of digits.
        each: images per class, all by default.
        size: height and width in pixels.
        skip: images of each class to leave out at the beginning.
    """
    digits = load_digits()
    count = 0
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        numbers = np.flatnonzero(digits.target == NAMES.index(name))[skip:]
        for number in numbers[:each]:
            pixels = np.clip(255 - digits.images[number] * 16, 0, 255).astype(np.uint8)  # dark ink on white paper
            Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).save(folder / name / f"{number:04d}.png")
            count += 1
    return count


def main() -> None:
    """Write the folder that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", default=",".join(NAMES), help="separated by commas (default: all ten)")
    parser.add_argument("--each", type=int, help="images per class (default: all, about 180)")
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--skip", type=int, default=0, help="images of each class to leave out at the beginning (default: 0)")
    given = parser.parse_args()
    classes = tuple(given.classes.split(","))
    count = write(given.out, classes, given.each, given.size, given.skip)
    print(f"{given.out}: {count:,} images of {len(classes)} classes")


if __name__ == "__main__":
    main()
