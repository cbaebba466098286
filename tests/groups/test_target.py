"""Passes that only compute targets, frozen networks, and recalibrated batch norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.groups import Frozen, predict_targets, recalibrate_bn, target_mode
from studygroup.groups.norm import StudentBatchNorm
from tests.methods.tiny import images, snapshot, tiny

MODES: list[Any] = ["batch_stats", "eval", "train"]


def network_of() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(108, 4), nn.BatchNorm1d(4))
    network.train()
    network(images(5, seed=9))
    return network


def flags(network: nn.Module) -> list[tuple[bool, object]]:
    return [(module.training, getattr(module, "track_running_stats", None)) for module in network.modules()]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [True, False])
def test_flags_are_restored_after_an_error(mode: Any, training: bool) -> None:
    network = network_of().train(training)
    network[2].train(not training)  # a flag that is not like the others
    before = flags(network)
    with target_mode(network, mode):
        pass
    assert flags(network) == before
    with pytest.raises(RuntimeError, match="in the middle"), target_mode(network, mode):
        raise RuntimeError("in the middle")
    assert flags(network) == before
    with pytest.raises(RuntimeError):
        predict_targets(network, torch.zeros(2, 9, 8, 8), mode)
    assert flags(network) == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("training", [True, False])
def test_an_unknown_mode_is_refused(training: bool) -> None:
    with pytest.raises(UserError, match="'test'"), target_mode(network_of().train(training), "test"):  # type: ignore[arg-type]
        pass


def normalised(x: Tensor, norm: nn.Module, dims: tuple[int, ...]) -> Tensor:
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, variance = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, unbiased=False)
    return (x - mean) / (variance + norm.eps).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)


def test_batch_statistics_without_dropout_or_update() -> None:
    network = network_of()
    before = snapshot(network)
    x = images(6, seed=1)
    found = predict_targets(network, x)
    expected = network[4](network[3](normalised(network[0](x), network[1], (0, 2, 3))))
    torch.testing.assert_close(found, normalised(expected, network[5], (0,)).detach(), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in snapshot(network).items())


def test_eval_targets_are_those_of_eval_mode() -> None:
    network = network_of()
    before = snapshot(network)
    found = predict_targets(network, images(6, seed=1), "eval")
    assert all(torch.equal(value, before[name]) for name, value in snapshot(network).items())
    assert torch.equal(found, network.eval()(images(6, seed=1)).detach())


def test_train_targets_update_running_statistics() -> None:
    network = network_of()
    before = snapshot(network)
    torch.manual_seed(1)
    found = predict_targets(network, images(6, seed=1), "train")
    assert not torch.equal(before["1.running_mean"], snapshot(network)["1.running_mean"])
    assert int(snapshot(network)["1.num_batches_tracked"]) == 2
    torch.manual_seed(1)
    assert torch.equal(found, network(images(6, seed=1)).detach())


@pytest.mark.parametrize("mode", MODES)
def test_a_network_in_eval_mode_is_not_changed(mode: Any) -> None:
    network = network_of().eval()
    before = snapshot(network)
    assert torch.equal(predict_targets(network, images(6, seed=1), mode), network(images(6, seed=1)).detach())
    assert all(torch.equal(value, before[name]) for name, value in snapshot(network).items())


def test_target_mode_keeps_gradients_enabled() -> None:
    network = network_of()
    with target_mode(network):
        assert network(images(6, seed=1)).requires_grad


def test_student_norms_follow_the_mode() -> None:
    norm = StudentBatchNorm(nn.BatchNorm2d(2), 3).train()
    x = images(6, seed=1).view(3, 2, 8, 8)
    norm.segments = [(2, 3)]
    before = snapshot(norm)
    predict_targets(norm, x)
    assert all(torch.equal(value, before[name]) for name, value in snapshot(norm).items())
    torch.testing.assert_close(predict_targets(norm, x, "eval"), x / (1 + norm.eps) ** 0.5)
    norm(x)
    moved = [not torch.equal(snapshot(norm)["running_mean"][k], before["running_mean"][k]) for k in range(3)]
    assert moved == [False, False, True]


def test_a_frozen_network_stays_frozen() -> None:
    network = network_of()
    frozen = Frozen(network)
    before = snapshot(frozen)
    for changed in (frozen.train(), frozen.train(True), nn.Sequential(frozen).train()[0]):
        assert not any(module.training for module in changed.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    found = frozen(images(6, seed=1))
    assert not found.requires_grad
    assert torch.equal(found, network.eval()(images(6, seed=1)))
    assert torch.is_grad_enabled()
    assert all(torch.equal(value, before[name]) for name, value in snapshot(frozen).items())


@pytest.mark.parametrize("training", [True, False])
def test_recalibration_averages_over_the_batches(training: bool) -> None:
    network = tiny().train(training)
    network.train()
    network(3 + images(6, seed=50))
    network.train(training)
    before, modes = snapshot(network), flags(network)
    batches = [images(count, seed=count) for count in (4, 6, 8)]
    result = recalibrate_bn(network, batches)
    assert all(torch.equal(value, before[name]) for name, value in snapshot(network).items()), "the network itself is left alone"
    assert flags(network) == modes
    assert flags(result) == modes
    assert [m.momentum for m in result.modules() if isinstance(m, nn.BatchNorm2d)] == [0.1] * 4
    for name, parameter in result.named_parameters():
        assert torch.equal(parameter, before[name])

    seen: dict[str, list[Tensor]] = {}
    watched = tiny().train()
    watched.load_state_dict(network.state_dict())
    for name, module in watched.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _, given, __, name=name: seen.setdefault(name, []).append(given[0].detach()))
    for batch in batches:
        watched(batch)
    for name, inputs in seen.items():
        mean = sum(x.mean((0, 2, 3)) for x in inputs) / 3
        variance = sum(x.var((0, 2, 3), unbiased=True) for x in inputs) / 3
        torch.testing.assert_close(result.get_buffer(f"{name}.running_mean"), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(result.get_buffer(f"{name}.running_var"), variance, rtol=1e-4, atol=1e-5)
    assert len(seen) == 4


def test_recalibration_runs_without_dropout_and_gradient() -> None:
    network = network_of().eval()
    seen: list[bool] = []

    def run(module: nn.Module, x: Tensor) -> object:
        seen.append(torch.is_grad_enabled())
        return module(x)

    torch.manual_seed(1)
    one = recalibrate_bn(network, [images(6, seed=1)], run=run)
    torch.manual_seed(2)
    other = recalibrate_bn(network, [images(6, seed=1)])
    assert seen == [False]
    assert all(torch.equal(value, snapshot(other)[name]) for name, value in snapshot(one).items())


def test_recalibration_needs_a_batch() -> None:
    with pytest.raises(UserError, match="no batch"):
        recalibrate_bn(tiny(), [])
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    assert torch.equal(recalibrate_bn(plain, []).get_parameter("1.weight"), plain.get_parameter("1.weight"))
