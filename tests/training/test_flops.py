"""Operations counted while real steps are taken, against what layers cost on paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from studygroup.data import open_dataset
from studygroup.methods import CGL, DML, KD, Baseline, Method
from studygroup.networks import NetworkFactory
from studygroup.training import DataSplits, Settings
from studygroup.training.flops import Operations, TrainingCost, training_cost

HIDDEN = 16


def mlp(num_classes: int, in_channels: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes))


FIRST, SECOND = 2 * 64 * HIDDEN, 2 * HIDDEN * 10
FORWARD = FIRST + SECOND  # per sample; the inputs need no gradient, so the first layer goes backward once, the second twice
STEP = FORWARD + FIRST + 2 * SECOND


@pytest.fixture
def splits(cache: Path) -> DataSplits:
    dataset = open_dataset("digits", image_size=8, cache=cache, progress=False)
    return DataSplits(dataset, dataset.train.take(np.arange(100)), dataset.train.take(np.arange(100, 120)), "none")


SETTINGS = Settings(epochs=3, batch_size=32, precision="float32", progress=False)


def cost(method: Method, splits: DataSplits, settings: Settings = SETTINGS, teacher: nn.Module | None = None) -> TrainingCost:
    return training_cost(method, NetworkFactory(mlp, num_classes=10, in_channels=1, teacher=teacher), splits, settings)


def test_a_network_alone(splits: DataSplits) -> None:
    found = cost(Baseline(), splits)
    assert found.flops_per_sample == pytest.approx(STEP)
    assert found.samples_per_epoch == 100
    assert found.flops_per_epoch == pytest.approx(100 * STEP)


def test_groups_and_teachers(splits: DataSplits) -> None:
    assert cost(DML(students=3), splits).flops_per_sample == pytest.approx(3 * STEP)
    teacher = mlp(10, 1)
    assert cost(KD(), splits, teacher=teacher).flops_per_sample == pytest.approx(STEP + FORWARD)


def test_gradients_that_a_method_takes_itself() -> None:
    network, images = mlp(10, 1), torch.rand(5, 1, 8, 8, requires_grad=True)
    with Operations() as counted:
        torch.autograd.grad(network(images).square().sum(), images)
    assert counted.flops == 5 * 2 * FORWARD


@pytest.mark.parametrize("masked", [False, True])
def test_attention(masked: bool) -> None:
    query, key, value = (torch.rand(2, 3, 7, 4, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool) if masked else None
    with Operations() as counted:
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    product = 2 * 2 * 3 * 7 * 7 * 4
    assert counted.flops == 2 * product
    with Operations() as counted:
        out.sum().backward()
    assert counted.flops == 5 * product, "the forward products are not kept, but computed again: one of them"


def test_parts_of_a_batch_cost_what_it_does(splits: DataSplits) -> None:
    assert cost(Baseline(), splits, replace(SETTINGS, microbatches=4)).flops_per_sample == pytest.approx(STEP)


def test_a_trailing_single_sample_is_not_learnt_from(splits: DataSplits) -> None:
    smaller = replace(splits, train=splits.train.take(np.arange(97)))
    assert cost(Baseline(), smaller).samples_per_epoch == 96


def test_steps_that_are_drawn_cost_what_they_cost_on_average(splits: DataSplits) -> None:
    networks = NetworkFactory("resnet8", num_classes=10, in_channels=1)
    alone = training_cost(Baseline(), networks, splits, SETTINGS).flops_per_sample
    groups = [training_cost(CGL(students=4, probability=p), networks, splits, SETTINGS).flops_per_sample for p in (0.0, 0.5, 1.0)]
    assert groups == sorted(groups)
    assert groups[0] == pytest.approx(alone, rel=0.01), "each sample is learnt by one student"
    assert groups[2] > 1.2 * alone


def test_nothing_random_is_left_behind(splits: DataSplits) -> None:
    assert cost(Baseline(), splits) == cost(Baseline(), splits)
    state = torch.get_rng_state()
    cost(DML(students=2), splits)
    assert torch.equal(torch.get_rng_state(), state)
