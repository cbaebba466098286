"""Write 1,000 digits that `studies/unlabelled.yaml` neither learns from with labels, nor holds out, nor tests on, as a folder of images.

python studies/unlabelled_pool.py pool
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from studygroup.data import open_data
from studygroup.options import DataOptions


def main() -> None:
    """Write the folder that the argument names."""
    folder = Path(sys.argv[1])
    unused = open_data(DataOptions(data="digits", train_size=100, holdout=144)).unused
    inputs, _ = unused.gather(np.arange(1000))
    for number, pixels in enumerate(inputs):
        file = folder / ("a" if number % 2 else "b/c") / f"{number}.png"  # at different depths, as they come
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).save(file)


if __name__ == "__main__":
    main()
