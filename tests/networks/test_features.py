"""Feature extraction: maps, maps before their activation, the pooled feature, and the head."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.groups import Frozen, Modular
from studygroup.networks import Chain, NetworkFactory, create, extract_features, feature_layers, head_of
from studygroup.networks.chain import Pool
from tests.methods.tiny import Plain, tiny

FAMILIES = ["resnet8", "resnet50", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]
POST_ACTIVATION = ["resnet8", "resnet50", "vgg8", "shufflenetv1", "shufflenetv2"]


def made(name: str) -> Chain:
    """A network with updated running statistics."""
    network = NetworkFactory(name, num_classes=5, in_channels=3, seed=1).student(0)
    assert isinstance(network, Chain)
    with torch.no_grad():
        network.train()(images(seed=9))
    return network


def images(count: int = 4, size: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


# ---------------------------------------------------------------- chains


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_extraction_is_one_ordinary_call(name: str, training: bool) -> None:
    network = made(name).train(training)
    other = copy.deepcopy(network)
    calls: Counter[str] = Counter()
    for path, module in network.named_modules():
        module.register_forward_hook(lambda *_, path=path: calls.update([path]))
    before = hooks(network)
    found = extract_features(network, images())
    assert hooks(network) == before
    assert torch.equal(found.logits, other(images()))
    for path, value in network.named_buffers():
        assert torch.equal(value, other.get_buffer(path)), path
    assert {count for path, count in calls.items() if list(network.get_submodule(path).parameters())} == {1}


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_the_outputs_of_stages(name: str) -> None:
    network = made(name).eval()
    found = extract_features(network, images())
    activation, maps = images(), []
    for stage, names in network.stages.items():
        for block in names:
            activation = network.get_submodule(block)(activation)
            if block == "pool":
                assert torch.equal(found.pooled, activation)
        maps += [activation] if stage != "head" else []
    assert len(found.maps) == len(maps)
    assert all(torch.equal(seen, expected) for seen, expected in zip(found.maps, maps, strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", POST_ACTIVATION)
def test_maps_before_the_activation(name: str, training: bool) -> None:
    found = extract_features(made(name).train(training), images())
    for maps, pre in zip(found.maps, found.pre, strict=True):
        assert torch.equal(pre.relu(), maps)
        assert pre.min() < 0, "the activation has not changed it"


def test_maps_before_the_activation_by_hand() -> None:
    network = made("resnet8").eval()
    found = extract_features(network, images())
    block = network.get_submodule("stage2_block1")
    part = block.get_submodule
    x = found.maps[1]
    expected = part("bn2")(part("conv2")(part("bn1")(part("conv1")(x)).relu())) + part("shortcut")(x)
    torch.testing.assert_close(found.pre[2], expected)
    stem = network.get_submodule("stem")
    assert isinstance(stem, nn.Sequential)
    torch.testing.assert_close(found.pre[0], stem[1](stem[0](images())))


@pytest.mark.parametrize("training", [True, False])
def test_in_wide_residual_networks_it_is_the_output_of_the_next_batch_norm(training: bool) -> None:
    network = made("wrn_16_2").train(training)
    reference = copy.deepcopy(network)
    found = extract_features(network, images())
    for number, norm in enumerate(("stage1_block1.bn1", "stage2_block1.bn1", "stage3_block1.bn1", "norm.0")):
        torch.testing.assert_close(found.pre[number], reference.get_submodule(norm)(found.maps[number]))
        assert found.maps[number].min() < 0, "a map of a network with pre-activation is a sum"


def test_only_the_stem_of_mobilenetv2_ends_in_an_activation() -> None:
    found = extract_features(made("mobilenetv2"), images())
    assert torch.equal(found.pre[0].relu(), found.maps[0])
    assert [pre is maps for pre, maps in zip(found.pre, found.maps, strict=True)] == [False, True, True, True, True]


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "mobilenetv2"])
def test_all_parameters_get_gradients(name: str) -> None:
    network = made(name).double().train()
    for parent in list(network.modules()):
        for child, module in list(parent.named_children()):
            if isinstance(module, nn.ReLU):  # without kinks, so that differences are slopes
                setattr(parent, child, nn.Softplus())
    inputs = images().double().requires_grad_()
    found = extract_features(network, inputs)
    seen = [*found.maps, *found.pre, found.pooled, found.logits]
    assert all(tensor.requires_grad for tensor in seen)
    weights = [torch.randn(t.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k, t in enumerate(seen)]

    def direction(inputs: Tensor) -> Tensor:
        again = extract_features(network, inputs)
        tensors = [*again.maps, *again.pre, again.pooled, again.logits]
        return torch.stack([(t * w).sum() for t, w in zip(tensors, weights, strict=True)]).sum()

    loss = direction(inputs)
    gradient, *parts = torch.autograd.grad(loss, [inputs, *network.parameters()])
    assert all(part.any() for part in parts)
    step = torch.randn(inputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
    eps = 1e-6
    with torch.no_grad():
        slope = (direction(inputs + eps * step) - direction(inputs - eps * step)) / (2 * eps)
    torch.testing.assert_close((gradient * step).sum(), slope, rtol=1e-4, atol=1e-6)


def test_extraction_without_gradient() -> None:
    with torch.no_grad():
        found = extract_features(made("resnet8"), images())
    assert not any(t.requires_grad for t in (*found.maps, *found.pre, found.pooled, found.logits))


def test_layers_of_a_chain_by_stage_or_by_path() -> None:
    network = made("resnet8").eval()
    whole = extract_features(network, images())
    some = extract_features(network, images(), ["stage3", "stage1_block1.bn2", "stem"])
    assert torch.equal(some.maps[0], whole.maps[3])
    assert torch.equal(some.maps[2], whole.maps[0])
    assert some.maps[1].shape == whole.maps[1].shape
    assert feature_layers(network) == ["stem", "stage1_block1", "stage2_block1", "stage3_block1"]
    assert feature_layers(network, ["stage2", "pool"]) == ["stage2_block1", "pool"]
    twice = extract_features(network, images(), ["stage3", "stem", "stage3_block1"])
    assert [maps.shape[1] for maps in twice.maps] == [64, 16, 64]
    none = extract_features(network, images(), [])
    assert none.maps == none.pre == ()
    assert torch.equal(none.pooled, whole.pooled)


def test_under_autocast_the_precision_is_that_of_the_call() -> None:
    network = made("wrn_16_1").eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = extract_features(network, images())
        assert torch.equal(found.logits, network(images()))
    assert {maps.dtype for maps in found.maps} == {torch.bfloat16}


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
def test_features_of_a_compiled_network() -> None:
    network = made("wrn_16_1").eval()
    expected = extract_features(network, images())
    network.compile(backend="eager")
    torch.testing.assert_close(network(images()), expected.logits)
    found = extract_features(network, images())
    for seen, wanted in zip((*found.maps, *found.pre), (*expected.maps, *expected.pre), strict=True):
        torch.testing.assert_close(seen, wanted)
    torch.testing.assert_close(network(images()), expected.logits)


def test_features_of_a_frozen_teacher_have_no_gradient() -> None:
    network = made("resnet8")
    expected = extract_features(copy.deepcopy(network).eval(), images())
    teacher = Frozen(network).train()
    found = teacher.extract_features(images())
    assert torch.equal(found.logits, expected.logits)
    assert all(torch.equal(seen, wanted) for seen, wanted in zip(found.pre, expected.pre, strict=True))
    assert not any(t.requires_grad for t in (*found.maps, *found.pre, found.pooled, found.logits))
    assert teacher.extract_features(images(), ["stem"]).maps[0].shape == expected.maps[0].shape


def test_features_of_a_route_by_paths() -> None:
    group = Modular(lambda _: tiny(), 2).eval()
    inputs = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = extract_features(group[1], inputs, ["path.0", "path.2"])
    plain = extract_features(group.export(1), inputs, ["stem", "second"])
    for seen, expected in zip((*found.maps, *found.pre, found.logits), (*plain.maps, *plain.pre, plain.logits), strict=True):
        torch.testing.assert_close(seen, expected)


# ---------------------------------------------------------------- any other network


class Own(nn.Module):
    """A network with in-place operations wherever possible."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.gelu = nn.GELU()
        self.unused = nn.Linear(2, 2)
        self.pair = Pair()
        self.project = nn.Linear(channels, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x *= 2  # what was seen must not change
        y = self.second(x)
        y += x
        y = torch.relu_(self.norm(y))
        y, _ = self.pair(y)
        out: Tensor = self.head(self.gelu(self.project(y.mean((2, 3)))))
        return out


class Pair(nn.Module):
    """A module that returns several tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None


def by_hand(network: Own, x: Tensor) -> dict[str, Tensor]:
    """The same without in-place operations."""
    pre = network.first[1](network.first[0](x))
    first = pre.relu()
    second = network.second(2 * first)
    norm = network.norm(second + 2 * first)
    pooled = network.gelu(network.project(norm.relu().mean((2, 3))))
    return {"pre": pre, "first": first, "second": second, "norm": norm, "pooled": pooled, "logits": network.head(pooled)}


def test_features_of_another_module_by_paths() -> None:
    torch.manual_seed(0)
    network = Own().double()
    x = images(3, 6).double().requires_grad_()
    expected = by_hand(copy.deepcopy(network), x)
    before = hooks(network)
    found = extract_features(network, x, ["norm", "first", "second"])
    assert hooks(network) == before == 0
    seen = {"norm": found.maps[0], "first": found.maps[1], "second": found.maps[2], "pre": found.pre[1]}
    seen |= {"pooled": found.pooled, "logits": found.logits}
    assert found.pre[0] is found.maps[0]
    assert found.pre[2] is found.maps[2]
    for name, tensor in seen.items():
        torch.testing.assert_close(tensor, expected[name])
        weights = torch.randn(tensor.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        gradients = [torch.autograd.grad((t * weights).sum(), x, retain_graph=True)[0] for t in (tensor, expected[name])]
        torch.testing.assert_close(*gradients)


class InPlace(nn.Module):
    """Normalises its input, activates it in-place, and adds to an activated map in-place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.sum = Sum()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.sum(torch.relu_(self.norm(self.stem(x)))).mean((2, 3)))
        return out


