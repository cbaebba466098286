"""Networks: published parameter counts, shapes, features, and the factory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.groups import Modular
from studygroup.networks import IMAGE_NETWORKS, Chain, NetworkFactory, create, extract_features, parameter_count, resnet
from studygroup.networks.chain import Pool
from studygroup.networks.factory import Spec, build_network, spec_name

# name: (parameters with 100 classes, with 10 classes)
COUNTS = {
    "resnet8": (83_892, 78_042),
    "resnet14": (181_108, 175_258),
    "resnet20": (278_324, 272_474),
    "resnet26": (375_540, 369_690),
    "resnet32": (472_756, 466_906),
    "resnet44": (667_188, 661_338),
    "resnet56": (861_620, 855_770),
    "resnet110": (1_736_564, 1_730_714),
    "resnet8x4": (1_233_540, 1_210_410),
    "resnet32x4": (7_433_860, 7_410_730),
    "resnet50": (23_705_252, 23_520_842),
    "resnet18": (11_220_132, 11_173_962),
    "resnet34": (21_328_292, 21_282_122),
    "wrn_16_1": (180_916, 175_066),
    "wrn_16_2": (703_284, 691_674),
    "wrn_40_1": (569_780, 563_930),
    "wrn_40_2": (2_255_156, 2_243_546),
    "vgg8": (3_965_028, 3_918_858),
    "vgg11": (9_277_284, 9_231_114),
    "vgg13": (9_462_180, 9_416_010),
    "vgg16": (14_774_436, 14_728_266),
    "vgg19": (20_086_692, 20_040_522),
    "mobilenetv2": (812_836, 697_546),
    "mobilenetv2_100": (2_351_972, 2_236_682),
    "shufflenetv1": (949_258, 862_768),
    "shufflenetv2": (1_355_528, 1_263_278),
}

# channels x height of the maps f0, f1, ... for an image of 32x32 / channels of the pooled feature
NARROW, WIDE = "16x32 16x32 32x16 64x8 / 64", "64x32 64x32 128x16 256x8 512x4 / 512"
FEATURES = {
    **{f"resnet{depth}": NARROW for depth in (8, 14, 20, 26, 32, 44, 56, 110)},
    **dict.fromkeys(("resnet8x4", "resnet32x4"), "32x32 64x32 128x16 256x8 / 256"),
    **dict.fromkeys(("resnet18", "resnet34"), WIDE),
    "resnet50": "64x32 256x32 512x16 1024x8 2048x4 / 2048",
    **dict.fromkeys(("wrn_16_1", "wrn_40_1"), NARROW),
    **dict.fromkeys(("wrn_16_2", "wrn_40_2"), "16x32 32x32 64x16 128x8 / 128"),
    **{f"vgg{depth}": "64x32 128x16 256x8 512x4 512x4 / 512" for depth in (8, 11, 13, 16, 19)},
    "mobilenetv2": "16x16 12x16 16x8 48x4 160x2 / 1280",
    "mobilenetv2_100": "32x16 24x16 32x8 96x4 320x2 / 1280",
    "shufflenetv1": "24x32 240x16 480x8 960x4 / 960",
    "shufflenetv2": "24x32 116x16 232x8 464x4 / 1024",
}

FAMILIES = ["resnet8", "resnet50", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]

# network: (modules per layer, parameters of the modular network with 100 classes, with 10)
MODULAR = [("resnet18", 2, 22_388_964, 22_342_794), ("resnet18", 3, 33_557_796, 33_511_626), ("resnet34", 2, 42_605_284, 42_559_114)]


def on_paper(name: str, classes: int) -> Chain:
    """Make the network without memory for its weights."""
    with torch.device("meta"):
        return create(name, num_classes=classes)


def test_every_network_is_tested() -> None:
    assert set(COUNTS) == set(FEATURES) == set(IMAGE_NETWORKS)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name: str) -> None:
    assert (parameter_count(on_paper(name, 100)), parameter_count(on_paper(name, 10))) == COUNTS[name]


@pytest.mark.parametrize(("name", "modules", "hundred", "ten"), MODULAR)
def test_parameter_counts_of_modular_networks(name: str, modules: int, hundred: int, ten: int) -> None:
    """M times the trunk and one head, for any number of students; a student has as many as a single network."""
    for classes, expected in ((100, hundred), (10, ten)):
        for students in (2, 8):
            group = Modular(lambda _, classes=classes: on_paper(name, classes), students, modules)  # type: ignore[misc]
            assert sum(p.numel() for p in group.parameters()) == expected
        single = COUNTS[name][classes == 10]
        head = (512 + 1) * classes
        assert expected == modules * (single - head) + head
        route = {id(p): p.numel() for p in group[1].parameters()}
        assert sum(route.values()) == single


def test_the_full_mobilenetv2_is_that_of_the_paper() -> None:
    """3.4 million parameters for ImageNet (Table 4), 3,504,872 in torchvision and timm."""
    assert parameter_count(on_paper("mobilenetv2_100", 1000)) == 3_504_872


def test_frozen_parameters_are_not_counted() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1).requires_grad_(False))
    assert parameter_count(network) == 8


@pytest.mark.parametrize("name", ["resnet8x4", "resnet18", *FAMILIES])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (2, 17, 19), (1, 8, 8), (1, 1, 1)])
def test_any_size_and_number_of_channels(name: str, shape: tuple[int, int, int]) -> None:
    network = create(name, num_classes=7, in_channels=shape[0]).eval()
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    if name == "vgg8" and shape == (1, 1, 1):
        with pytest.raises(RuntimeError, match="too small"), torch.no_grad():
            network(inputs)
        return
    with torch.no_grad():
        logits = network(inputs)
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", FEATURES)
def test_features(name: str) -> None:
    with torch.device("meta"):
        found = extract_features(create(name, num_classes=10), torch.zeros(2, 3, 32, 32))
    assert all(maps.shape[2] == maps.shape[3] for maps in found.maps)
    assert " ".join(f"{maps.shape[1]}x{maps.shape[2]}" for maps in found.maps) + f" / {found.pooled.shape[1]}" == FEATURES[name]
    assert [pre.shape for pre in found.pre] == [maps.shape for maps in found.maps]
    assert found.pooled.shape[0] == 2
    assert found.logits.shape == (2, 10)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_can_be_split_at_every_stage(name: str) -> None:
    network = create(name, num_classes=5).eval()
    assert next(iter(network.stages)) == "stem"
    assert list(network.stages)[-1] == "head"
    assert network.stages["head"][-2:] == ("pool", "classifier")
    inputs = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network(inputs)
        for stage in network.stages:
            first = list(network.blocks()).index(network.stages[stage][0])
            trunk, branch = nn.Sequential(*list(network)[:first]), nn.Sequential(*list(network)[first:])
            assert torch.equal(branch(trunk(inputs)), logits), stage


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_do_not_change_their_input(name: str) -> None:
    """A shared prefix of routes is computed once and passed to several blocks."""
    network = create(name, num_classes=5)
    activation = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in network:
            before = activation.clone()
            following = block(activation)
            assert torch.equal(activation, before)
            activation = following


def test_a_chain_runs_its_blocks_in_order() -> None:
    network = create("resnet14", num_classes=4, in_channels=1).eval()
    assert list(network.blocks()) == [name for names in network.stages.values() for name in names]
    assert [len(names) for names in network.stages.values()] == [1, 2, 2, 2, 2]
    activation = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = network(activation)
    for block in network.blocks().values():
        activation = block(activation)
    assert torch.equal(logits, activation)


@pytest.mark.parametrize("name", ["resnet18", "wrn_16_2", "vgg13", "mobilenetv2"])
def test_convolutions_start_from_kaiming_fan_out(name: str) -> None:
    torch.manual_seed(0)
    network = create(name, num_classes=10)
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 1000:
            wanted = (2 / (module.out_channels * module.kernel_size[0] * module.kernel_size[1])) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(wanted, rel=0.1), path
        if isinstance(module, nn.Conv2d):
            assert (module.bias is not None) == name.startswith("vgg")
            assert module.bias is None or module.bias.detach().eq(0).all()
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.detach().eq(1).all()
            assert module.bias.detach().eq(0).all()


@pytest.mark.parametrize(("name", "small"), [("wrn_16_2", False), ("vgg8", True), ("mobilenetv2", True)])
def test_classifiers_start_without_a_bias(name: str, small: bool) -> None:
    torch.manual_seed(0)
    linear = create(name, num_classes=50).get_submodule("classifier")
    assert isinstance(linear, nn.Linear)
    assert linear.bias.detach().eq(0).all()
    wanted = 0.01 if small else linear.in_features**-0.5 / 3**0.5  # torch's own: uniform in +-1/sqrt(d)
    assert float(linear.weight.detach().std()) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet21", "resnet20"),
        ("ResNet18", "resnet18"),
        ("resnet8x", "resnet8"),
        ("wrn16_2", "wrn_16_2"),
        ("mobilenet", "mobilenetv2"),
        ("mlp", "known"),
    ],
)
def test_unknown_networks_get_suggestions(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"unknown network '{name}'.*{near}"):
        create(name, num_classes=10)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (10, 0), (-1, 3)])
def test_counts_below_one_are_refused(classes: int, channels: int) -> None:
    with pytest.raises(UserError, match=rf"num_classes is {classes}, in_channels {channels}"):
        create("resnet8", num_classes=classes, in_channels=channels)


class Small(nn.Module):
    """A network that is no chain."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.pool = Pool()
        self.linear = nn.Linear(5, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.pool(self.norm(self.conv(x))))
        return out


