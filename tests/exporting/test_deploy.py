"""The programs of docs/deploy.md, where studygroup cannot be imported, give the labels of `studygroup predict`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import studygroup
from studygroup.data import open_dataset
from studygroup.runs.member import Run
from tests.exporting.exports import SMALL, export

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
PROGRAMS = dict(re.findall(r"<!-- program: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
BLOCK = """\
import sys
class Block:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "studygroup":
            raise ImportError("studygroup cannot be imported here")
sys.meta_path.insert(0, Block())
"""
TEXTS = ["the wave and the ship", "Moss, LEAF\tand deer\n日本", ""]


def run_program(name: str, *arguments: str | Path, folder: Path) -> str:
    """Run a program of the page in an interpreter without studygroup; return what it prints."""
    words = [sys.executable, "-W", "ignore", "-c", BLOCK + PROGRAMS[name], *map(str, arguments)]
    shown = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.strip()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> list[Path]:
    """A test digit as it is, and one enlarged, in colour and wider than high."""
    folder = tmp_path_factory.mktemp("pictures")
    images = open_dataset("digits", cache=cache, progress=False).test.inputs[:2, 0]
    Image.fromarray(np.asarray(images[0])).save(folder / "small.png")
    large = Image.fromarray(np.asarray(images[1])).resize((160, 160), Image.Resampling.NEAREST)
    wide = Image.new("RGB", (240, 160))
    wide.paste(large, (40, 0))
    wide.save(folder / "wide.jpg", quality=95)
    return [folder / "small.png", folder / "wide.jpg"]


def test_studygroup_cannot_be_imported_there(tmp_path: Path) -> None:
    shown = subprocess.run([sys.executable, "-c", BLOCK + "import studygroup"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "studygroup cannot be imported here" in shown.stderr
    assert not [name for name, program in PROGRAMS.items() if "studygroup" in program]


@pytest.mark.parametrize(
    ("program", "format_name", "inside"),
    [("image-onnx", "onnx", True), ("image-onnx", "onnx", False), ("image-torch", "pt2", True), ("image-torch", "torchscript", False)],
)
def test_images(digits: Run, cache: Path, pictures: list[Path], tmp_path: Path, program: str, format_name: str, inside: bool) -> None:
    card = export(digits, cache, format=format_name, **({"with_preprocessing": True} if inside else {}))
    pictures = pictures if program == "image-onnx" and inside else pictures[1:]
    expected = [row["label"] for row in studygroup.predict(digits.folder, pictures)]
    assert [run_program(program, card["path"], picture, folder=tmp_path) for picture in pictures] == expected


def test_images_with_weights_alone(
    own_network: Path, cache: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(own_network)
    run = studygroup.train("digits", method="baseline", student="my_network:Network", epochs=2, out=tmp_path / "run", cache=cache, **SMALL)
    card = export(run, cache, format="safetensors", out=tmp_path, allow_code=("my_network:Network",))
    expected = [row["label"] for row in run.best.predict(pictures)]
    assert [run_program("image-safetensors", card["path"], picture, folder=own_network) for picture in pictures] == expected


@pytest.mark.parametrize(
    ("kind", "program", "format_name"),
    [
        ("texts", "text-onnx", "onnx"),
        ("texts", "text-torch", "pt2"),
        ("characters", "text-onnx", "onnx"),
        ("characters", "text-torch", "torchscript"),
    ],
)
def test_texts(request: pytest.FixtureRequest, cache: Path, tmp_path: Path, kind: str, program: str, format_name: str) -> None:
    run: Run = request.getfixturevalue(kind)
    card = export(run, cache, format=format_name)
    asked = TEXTS if format_name == "onnx" else TEXTS[:1]
    expected = [row["label"] for row in run.best.predict(asked)]
    assert [run_program(program, card["path"], text, folder=tmp_path) for text in asked] == expected


@pytest.mark.parametrize(
    ("program", "format_name"), [("text-hf-onnx", "onnx"), ("text-hf-torch", "pt2"), ("text-transformers", "huggingface")]
)
def test_texts_with_the_tokenizer_of_a_hugging_face_model(
    hugging_face: Run, cache: Path, tmp_path: Path, program: str, format_name: str
) -> None:
    card = export(hugging_face, cache, format=format_name)
    asked = [*TEXTS, "moss and deer " * 30] if format_name == "onnx" else TEXTS[:1]
    expected = [row["label"] for row in hugging_face.best.predict(asked)]
    assert [run_program(program, card["path"], text, folder=tmp_path) for text in asked] == expected
