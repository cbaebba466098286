"""The most confident mistakes of a member: a contact sheet of images, or a table of texts in Markdown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from studygroup.atomic import write_atomically
from studygroup.data import Split
from studygroup.escape import markdown_cell, one_line, shortened
from studygroup.runs.evaluation import Outcomes
from studygroup.runs.layout import RunFiles

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SHOWN = 30
COLUMNS = 6
TILE, GAP, LINE, HEAD = 150, 18, 19, 58  # pixels: of an image's longer side, between images, of a line of text, of the title
MAX_TEXT = 240  # characters
INK, FADED, TRUE, FALSE = "#222222", "#777777", "#00724f", "#b34700"


def most_confident(outcomes: Outcomes, number: int = SHOWN) -> NDArray[np.int64]:
    """Return the positions of the wrong predictions, the most probable first, at most `number` of them."""
    wrong = np.flatnonzero((outcomes.predicted != outcomes.labels) & np.isfinite(outcomes.probability))
    return wrong[np.argsort(-outcomes.probability[wrong], kind="stable")][:number]


def write_mistakes(files: RunFiles, split: Split, outcomes: Outcomes, names: Sequence[str], classes: Sequence[str]) -> Path | None:
    """Write the most confident mistakes on a split.

    Args:
        files: of the run.
        split: the N samples.
        outcomes: predictions for them.
        names: of the samples (N).
        classes: names of the classes.

    Returns:
        The file, or None if there are no mistakes.
    """
    chosen = most_confident(outcomes)
    if not len(chosen):
        return None
    wrong = int((outcomes.predicted != outcomes.labels).sum())
    few = f"The {len(chosen)} most confident of {wrong:,}" if wrong > len(chosen) else f"All {wrong}" if wrong > 1 else "The only one"
    title = f"{few} mistakes on {len(outcomes):,} test samples".replace("one mistakes", "one mistake")
    rows = [
        (names[i], classes[outcomes.labels[i]], classes[outcomes.predicted[i]], float(outcomes.probability[i])) for i in chosen.tolist()
    ]
    if split.texts is not None:
        found = [split.texts.text(int(split.positions[i])) for i in chosen]
        path, data = files.mistakes_table, table(title, rows, found).encode()
    else:
        path, data = files.mistakes_picture, contact_sheet(title, rows, split.gather(chosen)[0].numpy())
    write_atomically(path, data)
    return path


def table(title: str, rows: Sequence[tuple[str, str, str, float]], texts: Sequence[str]) -> str:
    """Return a table in Markdown.

    Args:
        title: above the table.
        rows: name, true class, predicted class and its probability of every sample.
        texts: of the samples; they are shortened.
    """
    lines = [f"# {title}", "", "| sample | true | predicted | probability | text |", "|---|---|---|---:|---|"]
    for (name, true, predicted, probability), text in zip(rows, texts, strict=True):
        cells = [markdown_cell(shortened(cell, 80)) for cell in (name, true, predicted)]
        lines.append("| " + " | ".join([*cells, f"{probability:.1%}", markdown_cell(shortened(text, MAX_TEXT))]) + " |")
    return "\n".join(lines) + "\n"


def contact_sheet(title: str, rows: Sequence[tuple[str, str, str, float]], images: NDArray[np.uint8]) -> bytes:
    """Return a PNG with every image above its name, its true class, and the predicted class with its probability.

    Args:
        title: above the images.
        rows: name, true class, predicted class and its probability of every sample.
        images: (n, C, H, W), C 1 or 3.
    """
    from PIL import Image, ImageDraw

    title_font, font = _font(18), _font(13)
    columns = max(min(COLUMNS, len(rows)), 3)
    step, height = TILE + GAP, TILE + 3 * LINE + GAP
    sheet = Image.new("RGB", (columns * step + GAP, HEAD + -(-len(rows) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), _fitted(title, title_font, sheet.width - 2 * GAP), fill=INK, font=title_font)
    for number, ((name, true, predicted, probability), pixels) in enumerate(zip(rows, images, strict=True)):
        left, top = GAP + number % columns * step, HEAD + number // columns * height
        image = _enlarged(pixels)
        sheet.paste(image, (left + (TILE - image.width) // 2, top + (TILE - image.height) // 2))
        percent = f"({probability:.1%})"
        room = TILE - font.getlength(f" {percent}")
        texts = [
            (_fitted(f"#{name}" if name.isdecimal() else name, font, TILE, keep_end=True), FADED),
            (_fitted(f"true: {one_line(true)}", font, TILE), TRUE),
            (f"{_fitted(f'→ {one_line(predicted)}', font, room)} {percent}", FALSE),
        ]
        for line, (text, colour) in enumerate(texts):
            draw.text((left, top + TILE + 2 + line * LINE), text, fill=colour, font=font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _enlarged(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return an image of (C, H, W) that fills the tile; pixels of small ones stay visible as squares."""
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1))).convert("RGB")
    scale = TILE / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)


def _font(size: int) -> Font:
    """Return matplotlib's font, which has the letters of most European languages, or Pillow's own."""
    from PIL import ImageFont

    try:
        import matplotlib as mpl

        return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
    except (ImportError, OSError):
        return ImageFont.load_default(size)


def _fitted(text: str, font: Font, width: float, *, keep_end: bool = False) -> str:
    """Return a text in one line, cut so that it is at most so many pixels wide."""
    line = shortened(text, 200) if not keep_end else one_line(text[-200:])
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[1:] if keep_end else line[:-1]
    return f"…{line}" if keep_end else f"{line}…"
