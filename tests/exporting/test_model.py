"""Exported files that classify again: the predictions and scores of their members, and files that cannot be used."""

from __future__ import annotations

import csv
import importlib
import io
import json
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import studygroup
from studygroup import ExportedModel, UserError, cli
from studygroup.exporting.card import hash_of
from studygroup.runs.member import Run
from tests.exporting.exports import SMALL, export
from tests.fake_api import error_of

TEXTS = ["the wave and the ship", "moss leaf deer", ""]


@pytest.fixture(autouse=True)
def torchscript_is_deprecated() -> Any:
    """Ignore what torch says about its own format."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        yield


def pixels(count: int, seed: int = 0) -> Any:
    """Random grey images of other sizes than the network's."""
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 9, 1), dtype=np.uint8)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def copied(card: dict[str, Any], folder: Path) -> Path:
    """Copy an exported file, its cards and its tokenizer; return the path of the file."""
    path = Path(card["path"])
    folder.mkdir(exist_ok=True)
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder)
    if (path.parent / "tokenizer").is_dir():
        shutil.copytree(path.parent / "tokenizer", folder / "tokenizer")
    return folder / path.name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("onnx", {}),
        ("onnx", {"with_preprocessing": True}),
        ("pt2", {}),
        ("pt2", {"with_preprocessing": True}),
        ("torchscript", {}),
        ("torchscript", {"with_preprocessing": True}),
    ],
)
def test_images_are_classified_as_by_the_member(digits: Run, cache: Path, name: str, options: dict[str, Any]) -> None:
    card = export(digits, cache, format=name, **options)
    model, best = ExportedModel(card["path"]), digits.best
    assert model.classes == best.classes
    assert model.inputs == best.inputs
    images = pixels(7)
    np.testing.assert_allclose(model.predict_proba(images, batch_size=3), best.predict_proba(images), atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(images[0]), best.predict_proba(images[:1]), atol=1e-5, err_msg="a batch of one")
    assert [row["label"] for row in model.predict(images, top=2)] == [row["label"] for row in best.predict(images)]
    assert repr(model) == f"ExportedModel('{card['path']}': resnet8, 10 classes, images of 1x8x8)"


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
@pytest.mark.parametrize("kind", ["texts", "characters"])
def test_texts_are_classified_as_by_the_member(request: pytest.FixtureRequest, cache: Path, kind: str, name: str) -> None:
    run: Run = request.getfixturevalue(kind)
    model = ExportedModel(export(run, cache, format=name)["path"])
    np.testing.assert_allclose(model.predict_proba(TEXTS), run.best.predict_proba(TEXTS), atol=1e-5)
    for text in TEXTS:
        np.testing.assert_allclose(model.predict_proba(text), run.best.predict_proba(text), atol=1e-5, err_msg="a batch of one")


def test_an_ensemble_gives_the_mean_probabilities(digits: Run, cache: Path) -> None:
    model = ExportedModel(export(digits, cache, member="ensemble")["path"])
    members, images = digits.members, pixels(5)
    mean = (members["student0"].predict_proba(images) + members["student1"].predict_proba(images)) / 2
    np.testing.assert_allclose(model.predict_proba(images), mean, atol=1e-5)