def small(num_classes: int) -> nn.Module:
    return Small(num_classes, 1)


def nothing() -> str:
    return "no network"


def maker(target: Spec = "resnet8", **options: object) -> NetworkFactory:
    return NetworkFactory(target, num_classes=6, in_channels=1, **options)  # type: ignore[arg-type]


def same(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_a_copy_depends_on_its_number_and_the_seed_only() -> None:
    torch.manual_seed(1)
    first = [maker().student(number) for number in range(3)]
    torch.manual_seed(2)
    make = maker(peers=("resnet14", "resnet8"))
    again = [make.copy(number) for number in (2, 0)]
    assert same(first[2], again[0])
    assert same(first[0], again[1])
    assert same(first[2], make.student(2))
    assert not same(first[0], first[1])
    assert not same(first[0], maker(seed=1).student(0))


def test_the_global_generator_is_not_changed() -> None:
    given = Small(6, 1)
    before = torch.get_rng_state()
    maker().student(1)
    maker(given).student(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_single_network_and_the_first_student_start_equal() -> None:
    make = maker()
    assert same(make.student(0), Modular(make.copy, 4, 2).export(0))


def test_extra_modules_have_their_own_random_streams() -> None:
    def part(seed: int, name: str) -> nn.Linear:
        return maker(seed=seed).extra_module(name, lambda: nn.Linear(3, 2))

    before = torch.get_rng_state()
    first = part(0, "gate")
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, part(0, "gate"))
    assert not same(first, part(0, "attention"))
    assert not same(first, part(1, "gate"))


def test_an_example_is_one_input() -> None:
    assert torch.equal(maker().example(), torch.zeros(1, 1, 32, 32))
    assert maker(image_size=(28, 20)).example().shape == (1, 1, 28, 20)


def test_peers_are_the_other_students() -> None:
    make = maker("resnet8", peers=("resnet14", small, "resnet8"))
    assert [make.spec(number) for number in range(4)] == ["resnet8", "resnet14", small, "resnet8"]
    assert [make.is_target(number) for number in range(4)] == [True, False, False, True]
    assert isinstance(make.student(2), Small)
    with pytest.raises(UserError, match="student 4 has no network: 3 peers"):
        make.spec(4)


def test_without_peers_all_students_have_the_target_network() -> None:
    make = maker(small)
    assert all(make.is_target(number) for number in range(5))


def test_two_modules_of_one_class_are_different_networks() -> None:
    target = create("resnet8", num_classes=6, in_channels=1)
    make = maker(target, peers=(create("resnet14", num_classes=6, in_channels=1), target))
    assert [make.is_target(number) for number in range(3)] == [True, False, True]


def test_copies_of_a_module_are_reinitialised() -> None:
    given = Small(6, 1)
    with torch.no_grad():
        given.norm.running_mean.fill_(3.0)  # type: ignore[union-attr]
    make = maker(given)
    first, second, third = (make.student(number) for number in range(3))
    assert first is not given
    assert same(first, given)
    assert not same(second, given)
    assert not same(second, third)
    assert second.state_dict()["norm.running_mean"].eq(0).all()
    assert same(second, make.student(1))


class NoReset(nn.Module):
    """A module with a parameter that cannot be reset."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


def test_a_module_that_cannot_be_reinitialised_is_refused() -> None:
    make = maker(nn.Sequential(NoReset()))
    make.student(0)
    with pytest.raises(UserError, match=r"'0' has no reset_parameters"):
        make.student(1)


@pytest.mark.parametrize(
    "spec",
    ["resnet8", "studygroup.networks.resnet:narrow8", Small, small, partial(Small, in_channels=1), lambda **options: Small(**options)],
)
def test_specifications_of_networks(spec: str | Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet, "narrow8", partial(resnet.narrow, 8), raising=False)
    network = build_network(spec, num_classes=6, in_channels=1).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 9, 9)).shape == (2, 6)
    assert spec_name(spec)


def test_specs_have_names() -> None:
    assert spec_name("resnet8") == "resnet8"
    assert spec_name(small).endswith(":small")
    assert spec_name(Small(2, 1)).endswith(":Small")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_package:net", "no_such_package:net"),
        ("studygroup.networks:no_such", "studygroup.networks:no_such"),
        (":net", ":net"),
        ("studygroup.networks:", "studygroup.networks:"),
        ("studygroup.networks.registry:NETWORKS", "Registry"),
        (nothing, "str"),
        ("resnet9", "resnet8"),
    ],
)
def test_invalid_specifications_are_refused(spec: str | Callable[..., nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_network(spec, num_classes=6, in_channels=1)


def test_teachers_are_copied() -> None:
    teacher = Small(6, 1)
    given = maker(teacher=teacher).trained()
    assert same(given, teacher)
    assert not {id(p) for p in given.parameters()} & {id(p) for p in teacher.parameters()}
    with pytest.raises(UserError, match="teacher"):
        maker().trained()
