"""CGL with every registered network: routes through its blocks learn, count and leave as the network does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.groups import Modular
from studygroup.networks import IMAGE_NETWORKS, Maker, create, parameter_count
from tests.methods.tiny import CLASSES, assembled, updates


def sizes(module: nn.Module) -> int:
    return sum({id(p): p.numel() for p in module.parameters()}.values())


LARGE = ("resnet32x4", "resnet34", "resnet50", "vgg16", "vgg19")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in IMAGE_NETWORKS])
def test_cgl_with_every_network(name: str) -> None:
    method = assembled("cgl", {"students": 2, "probability": 1.0}, spec=name)
    group = method.group
    assert isinstance(group, Modular)
    plain = create(name, CLASSES, 1)
    count = parameter_count(plain)
    head = sum(sizes(plain.get_submodule(block)) for block in plain.stages["head"])
    assert sizes(group) == 2 * (count - head) + head
    assert sizes(group[0]) == sizes(group[1]) == count

    inputs = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
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


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_every_layer_has_parameters(name: str) -> None:
    """Where a layer has none, routes that differ there only would be one student twice."""

    def on_paper(_: int) -> nn.Module:
        with torch.device("meta"):
            return create(name, CLASSES)

    group = Modular(on_paper, 2)
    assert all(sizes(module) for layer in group.layers for module in layer.children())


def test_the_first_student_starts_as_the_network_alone() -> None:
    for name in ("wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"):
        make = Maker(name, num_classes=CLASSES, in_channels=1)
        alone, student = make.student(0).state_dict(), Modular(make.copy, 2).export(0).state_dict()
        assert all(torch.equal(value, student[key]) for key, value in alone.items())