class Sum(nn.Module):
    """Its last operation is no activation."""

    def __init__(self) -> None:
        super().__init__()
        self.tanh = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tanh(x)
        y += x
        return y


def test_in_place_operations_do_not_change_features() -> None:
    torch.manual_seed(0)
    network = InPlace().eval()
    found = extract_features(network, images(3, 6), ["stem", "sum"])
    norm = network.norm(network.stem(images(3, 6)))
    assert norm.min() < 0
    torch.testing.assert_close(found.pre[0], norm)  # the next normalisation's, before the ReLU that works on its output
    torch.testing.assert_close(found.maps[1], norm.relu() + norm.relu().tanh())
    assert found.pre[1] is found.maps[1]


def test_nested_layers_and_the_activation_itself() -> None:
    network = Own().eval()
    found = extract_features(network, images(3, 6), ["first", "first.2", "first.1"])
    assert torch.equal(found.maps[0], found.maps[1])
    assert torch.equal(found.pre[0], found.pre[1])
    assert torch.equal(found.pre[0], found.maps[2])
    assert torch.equal(found.pre[0].relu(), found.maps[0])


def test_the_classifier_by_its_path() -> None:
    network = Own().eval()
    x = images(3, 6)
    assert extract_features(network, x, []).pooled.shape == (3, 6)
    found = extract_features(network, x, [], classifier="project")
    assert found.pooled.shape == (3, 4)
    convolutional = nn.Sequential(nn.Conv2d(3, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(7, 5, 1), nn.Flatten())
    found = extract_features(convolutional, x, ["0"], classifier="2")
    assert found.pooled.shape == (3, 7)
    torch.testing.assert_close(found.pooled, found.maps[0].mean((2, 3)))
    assert torch.equal(extract_features(convolutional, x, ["0"]).maps[0], found.maps[0])  # without it maps and logits are seen all the same


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        (lambda: extract_features(Own(), images(2, 6), ["frist"]), r"unknown module of Own 'frist'; did you mean first"),
        (lambda: extract_features(create("resnet8", 5), images(2, 8), ["stage5"]), r"unknown module of Chain 'stage5'; did you mean stage"),
        (lambda: extract_features(Own(), images(2, 6), [], classifier="haed"), r"'haed'; did you mean head"),
        (lambda: extract_features(Own(), images(2, 6)), r"Own is no chain of blocks.*such as first, second, norm"),
        (lambda: extract_features(Own(), images(2, 6), ["unused"]), r"the module 'unused' of Own did not run"),
        (lambda: extract_features(Own(), images(2, 6), [], classifier="unused").pooled, r"the given classifier did not run"),
        (lambda: extract_features(Own(), images(2, 6), ["pair"]), r"the module 'pair' returns a tuple, not a tensor"),
        (
            lambda: extract_features(nn.Conv2d(3, 5, 1), images(2, 6), []).pooled,
            r"of Conv2d is not known: no linear layer ran; name the module",
        ),
        (
            lambda: extract_features(nn.Linear(6, 5), images(2, 6), []).pooled,
            r"the classifier of Linear takes \(2, 3, 6, 6\), not \(B, d\)",
        ),
        (lambda: extract_features(Pair(), images(2, 6), []), r"Pair returns a tuple; it must return a tensor of logits"),
        (lambda: head_of(Plain()), r"Plain is no chain of blocks"),
    ],
)
def test_layers_that_cannot_be_extracted_are_refused(watch: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        watch()
    assert "\n" not in str(caught.value)


def test_hooks_are_removed_after_a_failure() -> None:
    network = Own()
    with pytest.raises(RuntimeError):
        extract_features(network, torch.zeros(2, 4, 6, 6), ["first"])
    with pytest.raises(UserError):
        extract_features(network, images(2, 6), ["pair"])
    assert hooks(network) == 0


# ---------------------------------------------------------------- the head


@pytest.mark.parametrize("name", FAMILIES)
def test_head_of_image_networks(name: str) -> None:
    network = made(name).eval()
    position, head = head_of(network)
    found = extract_features(network, images(), [position])
    torch.testing.assert_close(head(found.maps[0]), found.logits)
    torch.testing.assert_close(found.maps[0].mean((2, 3)), found.pooled)
    assert found.maps[0].min() >= 0, "behind the last activation"
    assert [id(p) for p in head.parameters()] == [id(p) for p in network.get_submodule("classifier").parameters()]


def test_the_layer_that_is_pooled() -> None:
    expected = {"resnet8": "stage3_block1", "wrn_16_1": "norm", "mobilenetv2": "conv", "shufflenetv2": "conv", "vgg11": "stage4_block2"}
    for name, position in expected.items():
        with torch.device("meta"):
            assert head_of(create(name, num_classes=5))[0] == position
    unpooled = Chain({"stem": {"first": nn.Linear(3, 4)}, "head": {"norm": nn.ReLU(), "out": nn.Linear(4, 2)}})
    position, head = head_of(unpooled)
    assert (position, len(head)) == ("first", 2)
    assert isinstance(head_of(tiny())[1][0], Pool)
