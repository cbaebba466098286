"""What networks start from: origins of parameters, frozen parts, and equal starts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from studygroup import UserError
from studygroup.groups import Branched, Independent, Modular
from studygroup.networks.factory import NetworkFactory, build_network
from studygroup.networks.starts import Start, describe_start, freeze, is_trained
from studygroup.networks.weights import Weights

TINY = "resnet8"


def weights(seed: int = 7, classes: int = 4) -> Weights:
    torch.manual_seed(seed)
    return Weights(f"run{seed}", build_network(TINY, num_classes=classes, in_channels=1).state_dict())


def factory(*roles: str, **start: str) -> NetworkFactory:
    given = {role: weights(number) for number, role in enumerate(roles)}
    return NetworkFactory(TINY, num_classes=4, in_channels=1, start=Start(given, **start))  # type: ignore[arg-type]


def equal(first: nn.Module, second: nn.Module) -> bool:
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_each_student_its_own() -> None:
    make = factory("student0", "student2")
    students = make.students(3)
    assert [describe_start(student) for student in students] == ["weights of run0", "initialisation 1 of seed 0", "weights of run1"]
    assert set(make.lines) == {"student0", "student2"}
    make.check_start(["student0", "student1", "student2"])


def test_weights_that_nobody_takes() -> None:
    make = factory("student0", "student3")
    make.students(2)
    with pytest.raises(UserError, match="unknown student to load weights into 'student3'"):
        make.check_start(["student0", "student1"])
    make = factory("student1")
    Modular(make.copy, 4)
    with pytest.raises(UserError, match="student1 shares modules with student0"):
        make.check_start(["student0", "student1"])


def test_students_that_share_modules_say_so() -> None:
    group = Modular(factory("student0").copy, 2, seed=1)
    first, second = (describe_start(group[k]) for k in range(2))
    assert first == "weights of run0"
    assert "initialisation 1 of seed 0 (" in second
    trunk = Branched(factory("student0").copy, 2)
    text = describe_start(trunk[1])
    assert "weights of run0 (" in text
    assert "initialisation 1 of seed 0 (" in text


@pytest.mark.parametrize("roles", [(), ("student0",)])
def test_the_same_start(roles: tuple[str, ...]) -> None:
    same = factory(*roles, members="same").students(3)
    own = factory(*roles).students(3)
    assert equal(same[0], own[0])
    assert equal(same[0], same[2])
    assert not equal(own[0], own[2])
    other = NetworkFactory(TINY, peers=["resnet14"], num_classes=4, in_channels=1, start=Start(members="same")).students(2)
    assert describe_start(other[1]) == "initialisation 1 of seed 0"
    routes = Modular(factory(*roles, members="same").copy, 2, seed=1)
    assert all(equal(layer[0], layer[-1]) for layer in routes.layers if isinstance(layer, nn.ModuleList))


def test_a_module_from_python_keeps_its_weights_in_the_first_or_in_all() -> None:
    module = build_network(TINY, num_classes=4, in_channels=1)
    own = NetworkFactory(module, num_classes=4, in_channels=1).students(2)
    assert [describe_start(student) for student in own] == ["the weights of the given module", "initialisation 1 of seed 0"]
    assert not equal(own[1], module)
    same = NetworkFactory(module, num_classes=4, in_channels=1, start=Start(members="same")).students(2)
    assert equal(same[1], module)
    assert describe_start(same[1]) == "the weights of the given module"


@pytest.mark.parametrize(
    ("part", "trained"),
    [("stem", "stage1"), ("stage2", "stage3"), ("all-but-head", "classifier")],
)
@pytest.mark.parametrize("kind", ["independent", "modular", "branched"])
def test_frozen_parts_stay(kind: str, part: str, trained: str) -> None:
    make = factory("student0", freeze=part, members="same")
    group = {
        "independent": lambda: Independent(make.students(2)),
        "modular": lambda: Modular(make.copy, 2, seed=1),
        "branched": lambda: Branched(make.copy, 2),
    }[kind]()  # type: ignore[no-untyped-call]
    make.check_start(["student0", "student1"])
    before = {name: value.clone() for name, value in group.export(0).state_dict().items()}
    optimizer = torch.optim.SGD([parameter for parameter in group.parameters() if parameter.requires_grad], 0.1)
    images = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        torch.stack([logits.square().sum() for logits in group.train()(images)]).sum().backward()
        optimizer.step()
    after = group.export(0).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith(trained) for name in changed)
    first = next(number for number, name in enumerate(before) if name in changed)
    order = ["stem", "stage1", "stage2", "stage3", "classifier"]
    assert list(before)[first].startswith(trained), "nothing before it has changed, statistics of batch norms included"
    assert order.index(trained) == order.index(next(stage for stage in order if list(before)[first].startswith(stage)))
    plain = build_network(TINY, num_classes=4, in_channels=1)
    plain.load_state_dict(after)  # with the names of a network that was never frozen
    group.eval()
    torch.testing.assert_close(plain.eval()(images), group(images)[0])


def test_only_what_was_trained_is_frozen() -> None:
    first, second = factory("student0", freeze="stage1").students(2)
    assert not first.get_parameter("stem.0.weight").requires_grad
    assert first.get_parameter("classifier.weight").requires_grad
    assert all(parameter.requires_grad for parameter in second.parameters())


def test_nothing_to_freeze() -> None:
    make = factory(freeze="stage1")
    make.students(2)
    with pytest.raises(UserError, match="freeze is stage1, but no student starts from trained weights; give --weights"):
        make.check_start(["student0", "student1"])
    with pytest.raises(UserError, match="unknown stage of resnet8 to freeze 'stage9'; did you mean stage3"):
        factory("student0", freeze="stage9").student(0)
    with pytest.raises(UserError, match="unknown stage of resnet8 to freeze 'head'"):
        factory("student0", freeze="head").student(0)
    network = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(UserError, match="mine has no stages; give all-but-head"):
        freeze(network, "stage1", "mine")
    with pytest.raises(UserError, match="the head of mine is not known"):
        freeze(network, "all-but-head", "mine")


def test_a_new_head_is_not_trained() -> None:
    make = NetworkFactory(TINY, num_classes=9, in_channels=1, start=Start({"student0": weights()}))
    network = make.student(0)
    fresh = {name for name, parameter in network.named_parameters() if not is_trained(parameter)}
    assert fresh == {"classifier.weight", "classifier.bias"}
    assert "weights of run7 (" in describe_start(network)
