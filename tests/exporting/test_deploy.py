"""The programs of docs/deploy.md, where studygroup cannot be imported, give the labels of `studygroup predict`."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import studygroup
from studygroup import ExportedModel
from studygroup.data import open_dataset
from studygroup.exporting.formats import FORMATS
from studygroup.runs.member import Run
from tests.exporting.exports import SMALL, export

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
PROGRAMS = dict(re.findall(r"<!-- program: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
BLOCK = """\
import sys
blocked = sys.argv[1:]
class Block:
    def find_spec(self, name, *_):
        if name.split(".")[0] in blocked:
            raise ImportError(f"{name} cannot be imported here")
sys.meta_path.insert(0, Block())
"""
LOOP = """
import contextlib, io, json, os, traceback
sys.path.insert(0, "")
for line in sys.stdin:
    program, arguments, folder = json.loads(line)
    os.chdir(folder)
    sys.path[0], sys.argv[1:] = folder, arguments
    shown, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(shown):
            exec(compile(program, "classify.py", "exec"), {"__name__": "__main__"})
    except BaseException:
        error = traceback.format_exc()
    print(json.dumps([shown.getvalue().strip(), error]), flush=True)
"""
TEXTS = ["the wave and the ship", "the tree and the path", "Moss, LEAF\tand deer\n日本", "", "moss and deer " * 30]
MOST = {"pt2": 1}
"""Number of samples for formats that take long to load; another format takes the same program through all of them."""
RunProgram = Callable[..., str]


@contextlib.contextmanager
def interpreter(*blocked: str) -> Iterator[RunProgram]:
    """Start an interpreter in which some packages cannot be imported, which runs programs one after another."""
    words = [sys.executable, "-W", "ignore", "-c", BLOCK + LOOP, *blocked]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(name: str, *arguments: str | Path, folder: Path) -> str:
            """Run a program of the page in a folder; return what it prints."""
            print(json.dumps([PROGRAMS[name], list(map(str, arguments)), str(folder)]), file=process.stdin, flush=True)
            assert process.stdout is not None
            shown, error = json.loads(process.stdout.readline())
            assert error is None, error
            return str(shown)

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def run_program() -> Iterator[RunProgram]:
    """Return a function that runs a program of the page, those with onnxruntime without torch."""
    with interpreter("studygroup", "torch", "transformers") as without_torch, interpreter("studygroup") as with_torch:

        def run(name: str, *arguments: str | Path, folder: Path) -> str:
            return (without_torch if name.endswith("onnx") else with_torch)(name, *arguments, folder=folder)

        yield run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> list[Path]:
    """Test digits: one as it is, one enlarged, in colour and wider than high, one on its side, and one that is transparent."""
    folder = tmp_path_factory.mktemp("pictures")
    small, large, turned, clear = (
        Image.fromarray(np.asarray(image)) for image in open_dataset("digits", cache=cache, progress=False).test.inputs[:4, 0]
    )
    small.save(folder / "small.png")
    wide = Image.new("RGB", (240, 160))
    wide.paste(large.resize((160, 160), Image.Resampling.NEAREST), (40, 0))
    wide.save(folder / "wide.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned.resize((24, 30)).transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=95, exif=exif)
    black = Image.new("RGBA", (8, 8))
    black.putalpha(clear)
    black.save(folder / "clear.png")
    return [folder / name for name in ("small.png", "wide.jpg", "turned.jpg", "clear.png")]


def test_studygroup_cannot_be_imported_there(tmp_path: Path) -> None:
    words = [sys.executable, "-c", BLOCK + "import studygroup", "studygroup"]
    shown = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "studygroup cannot be imported here" in shown.stderr
    assert not [name for name, program in PROGRAMS.items() if "studygroup" in program.replace("studygroup.json", "")]


@pytest.mark.parametrize("options", [{}, {"with_preprocessing": True}], ids=["outside", "inside"])
@pytest.mark.parametrize(("program", "format_name"), [("image-onnx", "onnx"), ("image-torch", "pt2"), ("image-torch", "torchscript")])
def test_images(
    digits: Run,
    cache: Path,
    pictures: list[Path],
    tmp_path: Path,
    run_program: RunProgram,
    program: str,
    format_name: str,
    options: dict[str, Any],
) -> None:
    card = export(digits, cache, format=format_name, **options)
    expected = [row["label"] for row in studygroup.predict(digits.folder, pictures)]
    assert len(set(expected)) > 1
    count = MOST.get(format_name)
    assert [run_program(program, card["path"], picture, folder=tmp_path) for picture in pictures[:count]] == expected[:count]


def test_int8(digits: Run, texts: Run, cache: Path, pictures: list[Path], tmp_path: Path, run_program: RunProgram) -> None:
    cases: list[tuple[str, Run, Any, dict[str, Any]]] = [
        ("image-onnx", digits, pictures, {"with_preprocessing": True}),
        ("text-onnx", texts, TEXTS, {}),
    ]
    for program, run, samples, options in cases:
        card = export(run, cache, int8=True, **options)
        expected = [row["label"] for row in ExportedModel(card["path"]).predict(samples)]
        assert [run_program(program, card["path"], sample, folder=tmp_path) for sample in samples] == expected


@pytest.mark.parametrize("kind", ["image", "text"])
def test_weights_alone(
    own_network: Path,
    cache: Path,
    table: Path,
    pictures: list[Path],
    tmp_path: Path,
    run_program: RunProgram,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.syspath_prepend(own_network)
    samples: list[Any] = pictures if kind == "image" else TEXTS
    name, data = ("Network", "digits") if kind == "image" else ("TextNetwork", table)
    options: dict[str, Any] = {"learning_rate": 0.01, "epochs": 3, "out": tmp_path / "run", "cache": cache, **SMALL}
    sizes: dict[str, Any] = {} if kind == "image" else {"vocabulary": 300}
    run = studygroup.train(data, method="baseline", student=f"my_network:{name}", test_size=40.0, **sizes, **options)
    classes = len(open_dataset(data, cache=cache, progress=False).classes)
    best = run.member("best", getattr(importlib.import_module("my_network"), name)(classes, **sizes))
    card = best.export("safetensors", out=tmp_path / "new.safetensors", cache=cache)
    expected = [row["label"] for row in best.predict(samples)]
    assert len(set(expected)) > 1
    assert [run_program(f"{kind}-safetensors", card["path"], sample, folder=own_network) for sample in samples] == expected


@pytest.mark.parametrize("format_name", ["onnx", "pt2", "torchscript"])
@pytest.mark.parametrize("kind", ["texts", "characters"])
def test_texts(request: pytest.FixtureRequest, cache: Path, tmp_path: Path, run_program: RunProgram, kind: str, format_name: str) -> None:
    run: Run = request.getfixturevalue(kind)
    card = export(run, cache, format=format_name)
    expected = [row["label"] for row in run.best.predict(TEXTS)]
    assert len(set(expected)) > 1
    count = MOST.get(format_name)
    program = "text-onnx" if format_name == "onnx" else "text-torch"
    assert [run_program(program, card["path"], text, folder=tmp_path) for text in TEXTS[:count]] == expected[:count]


@pytest.mark.parametrize("format_name", ["onnx", "pt2", "torchscript", "huggingface"])
def test_texts_with_the_tokenizer_of_a_hugging_face_model(
    hugging_face: Run, cache: Path, tmp_path: Path, run_program: RunProgram, format_name: str
) -> None:
    card = export(hugging_face, cache, format=format_name)
    expected = [row["label"] for row in hugging_face.best.predict(TEXTS)]
    assert len(set(expected)) > 1
    count = MOST.get(format_name)
    program = {"onnx": "text-hf-onnx", "huggingface": "text-transformers"}.get(format_name, "text-hf-torch")
    assert [run_program(program, card["path"], text, folder=tmp_path) for text in TEXTS[:count]] == expected[:count]


def test_each_format_has_a_program() -> None:
    assert set(PROGRAMS) == {
        *("image-onnx", "image-torch", "image-safetensors"),
        *("text-onnx", "text-torch", "text-safetensors", "text-hf-onnx", "text-hf-torch", "text-transformers"),
    }
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` | {'a folder, ' if chosen.is_folder else ''}`{chosen.suffix}` |" in text for name, chosen in FORMATS.items())
