"""Exported files that cannot be used, and what they cannot classify: one line each."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import studygroup
from studygroup import ExportedModel, UserError
from studygroup.exporting.card import hash_of
from studygroup.exporting.formats import FORMATS
from studygroup.runs.member import Run
from tests.exporting.exports import card_of, copied, describe, export, pixels, weights_of
from tests.fake_api import error_of

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # when TorchScript is loaded
FILES = [name for name, chosen in FORMATS.items() if not chosen.is_folder]
HOSTILE = b"\x80\x04cos\nsystem\n"


def run_for(name: str, request: pytest.FixtureRequest) -> Run:
    """Return a run that the format can take."""
    run: Run = request.getfixturevalue("hugging_face" if FORMATS[name].is_folder else "digits")
    return run


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((8, 8, 1), np.float32), "has dtype float32; give uint8 pixels 0-255"),
        (np.full((8, 8), 300, np.int16), "has dtype int16; give uint8 pixels 0-255"),
        (np.zeros((5, 2, 8, 8), np.uint8), r"of shape \(5, 2, 8, 8\) is no image"),
        (np.zeros(64, np.uint8), r"of shape \(64,\) is no image"),
    ],
)
@pytest.mark.parametrize("name", FILES)
def test_arrays_that_are_no_images(digits: Run, cache: Path, name: str, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExportedModel(export(digits, cache, format=name)["path"]).predict(given)


def test_arrays_for_texts(hugging_face: Run, texts: Run, cache: Path) -> None:
    for run, name in ((texts, "onnx"), (hugging_face, "huggingface")):
        with pytest.raises(UserError, match=r"a value of type ndarray of shape \(3, 8, 8, 1\) is no text; give strings"):
            ExportedModel(export(run, cache, format=name)["path"]).predict(np.zeros((3, 8, 8, 1), np.uint8))


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
    for name in ("gone.onnx", "gone.hf"):
        with pytest.raises(UserError, match=rf"{name} does not exist; `studygroup export` makes exported files"):
            studygroup.predict(tmp_path / name, ["x.png"])
    with pytest.raises(UserError, match=r"exported holds no finished run: it is not a run folder"):
        studygroup.predict(Path(path).parent, ["x.png"])
    for name in ("notes.txt", "best.hf"):
        (tmp_path / name).write_text("none")
        line = rf"{name} is no exported file; give one that ends in \.onnx, \.pt2, \.pt, \.safetensors, or a run folder"
        with pytest.raises(UserError, match=line):
            studygroup.predict(tmp_path / name, ["x.png"])


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file(request: pytest.FixtureRequest, cache: Path, tmp_path: Path, name: str) -> None:
    path = copied(export(run_for(name, request), cache, format=name), tmp_path)
    weights_of(path).write_bytes(weights_of(path).read_bytes()[:3000])
    with pytest.raises(UserError, match=rf"is not the file that {card_of(path).name} describes: it is damaged, or another one; copy both"):
        ExportedModel(path)


@pytest.mark.parametrize("content", ["half", "hostile"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_none_though_its_card_agrees(
    request: pytest.FixtureRequest, cache: Path, tmp_path: Path, name: str, content: str
) -> None:
    path = copied(export(run_for(name, request), cache, format=name), tmp_path)
    weights = weights_of(path)
    weights.write_bytes(HOSTILE if content == "hostile" else weights.read_bytes()[:3000])
    describe(path, sha256=hash_of(weights))
    with pytest.raises(UserError, match=r"cannot be opened \(.*\); export the member again") as caught:
        ExportedModel(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
def test_a_file_of_other_inputs_though_its_card_agrees(digits: Run, texts: Run, cache: Path, tmp_path: Path, name: str) -> None:
    path = copied(export(digits, cache, format=name), tmp_path)
    shutil.copy(export(texts, cache, format=name)["path"], path)
    describe(path, sha256=hash_of(path))
    with pytest.raises(UserError, match=r"best\.\w+ fails on inputs of 2x1x8x8 \(.*\); export the member again") as caught:
        ExportedModel(path).predict(pixels(2))
    assert "\n" not in str(caught.value)


def test_a_file_of_other_classes_though_its_card_agrees(digits: Run, cache: Path, tmp_path: Path) -> None:
    path = copied(export(digits, cache), tmp_path)
    describe(path, classes=[*map(str, range(10)), "ten"])
    with pytest.raises(UserError, match=r"returns logits of shape \(1, 10\) for 1 samples and 11 classes, not \(1, 11\)"):
        ExportedModel(path).predict(pixels(1))
    with pytest.raises(UserError, match=r"logits of shape \(500, 10\) for 500 samples and 11 classes"):
        studygroup.evaluate(path, data="digits", cache=cache, progress=False)


def test_weights_of_another_network(digits: Run, cache: Path, tmp_path: Path) -> None:
    path = copied(export(digits, cache, format="safetensors"), tmp_path)
    line = r"best.safetensors holds the weights of another network \((size mismatch|Missing key).*\); give the network that they are of,"
    for name in ("resnet14", "vgg8", "resnet8x4"):
        describe(path, network=name)
        with pytest.raises(UserError, match=line) as caught:
            ExportedModel(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=line):
        ExportedModel(path, network=nn.Linear(64, 10))
    describe(path, network="resnet9")
    with pytest.raises(UserError, match="unknown network 'resnet9'; did you mean resnet8"):
        ExportedModel(path)
    describe(path, network="transformer")
    with pytest.raises(UserError, match="transformer reads texts, but the data are images"):
        ExportedModel(path)


def test_networks_that_are_not_needed_or_none(digits: Run, cache: Path) -> None:
    with pytest.raises(UserError, match=r"a network is given, but .*best.onnx has its own; leave it out"):
        ExportedModel(export(digits, cache)["path"], network=nn.Identity())
    with pytest.raises(UserError, match=r"network is a type; give a torch.nn.Module of the right shape"):
        ExportedModel(export(digits, cache, format="safetensors")["path"], network=nn.Identity)  # type: ignore[arg-type]


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
    line = r"best.onnx has no card best.onnx.json, which `studygroup export` writes with it; copy both, or export the member again"
    with pytest.raises(UserError, match=line):
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


def test_a_folder_for_transformers_without_its_parts(hugging_face: Run, cache: Path, tmp_path: Path) -> None:
    path = copied(export(hugging_face, cache, format="huggingface"), tmp_path)

    def refused(message: str, change: Any) -> None:
        folder = Path(shutil.copytree(path, tmp_path / "changed"))
        change(folder)
        with pytest.raises(UserError, match=message):
            studygroup.predict(folder, ["the wave"])
        shutil.rmtree(folder)

    def layers(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))

    def tokens(folder: Path) -> None:
        found = json.loads((folder / "tokenizer.json").read_text())
        found["model"]["vocab"]["more"] = len(found["model"]["vocab"])
        (folder / "tokenizer.json").write_text(json.dumps(found))

    refused("changed has no card studygroup.json, which", lambda folder: (folder / "studygroup.json").unlink())
    refused("model.safetensors does not exist; copy the whole folder", lambda folder: (folder / "model.safetensors").unlink())
    refused("changed has no tokenizer.json that can be read", lambda folder: (folder / "tokenizer.json").unlink())
    refused("tokenizer in .*changed is of another file", tokens)
    refused("weights in .*changed are of another model than its config.json describes .*; restore the folder", layers)
    refused("changed cannot be opened", lambda folder: (folder / "config.json").write_text("{}"))


@pytest.mark.parametrize("kind", ["module", "weights"])
def test_nothing_in_a_folder_for_transformers_is_run(hugging_face: Run, cache: Path, tmp_path: Path, kind: str) -> None:
    path = copied(export(hugging_face, cache, format="huggingface"), tmp_path)
    touched = tmp_path / "touched"
    if kind == "module":
        config = json.loads((path / "config.json").read_text())
        names = {"AutoConfig": "planted.Config", "AutoModelForSequenceClassification": "planted.Model"}
        (path / "config.json").write_text(json.dumps({**config, "model_type": "planted", "auto_map": names}))
        (path / "planted.py").write_text(f"from pathlib import Path\nPath({str(touched)!r}).touch()\n")
    else:
        (path / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile(touched)))
        (path / "model.safetensors").unlink()
    with pytest.raises(UserError):
        ExportedModel(path)
    assert not touched.exists()


@pytest.mark.parametrize(("name", "package", "extra"), [("onnx", "onnxruntime", "export"), ("huggingface", "transformers", "transformers")])
def test_a_missing_package(
    request: pytest.FixtureRequest, digits: Run, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    path = export(run_for(name, request), cache, format=name)["path"]
    others = [export(digits, cache, format=other)["path"] for other in ("pt2", "torchscript", "safetensors")]
    real = importlib.import_module

    def without(wanted: str, *rest: Any) -> Any:
        if wanted in ("onnx", "onnxscript", package):
            raise ImportError(wanted)
        return real(wanted, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UserError, match=rf"{Path(path).name} needs the package {package}; pip install 'studygroup\[{extra}\]'"):
        ExportedModel(path)
    assert [len(ExportedModel(other).predict(pixels(2))) for other in others] == [2, 2, 2]


class Hostile:
    """A pickle that writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("name", "place", "line"),
    [
        ("pt2", "data/sample_inputs/model.pt", "holds Python objects, which are not loaded; export the network again"),
        ("pt2", "data/constants/opaque_obj_0", "holds the Python object opaque_obj_0, which is not loaded"),
        ("torchscript", "data.pkl", r"cannot be opened \(Unknown type name"),
        ("torchscript", "constants.pkl", r"cannot be opened \(Unknown type name"),
    ],
)
def test_nothing_in_a_program_is_unpickled(digits: Run, cache: Path, tmp_path: Path, name: str, place: str, line: str) -> None:
    path = copied(export(digits, cache, format=name), tmp_path)
    touched = tmp_path / "touched"
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    write_archive(path, entries)
    ExportedModel(path)
    top = next(iter(entries)).partition("/")[0]
    entries[f"{top}/{place}"] = pickle.dumps(Hostile(touched), protocol=2)
    if "constants/" in place:
        constants = {"x": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}}
        entries[f"{top}/data/constants/model_constants_config.json"] = json.dumps({"config": constants}).encode()
    write_archive(path, entries)
    with pytest.raises(UserError, match=line):
        ExportedModel(path)
    assert not touched.exists()


def write_archive(path: Path, entries: dict[str, bytes]) -> None:
    """Write an uncompressed archive, and its SHA-256 into its card."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    describe(path, sha256=hash_of(path))


def test_a_network_that_drops_the_axis_of_a_batch_of_one(digits: Run, cache: Path) -> None:
    class Squeezed(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def load_state_dict(self, weights: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
            return self.network.load_state_dict(weights)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.squeeze(self.network(images))

    model = ExportedModel(export(digits, cache, format="safetensors")["path"], network=Squeezed(digits.best.network))
    assert model.predict_proba(pixels(2)).shape == (2, 10)
    with pytest.raises(UserError, match=r"logits of shape \(10,\) for 1 samples and 10 classes, not \(1, 10\)"):
        model.predict(pixels(1))
