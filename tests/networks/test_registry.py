"""The registry of networks is lazy, and other packages can add networks by entry points."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks import NETWORKS, NetworkFactory, create, tokenizer_of
from studygroup.networks.factory import build_network, check_network, resolve_spec
from studygroup.networks.registry import options_of, reads_texts, stems
from studygroup.registry import Registry


class PixelMean(nn.Module):
    """An image network of another package; it has no argument `stem`."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.mean((2, 3)))
        return logits


class BagOfWords(nn.Module):
    """A text network of another package, with an option."""

    def __init__(self, num_classes: int, vocabulary: int, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.linear = nn.Linear(width, num_classes)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.embedding(ids).mean(1))
        return logits


def not_a_network(num_classes: int) -> str:
    return f"{num_classes} classes"


@pytest.fixture(autouse=True)
def entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"pixel_mean": "PixelMean", "bag_of_words": "BagOfWords", "broken": "missing", "text": "not_a_network", "resnet8": "PixelMean"}
    points = [EntryPoint(name, f"{__name__}:{value}", "studygroup.networks") for name, value in values.items()]
    monkeypatch.setattr("studygroup.registry.entry_points", lambda group: [point for point in points if point.group == group])
    monkeypatch.setitem(NETWORKS.__dict__, "entries", Registry("network", NETWORKS.built_in, group=NETWORKS.group).entries)


def test_networks_of_other_packages_follow_the_built_in_ones() -> None:
    assert list(NETWORKS)[-4:] == ["bag_of_words", "broken", "pixel_mean", "text"]
    assert "pixel_mean" in NETWORKS
    assert not isinstance(create("resnet8", 3), PixelMean), "a built-in network cannot be replaced"


def test_an_image_network_of_another_package() -> None:
    assert not reads_texts("pixel_mean")
    assert isinstance(create("pixel_mean", 5), PixelMean)
    assert list(stems("pixel_mean")) == ["small"]
    assert resolve_spec("pixel_mean", "auto", 224) == "pixel_mean"
    check_network("pixel_mean", torch.zeros(2, 1, 8, 8), num_classes=5)
    first, second = NetworkFactory("pixel_mean", peers=["pixel_mean"], num_classes=5, in_channels=1).students(2)
    assert isinstance(first, PixelMean)
    assert not torch.equal(first.linear.weight, second.linear.weight)  # type: ignore[union-attr, arg-type]
    with pytest.raises(UserError, match="reads images"):
        build_network("pixel_mean", num_classes=5, vocabulary=9)
    with pytest.raises(UserError, match="reads images"):
        create("pixel_mean", 5, vocabulary=9)


def test_a_text_network_of_another_package() -> None:
    assert reads_texts("bag_of_words")
    assert isinstance(create("bag_of_words", 5), BagOfWords), "with a default vocabulary"
    assert options_of("bag_of_words") == {"width": 4}
    assert resolve_spec("bag_of_words@width=8", "auto") == "bag_of_words@width=8"
    assert tokenizer_of("bag_of_words") == "bpe"
    network = build_network("bag_of_words@width=8", num_classes=5, vocabulary=9)
    assert isinstance(network, BagOfWords)
    assert network.embedding.weight.shape == (9, 8)
    with pytest.raises(UserError, match="bag_of_words reads texts, but the data are images"):
        build_network("bag_of_words", num_classes=5, in_channels=3)


@pytest.mark.parametrize(
    ("name", "message"), [("broken", "cannot import the network"), ("text", "text returned a str"), ("pixel_maen", "pixel_mean")]
)
def test_networks_that_cannot_be_made_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create(name, 5)


def test_families_are_imported_when_they_are_used() -> None:
    code = (
        "import sys, studygroup.networks as networks\n"
        "networks.registry.stems('resnet8'), networks.registry.reads_texts('vdcnn9'), list(networks.NETWORKS)\n"
        "print(*(family for family in ('resnet', 'vgg', 'vdcnn') if f'studygroup.networks.{family}' in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
