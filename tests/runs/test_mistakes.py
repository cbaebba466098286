"""The most confident mistakes, as a picture and as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studygroup.data import Split
from studygroup.data.texts.store import Texts
from studygroup.runs.evaluation import Outcomes
from studygroup.runs.layout import RunFiles
from studygroup.runs.mistakes import TILE, most_confident, write_mistakes

CLASSES = ["a|<b>\n`c`", "$\\frac{", "x" * 300]


def outcomes(labels: list[int], predicted: list[int], probability: list[float]) -> Outcomes:
    values = np.array(probability)
    return Outcomes(np.array(labels), np.array(predicted), values, np.log(1 - values + 1e-9), np.zeros(len(labels), dtype=np.int64))


WRONG = outcomes([0, 1, 2, 0, 1], [0, 2, 0, 1, 0], [0.9, 0.6, 0.8, float("nan"), 0.7])


def test_the_most_confident_come_first() -> None:
    assert most_confident(WRONG).tolist() == [2, 4, 1], "neither the right one nor the one that is no number"
    assert most_confident(WRONG, 1).tolist() == [2]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 300, 100), (3, 1, 1)])
def test_a_contact_sheet(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    images = np.zeros((5, *shape), dtype=np.uint8)
    images[2] = 200
    split = Split(images, WRONG.labels)
    path = write_mistakes(RunFiles(tmp_path), split, WRONG, ["n" * 500, "a\nb", "c/d.png", "e", "f"], CLASSES)
    assert path == tmp_path / "predictions" / "mistakes.png"
    with Image.open(path) as sheet:
        assert sheet.width < 4 * (TILE + 20)
        assert sheet.getpixel((18 + TILE // 2, 58 + TILE // 2)) == (200, 200, 200), "the most confident one is the first"


def test_a_table_of_texts(tmp_path: Path) -> None:
    texts = [b"one", b"two", b"a | b\n# c <script>", b"four", b"five " * 200]
    (tmp_path / "texts").write_bytes(b"".join(texts))
    ends = np.cumsum([len(text) for text in texts])
    split = Split(None, WRONG.labels, texts=Texts(tmp_path / "texts", 0, ends, WRONG.labels))
    path = write_mistakes(RunFiles(tmp_path), split, WRONG, [f"=row{i}" for i in range(5)], CLASSES)
    assert path == tmp_path / "predictions" / "mistakes.md"
    title, _, _, _, first, second, third = path.read_text().splitlines()
    assert title == "# The 3 most confident of 4 mistakes on 5 test samples"
    assert first == "| =row2 | " + "x" * 79 + r"… | a\|&lt;b&gt; \`c\` | 80.0% | a \| b \# c &lt;script&gt; |"
    assert second.endswith("five five… |")
    assert len(second) < 450
    assert third.startswith(r"| =row1 | \$\\frac{ |")


def test_no_mistakes_no_file(tmp_path: Path) -> None:
    right = outcomes([0, 1], [0, 1], [0.9, 0.9])
    assert (
        write_mistakes(RunFiles(tmp_path), Split(np.zeros((2, 1, 2, 2), dtype=np.uint8), right.labels), right, ["a", "b"], CLASSES) is None
    )
    assert not list(tmp_path.iterdir())
