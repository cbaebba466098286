"""Drawings with images in them, kept in docs/figures/data: augmented images, and the mistakes of a run."""

from __future__ import annotations

import base64
import io
import json

from PIL import Image

from docs.drawings.canvas import WIDTH, Canvas, Theme
from docs.drawings.tables import DATA

PRESETS = ("none", "light", "medium", "strong")
COLUMNS, SIDE = 6, 56
SHOWN = 6  # mistakes


def augmentation(theme: Theme) -> Canvas:
    """Draw images of Fashion-MNIST under each preset; `python -m docs.drawings.sources` makes them."""
    canvas = Canvas(theme, 40 + len(PRESETS) * (SIDE + 8))
    canvas.text(14, 24, "The same images under each preset", size=15, anchor="start", bold=True)
    with Image.open(DATA / "augmentation.png") as sheet:
        side = sheet.height // len(PRESETS)
        for row, preset in enumerate(PRESETS):
            y = 36 + row * (SIDE + 8)
            canvas.text(14, y + SIDE / 2 + 4, preset, size=13, anchor="start")
            for column in range(COLUMNS):
                box = (column * side, row * side, (column + 1) * side, (row + 1) * side)
                canvas.image(72 + column * (SIDE + 3), y, SIDE, data_address(sheet.crop(box)))
    return canvas


def mistakes(theme: Theme) -> Canvas:
    """Draw the most confident mistakes of the tutorial's run, which the tutorial keeps."""
    kept = json.loads((DATA / "photos-mistakes.json").read_text(encoding="utf-8"))[:SHOWN]
    across, side = 3, 96
    width, height = WIDTH / across, side + 66
    canvas = Canvas(theme, 44 + height * -(-len(kept) // across))
    canvas.text(14, 24, "Wrong, and sure of it", size=15, anchor="start", bold=True)
    for number, mistake in enumerate(kept):
        x, y = 18 + width * (number % across), 40 + height * (number // across)
        canvas.image(x, y, side, mistake["image"])
        canvas.text(x, y + side + 18, f"true: {mistake['true']}", size=13, anchor="start", colour=theme.students[2])
        words = f"{mistake['predicted']}? {100 * mistake['probability']:.0f}%"
        canvas.text(x, y + side + 35, words, size=13, anchor="start", colour=theme.students[1])
    return canvas


def data_address(image: Image.Image) -> str:
    """Return an image as a `data:` address."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
