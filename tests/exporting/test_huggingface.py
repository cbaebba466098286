"""Members that are Hugging Face models: a folder for transformers, and exported graphs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import studygroup
from studygroup import ExportedModel, UserError, cli
from studygroup.runs.member import Run
from tests.exporting.exports import copied, export
from tests.fake_api import error_of

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of transformers about itself
TEXTS = ["the wave and the ship", "moss leaf deer", "", "the ship " * 40]


def test_a_folder_that_transformers_opens(hugging_face: Run, cache: Path) -> None:
    card = export(hugging_face, cache, format="huggingface")
    folder = Path(card["path"])
    assert folder == hugging_face.folder / "exported" / "best.hf"
    assert card["check"]["origin"] == "hold-out"
    assert (card["check"]["agreement"], card["check"]["samples"]) == (1.0, 48)
    assert card["check"]["file"]["accuracy"] == hugging_face.result["selected"]["holdout"]
    assert card["cards"] == [str(folder / "studygroup.json"), str(folder / "README.md")]
    assert json.loads((folder / "studygroup.json").read_text())["sha256"] == card["sha256"]
    front = yaml.safe_load((folder / "README.md").read_text().split("---\n", 2)[1])
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-classification")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits
    np.testing.assert_allclose(logits.softmax(-1).numpy(), hugging_face.best.predict_proba(TEXTS), atol=1e-5)
    assert [model.config.id2label[int(number)] for number in logits.argmax(-1)] == [
        row["label"] for row in hugging_face.best.predict(TEXTS)
    ]


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
def test_a_model_of_hugging_face_as_a_graph(hugging_face: Run, cache: Path, name: str) -> None:
    card = export(hugging_face, cache, format=name)
    assert (card["check"]["origin"], card["check"]["agreement"], card["tokenizer"]["kind"]) == ("hold-out", 1.0, "hf")
    model = ExportedModel(card["path"])
    np.testing.assert_allclose(model.predict_proba(TEXTS), hugging_face.best.predict_proba(TEXTS), atol=1e-5)
    for text in TEXTS:
        np.testing.assert_allclose(model.predict_proba(text), hugging_face.best.predict_proba(text), atol=1e-5)


def test_a_folder_classifies_as_its_member(hugging_face: Run, cache: Path, table: Path, tmp_path: Path, capsys: Any) -> None:
    folder = copied(export(hugging_face, cache, format="huggingface"), tmp_path).rename(tmp_path / "renamed")
    model, best = ExportedModel(folder), hugging_face.best
    assert (model.classes, str(model.inputs)) == (best.classes, str(best.inputs))
    np.testing.assert_allclose(model.predict_proba(TEXTS), best.predict_proba(TEXTS), atol=1e-5)
    for text in TEXTS:
        np.testing.assert_allclose(model.predict_proba(text), best.predict_proba(text), atol=1e-5, err_msg="a batch of one")
    (expected,) = studygroup.evaluate(hugging_face.folder, data=table, cache=cache, progress=False).values()
    found = studygroup.evaluate(folder, data=table, cache=cache, progress=False)
    assert list(found) == ["renamed"]
    assert found["renamed"]["accuracy"] == expected["accuracy"] > 0.8
    assert cli.main(["predict", str(folder), *TEXTS, "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == [row["label"] for row in best.predict(TEXTS)]


def test_a_folder_with_files_is_kept(hugging_face: Run, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    words = ["export", str(hugging_face.folder), "--format", "huggingface", "--cache", str(cache), "--out"]
    line = error_of(capsys, *words, str(tmp_path / "full"), code=1)
    assert "full is not an empty folder; delete it, or give another --out" in line
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert cli.main([*words, str(tmp_path / "empty")]) == 0
    assert f"card:     {tmp_path / 'empty' / 'studygroup.json'}, {tmp_path / 'empty' / 'README.md'}" in capsys.readouterr().out
    assert (tmp_path / "empty" / "config.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def test_other_networks_are_refused(digits: Run, texts: Run, hugging_face: Run, cache: Path, tmp_path: Path) -> None:
    for run in (digits, texts):
        with pytest.raises(UserError, match=r"best is a .*; only a member with a network hf:FOLDER can be saved for transformers"):
            run.best.export("huggingface", out=tmp_path / "new", cache=cache)
    with pytest.raises(UserError, match="huggingface holds the weights of one network, not of an ensemble"):
        studygroup.export(hugging_face.folder, format="huggingface", member="ensemble")
    assert list(tmp_path.iterdir()) == []


def test_transformers_is_missing(hugging_face: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    best, real = hugging_face.best, importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == "transformers":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UserError, match=r"the format huggingface needs the package transformers; pip install 'studygroup\[transformers\]'"):
        best.export("huggingface")
