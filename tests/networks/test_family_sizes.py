"""The sizes of a family: chains of larger networks, and what lies between two."""

from __future__ import annotations

from itertools import pairwise

import pytest

from studygroup.networks import NETWORKS, create
from studygroup.networks.registry import parameter_count
from studygroup.networks.sizes import LARGER, larger_network, networks_between


def test_larger_networks_are_larger() -> None:
    for name, larger in LARGER.items():
        assert {name, larger} <= set(NETWORKS)
        assert parameter_count(create(larger, 10)) > parameter_count(create(name, 10))


@pytest.mark.parametrize(("student", "teacher", "expected"), [
    ("resnet8", "resnet56", ["resnet26", "resnet14"]),
    ("resnet8", "resnet110", ["resnet56", "resnet26", "resnet14"]),
    ("resnet8", "resnet44", ["resnet26", "resnet14"]),  # resnet56 would be larger than the teacher
    ("resnet8", "resnet14", []),
    ("resnet8", "resnet8", []),
    ("resnet56", "resnet8", []),
    ("resnet8@large", "resnet26@large", ["resnet14@large"]),
    ("wrn_16_1", "wrn_40_2", ["wrn_16_2"]),
    ("resnet18", "vgg19", []),
    ("transformer@depth=1", "transformer@depth=4", ["transformer@depth=2"]),
    ("resnet8", "timm:resnet18", []),
    ("resnet8", None, []),
    ("mine:network", "resnet56", []),
])  # fmt: skip
def test_networks_between(student: object, teacher: object, expected: list[str]) -> None:
    assert networks_between(student, teacher) == expected


def test_networks_between_descend_from_teacher_to_student() -> None:
    chain = ["resnet110", *networks_between("resnet8", "resnet110"), "resnet8"]
    sizes = [parameter_count(create(name, 10)) for name in chain]
    assert all(large > small for large, small in pairwise(sizes))
    assert larger_network("resnet110") is None
