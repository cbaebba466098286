"""Text networks by name: options, arguments, and errors for networks that do not fit the data."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studygroup import UserError
from studygroup.networks import IMAGE_NETWORKS, NETWORKS, TEXT_NETWORKS, NetworkFactory, create, parameter_count, tokenizer_of
from studygroup.networks.factory import build_network, check_network, is_untrained, resolve_spec
from studygroup.networks.registry import canonical_name, options_of, reads_texts, stems

TINY = "transformer@depth=1,heads=2,hidden=4,embedding=4,feedforward=4"


class Bag(nn.Module):
    """A mean of embeddings, which is no chain; T is at most 9."""

    def __init__(self, num_classes: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary, 3)
        self.linear = nn.Linear(3, num_classes)

    def forward(self, ids: Tensor) -> Tensor:
        if ids.shape[1] > 9:
            raise ValueError(f"{ids.shape[1]} tokens are too many")
        out: Tensor = self.linear(self.embedding(ids))
        return out


def either(num_classes: int, in_channels: int | None = None, vocabulary: int | None = None) -> nn.Module:
    return nn.Linear(num_classes, 10 * (in_channels or 0) + (vocabulary or 0))


def anything(**words: int) -> nn.Module:
    return nn.Linear(words["num_classes"], sum(words.values()))


def test_networks_read_images_or_texts() -> None:
    assert {**IMAGE_NETWORKS, **TEXT_NETWORKS} == NETWORKS
    assert not set(IMAGE_NETWORKS) & set(TEXT_NETWORKS)
    assert [name for name in NETWORKS if reads_texts(name)] == ["transformer", "vdcnn9", "vdcnn17", "vdcnn29"]
    assert reads_texts("vdcnn9@k=3")
    assert not reads_texts("resnet18@large")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transformer", "bpe"),
        (TINY, "bpe"),
        ("vdcnn9", "chars"),
        ("vdcnn29@k=3", "chars"),
        ("hf:models/bert", "hf:models/bert"),
        ("package.module:function", "bpe"),
        (Bag, "bpe"),
        (nn.Linear(2, 2), "bpe"),
    ],
)
def test_networks_read_images_or_texts_by_name(name: Any, kind: str) -> None:
    assert tokenizer_of(name) == kind


def test_vocabularies() -> None:
    with torch.device("meta"):
        for name, usual in (("transformer", 16_000), ("vdcnn9", 72), ("vdcnn17", 72), ("vdcnn29", 72)):
            sizes = {vocabulary: parameter_count(create(name, 2, vocabulary=vocabulary)) for vocabulary in (None, usual, usual + 1)}
            assert sizes[None] == sizes[usual]
            assert sizes[usual + 1] - sizes[usual] == (512 if name == "transformer" else 16)
            assert parameter_count(create(name, num_classes=10)) > 0


def test_options() -> None:
    network = create("transformer@depth=2, heads=2 ,hidden=6,embedding=5,feedforward=7,dropout=0.25", 3, vocabulary=11)
    shapes = {key: tuple(value.shape) for key, value in network.named_parameters()}
    assert list(network.stages) == ["embedding", "stage1", "stage2", "head"]
    assert shapes["embedding.embedding.tokens.weight"] == (11, 5)
    assert shapes["embedding.projection.weight"] == (6, 5)
    assert shapes["stage2_block1.feedforward.inside.weight"] == (7, 6)
    assert network.get_submodule("stage1_block1.attention").heads == 2
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.25}
    network = create("vdcnn9@embedding=3,width=2,k=5,hidden=6,shortcut=1", 3, vocabulary=11)
    shapes = {key: tuple(value.shape) for key, value in network.named_parameters()}
    assert shapes["embedding.tokens.weight"] == (11, 3)
    assert shapes["stem.conv.weight"] == (2, 3, 3)
    assert shapes["stage4_block1.projection.weight"] == (16, 8, 1)
    assert shapes["classifier.0.weight"] == (6, 16 * 5)
    assert shapes["classifier.2.weight"] == (6, 6)


def test_options_are_the_arguments_of_the_functions() -> None:
    sizes = {"depth": 3, "heads": 4, "hidden": 128, "embedding": 512, "feedforward": 512, "dropout": 0.1}
    assert options_of("transformer") == {**sizes, "sublayers": 0}
    for depth in (9, 17, 29):
        assert options_of(f"vdcnn{depth}") == {"embedding": 16, "width": 64, "k": 8, "hidden": 2048, "shortcut": 0, "convolutions": 0}
    assert options_of("resnet18") == {}


def test_the_table_of_options_in_the_docs_is_complete() -> None:
    text = (Path(__file__).parents[2] / "docs" / "networks" / "transformer.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE)
    assert {name: float(default) for name, default in rows} == options_of("transformer")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("transformer", "transformer"),
        ("transformer@heads=8,depth=6", "transformer@depth=6,heads=8"),
        ("transformer@depth=3,heads=04,dropout=1e-1", "transformer"),
        ("transformer@dropout=0", "transformer@dropout=0.0"),
        ("vdcnn29@shortcut=1,k=8", "vdcnn29@shortcut=1"),
        (TINY, TINY),
    ],
)
def test_names_are_canonical(written: str, name: str) -> None:
    for size in (8, 224):
        assert (
            canonical_name(written, "auto", size) == canonical_name(written, "small", size) == resolve_spec(written, "auto", size) == name
        )
    assert canonical_name(name) == name
    with torch.device("meta"):
        assert parameter_count(create(name, 2)) == parameter_count(create(written, 2))
    assert list(stems("transformer")) == ["small"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transfomer", "unknown network 'transfomer'; did you mean transformer?"),
        ("vdcnn", "unknown network 'vdcnn'; did you mean vdcnn9 or vdcnn29 or vdcnn17?"),
        ("transformer@head=8", "unknown option of transformer 'head'; did you mean heads"),
        ("transformer@k=8", "unknown option of transformer 'k'; known: depth, dropout, embedding, feedforward, heads, hidden, sublayers"),
        ("vdcnn9@depth=3", "unknown option of vdcnn9 'depth'"),
        ("transformer@large", "transformer@large has 'large' where OPTION=VALUE is expected, such as transformer@depth=3"),
        ("transformer@depth=6,", "transformer@depth=6, has '' where OPTION=VALUE is expected"),
        ("transformer@depth=6,depth=7", "transformer@depth=6,depth=7 has depth twice; leave one out"),
        ("transformer@sublayers=2", "sublayers is 2; it must be 0 or 1"),
        ("vdcnn9@convolutions=2", "convolutions is 2; it must be 0 or 1"),
        ("vdcnn9@convolutions=1,shortcut=1", "shortcut and convolutions are both 1"),
        ("transformer@depth=0", "depth of transformer is 0; it must be at least 1"),
        ("transformer@depth=-2", "depth of transformer is -2; it must be at least 1"),
        ("transformer@depth=2.5", "depth of transformer is '2.5'; it must be a whole number"),
        ("transformer@depth=", "depth of transformer is ''; it must be a whole number"),
        ("transformer@dropout=much", "dropout of transformer is 'much'; it must be a number"),
        ("transformer@dropout=nan", "dropout of transformer is 'nan'; it must be a number"),
        ("transformer@dropout=1", "dropout is 1.0; it must be at least 0 and below 1"),
        ("transformer@dropout=-0.1", "dropout is -0.1; it must be at least 0 and below 1"),
        ("transformer@heads=3", "hidden is 128, which is no multiple of 3 heads; make it one"),
        ("vdcnn9@shortcut=2", "shortcut is 2; it must be 0 or 1"),
        ("vdcnn9@shortcut=-1", "shortcut of vdcnn9 is -1; it must be at least 0"),
        ("vdcnn9@k=0", "k of vdcnn9 is 0; it must be at least 1"),
    ],
)
def test_invalid_names_are_refused(name: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=re.escape(message)) as caught:
        create(name, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create("resnet8", 2, vocabulary=5), "resnet8 has no vocabulary, for it reads images; use transformer, vdcnn9"),
        (lambda: create("vdcnn9", 2, vocabulary=1), "vocabulary is 1; it must be at least 2, the padding and a token"),
        (lambda: create("vdcnn9", 0, vocabulary=5), "num_classes is 0, in_channels 3; both must be at least 1"),
        (lambda: create("vdcnn9", 2, stem="large"), "vdcnn9 reads texts and has no stem 'large'; leave stem out"),
        (lambda: canonical_name("vdcnn9", "large", 224), "vdcnn9 reads texts and has no stem 'large'; leave stem out"),
        (lambda: canonical_name("vdcnn9@large", "auto", 224), "vdcnn9@large has 'large' where OPTION=VALUE is expected"),
        (lambda: resolve_spec("transformer@head=8", "auto", 224), "unknown option of transformer 'head'"),
        (
            lambda: build_network("vdcnn9", num_classes=2, in_channels=3),
            "vdcnn9 reads texts, but the data are images; use resnet20 or another",
        ),
        (
            lambda: build_network("resnet18@large", num_classes=2, vocabulary=9),
            "resnet18@large reads images, but the data are texts; use transformer, vdcnn9, vdcnn17 or vdcnn29, or hf:FOLDER",
        ),
        (lambda: build_network("timm:resnet18", num_classes=2, vocabulary=9), "timm:resnet18 reads images, but the data are texts; use"),
        (lambda: build_network(Bag, num_classes=2, in_channels=9), ":Bag reads texts, but the data are images; use resnet20"),
        (lambda: build_network("resnt8", num_classes=2, vocabulary=9), "unknown network 'resnt8'; did you mean resnet8"),
        (
            lambda: build_network("vdcnn9", num_classes=2),
            "in_channels is None, vocabulary None; give one of them: the data are images or texts",
        ),
        (lambda: build_network("vdcnn9", num_classes=2, in_channels=1, vocabulary=9), "in_channels is 1, vocabulary 9; give one of them"),
        (lambda: check_network("resnet8", torch.ones(2, 9, dtype=torch.int64), num_classes=2, vocabulary=9), "resnet8 reads images"),
        (
            lambda: check_network(Bag, torch.ones(2, 12, dtype=torch.int64), num_classes=2, vocabulary=9),
            ":Bag fails on texts of 12 tokens (12 tokens are too many); use a smaller max_length, or another network",
        ),
        (
            lambda: check_network(Bag(2, 4), torch.full((2, 3), 4), num_classes=2, vocabulary=5),
            ":Bag fails on texts of 3 tokens (",
        ),
        (lambda: check_network(Bag(3, 9), torch.ones(2, 4, dtype=torch.int64), num_classes=2, vocabulary=9), ":Bag returns (2, 3) for 2"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_the_data_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_functions_get_in_channels_or_vocabulary() -> None:
    def features(network: nn.Module) -> int:
        assert isinstance(network, nn.Linear)
        return network.out_features

    assert features(build_network(either, num_classes=2, in_channels=3)) == 30
    assert features(build_network(either, num_classes=2, vocabulary=7)) == 7
    assert features(build_network(anything, num_classes=2, in_channels=3)) == 5
    assert features(build_network(anything, num_classes=2, vocabulary=7)) == 9
    bag = build_network(Bag, num_classes=2, vocabulary=7)
    assert bag(torch.ones(3, 4, dtype=torch.int64)).shape == (3, 2)
    for spec in (Bag, bag, TINY, "vdcnn9@width=2,embedding=2,hidden=2"):
        check_network(spec, torch.ones(2, 9, dtype=torch.int64), num_classes=2, vocabulary=7)


def test_the_factory_makes_text_networks() -> None:
    make = NetworkFactory(TINY, num_classes=3, vocabulary=11, peers=["vdcnn9@width=2,hidden=4", Bag])
    assert torch.equal(make.example(), torch.ones(1, 8, dtype=torch.int64))
    assert make.in_channels is None
    students = make.students(3)
    assert [student.eval()(make.example()).shape for student in students] == [(1, 3)] * 3
    first, again, other = make.copy(0), make.copy(0), make.copy(1)
    weights = [network.get_parameter("classifier.weight") for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    given = NetworkFactory(first, num_classes=3, vocabulary=11)
    fresh = given.copy(1)
    assert torch.equal(given.copy(0).get_parameter("classifier.weight"), weights[0])
    assert not torch.equal(fresh.get_parameter("classifier.weight"), weights[0])
    assert fresh.get_parameter("embedding.embedding.tokens.weight")[0].eq(0).all(), "the pad's vector"
    with pytest.raises(UserError, match="resnet8 reads images, but the data are texts"):
        NetworkFactory("resnet8", num_classes=3, vocabulary=11).student(0)


def test_untrained_networks_by_name() -> None:
    assert [is_untrained(text) for text in ("transformer@depth=6", "timm:resnet18", "hf:models/bert", "package:function")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "vocabulary", "message"),
    [
        ("transformer@depth=1000000000", 100, "depth of transformer is 1000000000; it must be at most 10,000"),
        ("transformer@hidden=" + "9" * 400, 100, "it must be at most 10,000"),
        (
            "vdcnn9@width=10000",
            100,
            r"vdcnn9 with num_classes 2, vocabulary 100, width 10000 has [\d,]+ parameters; .* 1,000,000,000",
        ),
        ("transformer", 10**9, r"transformer with num_classes 2, vocabulary 1000000000 has 512,[\d,]+ parameters"),
    ],
)
def test_sizes_that_ask_for_all_memory_are_refused(name: str, vocabulary: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create(name, 2, vocabulary=vocabulary)


def test_looking_at_the_size_draws_no_random_number() -> None:
    """The network is made once without storage, to count; the initialisation must be that of a network made once."""
    torch.manual_seed(3)
    expected = NETWORKS["transformer"](num_classes=2, vocabulary=50, hidden=8, heads=2).state_dict()
    torch.manual_seed(3)
    for key, value in create("transformer@hidden=8,heads=2", 2, vocabulary=50).state_dict().items():
        assert torch.equal(value, expected[key])