def test_files_are_evaluated_as_their_member(digits: Run, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = export(digits, cache, with_preprocessing=True)["path"]
    (expected,) = studygroup.evaluate(digits.folder, data="digits", cache=cache, progress=False).values()
    found = studygroup.evaluate(path, data="digits", cache=cache, progress=False, batch_size=100)
    assert list(found) == ["best.onnx"]
    for score in ("accuracy", "samples", "f1", "confusions", "classes"):
        assert found["best.onnx"][score] == expected[score]
    assert found["best.onnx"]["cross_entropy"] == pytest.approx(expected["cross_entropy"], rel=1e-4)
    words = ["evaluate", path, "--data", "digits", "--cache", str(cache), "--no-progress", "--format", "json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["best.onnx"]["accuracy"] == expected["accuracy"]


def test_tables_are_read_with_the_columns_of_the_training(cache: Path, table: Path, tmp_path: Path, texts: Run) -> None:
    rows = rows_of(table)
    odd = tmp_path / "odd.csv"
    with odd.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["words", "place", "text", "label"], *([row["text"], row["label"], "x", "y"] for row in rows)])
    options: dict[str, Any] = {"tokenizer": "chars", "max_length": 60, "epochs": 1, "text_columns": ["words"], "label_column": "place"}
    student = texts.result["student"]
    run = studygroup.train(odd, method="baseline", student=student, out=tmp_path / "run", cache=cache, **options, **SMALL)
    path = export(run, cache, format="pt2")["path"]
    shutil.rmtree(tmp_path / "run" / "members")  # the file stands alone
    (tmp_path / "run" / "config.yaml").unlink()
    found = studygroup.evaluate(path, data=odd, cache=cache, progress=False)["best.pt2"]
    assert found["samples"] == len(rows)
    (summary,) = studygroup.predict(path, data=odd, out=tmp_path / "predictions.csv")
    assert summary["accuracy"] == found["accuracy"]
    predicted = [row["predicted"] for row in rows_of(tmp_path / "predictions.csv")]
    assert predicted == [row["label"] for row in studygroup.predict(path, [row["text"] for row in rows])]


