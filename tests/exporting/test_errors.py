"""Exports that cannot work: one line with the reason, and nothing left behind."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import studygroup
from studygroup import TrainingError, UserError
from studygroup.exporting.formats import FORMATS
from studygroup.runs.member import Member, Run
from tests.exporting.exports import SMALL, copies, export
from tests.fake_api import error_of


def copy_of(run: Run, folder: Path) -> Path:
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("checkpoints", "exported"))
    return folder


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(digits: Run, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UserError, match=rf"needs the package {package}; pip install 'studygroup\[export\]'"):
        studygroup.export(digits.folder)


def test_members_that_do_not_exist(digits: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown member of .* 'student7'; did you mean student"):
        studygroup.export(digits.folder, member="student7")
    folder = copy_of(digits, tmp_path / "run")
    for path in (folder / "members").glob("student*"):
        path.unlink()
    with pytest.raises(UserError, match="has no students to make an ensemble of; its members are best"):
        studygroup.export(folder, member="ensemble")


def test_options_that_do_not_fit(digits: Run, texts: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="with_preprocessing is for images"):
        studygroup.export(texts.folder, with_preprocessing=True)
    with pytest.raises(UserError, match="safetensors holds weights and no graph"):
        studygroup.export(digits.folder, format="safetensors", with_preprocessing=True)
    with pytest.raises(UserError, match="weights of one network, not of an ensemble"):
        studygroup.export(digits.folder, format="safetensors", member="ensemble")
    with pytest.raises(UserError, match="int8 is for the format onnx, not pt2"):
        studygroup.export(digits.folder, format="pt2", int8=True)
    with pytest.raises(UserError, match=r"x\.pt; the name of a file of the format onnx must end in \.onnx"):
        studygroup.export(digits.folder, out=tmp_path / "x.pt")
    with pytest.raises(UserError, match="format is 'onx'; did you mean onnx"):
        studygroup.export(digits.folder, format="onx")  # type: ignore[arg-type]
    best = digits.best
    with pytest.raises(UserError, match="the member is of no run; give `out`"):
        Member("best", best.network, best.inputs, best.card).export()


@pytest.fixture(scope="module")
def own_run(own_network: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that trains a class of `my_network.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(own_network)

        def train(name: str) -> Run:
            folder = tmp_path_factory.mktemp("own_run") / "run"
            return studygroup.train("digits", method="baseline", student=f"my_network:{name}", epochs=1, out=folder, cache=cache, **SMALL)

        yield train


def test_a_network_that_the_exporter_cannot_take(own_run: Any, cache: Path) -> None:
    run = own_run("Stubborn")
    for name in ("onnx", "pt2"):
        with pytest.raises(UserError) as caught:
            run.best.export(name, cache=cache)
        message = str(caught.value)
        assert message.startswith(f"my_network:Stubborn cannot be exported as {name} (Could not guard on data-dependent expression")
        assert message.endswith("change its forward function, or take another --format")
        assert "\n" not in message
    assert list((run.folder / "exported").iterdir()) == []


def test_a_network_that_cannot_be_traced(own_run: Any, cache: Path) -> None:
    run = own_run("Untraceable")
    line = r"^my_network:Untraceable cannot be exported as torchscript \(this network has\); change its forward function,"
    with pytest.raises(UserError, match=line):
        run.best.export("torchscript", cache=cache)
    assert list((run.folder / "exported").iterdir()) == []


def test_a_network_that_drops_the_axis_of_a_batch_of_one(own_run: Any, cache: Path) -> None:
    run = own_run("Squeezed")
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    assert run.best.predict_proba(pixels).shape == (2, 10)
    line = (
        r"^the network returns logits of shape \(10,\) for 1 samples and 10 classes, not \(1, 10\); its forward function must keep the axis"
    )
    with pytest.raises(UserError, match=line):
        run.best.predict(pixels[0])
    with pytest.raises(UserError, match=line):
        run.best.export("torchscript", cache=cache)
    assert list((run.folder / "exported").iterdir()) == []


def test_a_file_that_differs_is_not_left(own_run: Any, cache: Path) -> None:
    run = own_run("Unlike")
    with pytest.raises(TrainingError, match="differ from the network's by"):
        run.best.export("pt2", cache=cache)
    assert list((run.folder / "exported").iterdir()) == []


def test_an_unwritable_path(digits: Run, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    line = error_of(capsys, "export", str(digits.folder), "--out", str(tmp_path / "file" / "x.onnx"), "--cache", str(cache), code=1)
    assert "cannot write" in line
    assert line.endswith(("(Not a directory); give another --out\n", "(File exists); give another --out\n"))


def test_int8_needs_training_samples(digits: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise UserError("digits does not exist")

    monkeypatch.setattr("studygroup.exporting.samples.open_data", gone)
    with pytest.raises(UserError, match=r"calibrated on training samples, but the run's data cannot be used \(digits does not exist\)"):
        studygroup.export(digits.folder, int8=True)


def test_a_network_that_cannot_be_quantised(digits: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no type\nof this tensor")

    float32 = copies(export(digits, cache)["path"])
    monkeypatch.setattr("studygroup.exporting.write.quantise", fail)
    monkeypatch.setitem(FORMATS, "onnx", float32)
    with pytest.raises(UserError, match=r"^resnet8 cannot be exported as int8 \(no type\); leave out --int8$"):
        studygroup.export(digits.folder, int8=True, out=tmp_path / "new" / "best.onnx", cache=cache)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\x80\x04cos\nsystem\n", "half"])
def test_weights_that_are_truncated_or_no_weights(digits: Run, tmp_path: Path, content: bytes | str) -> None:
    folder = copy_of(digits, tmp_path / "run")
    path = folder / "members" / "best.safetensors"
    path.write_bytes(path.read_bytes()[:5000] if isinstance(content, str) else content)
    with pytest.raises(UserError, match=r"members/best of .* cannot be read .*; its files are damaged"):
        studygroup.export(folder)
    assert not (folder / "exported").exists()


def test_weights_of_another_network(digits: Run, tmp_path: Path) -> None:
    folder = copy_of(digits, tmp_path / "run")
    card = json.loads((folder / "members" / "best.json").read_text())
    (folder / "members" / "best.json").write_text(json.dumps({**card, "network": "resnet14"}))
    with pytest.raises(UserError, match="the weights of best do not fit resnet14"):
        studygroup.export(folder)


def test_the_tokenizer_of_another_run_is_kept(texts: Run, characters: Run, cache: Path, tmp_path: Path) -> None:
    studygroup.export(texts.folder, format="safetensors", out=tmp_path / "a.safetensors", cache=cache)
    with pytest.raises(UserError, match=r"tokenizer is of another run; give another --out"):
        studygroup.export(characters.folder, format="safetensors", out=tmp_path / "b.safetensors", cache=cache)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.safetensors{end}" for end in ("", ".json", ".md")] + ["tokenizer"]
