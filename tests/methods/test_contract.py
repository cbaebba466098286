"""The contract suite: every registered method, with every option that changes the flow of a step."""

from __future__ import annotations

import inspect
import io
import re
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import studygroup
from studygroup.batch import Batch, LabelMix
from studygroup.clock import Clock
from studygroup.data.batches import label_weights
from studygroup.errors import UserError
from studygroup.groups import Branched, Frozen, Modular
from studygroup.groups.branched import Branch
from studygroup.groups.norm import StudentBatchNorm
from studygroup.methods import METHODS, Method, create_method, method_name, method_options
from studygroup.networks import Chain, create
from studygroup.networks.factory import Spec
from tests.methods.tiny import (
    CLASSES,
    Plain,
    batch_for,
    built_method,
    inputs_for,
    maker,
    optimizer_of,
    snapshot,
    tiny,
    tiny_text,
    train,
    trained_teacher,
    updates,
    wider,
    wider_text,
)


@dataclass(frozen=True)
class Case:
    """A method with options.

    Attributes:
        detached: whether a member's losses must reach no other member's own parameters. None where they may: a pooled batch norm
            normalises students on routes together.
        deployed: the only member to deploy; None if it may be any student with the target's network.
        texts: whether it learns from texts, not images.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    peers: tuple[Spec, ...] = ()
    updates: int = 1
    detached: bool | None = True
    deployed: str | None = None
    texts: bool = False

    def make(self, seed: int = 0) -> Method:
        return built_method(self.method, self.options, peers=self.peers, seed=seed, texts=self.texts)

    def networks(self) -> list[Chain]:
        """The target's network, and the others' in these tests."""
        return [tiny_text(), wider_text()] if self.texts else [tiny(), wider()]


def cgl(**options: Any) -> Case:
    pooled = options.get("routing", True) and options.get("bn", "pooled") == "pooled"
    return Case("cgl", {"students": 3, "probability": 0.7, **options}, detached=None if pooled else options.get("detach_targets", True))


def orc(updates: int = 3, **options: Any) -> Case:
    return Case("orc", options, updates=updates)


def okddip(**options: Any) -> Case:
    return Case("okddip", options, detached=options.get("students") == 1, deployed="leader")


def taught(**options: Any) -> Case:
    """Codistillation whose students learn from each other at once."""
    return Case("codistillation", {"burn_in": 0.0, **options})


CASES: dict[str, Case] = {
    **{name: Case(name) for name in METHODS},  # by default, unless overridden below
    "kd-teacher-only": Case("kd", {"alpha": 1.0}),
    "kd-dkd": Case("kd", {"preset": "dkd"}),
    "kd-dist": Case("kd", {"preset": "dist"}),
    "kd-standardized": Case("kd", {"preset": "standardized"}),
    "kd-mse": Case("kd", {"logit_loss": "mse"}),
    "dml-dkd": Case("dml", {"students": 3, "logit_loss": "dkd"}),
    "cgl-dist": cgl(logit_loss="dist"),
    "codistillation-mse": taught(logit_loss="mse"),
    "orc-standardized": orc(logit_loss="standardized"),
    "takd-code": Case("takd", {"assistants": ("resnet20",), "preset": "takd"}),
    "dgkd-two-assistants": Case("dgkd", {"assistants": ("resnet20", "resnet14")}),
    "dgkd-dense": Case("dgkd", {"assistants": ("resnet20", "resnet14"), "drop": 0}),
    "dgkd-code": Case("dgkd", {"assistants": ("resnet20",), "preset": "dgkd"}),
    "ab-kd": Case("ab", {"kd_weight": 0.9, "label_weight": 0.1}),
    "ft-kd": Case("ft", {"kd_weight": 0.9, "share": 1.0, "student_layers": ("stage1",), "teacher_layers": ("first",)}),
    "fsp-kd": Case("fsp", {"kd_weight": 0.9}),
    "fitnet-everywhere": Case("fitnet", {"student_layers": ("stem", "first"), "teacher_layers": ("first", "stage2"), "kd_weight": 0.5}),
    "rkd-of-maps": Case("rkd", {"student_layers": ("stage1", "stage2"), "teacher_layers": ("stage1", "stage2")}),
    "crd-kd": Case("crd", {"kd_weight": 1.0, "negatives": 3}),
    "dml-alone": Case("dml", {"students": 1}),
    "dml-sequential": Case("dml", {"students": 3, "update": "sequential"}, updates=3),
    "dml-sum": Case("dml", {"students": 3, "peer_reduction": "sum"}),
    "dml-mean-logits": Case("dml", {"students": 3, "target": "mean_logits"}),
    "dml-okddip": Case("dml", {"students": 3, "preset": "okddip"}, detached=False),
    "dml-mixed": Case("dml", {"students": 3}, peers=(wider, tiny)),
    "cl_ilr-paper": Case("cl_ilr", {"preset": "paper"}),
    "cl_ilr-alone": Case("cl_ilr", {"students": 1}),
    "cl_ilr-attached": Case("cl_ilr", {"detach": False}, detached=False),
    "cl_ilr-unscaled": Case("cl_ilr", {"students": 2, "rescale": False}),
    "cl_ilr-from-stage1": Case("cl_ilr", {"students": 2, "branch_from": "stage1"}),
    "cl_ilr-from-head": Case("cl_ilr", {"students": 2, "branch_from": "head"}),
    "one-alone": Case("one", {"students": 1}),
    "one-attached": Case("one", {"students": 3, "detach": False}, detached=False),
    "one-from-stage1": Case("one", {"students": 2, "branch_from": "stage1"}),
    "okddip": okddip(),
    "okddip-alone": okddip(students=1),
    "okddip-network": okddip(students=3, form="network"),
    "okddip-detached-leader": okddip(students=3, detach_leader_target=True),
    "okddip-from-head": okddip(students=3, branch_from="head", reduction=2),
    "cgl-given-routes": cgl(routes=((0, 0, 1, 1), (1, 0, 0, 1), (1, 1, 1, 1))),
    "cgl-shared-layers": cgl(shared_layers=2),
    "cgl-separate-bn": cgl(routing=False, bn="per_student"),
    "papa-pulled": Case("papa", {"students": 3, "interval": 1, "pull": 0.3}),
    "papa-one-view": Case("papa", {"students": 2, "views": False}),
    "pcl-alone": Case("pcl", {"students": 1}),
    "pcl-one-view": Case("pcl", {"students": 2, "views": False, "logit_loss": "standardized"}),
    "mcl-mixed": Case("mcl", {"students": 3}, peers=(wider, tiny)),
    "switokd-mixed": Case("switokd", {"students": 3, "teachers": 2}, peers=(wider, tiny)),
    "kdcl-paper": Case("kdcl", {"preset": "paper"}),
    "kdcl-alone": Case("kdcl", {"students": 1}),
    "kdcl-naive": Case("kdcl", {"students": 3, "variant": "naive"}),
    "kdcl-minlogit": Case("kdcl", {"students": 3, "variant": "minlogit"}),
    "kdcl-linear": Case("kdcl", {"students": 3, "variant": "linear"}),
    "kdcl-general": Case("kdcl", {"students": 3, "variant": "general"}),
    "kdcl-one-view": Case("kdcl", {"views": False}),
    "kdcl-mixed": Case("kdcl", {"students": 3}, peers=(wider, tiny)),
    "codistillation-alone": taught(students=1),
    "codistillation-taught": taught(students=3),
    "codistillation-always-exchanging": taught(exchange_interval=1),
    "codistillation-shards": taught(students=3, division="fixed", exchange_interval=3),
    "codistillation-shares": taught(division="epoch", batch="total", overlap=0.5),
    "codistillation-burn-in-steps": Case("codistillation", {"burn_in": 3.0, "burn_in_unit": "steps", "exchange_interval": 2}),
    "codistillation-mixed": Case("codistillation", {"students": 3, "burn_in": 0.0}, peers=(wider, tiny)),
    "cgl": cgl(),
    "cgl-alone": cgl(students=1),
    "cgl-per-student-batch": cgl(batch="per_student"),
    "cgl-undealt": cgl(division="none"),
    "cgl-undealt-attached": cgl(division="none", detach_targets=False),
    "cgl-fixed-division": cgl(division="fixed"),
    "cgl-separate": cgl(routing=False),
    "cgl-separate-undealt": cgl(routing=False, division="none"),
    "cgl-everybody": cgl(probability=1.0),
    "cgl-nobody": cgl(probability=0.0),
    "cgl-select-fixed": cgl(select="fixed"),
    "cgl-expected": cgl(normalize="expected", probability=0.2),
    "cgl-bn-per-student": cgl(bn="per_student"),
    "cgl-bn-per-student-targets-eval": cgl(bn="per_student", targets="eval", probability=1.0),
    "cgl-head-routed": cgl(head="routed"),
    "cgl-head-per-student": cgl(head="per_student"),
    "cgl-shared-stem": cgl(route_stem=False),
    "cgl-block-groups": cgl(block_groups=(1, 2)),
    "cgl-covering": cgl(require_coverage=True),
    "cgl-memory": cgl(memory=0.5, probability=0.25),
    "cgl-memory-undealt": cgl(memory=0.5, probability=0.25, division="none"),
    "cgl-not-distinct": cgl(distinct=False),
    "cgl-one-module": cgl(modules=1, distinct=False),
    "cgl-attached": cgl(detach_targets=False, head="per_student", probability=1.0),
    "cgl-apart-attached": cgl(detach_targets=False, head="per_student", probability=1.0, bn="per_student"),
    "cgl-apart": cgl(head="per_student", probability=1.0, bn="per_student"),
    "cgl-separate-attached": cgl(detach_targets=False, routing=False, probability=1.0),
    "cgl-targets-eval": cgl(targets="eval"),
    "cgl-targets-train": cgl(targets="train"),
    "cgl-rescaled": cgl(ilr_rescale=True),
    "cgl-unscaled-temperature": cgl(t2_scale=False, temperature=2.0),
    "orc": orc(),
    "orc-0-temporary": orc(updates=2, temporary_teachers=0),
    "orc-2-temporary": orc(temporary_teachers=2),
    "orc-one-student": orc(updates=2, students=2, temporary_teachers=0),
    "orc-mixup": orc(intensive="mixup"),
    "orc-feedback": orc(intensive="feedback"),
    "orc-pivot-off": orc(updates=2, intensive="off"),
    "orc-ensemble": orc(style="ensemble"),
    "orc-reuse": orc(reuse_temporary=True),
    "orc-recompute": orc(recompute=True),
    "orc-per-sample": orc(mixup_per_sample=True),
    "orc-deepest": Case("orc", {"promotion": "deepest"}, peers=(wider, tiny), updates=3),
    "orc-clean-bn": orc(pivot_clean_bn=True),
    "orc-mixed": Case("orc", {"pivot_lr_scale": 0.1}, peers=(wider, tiny), updates=3),
}

# Of texts: whatever has to do with what networks take and what methods do with it; the rest does not know what a batch is.
OF_TEXTS = ["cgl-bn-per-student", *(name for name, method in METHODS.items() if not method.images_only)]
BOTH = CASES | {f"{name}-of-texts": replace(CASES[name], texts=True) for name in OF_TEXTS}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
texts_too = pytest.mark.parametrize("case", BOTH.values(), ids=BOTH.keys())


def test_every_method_can_be_imported_from_the_package() -> None:
    for kind in METHODS.values():
        assert getattr(studygroup, kind.__name__) is kind
        assert kind.__module__.startswith("studygroup.methods.")
    with pytest.raises(AttributeError, match="no attribute 'DMLL'"):
        _ = studygroup.DMLL


def untrained(method: Method) -> set[str]:
    """Names of the parameters that no step may move: frozen networks, and modules on no route."""
    frozen = {id(p) for module in method.modules() if isinstance(module, Frozen) for p in module.parameters()}
    if isinstance(method.group, Modular):
        grid = [list(layer.children()) for layer in method.group.layers if isinstance(layer, nn.ModuleList)]
        frozen |= {id(p) for depth, module in method.group.unused_modules() for p in grid[depth][module].parameters()}
    if method.options().get("intensive") == "off":
        frozen |= {id(p) for p in method.extra_members()["pivot"].parameters()}
    return {name for name, parameter in method.named_parameters() if id(parameter) in frozen}


def frozen_networks(method: Method) -> list[nn.Module]:
    found: list[nn.Module] = [module for module in method.modules() if isinstance(module, Frozen)]
    return found + ([method.extra_members()["pivot"]] if method.options().get("intensive") == "off" else [])


def flags(method: Method) -> dict[str, tuple[bool, bool | None]]:
    return {name: (m.training, m.track_running_stats if isinstance(m, _BatchNorm) else None) for name, m in method.named_modules()}


@texts_too
def test_losses_are_finite_scalars_named_by_member(case: Case) -> None:
    method = case.make()
    seen = 0
    for losses in updates(method, optimizer_of(method), batch_for(method)):
        seen += 1
        assert losses
        for name, loss in losses.items():
            member, slash, kind = name.partition("/")
            assert slash
            assert kind
            assert member in {*method.members(), "group"}
            assert loss.shape == ()
            assert torch.isfinite(loss)
            assert loss >= -1e-6
    assert seen == case.updates


@texts_too
def test_trainable_parameters_move_and_frozen_ones_do_not(case: Case) -> None:
    method = case.make()
    frozen = untrained(method)
    before = snapshot(method)
    still = [snapshot(network) for network in frozen_networks(method)]
    optimizer = optimizer_of(method)
    moves = dict.fromkeys(dict(method.named_parameters()), 0)
    for _ in updates(method, optimizer, batch_for(method)):
        for name, parameter in method.named_parameters():
            moves[name] += parameter.grad is not None
    moved = {name for name, parameter in method.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == set(moves) - frozen
    moved -= {name for name, parameter in method.named_parameters() if not parameter.requires_grad}  # averages, moved after the step
    assert {name for name, count in moves.items() if count} == moved, "what has no gradient is not touched, not even by weight decay"
    assert set(moves.values()) <= {0, 1}, "one optimiser update per network and step"
    for network, values in zip(frozen_networks(method), still, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in snapshot(network).items())
    running = [name for name in before if name.endswith("running_mean") and not name.startswith(("teacher", "pivot"))]
    assert any(not torch.equal(before[name], value) for name, value in snapshot(method).items() if name in running)


@every_case
def test_a_loss_reaches_its_own_member_only(case: Case) -> None:
    method = case.make()
    sets = {member: parameters for member, parameters in method.parameter_sets().items() if member != "shared"}
    foreign = 0
    for losses in method.step(batch_for(method), Clock()):
        for name, loss in losses.items():
            if name.startswith("group/"):
                continue  # it is everybody's
            for member, parameters in sets.items():
                gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                if member == name.split("/")[0]:
                    assert any(gradient is not None for gradient in gradients)
                else:
                    foreign += any(gradient is not None and bool(gradient.any()) for gradient in gradients)
    if case.detached:
        assert foreign == 0
    elif case.detached is not None:
        assert foreign > 0


@every_case
def test_resume_is_exact(case: Case) -> None:
    method = case.make()
    optimizer = optimizer_of(method, "adam")
    train(method, optimizer, range(2))
    saved = io.BytesIO()
    torch.save({"method": method.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    expected = train(method, optimizer, range(2, 4))

    torch.manual_seed(12345)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    again = case.make()
    resumed = optimizer_of(again, "adam")
    again.load_state_dict(state["method"])
    resumed.load_state_dict(state["optimizer"])
    assert train(again, resumed, range(2, 4)) == expected
    for name, value in snapshot(method).items():
        assert torch.equal(value, snapshot(again)[name]), name


@texts_too
def test_nothing_is_left_changed_at_a_yield(case: Case) -> None:
    method = case.make()
    batch = batch_for(method)
    inputs, labels = batch.inputs.clone(), batch.labels.clone()
    for m in method.modules():
        if isinstance(m, nn.ReLU):
            m.eval()  # a flag that is not the default must be left alone, too
    before = flags(method)
    optimizer = optimizer_of(method)
    for losses in updates(method, optimizer, batch):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert all(loss.requires_grad for loss in losses.values())
        assert flags(method) == before
    assert torch.is_grad_enabled()
    assert flags(method) == before
    assert torch.equal(batch.inputs, inputs)
    assert torch.equal(batch.labels, labels)


@texts_too
def test_bfloat16_autocast_gives_float32_losses(case: Case) -> None:
    method = case.make()
    feature_losses = method.step(batch_for(method), Clock())
    optimizer = optimizer_of(method)
    while True:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = next(feature_losses, None)
        if losses is None:
            break
        assert {loss.dtype for loss in losses.values()} == {torch.float32}
        total = torch.stack(list(losses.values())).sum()
        assert torch.isfinite(total)
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert not torch.is_autocast_enabled("cpu")


@every_case
def test_a_step_is_a_function_of_its_state_batch_and_clock(case: Case) -> None:
    found = []
    for seed in (1, 2):
        method = case.make()
        optimizer = optimizer_of(method)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(train(method, optimizer, range(2)))
        assert torch.equal(torch.get_rng_state(), before), "a step must not use the global generator"
    assert found[0] == found[1]


@every_case
def test_mixed_labels_enter_the_label_losses_by_their_weights(case: Case) -> None:
    """Of inputs mixed of two classes: CE = w CE(first) + (1 - w) CE(second); every method trains on them."""
    plain = batch_for(case.make())
    second = (plain.labels + 1) % CLASSES
    batches = [plain, replace(plain, labels=second), replace(plain, mix=LabelMix(second, torch.full((len(plain),), 0.7)))]
    found = []
    for batch in batches:
        method = case.make()
        # More than one step: a method must also train on what it stored of mixed samples.
        steps = [list(updates(method, optimizer_of(method), batch, Clock(2, 4, step, 2, 3))) for step in range(2)]
        assert all(torch.isfinite(loss) for losses in (*steps[0], *steps[1]) for loss in losses.values())
        found.append({name: loss.detach() for name, loss in steps[0][0].items()})
    same = found[0].keys() & found[1].keys() & found[2].keys()  # roles in orc depend on the labels
    assert same or case.method == "orc"
    for name, mixed in found[2].items():
        if name.endswith("/cross_entropy") and name in same:
            torch.testing.assert_close(mixed, 0.7 * found[0][name] + 0.3 * found[1][name])


@every_case
def test_samples_without_labels_enter_no_cross_entropy(case: Case) -> None:
    """With the labels of one half, then of the other: the two cross-entropies average to that of all; other losses need no labels."""
    method = case.make()
    if not method.takes_unlabelled or method.needs_all_labels():
        return
    plain = batch_for(method)
    known = np.concatenate([np.arange(size) % 2 == 0 for size in plain.student_sizes])
    found = []
    for mask in (known, ~known):
        labels = torch.where(torch.from_numpy(mask), plain.labels, -1)
        batch = replace(plain, labels=labels, label_weights=label_weights(mask, plain.student_sizes))
        method = case.make()
        found.append(
            {name: loss.detach() for name, loss in next(updates(method, optimizer_of(method), batch, Clock(2, 4, 0, 2, 3))).items()}
        )
    method = case.make()
    whole = next(updates(method, optimizer_of(method), plain, Clock(2, 4, 0, 2, 3)))
    shares = {f"student{k}": (size + 1) // 2 / size for k, size in enumerate(plain.student_sizes) if size}
    assert found[0].keys() == found[1].keys() == whole.keys()
    for name, loss in whole.items():
        member, _, kind = name.partition("/")
        if kind == "cross_entropy":
            share = shares[member] if plain.sizes is not None else shares["student0"]
            torch.testing.assert_close(share * found[0][name] + (1 - share) * found[1][name], loss.detach())
        elif case.method != "mcl":  # whose contrast is of classes
            assert torch.equal(found[0][name], loss.detach())


@every_case
def test_assembling_is_a_function_of_the_seed(case: Case) -> None:
    first, same, other = case.make(), case.make(), case.make(seed=1)
    assert all(torch.equal(value, snapshot(same)[name]) for name, value in snapshot(first).items())
    assert first.describe() == same.describe()
    key = next(name for name, p in first.named_parameters() if p.requires_grad and name.startswith("group") and p.dim() > 1)
    assert not torch.equal(snapshot(first)[key], snapshot(other)[key])


@every_case
def test_options_make_the_same_method_again(case: Case) -> None:
    method = create_method(case.method, case.options)
    again = create_method(method_name(method), method.options())
    assert type(again) is type(method)
    assert again.options() == method.options()
    assert set(method.options()) == set(method_options(case.method))


@texts_too
def test_members_leave_as_plain_networks(case: Case) -> None:
    method = case.make()
    train(method, optimizer_of(method), range(2))
    method.eval()
    inputs = inputs_for(method, 5, seed=77)
    with torch.no_grad():
        found = method.logits(inputs)
    assert tuple(found)[: len(method.members())] == method.members()
    assert "ensemble" not in found, "that name is the evaluation's own"
    assert all(logits.shape == (5, CLASSES) for logits in found.values())
    for name in method.members():
        network = method.export(name)
        kinds = {type(module) for module in network.modules()}
        assert not kinds & {Modular, Branched, Branch, StudentBatchNorm, Frozen}
        assert not any(module.training for module in network.modules())
        keys = {tuple(known.state_dict()) for known in case.networks()}
        assert tuple(network.state_dict()) in keys
        assert not {id(p) for p in network.parameters()} & {id(p) for p in method.parameters()}, "a copy"
        with torch.no_grad():
            torch.testing.assert_close(network(inputs), found[name], rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="student99"):
        method.export("student99")


@every_case
def test_candidates_have_the_target_network(case: Case) -> None:
    method = case.make()
    assert method.candidates
    assert set(method.candidates) <= set(method.student_names()) <= set(method.members())
    for name in method.student_names():
        target = case.networks()[0].state_dict()
        has_target = method.export(name).state_dict()["classifier.weight"].shape == target["classifier.weight"].shape
        assert (name in method.candidates) == (has_target if case.deployed is None else name == case.deployed)
        assert has_target or name not in method.candidates


@every_case
def test_every_trainable_parameter_has_one_owner(case: Case) -> None:
    method = case.make()
    sets = method.parameter_sets()
    owned = [id(p) for parameters in sets.values() for p in parameters]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in method.parameters() if p.requires_grad}
    assert set(sets) <= {*method.members(), "shared"}


@every_case
def test_the_given_teacher_is_not_changed(case: Case) -> None:
    method = create_method(case.method, case.options)
    teacher = trained_teacher(case.texts)
    before = snapshot(teacher)
    method.build(maker(peers=case.peers, teacher=teacher, texts=case.texts))
    method.train()
    train(method, optimizer_of(method), range(1))
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in snapshot(teacher).items())


@pytest.mark.parametrize("name", METHODS)
def test_a_missing_teacher_is_an_error(name: str) -> None:
    method = create_method(name)
    make = maker()
    if method.needs_teacher:
        with pytest.raises(UserError, match="teacher"):
            method.build(make)
    else:
        method.build(make)


@pytest.mark.parametrize("name", METHODS)
def test_the_file_names_its_source_and_its_departures(name: str) -> None:
    text = inspect.getdoc(sys.modules[METHODS[name].__module__]) or ""
    assert "Departures" in text
    if name != "baseline":
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|\b(19|20)\d\d\b", text)
    assert METHODS[name].step.__doc__


@pytest.mark.parametrize("name", METHODS)
def test_every_option_has_a_default_and_a_line_of_help(name: str) -> None:
    options = method_options(name)
    assert create_method(name).options() == {option: parameter.default for option, parameter in options.items()}
    assert not any(parameter.required for parameter in options.values())


@pytest.mark.parametrize("name", [name for name in METHODS if "students" in method_options(name)])
def test_exports_have_the_keys_of_the_registered_network(name: str) -> None:
    method = built_method(name, {"students": 3}, spec="resnet8")
    member = method.student_names()[1]
    assert list(method.export(member).state_dict()) == list(create("resnet8", num_classes=CLASSES, in_channels=1).state_dict())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("baseline", {}),
        ("kd", {}),
        ("at", {"student_layers": ("body",), "teacher_layers": ("stage1",)}),
        ("crd", {"negatives": 5}),
        ("bss", {}),
        ("dml", {}),
        ("kdcl", {}),
        ("codistillation", {}),
        ("orc", {}),
        ("cgl", {"routing": False, "students": 2}),
    ],
)
def test_any_module_can_be_a_student(name: str, options: dict[str, Any]) -> None:
    for spec in (Plain, Plain()):
        method = built_method(name, options, spec=spec)
        before = snapshot(method)
        train(method, optimizer_of(method), range(1))
        for member in method.members():
            assert isinstance(method.export(member), Plain) == (member != "pivot")
        assert not torch.equal(before["group.networks.0.head.weight"], snapshot(method)["group.networks.0.head.weight"])


@pytest.mark.parametrize("name", ["cgl", "cl_ilr", "one", "okddip", "pcl"])
def test_routes_and_branches_need_a_chain_and_take_no_peers(name: str) -> None:
    with pytest.raises(UserError, match=r"chain of blocks; Plain"):
        built_method(name, spec=Plain)
    with pytest.raises(UserError, match=rf"{name}.*takes no peers"):
        built_method(name, peers=(tiny,))


@pytest.mark.parametrize("name", ["cgl", "cl_ilr", "one", "okddip", "dml", "kdcl", "codistillation", "papa", "mcl", "pcl"])
def test_a_group_of_one_is_plain_training(name: str) -> None:
    alone, group = built_method("baseline"), built_method(name, {"students": 1})
    expected = train(alone, optimizer_of(alone), range(5))
    found = train(group, optimizer_of(group), range(5))
    assert [list(losses.values()) for losses in found] == [list(losses.values()) for losses in expected]
    exported = group.export(group.candidates[0]).state_dict()
    assert all(torch.equal(value, exported[name]) for name, value in alone.export("student0").state_dict().items())


@pytest.mark.parametrize(
    ("name", "near"),
    [("cgll", "cgl"), ("DML", "dml"), ("bseline", "baseline"), ("xyzzy", "known")],
)
def test_an_unknown_method_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"{name}.*{near}"):
        create_method(name)


@pytest.mark.parametrize(
    ("method", "option", "near"),
    [("cgl", "student", "students"), ("dml", "temprature", "temperature"), ("kd", "alhpa", "alpha"), ("baseline", "alpha", "no options")],
)
def test_an_unknown_option_suggests_the_nearest(method: str, option: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"(?s)(?=.*{option}).*{near}"):
        create_method(method, {option: 1})


@pytest.mark.parametrize(
    ("method", "option", "value", "shown"),
    [
        ("kd", "alpha", 1.5, "1.5"),
        ("kd", "alpha", -0.1, "-0.1"),
        ("kd", "temperature", 0.0, "0"),
        ("kd", "temperature", "warm", "warm"),
        ("kd", "warmup_share", 1.5, "1.5"),
        ("kd", "label_weight", -1.0, "-1"),
        ("kd", "weight", -1.0, "-1"),
        ("dml", "logit_loss", "cosine", "cosine"),
        ("dml", "dkd_alpha", -1.0, "-1"),
        ("orc", "dkd_beta", -1.0, "-1"),
        ("cgl", "dist_beta", -1.0, "-1"),
        ("kdcl", "dist_gamma", -1.0, "-1"),
        ("codistillation", "temperature", 0.0, "0"),
        ("takd", "assistants", 3, "3"),
        ("takd", "assistant_epochs", 0, "0"),
        ("takd", "alpha", 1.5, "1.5"),
        ("takd", "temperature", 0.0, "0"),
        ("takd", "preset", "dgkd", "dgkd"),
        ("dgkd", "assistant_epochs", 0, "0"),
        ("dgkd", "drop", -1, "-1"),
        ("dgkd", "alpha", -0.5, "-0.5"),
        ("dgkd", "temperature", -1.0, "-1"),
        ("dgkd", "preset", "takd", "takd"),
        *((name, "initial_epochs", 0, "0") for name in ("ab", "ft", "fsp")),
        *((name, "initial_learning_rate", 0.0, "0") for name in ("ab", "ft", "fsp")),
        *((name, "label_weight", -1.0, "-1") for name in ("ab", "ft", "fsp")),
        *((name, "kd_weight", -1.0, "-1") for name in ("ab", "ft", "fsp")),
        *((name, "temperature", 0.0, "0") for name in ("ab", "ft", "fsp")),
        ("ab", "margin", -1.0, "-1"),
        ("ft", "share", 0.0, "0"),
        ("ft", "weight", -200.0, "-200"),
        ("dml", "students", 0, "0"),
        ("dml", "students", 2.5, "2.5"),
        ("dml", "temperature", -1.0, "-1"),
        ("dml", "update", "later", "later"),
        ("dml", "peer_reduction", "max", "max"),
        ("dml", "target", "everyone", "everyone"),
        ("dml", "preset", "none", "none"),
        ("cl_ilr", "students", 0, "0"),
        ("cl_ilr", "preset", "code", "code"),
        ("cl_ilr", "temperature", 0.0, "0"),
        ("cl_ilr", "beta", 1.5, "1.5"),
        ("cl_ilr", "ramp_share", -0.1, "-0.1"),
        ("one", "students", 0, "0"),
        ("one", "temperature", -3.0, "-3"),
        ("one", "ramp_share", 1.1, "1.1"),
        ("okddip", "students", 0, "0"),
        ("okddip", "form", "tree", "tree"),
        ("okddip", "temperature", 0.0, "0"),
        ("okddip", "ramp_share", 3.0, "3"),
        ("okddip", "reduction", 0, "0"),
        ("kdcl", "students", 0, "0"),
        ("kdcl", "preset", "orc", "orc"),
        ("kdcl", "variant", "median", "median"),
        ("kdcl", "label_weight", -0.5, "-0.5"),
        ("kdcl", "weight", -1.0, "-1"),
        ("kdcl", "temperature", 0.0, "0"),
        ("codistillation", "students", 0, "0"),
        ("codistillation", "weight", -1.0, "-1"),
        ("codistillation", "exchange_interval", 0, "0"),
        ("codistillation", "burn_in", -1.0, "-1"),
        ("codistillation", "burn_in_unit", "days", "days"),
        ("codistillation", "division", "weekly", "weekly"),
        ("codistillation", "overlap", 2.0, "2"),
        ("codistillation", "batch", "half", "half"),
        ("cgl", "students", 0, "0"),
        ("cgl", "probability", 1.01, "1.01"),
        ("cgl", "probability", -0.5, "-0.5"),
        ("cgl", "probability", float("nan"), "nan"),
        ("cgl", "temperature", 0.0, "0"),
        ("cgl", "ramp_share", 2.0, "2"),
        ("cgl", "division", "daily", "daily"),
        ("cgl", "overlap", 1.5, "1.5"),
        ("cgl", "batch", "half", "half"),
        ("cgl", "select", "all", "all"),
        ("cgl", "normalize", "max", "max"),
        ("cgl", "targets", "test", "test"),
        ("cgl", "head", "none", "none"),
        ("cgl", "bn", "group", "group"),
        ("orc", "students", 0, "0"),
        ("orc", "temporary_teachers", 4, "4"),
        ("orc", "temporary_teachers", -1, "-1"),
        ("orc", "alpha", 2.0, "2"),
        ("orc", "temperature", 0.0, "0"),
        ("orc", "mixup_alpha", -1.0, "-1"),
        ("orc", "intensive", "harder", "harder"),
        ("orc", "style", "solo", "solo"),
    ],
)
def test_a_bad_value_is_named(method: str, option: str, value: object, shown: str) -> None:
    with pytest.raises(UserError, match=option) as caught:
        create_method(method, {option: value})
    assert re.search(rf" is '?{re.escape(shown)}\b", str(caught.value))
    assert "\n" not in str(caught.value)
    if not isinstance(value, str | float) or (isinstance(value, float) and value != 2.5):
        with pytest.raises(UserError):  # the constructor refuses it by itself
            METHODS[method](**{option: value})


@pytest.mark.parametrize("name", METHODS)
def test_the_constructor_refuses_values_outside_a_literal(name: str) -> None:
    for option, parameter in method_options(name).items():
        for word in ("none of these", 1) if parameter.kind.base == "choice" else ():
            with pytest.raises(UserError, match=rf"^{option} is {word!r}; it must be {' or '.join(parameter.kind.choices)}"):
                METHODS[name](**{option: word})


def test_sequential_updates_need_detached_peers() -> None:
    with pytest.raises(UserError, match="sequential"):
        create_method("dml", {"update": "sequential", "detach": False})


def test_a_batch_for_another_number_of_students_is_refused() -> None:
    method = built_method("cgl", {"students": 3})
    batch = batch_for(method)
    with pytest.raises(UserError, match="2 students"):
        next(method.step(Batch(batch.inputs, batch.labels, batch.indices, (6, 6)), Clock()))
