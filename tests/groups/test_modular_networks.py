"""CGL with every registered network: training, parameter counts and exports of routes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.groups import Modular
from studygroup.networks import IMAGE_NETWORKS, NETWORKS, TEXT_NETWORKS, NetworkFactory, create, parameter_count
from tests.methods.tiny import CLASSES, VOCABULARY, built_method, sentences, shape_of, updates


def sizes(module: nn.Module) -> int:
    return sum({id(p): p.numel() for p in module.parameters()}.values())


LARGE = ("resnet32x4", "resnet34", "resnet50", "vgg16", "vgg19")
OF_TEXTS = [f"{name}@{'hidden=8,embedding=6,feedforward=8' if name == 'transformer' else 'width=4,hidden=8'}" for name in TEXT_NETWORKS]
ALL = [*(pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in IMAGE_NETWORKS), *OF_TEXTS]


@pytest.mark.parametrize("name", ALL)
def test_cgl_with_every_network(name: str) -> None:
    texts = name in OF_TEXTS
    method = built_method("cgl", {"students": 2, "probability": 1.0}, spec=name, texts=texts)
    group = method.group
    assert isinstance(group, Modular)
    plain = create(name, CLASSES, 1, vocabulary=VOCABULARY if texts else None)
    count = parameter_count(plain)
    common = sum(sizes(plain.get_submodule(block)) for stage in ("embedding", "head") for block in plain.stages.get(stage, ()))
    assert sizes(group) == 2 * (count - common) + common
    assert sizes(group[0]) == sizes(group[1]) == count

    inputs = sentences(4, seed=1, length=40) if texts else torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = Batch(inputs, torch.arange(4), torch.arange(4), (2, 2))
    used = {id(parameter) for k in range(2) for parameter in group[k].parameters()}
    for losses in updates(method, torch.optim.SGD(method.parameters(), lr=1e-4), batch):
        assert set(losses) == {f"student{k}/{kind}" for k in range(2) for kind in ("cross_entropy", "imitation")}
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert {id(parameter) for parameter in group.parameters() if parameter.grad is not None} == used

    method.eval()
    for k in range(2):
        exported = group.export(k)
        assert list(exported.state_dict()) == list(plain.state_dict())
        with torch.no_grad():
            logits = group[k](inputs)
            assert torch.isfinite(logits).all()
            torch.testing.assert_close(exported(inputs), logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_has_parameters(name: str) -> None:
    """Otherwise two routes that differ in such a layer only would be the same student."""

    def on_paper(_: int) -> nn.Module:
        with torch.device("meta"):
            return create(name, CLASSES)

    group = Modular(on_paper, 2)
    assert all(sizes(module) for layer in group.layers for module in layer.children())


def test_the_first_student_starts_as_a_single_network() -> None:
    for name in ("wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2", *OF_TEXTS):
        make_copy = NetworkFactory(name, num_classes=CLASSES, **shape_of(name in OF_TEXTS))
        alone, student = make_copy.student(0).state_dict(), Modular(make_copy.copy, 2).export(0).state_dict()
        assert all(torch.equal(value, student[key]) for key, value in alone.items())
