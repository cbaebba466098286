"""Weights of files: equal logits with reference networks, what is said about them, and bad files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from studygroup import UserError
from studygroup.networks.factory import build_network
from studygroup.networks.weights import IMAGENET_MEAN, Weights, load_weights, read_weights
from tests.networks.reference_mobilenetv2 import MAKERS, trained_mobilenetv2
from tests.networks.reference_resnet import DEPTHS, trained_reference


@pytest.mark.parametrize("name", sorted(DEPTHS))
@pytest.mark.parametrize("nested", [False, True])
def test_equal_logits(name: str, nested: bool, tmp_path: Path) -> None:
    reference, path = trained_reference(name, 7), tmp_path / "weights.pth"
    torch.save({"state_dict": reference.state_dict(), "epoch": 3} if nested else reference.state_dict(), path)
    network = build_network(f"{name}@large", num_classes=7, in_channels=3)
    weights = read_weights(path)
    line = load_weights(network, weights).line
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), reference(images), rtol=1e-4, atol=1e-4)
    count = len(reference.state_dict())
    assert line == f"weights of {path}: {count} tensors loaded, {count} renamed, 0 left out, newly initialised: none"
    assert weights.mean == IMAGENET_MEAN


@pytest.mark.parametrize("library", sorted(MAKERS))
def test_equal_logits_of_mobilenetv2(library: str, tmp_path: Path) -> None:
    reference, path = trained_mobilenetv2(library, 7), tmp_path / "weights.safetensors"
    safetensors.torch.save_file(reference.state_dict(), path)
    network = build_network("mobilenetv2_100@large", num_classes=7, in_channels=3)
    weights = read_weights(path)
    loaded = load_weights(network, weights)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), reference(images), rtol=1e-4, atol=1e-4)
    assert loaded.names == network.state_dict().keys()
    assert weights.mean == IMAGENET_MEAN


def test_a_file_without_a_head(tmp_path: Path) -> None:
    reference, path = trained_reference("resnet18", 7), tmp_path / "weights.safetensors"
    safetensors.torch.save_file({name: value for name, value in reference.state_dict().items() if not name.startswith("fc.")}, path)
    network = build_network("resnet18@large", num_classes=5, in_channels=3)
    assert load_weights(network, read_weights(path)).line.endswith("newly initialised: classifier.bias, classifier.weight")
    with pytest.raises(UserError, match="are of other classes"):
        load_weights(network, read_weights(path), keep_head=True)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, path)
    with pytest.raises(UserError, match="are not finite: b has nan"):
        read_weights(path)


def test_the_card_beside_a_file(tmp_path: Path) -> None:
    path, card = tmp_path / "weights.safetensors", tmp_path / "weights.json"
    safetensors.torch.save_file({"a": torch.ones(2)}, path)
    assert read_weights(path).classes is None
    for text in ("{", "[]", '{"classes": 3}', '{"mean": [0.5]}'):  # no card
        card.write_text(text)
        assert read_weights(path).card is None
    card.write_text('{"classes": ["cat", "dog"], "mean": [0.5], "std": [0.25]}')
    found = read_weights(path)
    assert (found.classes, found.mean, found.std) == (("cat", "dog"), (0.5,), (0.25,))
    card.write_text('{"classes": ["cat"], "preprocessing": {"mean": [0.5], "std": [0.25]}}')
    assert read_weights(path).mean == (0.5,)


def test_other_classes_where_the_head_is_not_known() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    weights = Weights("file", network.state_dict(), classes=("cat", "dog"))
    assert load_weights(network, weights, ("cat", "dog")).line.endswith("newly initialised: none")
    with pytest.raises(UserError, match="which part of the network is its head is not known"):
        load_weights(network, weights, ("cat", "cow"))


def test_new_head(tmp_path: Path) -> None:
    reference, path = trained_reference("resnet18", 7), tmp_path / "weights.safetensors"
    safetensors.torch.save_file(reference.state_dict(), path)
    network = build_network("resnet18@large", num_classes=5, in_channels=3)
    head = network.get_submodule("classifier").weight.detach().clone()  # type: ignore[operator]
    line = load_weights(network, read_weights(path)).line
    assert line.endswith("2 left out, newly initialised: classifier.bias, classifier.weight")
    assert torch.equal(network.get_submodule("classifier").weight, head)  # type: ignore[arg-type]
    assert torch.equal(network.state_dict()["stem.0.weight"], reference.conv1.weight)


@pytest.mark.parametrize(
    ("spec", "channels", "message"),
    [
        ("resnet18@small", 3, "--student resnet18@large"),
        ("resnet18@large", 1, "--channels 3"),
        ("resnet34@large", 3, "another network"),
        ("mobilenetv2", 3, "another network"),
        ("mobilenetv2_100", 3, "another network"),
    ],
)
def test_other_networks(spec: str, channels: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(trained_reference("resnet18", 7).state_dict(), path)
    network = build_network(spec, num_classes=7, in_channels=channels)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_weights(network, read_weights(path))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("hostile",)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_bad_files(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(UserError, match="there are no weights"):
        read_weights(path)
    state = {"a": torch.ones(100)}
    if suffix == ".pt":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(path)
    assert not (tmp_path / "hostile").exists()


def test_no_state_dict(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="hold no state dict"):
        read_weights(tmp_path / "weights.pt")
    (tmp_path / "weights.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"no \.safetensors"):
        read_weights(tmp_path / "weights.onnx")
