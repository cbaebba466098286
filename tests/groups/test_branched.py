"""Branches on one trunk: stages at which networks are split, and the shared pass against separate networks."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.groups import Branched, batched_call, pooled, predict_targets
from studygroup.groups.branched import ScaledGradient
from studygroup.networks import Chain, NetworkFactory, create, extract_features, parameter_count
from studygroup.networks.chain import Pool
from tests.methods.tiny import CLASSES, Plain, images, layer, snapshot, tiny

SHARES = [4, 3, 0, 5]
IMITATED = [[2, 1, 3], [0], [0, 1], [2, 0]]
FORMS: list[dict[str, Any]] = [{}, {"branch_from": "stage1"}, {"branch_from": "head"}, {"whole": True}]
every_form = pytest.mark.parametrize("form", FORMS, ids=["default", "stage1", "head", "whole"])


def make_copy(number: int) -> nn.Module:
    return NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, seed=3).copy(number)


def group_of(students: int = 4, *, double: bool = False, **options: Any) -> Branched:
    """In train mode, with updated running statistics."""
    group = Branched(make_copy, students, **options).train()
    group = group.double() if double else group
    with torch.no_grad():
        group(images(6, seed=90).to(next(group.parameters()).dtype))
    return group


def names(blocks: nn.Module) -> list[str]:
    return [name for name, _ in blocks.named_children()]


# ---------------------------------------------------------------- where networks are cut


@pytest.mark.parametrize(
    ("form", "trunk", "body"),
    [
        ({}, ["stem", "first", "second"], ["third", "pool"]),
        ({"branch_from": "stage2"}, ["stem", "first", "second"], ["third", "pool"]),
        ({"branch_from": "stage1"}, ["stem"], ["first", "second", "third", "pool"]),
        ({"branch_from": "head"}, ["stem", "first", "second", "third"], ["pool"]),
        ({"whole": True}, [], ["stem", "first", "second", "third", "pool"]),
    ],
)
def test_stages_at_which_networks_are_split(form: dict[str, Any], trunk: list[str], body: list[str]) -> None:
    group = group_of(2, **form)
    assert names(group.trunk) == trunk
    for branch in group.branches:
        assert names(branch.get_submodule("body")) == body
        assert isinstance(branch.get_submodule("classifier"), nn.Linear)
    stage = None if form.get("whole") else form.get("branch_from", "stage2")
    assert group.describe() == {"group": "branched", "students": 2, "branch_from": stage, "rescale": False}


@pytest.mark.parametrize(("name", "stage"), [("resnet32", "stage3"), ("resnet18", "stage4")])
def test_the_last_feature_stage_is_the_branch(name: str, stage: str) -> None:
    with torch.device("meta"):
        assert Branched(lambda _: create(name, 10), 2).branch_from == stage


@pytest.mark.parametrize(
    ("name", "students", "classes", "expected"),
    [
        ("resnet32", 4, 10, 1_529_848),
        ("resnet32", 4, 100, 1_553_248),
        ("resnet18", 3, 100, 28_110_188),
        ("resnet34", 3, 100, 47_659_628),
    ],
)
def test_parameter_counts(name: str, students: int, classes: int, expected: int) -> None:
    with torch.device("meta"):
        group = Branched(lambda _: create(name, classes), students)
        single = parameter_count(create(name, classes))
    assert parameter_count(group) == expected
    assert all(sum(p.numel() for p in group[k].parameters()) == single for k in range(students))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (Plain, {}, r"chain of blocks; Plain"),
        (tiny, {"students": 0}, r"students is 0"),
        (tiny, {"branch_from": "stage3"}, r"unknown stage to branch from 'stage3'.*stage2"),
        (tiny, {"branch_from": "stem"}, r"branching from 'stem', the first.*nothing to share"),
        (tiny, {"branch_from": "stage1", "whole": True}, r"branch_from is 'stage1', but whole"),
        (lambda: Chain({"stem": {"stem": layer(1, 4)}, "top": {"pool": Pool()}}), {}, r"stem, top; the last must be called head"),
        (lambda: Chain({"body": {"block": layer(1, 4)}, "head": {"pool": Pool()}}), {}, r"branching from 'body'.*nothing to share"),
        (lambda: Chain({"head": {"pool": Pool()}}), {}, r"branching from 'head'.*nothing to share"),
    ],
)
def test_networks_that_cannot_be_split_are_refused(spec: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Branched(lambda _: spec(), **{"students": 2, **options})
    assert "\n" not in str(caught.value)


@every_form
def test_trunk_and_first_branch_are_the_first_copy_and_branch_k_is_copy_k(form: dict[str, Any]) -> None:
    group = Branched(make_copy, 3, **form)
    copies = [make_copy(k).state_dict() for k in range(3)]
    for k in range(3):
        trunk = names(group.trunk)
        for name, value in group.export(k).state_dict().items():
            assert torch.equal(value, copies[0 if name.split(".")[0] in trunk else k][name])
    assert not any(torch.equal(copies[i]["third.0.weight"], copies[j]["third.0.weight"]) for i, j in itertools.combinations(range(3), 2))


# ---------------------------------------------------------------- one batch for all


@every_form
@pytest.mark.parametrize("training", [True, False])
def test_students_are_plain_networks_with_a_shared_trunk(form: dict[str, Any], training: bool) -> None:
    group = group_of(3, **form).train(training)
    inputs = images(5, seed=1)
    plain = [group.export(k)(inputs) for k in range(3)]
    logits = group(inputs)
    shared = group.trunk(inputs)
    for k in range(3):
        torch.testing.assert_close(logits[k], plain[k])
        torch.testing.assert_close(group[k](inputs), plain[k])
        torch.testing.assert_close(group.branch_outputs(shared)[k], plain[k])
        torch.testing.assert_close(group.classify(group.features(shared))[k], plain[k])
        torch.testing.assert_close(group.features(shared)[k], extract_features(group.export(k), inputs).pooled)


def test_the_trunk_runs_once() -> None:
    group = group_of(4)
    calls: list[int] = []
    group.trunk.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    group(images(5, seed=1))
    same = images(5, seed=1)
    group.study([same] * 4, IMITATED)
    group.study([same] * 4, IMITATED, detach=False)
    assert calls == [5, 5, 5]
    group.study([images(size, seed=k) for k, size in enumerate(SHARES)], IMITATED)
    assert calls[3:] == [12, 12], "once for the own samples, once for the imitated ones"


@pytest.mark.parametrize("detach", [True, False])
def test_own_logits_are_reused_on_the_same_samples(detach: bool) -> None:
    group = group_of(3)
    same = images(4, seed=1)
    own, taught = group.study([same, same, images(4, seed=2)], [[1, 2], [0], [0, 1]], detach=detach)
    assert taught[0][0].data_ptr() == own[1].data_ptr()
    assert taught[1][0].data_ptr() == own[0].data_ptr()
    assert taught[0][1].data_ptr() != own[2].data_ptr()
    assert all(z.requires_grad != detach for logits in taught for z in logits)


# ---------------------------------------------------------------- samples of one's own


def total(own: Sequence[Tensor], taught: Sequence[Sequence[Tensor]]) -> Tensor:
    """A loss that depends on all logits, on each in a different way."""
    parts = [(k + 1) * logits.sin().sum() for k, logits in enumerate(own) if len(logits)]
    parts += [(k + j / 7) * (own[k] * logits).cos().sum() for k, row in enumerate(taught) for j, logits in enumerate(row)]
    return torch.stack(parts).sum()


@every_form
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("targets", ["batch_stats", "eval", "train"])
def test_study_equals_its_definition(form: dict[str, Any], detach: bool, targets: Any) -> None:
    """The trunk gets all own samples as one batch, then all samples for imitation; a branch those on which it is imitated."""
    group = group_of(4, double=True, targets=targets, **form)
    reference = copy.deepcopy(group)
    inputs = [images(max(size, 1), seed=k)[:size].double() for k, size in enumerate(SHARES)]
    own, taught = group.study(inputs, IMITATED, detach=detach)

    present = [0, 1, 3]
    everything = torch.cat([inputs[k] for k in present])
    sizes = [SHARES[k] for k in present]
    shared = dict(zip(present, reference.trunk(everything).split(sizes), strict=True))
    expected_own = [reference.branches[k](shared[k]) if len(x) else x.new_zeros(0) for k, x in enumerate(inputs)]
    kept = {name: value.clone() for name, value in reference.named_buffers()}
    reference.train(targets != "eval")
    shared = dict(zip(present, reference.trunk(everything).split(sizes), strict=True))
    answers: dict[tuple[int, int], Tensor] = {}
    for j, branch in enumerate(reference.branches):
        pupils = [k for k in present if j in IMITATED[k]]
        parts = branch(torch.cat([shared[k] for k in pupils])).split([SHARES[k] for k in pupils]) if pupils else ()
        answers.update(((k, j), part.detach() if detach else part) for k, part in zip(pupils, parts, strict=True))
    expected_taught = [[answers[k, j] for j in IMITATED[k]] if len(x) else [] for k, x in enumerate(inputs)]

    for k in range(4):
        torch.testing.assert_close(own[k], expected_own[k])
        assert len(taught[k]) == len(expected_taught[k])
        for found, expected in zip(taught[k], expected_taught[k], strict=True):
            torch.testing.assert_close(found, expected)
            assert found.requires_grad != detach
    total(own, taught).backward()
    total(expected_own, expected_taught).backward()
    others = dict(reference.named_parameters())
    for name, parameter in group.named_parameters():
        assert (parameter.grad is None) == (others[name].grad is None)
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, others[name].grad)
    for name, value in reference.named_buffers():
        expected = value if targets == "train" else kept[name]  # unless asked for, targets leave no trace
        torch.testing.assert_close(dict(group.named_buffers())[name], expected)


def test_flags_are_restored_after_study() -> None:
    group = group_of(3)
    before = {name: (m.training, getattr(m, "track_running_stats", None)) for name, m in group.named_modules()}
    group.study([images(2, seed=k) for k in range(3)], [[1], [2], [0]])
    assert {name: (m.training, getattr(m, "track_running_stats", None)) for name, m in group.named_modules()} == before


def test_study_without_samples() -> None:
    own, taught = group_of(2).study([images(1, seed=0)[:0]] * 2, [[1], [0]])
    assert [z.numel() for z in own] == [0, 0]
    assert taught == [[], []]


def test_a_tensor_goes_through_a_network_once() -> None:
    first, second = images(3, seed=1), images(2, seed=2)
    seen: list[int] = []

    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return 2 * x

    found = batched_call(Doubling(), {4: first, 2: second, 7: first})
    assert seen == [5]
    assert list(found) == [4, 2, 7]
    for key, x in ((4, first), (2, second), (7, first)):
        assert torch.equal(found[key], 2 * x)


# ---------------------------------------------------------------- rescaling


def gradients(group: Branched) -> dict[str, Tensor]:
    logits = group(images(6, seed=5).double())
    torch.stack([(k + 1) * z.sin().sum() for k, z in enumerate(logits)]).sum().backward()
    return {name: p.grad for name, p in group.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("students", [1, 2, 3, 5])
def test_rescaling_divides_the_trunks_gradient_by_the_branches(students: int) -> None:
    plain, scaled = (gradients(group_of(students, double=True, rescale=rescale)) for rescale in (False, True))
    assert set(plain) == set(scaled)
    for name, gradient in plain.items():
        torch.testing.assert_close(scaled[name], gradient / students if name.startswith("trunk") else gradient)
    assert any(gradient.abs().max() > 1e-3 for name, gradient in plain.items() if name.startswith("trunk"))


def test_rescaling_changes_no_value_and_also_applies_to_own_samples() -> None:
    inputs = images(6, seed=5)
    plain, scaled = group_of(3), group_of(3, rescale=True)
    for one, other in zip(plain(inputs), scaled(inputs), strict=True):
        assert torch.equal(one, other)
    shares = [images(3, seed=k) for k in range(3)]
    for group in (plain, scaled):
        own, _ = group.study(shares, [[], [], []])
        torch.cat(own).square().sum().backward()
    others = dict(scaled.named_parameters())
    for name, parameter in plain.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(others[name].grad, parameter.grad / 3 if name.startswith("trunk") else parameter.grad)


def test_the_scaled_gradient_is_that_of_a_multiple() -> None:
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(ScaledGradient.apply(x, 0.25), x)  # type: ignore[no-untyped-call]
    (scaled,) = torch.autograd.grad(ScaledGradient.apply(x, 0.25).sin().sum(), x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(scaled, 0.25 * x.cos())
    assert torch.autograd.gradcheck(lambda x: ScaledGradient.apply(x, 1.0).sin(), (x,))  # type: ignore[no-untyped-call]


# ---------------------------------------------------------------- students, export, saving


def test_a_student_shares_the_groups_parameters() -> None:
    group = group_of(3)
    trunk, own = {id(p) for p in group.trunk.parameters()}, [{id(p) for p in branch.parameters()} for branch in group.branches]
    assert {id(p) for p in group[-1].parameters()} == trunk | own[2]
    assert not own[0] & own[1]
    with pytest.raises(IndexError):
        group[3]
    for training in (True, False):
        group.train(training)
        group.trunk.get_submodule("stem").train(not training)
        assert group[1].training == training
        assert group.trunk.get_submodule("stem").training != training, "taking a student changes no flag"


def test_calling_a_student_does_not_change_the_group() -> None:
    group = group_of(3)
    before = snapshot(group)
    predict_targets(group[1], images(4, seed=1))
    assert all(torch.equal(value, before[name]) for name, value in snapshot(group).items())


@every_form
@pytest.mark.parametrize("training", [True, False])
def test_an_export_is_a_plain_copy(form: dict[str, Any], training: bool) -> None:
    group = group_of(3, **form).train(training)
    for k in range(3):
        network = group.export(k)
        assert type(network) is Chain
        assert network.stages == tiny().stages
        assert {m.training for m in network.modules()} == {training}
        assert list(network.state_dict()) == list(tiny().state_dict())
        logits = predict_targets(group[k], images(3, seed=1))
        torch.testing.assert_close(predict_targets(network, images(3, seed=1)), logits)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        torch.testing.assert_close(predict_targets(group[k], images(3, seed=1)), logits)


def test_a_chain_that_uses_a_module_twice_can_be_split() -> None:
    def twice(_: int) -> Chain:
        act = nn.ReLU()
        stem = {"a": nn.Conv2d(1, 3, 3), "relu1": act, "b": nn.Conv2d(3, 3, 3), "relu2": act}
        return Chain({"stem": stem, "body": {"c": nn.Conv2d(3, 3, 3), "relu3": act}, "head": {"pool": Pool()}})

    group = Branched(twice, 2).eval()
    inputs = images(2, seed=0)
    torch.testing.assert_close(group.export(1)(inputs), group(inputs)[1])
    assert list(group.export(1).stages["stem"]) == ["a", "relu1", "b", "relu2"]


@every_form
def test_weights_are_restored_and_exports_are_complete(form: dict[str, Any]) -> None:
    saved, other = group_of(3, **form).eval(), Branched(lambda k: make_copy(k + 5), 3, **form).eval()
    inputs = images(3, seed=1)
    duplicate = copy.deepcopy(saved)
    other.load_state_dict(saved.state_dict())
    for k in range(3):
        assert torch.equal(saved(inputs)[k], other(inputs)[k])
        assert torch.equal(saved(inputs)[k], duplicate.export(k)(inputs))
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.zero_()
    assert all(torch.equal(one, two) for one, two in zip(duplicate(inputs), other(inputs), strict=True)), "a copy has branches of its own"
    assert duplicate.features(duplicate.trunk(inputs))[0].abs().max() > 0


@every_form
def test_compiled_modules_are_everything_that_runs(form: dict[str, Any]) -> None:
    group = group_of(2, **form)
    held = [id(p) for part in group.compiled_modules() for p in part.parameters()]
    assert sorted(held) == sorted(id(p) for p in group.parameters())
    calls: list[int] = []
    for number, part in enumerate(group.compiled_modules()):
        part.register_forward_hook(lambda *_, number=number: calls.append(number))
    group(images(3, seed=0))
    assert sorted(calls) == list(range(len(group.compiled_modules())))


def test_compiled_modules_are_used_and_exported_uncompiled() -> None:
    group = group_of(2)
    for part in group.compiled_modules():
        part.compile(backend="eager")
    inputs = images(4, seed=0)
    with torch.no_grad():
        for k, logits in enumerate(group.eval()(inputs)):
            torch.testing.assert_close(logits, group.export(k)(inputs))


# ---------------------------------------------------------------- widths


@pytest.mark.parametrize(("form", "widths"), [({}, (4, 8)), ({"branch_from": "head"}, (8, 8)), ({"whole": True}, (1, 8))])
def test_widths_are_found_without_side_effects(form: dict[str, Any], widths: tuple[int, int]) -> None:
    group = group_of(2, double=True, **form)
    before, state = snapshot(group), torch.get_rng_state()
    assert group.widths(torch.zeros(1, 1, 8, 8)) == widths
    assert all(torch.equal(value, before[name]) for name, value in snapshot(group).items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in group.modules())


def test_widths_of_a_head_that_is_one_block() -> None:
    def single(_: int) -> Chain:
        head = nn.Sequential(Pool(), nn.Linear(6, 3))
        return Chain({"stem": {"stem": layer(1, 4)}, "body": {"block": layer(4, 6)}, "head": {"head": head}})

    group = Branched(single, 2)
    assert group.widths(torch.zeros(1, 1, 8, 8)) == (4, 6)
    assert [tuple(h.shape) for h in group.features(group.trunk(images(2, seed=0)))] == [(2, 6, 8, 8)] * 2


def test_pooling() -> None:
    maps = torch.randn(3, 5, 4, 2)
    torch.testing.assert_close(pooled(maps), maps.mean((2, 3)))
    torch.testing.assert_close(pooled(maps[..., 0]), maps[..., 0].mean(2))
    assert pooled(maps[..., 0, 0]).data_ptr() == maps.data_ptr()