def test_the_command_predicts(digits: Run, texts: Run, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = export(texts, cache)["path"]
    monkeypatch.setattr("sys.stdin", io.StringIO("the wave\nmoss and leaf\n"))
    assert cli.main(["predict", path, "-", "--format", "jsonl", "--top", "2", "--device", "cpu"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = texts.best.predict(["the wave", "moss and leaf"], top=2)
    assert [(row["text"], row["label"]) for row in shown] == [(row["text"], row["label"]) for row in expected]
    assert [len(row["top"]) for row in shown] == [2, 2]


# What cannot be used


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((8, 8, 1), np.float32), "has dtype float32; give uint8 pixels 0-255"),
        (np.full((8, 8), 300, np.int16), "has dtype int16; give uint8 pixels 0-255"),
        (np.zeros((5, 2, 8, 8), np.uint8), r"of shape \(5, 2, 8, 8\) is no image"),
    ],
)
def test_arrays_that_are_no_images(digits: Run, cache: Path, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExportedModel(export(digits, cache)["path"]).predict(given)


def test_options_that_a_file_has_not(digits: Run, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = export(digits, cache)["path"]
    assert "best.onnx is an exported file, which has no data of its own; give --data" in error_of(capsys, "evaluate", path, code=1)
    line = error_of(capsys, "evaluate", path, "--data", "digits", "--members", "all", code=1)
    assert "best.onnx is an exported file, which has no member all; leave it out, or give the run folder" in line
    assert "has no member student1" in error_of(capsys, "predict", path, "x.png", "--member", "student1", code=1)
    with pytest.raises(UserError, match="device is cuda, but exported files run on the CPU here"):
        ExportedModel(path).predict(pixels(1), device="cuda")


def test_folders_and_other_files(digits: Run, cache: Path, tmp_path: Path) -> None:
    path = export(digits, cache)["path"]
    with pytest.raises(UserError, match=r"best.onnx is a file, not a run folder; `ExportedModel` opens exported files"):
        Run(path)
    with pytest.raises(UserError, match=r"run is a folder; give an exported file, or open a run folder as a run"):
        ExportedModel(digits.folder)
    with pytest.raises(UserError, match=r"gone.onnx does not exist; `studygroup export` makes exported files"):
        ExportedModel(tmp_path / "gone.onnx")
    with pytest.raises(UserError, match=r"exported holds no finished run: it is not a run folder"):
        studygroup.predict(Path(path).parent, ["x.png"])
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(UserError, match=r"notes.txt is no exported file; give one that ends in \.onnx, \.pt2, \.pt, or a run folder"):
        studygroup.predict(tmp_path / "notes.txt", ["x.png"])
    weights = export(digits, cache, format="safetensors")["path"]
    with pytest.raises(UserError, match=r"best.safetensors holds weights alone, which cannot run; give its run folder"):
        studygroup.predict(weights, ["x.png"])


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
def test_a_truncated_file(digits: Run, cache: Path, tmp_path: Path, name: str) -> None:
    path = copied(export(digits, cache, format=name), tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"is not the file that best\.\w+\.json describes: it is damaged, or another one; copy both"):
        ExportedModel(path)


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
def test_a_file_that_is_none_though_its_card_agrees(digits: Run, cache: Path, tmp_path: Path, name: str) -> None:
    path = copied(export(digits, cache, format=name), tmp_path)
    path.write_bytes(b"\x80\x04cos\nsystem\n")
    describe(path, sha256=hash_of(path))
    with pytest.raises(UserError, match=r"cannot be opened \(.*\); export the member again") as caught:
        ExportedModel(path)
    assert "\n" not in str(caught.value)


def describe(path: Path, **values: object) -> None:
    """Change the card of a file."""
    card = path.with_name(f"{path.name}.json")
    card.write_text(json.dumps({**json.loads(card.read_text()), **values}))


def test_cards_that_are_missing_damaged_or_of_another_file(digits: Run, cache: Path, tmp_path: Path) -> None:
    path = copied(export(digits, cache), tmp_path)
    card = tmp_path / "best.onnx.json"
    other = Path(export(digits, cache, member="ensemble")["path"] + ".json")
    card.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match=r"best.onnx is not the file that best.onnx.json describes"):
        ExportedModel(path)
    card.write_text("{")
    with pytest.raises(UserError, match=r"best.onnx.json is damaged \(.*\); copy it again, or export"):
        ExportedModel(path)
    damages: list[dict[str, object]] = [{"classes": None}, {"preprocessing": {}}, {"input": {"shape": ["batch"]}}, {"origin": None}]
    for damage in damages:
        shutil.copy(f"{export(digits, cache)['path']}.json", card)
        describe(path, **damage)
        with pytest.raises(UserError, match=r"best.onnx.json is no card of an exported file \(.*\); export the member again"):
            ExportedModel(path)
    card.unlink()
    with pytest.raises(UserError, match=r"best.onnx has no card best.onnx.json beside it; copy both, or export the member again"):
        ExportedModel(path)


def test_a_renamed_file_with_its_card(digits: Run, cache: Path, tmp_path: Path) -> None:
    path = copied(export(digits, cache), tmp_path)
    path.with_name("best.onnx.json").rename(tmp_path / "digits.onnx.json")
    model = ExportedModel(path.rename(tmp_path / "digits.onnx"))
    np.testing.assert_allclose(model.predict_proba(pixels(2)), digits.best.predict_proba(pixels(2)), atol=1e-5)


def test_tokenizers_that_are_missing_or_of_another_file(texts: Run, characters: Run, cache: Path, tmp_path: Path) -> None:
    path = copied(export(texts, cache), tmp_path)
    shutil.rmtree(tmp_path / "tokenizer")
    with pytest.raises(UserError, match=r"the tokenizer in .*tokenizer cannot be read"):
        ExportedModel(path)
    shutil.copytree(characters.files.tokenizer, tmp_path / "tokenizer")
    with pytest.raises(UserError, match=r"the tokenizer in .*tokenizer is of another file; copy the one beside the exported file"):
        ExportedModel(path)


def test_onnxruntime_is_missing(digits: Run, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [export(digits, cache, format=name)["path"] for name in ("onnx", "pt2")]
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name in ("onnx", "onnxscript", "onnxruntime"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UserError, match=r"best.onnx needs the package onnxruntime; pip install 'studygroup\[export\]'"):
        ExportedModel(files[0])
    assert len(ExportedModel(files[1]).predict(pixels(2))) == 2


class Hostile:
    """A pickle that writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["sample_inputs/model.pt", "constants/opaque_obj_0"])
def test_nothing_in_a_program_is_unpickled(digits: Run, cache: Path, tmp_path: Path, place: str) -> None:
    path = copied(export(digits, cache, format="pt2"), tmp_path)
    touched = tmp_path / "touched"
    entries = {}
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    top = next(iter(entries)).partition("/")[0]
    entries[f"{top}/data/{place}"] = pickle.dumps(Hostile(touched), protocol=2)
    config = f"{top}/data/constants/model_constants_config.json"
    if place.startswith("constants"):
        constants = {"x": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}}
        entries[config] = json.dumps({"config": constants}).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    describe(path, sha256=hash_of(path))
    with pytest.raises(UserError):
        ExportedModel(path)
    assert not touched.exists()
