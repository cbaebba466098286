"""The blocks and networks of each family against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.networks import create, extract_features
from studygroup.networks.layers import Shuffle
from studygroup.networks.mobilenetv2 import InvertedResidual
from studygroup.networks.shufflenetv1 import ShuffleUnit
from studygroup.networks.shufflenetv2 import DownUnit, SplitUnit
from studygroup.networks.vgg import HalveLarge
from studygroup.networks.wrn import PreactivationBlock


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ready(module: nn.Module) -> nn.Module:
    """Convert to double precision and eval mode, with random running statistics and affine parameters."""
    torch.manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.weight, norm.bias, norm.running_mean):
                assert values is not None
                nn.init.normal_(values)
            assert norm.running_var is not None
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return module.double().eval()


def norm(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.BatchNorm2d)
    assert module.running_mean is not None
    assert module.running_var is not None
    mean, var, weight, bias = (v.view(1, -1, 1, 1) for v in (module.running_mean, module.running_var, module.weight, module.bias))
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def conv(module: nn.Module, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolve group by group."""
    assert isinstance(module, nn.Conv2d)
    parts = zip(x.chunk(groups, 1), module.weight.chunk(groups, 0), strict=True)
    return torch.cat([F.conv2d(part, weight, module.bias, stride, module.kernel_size[0] // 2) for part, weight in parts], 1)


@pytest.mark.parametrize(("channels", "width", "stride"), [(4, 4, 1), (4, 6, 1), (4, 6, 2)])
def test_a_preactivation_block(channels: int, width: int, stride: int) -> None:
    block = ready(PreactivationBlock(channels, width, stride))
    x = noise(3, channels, 6, 6)
    activated = norm(block.get_submodule("bn1"), x).relu()
    y = conv(block.get_submodule("conv1"), activated, stride)
    y = conv(block.get_submodule("conv2"), norm(block.get_submodule("bn2"), y).relu())
    shortcut = x if channels == width else conv(block.get_submodule("projection"), activated, stride)
    torch.testing.assert_close(block(x), y + shortcut)


def test_projections_of_wide_residual_networks() -> None:
    for name, projecting in (("wrn_40_1", [2, 3]), ("wrn_16_2", [1, 2, 3])):
        network = create(name, num_classes=4)
        found = [path for path, module in network.named_modules() if path.endswith("projection")]
        assert found == [f"stage{number}_block1.projection" for number in projecting]
    assert [len(names) for names in create("wrn_40_1", num_classes=4).stages.values()] == [1, 6, 6, 6, 3]


@pytest.mark.parametrize(("channels", "width", "stride", "expansion"), [(4, 4, 1, 6), (4, 4, 2, 6), (4, 6, 1, 2), (4, 4, 1, 1)])
def test_an_inverted_residual(channels: int, width: int, stride: int, expansion: int) -> None:
    block = ready(InvertedResidual(channels, width, stride, expansion))
    body = block.get_submodule("body")
    assert isinstance(body, nn.Sequential)
    x = noise(3, channels, 6, 6)
    y = norm(body[1], conv(body[0], x)).relu()
    y = norm(body[4], conv(body[3], y, stride, groups=channels * expansion)).relu()
    y = norm(body[7], conv(body[6], y))
    torch.testing.assert_close(block(x), x + y if stride == 1 and channels == width else y)


def test_the_blocks_of_mobilenetv2() -> None:
    network = create("mobilenetv2", num_classes=4)
    blocks = [module for module in network if isinstance(module, InvertedResidual)]
    inner, strides, widths, residual = [], [], [], []
    for block in blocks:
        depthwise, last = block.get_submodule("body.3"), block.get_submodule("body.6")
        assert isinstance(depthwise, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        inner.append(depthwise.groups)
        strides.append(depthwise.stride[0])
        widths.append(last.out_channels)
        residual.append(block.residual)
    assert widths == [8] + [12] * 2 + [16] * 3 + [32] * 4 + [48] * 3 + [80] * 3 + [160]
    assert inner == [16] + [6 * width for width in (8, 12, 12, 16, 16, 16, 32, 32, 32, 32, 48, 48, 48, 80, 80, 80)]
    assert strides == [1] + [1] * 2 + [2, 1, 1] + [2, 1, 1, 1] + [1] * 3 + [2, 1, 1] + [1]
    assert [number for number, added in enumerate(residual) if added] == [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_shuffle(groups: int) -> None:
    x = noise(2, 12, 3, 3)
    y = Shuffle(groups)(x)
    for group in range(groups):
        for channel in range(12 // groups):
            assert torch.equal(y[:, channel * groups + group], x[:, group * (12 // groups) + channel])


@pytest.mark.parametrize(("channels", "width", "stride", "first"), [(24, 240, 2, 1), (48, 48, 1, 3), (12, 36, 2, 3)])
def test_a_shuffle_unit(channels: int, width: int, stride: int, first: int) -> None:
    unit = ready(ShuffleUnit(channels, width, stride))
    body = unit.get_submodule("body")
    assert isinstance(body, nn.Sequential)
    x = noise(2, channels, 5, 5)
    inner = (width - channels if stride == 2 else width) // 4
    y = Shuffle(first)(norm(body[1], conv(body[0], x, groups=first)).relu())
    y = norm(body[5], conv(body[4], y, stride, groups=inner)).relu()
    y = norm(body[8], conv(body[7], y, groups=3))
    expected = torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1) if stride == 2 else y + x
    torch.testing.assert_close(unit(x), expected.relu())


def test_a_split_unit_may_activate_all_channels() -> None:
    """Values and gradients: a ReLU of all channels equals one of the computed half."""
    unit = ready(SplitUnit(8))
    body = unit.get_submodule("body")
    assert isinstance(body, nn.Sequential)
    start = noise(3, 8, 4, 4).requires_grad_()

    def expected(x: Tensor) -> Tensor:
        kept, rest = x[:, :4], x[:, 4:]
        y = norm(body[1], conv(body[0], rest)).relu()
        y = norm(body[4], conv(body[3], y, groups=4))
        y = norm(body[6], conv(body[5], y)).relu()
        return torch.stack([kept, y], 2).flatten(1, 2)  # one of each in turn

    found, wanted = unit(start.relu()), expected(start.relu())
    torch.testing.assert_close(found, wanted)
    weights = noise(*found.shape, seed=5)
    first, second = (torch.autograd.grad((out * weights).sum(), start)[0] for out in (found, wanted))
    torch.testing.assert_close(first, second)


def test_a_down_unit() -> None:
    unit = ready(DownUnit(6, 8))
    left, right = unit.get_submodule("left"), unit.get_submodule("right")
    assert isinstance(left, nn.Sequential)
    assert isinstance(right, nn.Sequential)
    x = noise(2, 6, 6, 6)
    y = norm(left[3], conv(left[2], norm(left[1], conv(left[0], x, 2, groups=6)))).relu()
    z = norm(right[1], conv(right[0], x)).relu()
    z = norm(right[6], conv(right[5], norm(right[4], conv(right[3], z, 2, groups=4)))).relu()
    torch.testing.assert_close(unit(x), torch.stack([y, z], 2).flatten(1, 2))


def test_shufflenets_have_their_units() -> None:
    first, second = create("shufflenetv1", num_classes=4), create("shufflenetv2", num_classes=4)
    assert [len(names) for names in first.stages.values()] == [1, 4, 8, 4, 2]
    assert [len(names) for names in second.stages.values()] == [1, 4, 8, 4, 3]
    groups = [m.groups for m in first.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert groups == [1, 1] + [3] * (2 * 16 - 1)


def test_vgg_against_its_definition() -> None:
    network = ready(create("vgg13", num_classes=5))
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    x = noise(2, 3, 32, 32)
    activation, maps = x, []
    for number, (layer, batch_norm) in enumerate(zip(convs, norms, strict=True)):
        if number in (2, 4, 6):
            activation = F.max_pool2d(activation, 2)
        activation = norm(batch_norm, conv(layer, activation)).relu()
        if number % 2:
            maps.append(activation)
    linear = network.get_submodule("classifier")
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        found = extract_features(network, x)
    for seen, expected in zip(found.maps, maps, strict=True):
        torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(found.logits, maps[-1].mean((2, 3)) @ linear.weight.T + linear.bias)


@pytest.mark.parametrize(("size", "last"), [(8, 1), (28, 3), (32, 4), (56, 7), (63, 7), (64, 4), (224, 14)])
def test_vgg_halves_once_more_from_64_pixels_on(size: int, last: int) -> None:
    with torch.device("meta"):
        maps = extract_features(create("vgg8", num_classes=5), torch.zeros(2, 3, size, size)).maps
    assert maps[-1].shape[2:] == (last, last)


def test_halving_is_a_max_pool() -> None:
    x = noise(1, 1, 8, 8)
    assert torch.equal(HalveLarge()(x)[0, 0, 1, 2], x[0, 0, 2:4, 4:6].max())
    assert torch.equal(HalveLarge()(x[..., :7]), x[..., :7])
