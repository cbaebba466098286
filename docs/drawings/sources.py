"""Make what drawings and pages show of data and of a browser, where these are there: `make figures`.

`docs/figures/data/augmentation.png` needs Fashion-MNIST; `docs/figures/report.png` and its dark variant need Chromium, and a minute.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from docs.drawings.pixels import COLUMNS, PRESETS
from docs.drawings.tables import DATA
from studygroup.data import Batches, ImageTransform, open_dataset
from studygroup.errors import UserError

SEED = 11
BROWSERS = ("chromium", "google-chrome", "chrome")
REPORTED = "train digits --student resnet8 --epochs 40 --method cgl --out run"
WINDOW, SCALE = (500, 1000), 2  # pixels of a page, and of the picture for each


def augmented_images() -> None:
    """Write the first training images of Fashion-MNIST under each preset, a row each."""
    dataset = open_dataset("fashion-mnist")
    rows = []
    for preset in PRESETS:
        transform = ImageTransform(dataset.images.shape, dataset.images.mean, (1.0,), preset)
        batch = next(Batches(dataset.train.take(np.arange(16)), transform, batch_size=16, seed=SEED).epoch(0))
        pixels = ((batch.inputs + dataset.images.mean[0]) * 255).round().to(torch.uint8)[batch.indices.argsort(), 0].numpy()
        rows.append(np.concatenate(list(pixels[:COLUMNS]), axis=1))
    Image.fromarray(np.concatenate(rows)).save(DATA / "augmentation.png", optimize=True)


def reports(browser: str) -> None:
    """Write pictures of the top of a run's report, light and dark."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "studygroup", *REPORTED.split()], cwd=folder, check=True, capture_output=True)
        for name, scheme in (("report", 1), ("report-dark", 0)):
            taken = Path(folder) / "taken.png"
            flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
            look = [f"--blink-settings=preferredColorScheme={scheme}", f"--force-device-scale-factor={SCALE}"]
            size = [f"--window-size={WINDOW[0]},{WINDOW[1]}", f"--screenshot={taken}"]
            subprocess.run(
                [browser, *flags, *look, *size, (Path(folder) / "run" / "report.html").as_uri()], check=True, capture_output=True
            )
            with Image.open(taken) as picture:
                picture.convert("RGB").quantize(64).save(DATA.parent / f"{name}.png", optimize=True)


def main() -> None:
    """Make what can be made here, and say what cannot."""
    try:
        augmented_images()
    except UserError as error:
        print(f"augmentation.png stays as it is: {error}")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("report.png stays as it is: there is no Chromium")
    else:
        reports(browser)


if __name__ == "__main__":
    main()
