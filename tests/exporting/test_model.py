"""Exported files that classify again: the predictions and scores of their members."""

from __future__ import annotations

import copy
import csv
import io
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import studygroup
from studygroup import ExportedModel, UserError, cli
from studygroup.runs.member import Run
from tests.exporting.exports import SMALL, copied, describe, export, pixels
from tests.fake_api import error_of

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # when TorchScript is loaded
TEXTS = ["the wave and the ship", "moss leaf deer", ""]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("onnx", {}),
        ("onnx", {"with_preprocessing": True}),
        ("pt2", {}),
        ("pt2", {"with_preprocessing": True}),
        ("torchscript", {}),
        ("torchscript", {"with_preprocessing": True}),
        ("safetensors", {}),
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


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript", "safetensors"])
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


@pytest.mark.parametrize("options", [{"with_preprocessing": True}, {"format": "safetensors"}])
def test_files_are_evaluated_as_their_member(digits: Run, cache: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]) -> None:
    path = export(digits, cache, **options)["path"]
    name = Path(path).name
    (expected,) = studygroup.evaluate(digits.folder, data="digits", cache=cache, progress=False).values()
    found = studygroup.evaluate(path, data="digits", cache=cache, progress=False, batch_size=100)
    assert list(found) == [name]
    for score in ("accuracy", "samples", "f1", "confusions", "classes"):
        assert found[name][score] == expected[score]
    assert found[name]["cross_entropy"] == pytest.approx(expected["cross_entropy"], rel=1e-4)
    words = ["evaluate", path, "--data", "digits", "--cache", str(cache), "--no-progress", "--format", "json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)[name]["accuracy"] == expected["accuracy"]


def test_int8_classifies_as_the_network_does_mostly(digits: Run, texts: Run, cache: Path) -> None:
    cases: list[tuple[Run, Any, dict[str, Any]]] = [(digits, pixels(50), {"with_preprocessing": True}), (texts, TEXTS, {})]
    for run, data, options in cases:
        model = ExportedModel(export(run, cache, int8=True, **options)["path"])
        found, expected = model.predict_proba(data), run.best.predict_proba(data)
        assert (found.argmax(-1) == expected.argmax(-1)).mean() > 0.8
        assert np.abs(found - expected).max() > 1e-5, "it is no float32 file"
        np.testing.assert_allclose(model.predict_proba(data[0]), found[:1], atol=1e-4, err_msg="a batch of one")


def test_the_network_of_weights_alone_is_given_from_python(cache: Path, tmp_path: Path, capsys: Any) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    run = studygroup.train("digits", method="baseline", student=module, epochs=1, out=tmp_path / "run", cache=cache, **SMALL)
    best = run.member("best", nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    path = best.export("safetensors", cache=cache)["path"]
    linear = nn.Linear(64, 10).double()
    given, before = nn.Sequential(nn.Flatten(), linear), linear.weight.clone()
    model = ExportedModel(path, network=given)
    np.testing.assert_allclose(model.predict_proba(pixels(5)), best.predict_proba(pixels(5)), atol=1e-5)
    assert torch.equal(linear.weight, before), "the given module is copied"
    line = error_of(capsys, "predict", path, "x.png", code=1)
    assert (
        "best.safetensors holds weights alone, of the network torch.nn.modules.container:Sequential, which is not imported for a file"
        in line
    )
    assert "give it from Python, `ExportedModel(FILE, network=...)`, or give the run folder" in line


def test_a_card_imports_nothing(digits: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = copied(export(digits, cache, format="safetensors"), tmp_path)
    remedies = {"planted:Network": "give it from Python", "os:abort": "give it from Python", f"hf:{tmp_path}": "--format huggingface"}
    for name, remedy in remedies.items():
        describe(path, network=name)
        with pytest.raises(UserError, match=rf"of the network {name}, which is not imported for a file; .*{remedy}"):
            ExportedModel(path)
    assert not (tmp_path / "touched").exists()


def test_weights_of_a_network_of_timm(digits: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its networks are made by name; here a fake one is."""
    best = digits.best
    fake = ModuleType("timm")
    vars(fake).update(is_model=lambda name: name == "tiny_net", create_model=lambda *_, **__: copy.deepcopy(best.network))
    monkeypatch.setitem(sys.modules, "timm", fake)
    path = copied(export(digits, cache, format="safetensors"), tmp_path)
    describe(path, network="timm:tiny_net")
    np.testing.assert_allclose(ExportedModel(path).predict_proba(pixels(3)), best.predict_proba(pixels(3)), atol=1e-5)


def test_tables_are_read_with_the_columns_of_the_training(cache: Path, table: Path, tmp_path: Path, texts: Run) -> None:
    rows = rows_of(table)
    odd = tmp_path / "odd.csv"
    with odd.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["words", "place", "text", "label"], *([row["text"], row["label"], "x", "y"] for row in rows)])
    options: dict[str, Any] = {"tokenizer": "chars", "max_length": 60, "epochs": 1, "text_columns": ["words"], "label_column": "place"}
    student = texts.result["student"]
    run = studygroup.train(odd, method="baseline", student=student, out=tmp_path / "run", cache=cache, **options, **SMALL)
    path = export(run, cache, format="safetensors")["path"]
    shutil.rmtree(tmp_path / "run" / "members")  # the file stands alone
    (tmp_path / "run" / "config.yaml").unlink()
    found = studygroup.evaluate(path, data=odd, cache=cache, progress=False)["best.safetensors"]
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
