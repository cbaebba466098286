"""What the test of mirrored images decides on random subsets of a data set whose class names say nothing.

    python studies/flips.py digits fashion-mnist

Prints, by number of images, of how many of ten subsets the presets would flip the images, and the median time of a decision.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np

from studygroup.data import open_dataset
from studygroup.data.images.flips import judge_by_images

SIZES = (100, 150, 200, 300, 600, 1294, 3000)
SUBSETS = 10


def decisions(data: str, sizes: Sequence[int] = SIZES, subsets: int = SUBSETS) -> list[tuple[int, int, float]]:
    """Return for each size that the training set has: the number of images, of subsets that are flipped, and the median of seconds."""
    split = open_dataset(data, progress=False).train
    names = [f"a{label}" for label in range(int(split.labels.max()) + 1)]
    found = []
    for size in (size for size in sizes if size <= len(split)):
        allowed, seconds = [], []
        for seed in range(subsets):
            images, labels = split.gather(np.sort(np.random.default_rng(seed).permutation(len(split))[:size]))
            start = time.perf_counter()
            allowed.append(judge_by_images(images.numpy(), labels.numpy(), names).allowed)
            seconds.append(time.perf_counter() - start)
        found.append((size, sum(allowed), statistics.median(seconds)))
    return found


def main() -> None:
    """Print the decisions on each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    for data in parser.parse_args().data:
        for size, allowed, seconds in decisions(data):
            print(f"{data}: {size} images: flipped in {allowed} of {SUBSETS} subsets, {seconds:.1f} s")


if __name__ == "__main__":
    main()
