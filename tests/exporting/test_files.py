"""Exported files: what is in them, that they do what the network does, and the cards beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

import studygroup
from studygroup import ExportedModel, TrainingError, cli
from studygroup.data import Images
from studygroup.exporting.check import check
from studygroup.exporting.formats import FORMATS, Graph, quiet
from studygroup.exporting.int8 import quantise
from studygroup.exporting.samples import check_samples, random_inputs
from studygroup.networks import TEXT_NETWORKS, create
from studygroup.runs.member import Member, Run
from tests.exporting.exports import SMALL, export, open_file


@pytest.mark.parametrize("name", [name for name, chosen in FORMATS.items() if not chosen.is_folder])
def test_the_file_of_each_format_is_checked_on_the_holdout(digits: Run, cache: Path, name: str) -> None:
    card = export(digits, cache, format=name)
    path = digits.folder / "exported" / f"best{FORMATS[name].suffix}"
    assert card["path"] == str(path)
    assert json.loads(Path(f"{path}.json").read_text()) == {key: value for key, value in card.items() if key not in ("path", "cards")}
    result = card["check"]
    assert (result["samples"], result["origin"], result["agreement"]) == (48, "hold-out", 1.0)
    assert result["difference"] <= 1e-4
    assert result["file"]["accuracy"] == result["network"]["accuracy"] == digits.result["selected"]["holdout"]
    assert result["file"]["bytes"] == path.stat().st_size
    assert all(seconds > 0 for score in ("file", "network") for seconds in result[score]["seconds"].values())
    assert not list(path.parent.glob(".export-*"))


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
def test_normalisation_in_the_graph(digits: Run, cache: Path, name: str) -> None:
    card = export(digits, cache, format=name, with_preprocessing=True)
    assert card["input"] == {"name": "input", "shape": ["batch", 1, 8, 8], "dtype": "uint8"}
    best = digits.best
    pixels = random_inputs(best, 5)
    with torch.no_grad():
        expected = best.network(best.inputs.transform("cpu")(pixels))
        found = open_file(name, card["path"])(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_ensemble_is_the_mean_of_the_students_probabilities(digits: Run, cache: Path) -> None:
    card = export(digits, cache, member="ensemble")
    assert card["path"].endswith("ensemble.onnx")
    members = digits.members
    inputs = members["student0"].inputs.transform("cpu")(random_inputs(digits.best, 7))
    with torch.no_grad():
        mean = (members["student0"].network(inputs).softmax(-1) + members["student1"].network(inputs).softmax(-1)) / 2
    torch.testing.assert_close(open_file("onnx", card["path"])(inputs).exp(), mean, rtol=1e-4, atol=1e-6)
    assert card["check"]["file"]["accuracy"] == digits.result["last"]["holdout"]["ensemble"] == card["holdout"]


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript", "safetensors"])
def test_texts_of_any_length(texts: Run, characters: Run, cache: Path, name: str) -> None:
    for run in (texts, characters):
        card = export(run, cache, format=name)
        assert card["input"]["shape"] == ["batch", "length"]
        assert card["check"]["origin"] == "hold-out"
        saved = Path(card["path"]).parent / "tokenizer"
        assert {file.name: file.read_bytes() for file in saved.iterdir()} == {
            file.name: file.read_bytes() for file in run.files.tokenizer.iterdir()
        }
        best = run.best
        opened = open_file(name, card["path"], best.network)
        for length in (1, 3, 9, 70):
            ids = random_inputs(best, 3, length, length)
            with torch.no_grad():
                torch.testing.assert_close(opened(ids), best.network(ids), rtol=1e-4, atol=1e-5)


def floats(path: str | Path) -> int:
    """Return the bytes of the weights of an ONNX file that are no integers."""
    found = onnx.load(path).graph.initializer
    return sum(onnx.numpy_helper.to_array(weight).nbytes for weight in found if weight.data_type == onnx.TensorProto.FLOAT)


def test_int8_is_calibrated_and_its_accuracy_reported(digits: Run, texts: Run, cache: Path) -> None:
    for run, options in ((digits, {"with_preprocessing": True}), (texts, {})):
        card = export(run, cache, int8=True, **options)
        assert card["path"].endswith("best.int8.onnx")
        assert card["precision"] == "int8"
        assert list(Path(card["path"]).parent.glob("*float32*")) == []
        result = card["check"]
        assert (result["origin"], result["samples"]) == ("hold-out", 48)
        assert 1e-4 < result["difference"] < 0.5
        assert result["agreement"] > 0.8
        assert abs(result["file"]["accuracy"] - result["network"]["accuracy"]) < 0.2
        assert floats(card["path"]) < 0.3 * result["network"]["bytes"], "int8 has a quarter of the bytes, and scales"
        operators = {node.op_type for node in onnx.load(card["path"]).graph.node}
        assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert export(digits, cache, int8=True, with_preprocessing=True)["check"]["file"]["bytes"] < 0.5 * 313_776


def test_weights_that_the_graph_reshapes_are_quantised(tmp_path: Path) -> None:
    """As those of convolutions on texts."""

    class Texts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 64, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.conv2d(x.unsqueeze(2), self.weight.unsqueeze(2)).mean((2, 3))

    inputs = torch.randn(2, 64, 9)
    network = Texts().eval()
    with quiet():
        FORMATS["onnx"].write(Graph(network, inputs), tmp_path / "float32.onnx")
        quantise(tmp_path / "float32.onnx", tmp_path / "int8.onnx", [inputs])
    assert floats(tmp_path / "int8.onnx") < 0.1 * network.weight.nbytes
    found, expected = open_file("onnx", tmp_path / "int8.onnx")(inputs), network(inputs)
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float32.onnx", "int8.onnx"]


def test_cards(digits: Run, texts: Run, characters: Run, cache: Path) -> None:
    card = export(digits, cache, with_preprocessing=True)
    images = digits.best.inputs
    assert isinstance(images, Images)
    assert card["classes"] == digits.best.classes
    assert card["origin"] == {"run": str(digits.folder), "data": "digits", "method": "dml", "seed": 0, **{
        key: digits.best.card[key] for key in ("member", "epoch")
    }}  # fmt: skip
    preparation = card["preprocessing"]
    assert (preparation["mean"], preparation["std"], preparation["size"]) == (list(images.mean), list(images.std), [8, 8])
    assert (preparation["interpolation"], preparation["mode"], preparation["normalised_in_graph"]) == ("bicubic", "L", True)
    assert card["versions"]["torch"] == torch.__version__
    text = Path(f"{card['path']}.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "image-classification"
    assert yaml.safe_load(front)["library_name"] == "onnx"
    assert [line for line in body.splitlines() if line.startswith("## ")] == [
        "## Model description", "## How to use", "## Results", "## Training",
    ]  # fmt: skip
    assert card["test"] == digits.result["selected"]["test"]
    assert f"hold-out {100 * card['holdout']:.2f}%, test {100 * card['test']:.2f}%." in body
    assert export(digits, cache, member="ensemble")["test"] == digits.result["last"]["test"]["ensemble"]
    assert f", epoch {digits.best.card['epoch']}. Versions: " in body
    assert export(texts, cache)["tokenizer"]["kind"] == "bpe"
    described = export(characters, cache)["tokenizer"]
    assert (described["kind"], described["pad"], described["max_length"], len(described["symbols"])) == ("chars", 0, 80, 69)


def test_without_the_data_the_inputs_are_random_and_the_card_says_so(
    texts: Run, digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise studygroup.UserError("walks.csv does not exist")

    monkeypatch.setattr("studygroup.exporting.samples.open_data", gone)
    for run in (texts, digits):
        path = tmp_path / f"{run.result['student'][:6]}.safetensors"
        found = studygroup.export(run.folder, format="safetensors", out=path)["check"]
        assert found["origin"] == "random inputs, as the run's data cannot be used (walks.csv does not exist)"
        assert (found["samples"], found["file"]["accuracy"], found["network"]["accuracy"]) == (500, None, None)
    assert (tmp_path / "tokenizer").is_dir()


def test_members_are_exported_from_python(digits: Run, cache: Path, tmp_path: Path) -> None:
    card = digits.member("student1").export("safetensors", out=tmp_path / "second.safetensors", cache=cache)
    assert card["path"] == str(tmp_path / "second.safetensors")
    weights, exported = digits.weights(digits.files.weights("student1")), load_file(card["path"])
    assert weights.keys() == exported.keys()
    assert all(torch.equal(exported[name], value) for name, value in weights.items())


def test_networks_from_python_are_exported(own_network: Path, cache: Path, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    run = studygroup.train("digits", method="baseline", student=module, epochs=1, out=tmp_path / "run", cache=cache, **SMALL)
    card = run.member("best", nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).export("pt2", cache=cache)
    assert card["check"]["origin"] == "hold-out"
    assert card["check"]["agreement"] == 1.0


@pytest.mark.filterwarnings("ignore:there is no hold-out set")
def test_without_a_holdout_the_test_set_is_used(digits: Run, cache: Path, tmp_path: Path) -> None:
    options = {**SMALL, "holdout": 0.0, "train_size": 64}
    run = studygroup.train("digits", method="baseline", student="resnet8", epochs=1, out=tmp_path / "run", cache=cache, **options)
    samples = check_samples(run.best, with_preprocessing=False, cache=cache)
    assert samples.origin == "test"
    assert [len(batch.prepared) for batch in samples.batches][:2] == [1, 63]


def test_a_file_that_does_something_else_fails_the_check(digits: Run, cache: Path) -> None:
    samples = check_samples(digits.best, with_preprocessing=False, cache=cache)
    network = digits.best.network
    check(network, network, samples, 0, 0)
    with pytest.raises(TrainingError, match=r"differ from the network's by .* more than 0.0001; it was removed"):
        check(network, lambda inputs: network(inputs) * 1.001, samples, 0, 0)
    with pytest.raises(TrainingError, match="differ from the network's by"):
        check(network, lambda inputs: network(inputs) * float("nan"), samples, 0, 0)

    def stubborn(inputs: Tensor) -> Tensor:
        raise RuntimeError("one sample only")

    with pytest.raises(TrainingError, match=r"fails on inputs of 1x1x8x8 \(one sample only\)"):
        check(network, stubborn, samples, 0, 0)


def untrained(name: str, like: Member) -> Member:
    """A network with running statistics other than its first: of texts as those of a member, or of images of 3x32x32."""
    torch.manual_seed(0)
    texts, count = name in TEXT_NETWORKS, len(like.classes)
    network = create(name, count, vocabulary=like.inputs.spec().vocabulary) if texts else create(name, count, 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    images = Images((3, 32, 32), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
    card = {"classes": like.classes, "network": name}
    return Member(name, network, like.inputs, card, like.folder) if texts else Member(name, network, images, card)


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "pt2"])
@pytest.mark.parametrize("name", sorted(studygroup.list_names("networks")["networks"]))
def test_all_networks(characters: Run, cache: Path, tmp_path: Path, name: str, format_name: Any) -> None:
    card = untrained(name, characters.best).export(format_name, out=tmp_path / f"network.{format_name}", cache=cache)
    assert card["check"]["agreement"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TEXT_NETWORKS))
def test_int8_of_all_text_networks(characters: Run, cache: Path, tmp_path: Path, name: str) -> None:
    card = untrained(name, characters.best).export("onnx", int8=True, out=tmp_path / "network.onnx", cache=cache)
    result = card["check"]
    assert (card["precision"], result["origin"], result["samples"]) == ("int8", "hold-out", 48)
    assert 1e-4 < result["difference"] < 0.5
    assert floats(card["path"]) < 0.05 * result["network"]["bytes"]
    assert result["file"]["bytes"] < 0.35 * result["network"]["bytes"]
    assert ExportedModel(card["path"]).predict_proba("the wave").shape == (1, 2), "a batch of one"


def test_shortcuts_and_wide_k_in_torchscript(characters: Run, tmp_path: Path) -> None:
    """A trace holds for texts shorter than the example."""
    torch.manual_seed(0)
    network = create("vdcnn9@width=8,hidden=32,shortcut=1,k=4", 3, vocabulary=72).eval()
    path = tmp_path / "network.pt"
    with pytest.warns(UserWarning, match="deprecated"), quiet():
        FORMATS["torchscript"].write(Graph(network, random_inputs(characters.best, 2), 80), path)
    traced = open_file("torchscript", path)
    for length in (1, 8, 33, 80):
        ids = torch.randint(1, 72, (2, length))
        with torch.no_grad():
            torch.testing.assert_close(traced(ids), network(ids), rtol=1e-4, atol=1e-6)


def test_the_command_prints_the_file_beside_the_network(
    digits: Run, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "student.safetensors"
    words = ["export", str(digits.folder), "--format", "safetensors", "--out", str(path), "--cache", str(cache)]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "resnet8, float32" in shown
    assert "checked on 48 samples (hold-out): labels agree on 100.00%, largest difference of logits 0.0e+00 of the largest" in shown
    assert f"file:     {path}\n" in shown
    assert f"card:     {path}.json, {path}.md\n" in shown
