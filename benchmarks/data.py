"""Preparing data once, and opening it again: seconds.

Fashion-MNIST, if it is on this machine, and a folder of 10,000 PNG files of 3 x 32 x 32 in ten classes. The data is prepared into an empty
cache, then opened from that cache by a new process, whose imports do not count. The files are in the page cache of the system throughout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import studygroup
from common import Row, main, row
from studygroup.data import open_dataset
from studygroup.data.pool import thread_map
from studygroup.errors import UserError
from studygroup.training.timing import quartiles, seconds_of

TARGET = 0.5  # seconds to open what is prepared
OPEN = (
    "import sys, time; from studygroup.data import open_dataset; start = time.perf_counter(); "
    "open_dataset(sys.argv[1], cache=sys.argv[2], progress=False); print(time.perf_counter() - start)"
)


def make_folder(root: Path, images: int, classes: int = 10) -> None:
    """Smooth noise, which a PNG packs about as well as a photo."""
    for label in range(classes):
        (root / f"class{label}").mkdir(parents=True)

    def write(number: int) -> None:
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(root / f"class{number % classes}" / f"{number:06d}.png")

    for _ in thread_map(write, range(images)):
        pass


def opening(data: str, cache: Path) -> float:
    """Seconds that a new process takes to open what is prepared."""
    home = str(Path(studygroup.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", OPEN, data, str(cache)], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": home}
    )
    return float(done.stdout)


def rows_of(name: str, data: str, repeats: int, openings: int, work: Path) -> list[Row]:
    prepared, opened = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=work) as cache:
            prepared.append(seconds_of(lambda cache=cache: open_dataset(data, cache=cache, progress=False)))  # type: ignore[misc]
            opened += [opening(data, Path(cache)) for _ in range(openings)]
    return [
        row(f"{name}: prepare", quartiles(prepared), unit="s", figures={"seconds": prepared}),
        row(f"{name}: open again", quartiles(opened), unit="s", target=TARGET, figures={"seconds": opened}),
    ]


def measure(repeats: int, quick: bool) -> list[Row]:
    images = 100 if quick else 10_000
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_folder(work / "pictures", images)
        if not quick:
            try:
                rows += rows_of("Fashion-MNIST, 70,000 images", "fashion-mnist", repeats, 3, work)
            except UserError as error:
                print(f"without Fashion-MNIST: {error}", file=sys.stderr)
        rows += rows_of(f"folder of {images:,} PNG files", str(work / "pictures"), repeats, 1 if quick else 3, work)
    return rows


if __name__ == "__main__":
    main(__doc__, measure, repeats=3)
