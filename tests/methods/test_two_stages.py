"""Methods with a first stage: what it teaches, what it leaves alone, and what the second one makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.groups import Frozen
from studygroup.losses import activation_boundary, flow_of_solution
from studygroup.methods import AB, FSP, FT, Method, create_method
from studygroup.methods.ab import Boundaries
from studygroup.methods.fsp import Flows
from studygroup.methods.ft import Paraphrasing
from studygroup.networks import NetworkFactory, create, extract_features
from studygroup.networks.connectors import Paraphraser
from tests.methods import test_contract as contract
from tests.methods.tiny import Plain, batch_for, built_method, maker, optimizer_of, snapshot, train, trained_teacher, updates

NAMES = ("ab", "fsp", "ft")


def teacher_for(name: str) -> nn.Module:
    """Of the student's own widths for fsp, wider for the others."""
    if name != "fsp":
        return trained_teacher()
    teacher = maker(seed=99).student(0).train()
    with torch.no_grad():
        teacher(batch_for(built_method("baseline")).inputs)
    return teacher


def first(name: str, seed: int = 0, teacher: nn.Module | None = None, **options: Any) -> Method:
    """Build a method's first stage."""
    method = create_method(name, options)
    assert isinstance(method, AB | FSP | FT)
    stage = method.initial()
    stage.build(maker(seed=seed, teacher=teacher or teacher_for(name)))
    return stage.train()


@dataclass(frozen=True)
class First(contract.Case):
    """The first stage of a method."""

    def make(self, seed: int = 0) -> Method:
        return first(self.method, seed, **self.options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "rule",
    [
        contract.test_losses_are_finite_scalars_named_by_member,
        contract.test_resume_is_exact,
        contract.test_nothing_is_left_changed_at_a_yield,
        contract.test_bfloat16_autocast_gives_float32_losses,
        contract.test_a_step_is_a_function_of_its_state_batch_and_clock,
        contract.test_members_leave_as_plain_networks,
        contract.test_every_trainable_parameter_has_one_owner,
    ],
    ids=lambda rule: rule.__name__.removeprefix("test_"),
)
def test_first_stages_keep_to_the_contract(name: str, rule: Callable[[contract.Case], None]) -> None:
    rule(First(name))


@pytest.mark.parametrize(("name", "kind"), [("ab", Boundaries), ("fsp", Flows), ("ft", Paraphrasing)])
def test_a_first_stage_is_made_again_from_its_options(name: str, kind: type[Method]) -> None:
    wanted = {"student_layers": ("stage1",), "teacher_layers": ("first",)}
    options = {"ab": {"margin": 2.0}, "fsp": {}, "ft": {"share": 0.25}}[name]
    method = create_method(name, {**wanted, **options})
    assert isinstance(method, AB | FSP | FT)
    stage = method.initial()
    assert type(stage) is kind
    assert stage.options() == {**wanted, **options}
    assert type(stage)(**stage.options()).options() == stage.options()


def test_the_boundary_loss_is_of_the_maps_before_their_activation() -> None:
    method = first("ab", margin=0.5)
    assert isinstance(method, Boundaries)
    batch = batch_for(method)
    student, teacher = extract_features(method.group[0], batch.inputs), extract_features(trained_teacher().eval(), batch.inputs)
    expected = activation_boundary(method.connector(student.pre[1:]), teacher.pre[1:], 0.5)
    losses = next(method.step(batch, Clock()))
    assert set(losses) == {"student0/boundary"}
    torch.testing.assert_close(losses["student0/boundary"], expected)
    assert any(bool((maps < 0).any()) for maps in teacher.pre[1:])


def test_the_flow_is_from_the_stem_to_the_last_stage() -> None:
    method = first("fsp")
    batch = batch_for(method)
    student, teacher = extract_features(method.group[0], batch.inputs), extract_features(teacher_for("fsp").eval(), batch.inputs)
    assert len(student.maps) == 3
    losses = next(method.step(batch, Clock()))
    assert set(losses) == {"student0/flow"}
    torch.testing.assert_close(losses["student0/flow"], flow_of_solution(student.maps, teacher.maps))


def test_the_batch_norm_that_ends_a_wide_residual_network_is_not_trained_in_the_first_stage() -> None:
    """Its output is the last map before an activation, but it is no feature module of the benchmark's code: it stays as it was made."""
    method = AB().initial()
    student, teacher = create("wrn_16_1", 4, 1), create("wrn_16_2", 4, 1)
    method.build(NetworkFactory(student, num_classes=4, in_channels=1, image_size=(8, 8), teacher=teacher))
    method.train()
    norm = method.group[0].get_submodule("norm")
    before = snapshot(method)
    losses = train(method, optimizer_of(method), range(4))
    moved = {key for key, value in snapshot(method).items() if not torch.equal(value, before[key])}
    last = {key for key in before if key.startswith("group") and ".norm." in key}
    assert len(last) == 5
    assert moved.isdisjoint(last), "neither its weights nor its running statistics"
    assert any("stage3_block2.bn2.running_mean" in key for key in moved), "the others are in train mode"
    assert losses[-1]["student0/boundary"] < losses[0]["student0/boundary"]
    assert all(module.training for module in norm.modules()), "no mode is left changed"
    images = batch_for(method).inputs
    with torch.no_grad():
        features = method.extract(batch_for(method))[0]
    last_map = features.maps[-1]
    torch.testing.assert_close(features.pre[-1], last_map / (1 + 1e-5) ** 0.5)  # a batch norm in eval mode, as it was made
    assert len(images) == len(last_map)


@pytest.mark.parametrize("name", ["ab", "fsp"])
def test_the_first_stage_trains_features_but_not_the_classifier(name: str) -> None:
    method = first(name)
    before = snapshot(method)
    losses = train(method, optimizer_of(method), range(8))
    moved = {key for key, value in snapshot(method).items() if not torch.equal(value, before[key])}
    trained = {key for key, parameter in method.named_parameters() if parameter.requires_grad}
    classifier = {key for key, _ in method.named_parameters() if key.startswith("group") and "classifier" in key}
    assert len(classifier) == 2
    assert trained.isdisjoint(classifier)
    assert moved & {key for key, _ in method.named_parameters()} == trained, "not even weight decay touches the classifier"
    assert {key for key in before if key.startswith("group") and key.endswith("running_mean")} <= moved, "batch norm in train mode"
    assert not any(key.startswith("teacher") for key in moved)
    values = [next(iter(own.values())) for own in losses]
    assert values[-1] < values[0]


def test_paraphrasing_trains_the_paraphraser_only() -> None:
    method = first("ft")
    assert isinstance(method, Paraphrasing)
    batch = batch_for(method)
    maps = extract_features(trained_teacher().eval(), batch.inputs).maps[-1]
    expected = (method.paraphraser(maps) - maps).square().mean()
    torch.testing.assert_close(next(method.step(batch, Clock()))["group/reconstruction"], expected)
    before = snapshot(method)
    losses = train(method, optimizer_of(method), range(8))
    moved = {key for key, value in snapshot(method).items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.startswith("paraphraser")}
    assert losses[-1]["group/reconstruction"] < losses[0]["group/reconstruction"]
    assert method.modules_to_save() == {"paraphraser": method.paraphraser}


def normalised(maps: Tensor) -> Tensor:
    flat: Tensor = maps.square().mean(1).flatten(1)
    return F.normalize(flat)


def test_factor_transfer_against_the_formula() -> None:
    method = built_method("ft", {"weight": 3.0, "kd_weight": 0.5, "label_weight": 0.25, "temperature": 2.0})
    assert isinstance(method, FT)
    batch = batch_for(method)
    student, teacher = extract_features(method.group[0], batch.inputs), extract_features(trained_teacher().eval(), batch.inputs)
    paraphraser = method.paraphraser.network
    assert isinstance(paraphraser, Paraphraser)
    translated, factors = method.translator(student.maps[-1]), paraphraser.factors(teacher.maps[-1])
    losses = next(method.step(batch, Clock()))
    torch.testing.assert_close(losses["student0/factors"], 3.0 * (normalised(translated) - normalised(factors)).abs().mean())
    torch.testing.assert_close(losses["student0/cross_entropy"], 0.25 * F.cross_entropy(student.logits, batch.labels))
    p, q = (F.softmax(z / 2.0, -1) for z in (teacher.logits, student.logits))
    torch.testing.assert_close(losses["student0/distillation"], 0.5 * 4.0 * (p * (p / q).log()).sum(-1).mean())


def test_the_paraphraser_is_frozen_and_the_translator_learns() -> None:
    method = built_method("ft")
    assert isinstance(method, FT)
    assert isinstance(method.paraphraser, Frozen)
    before = snapshot(method)
    train(method, optimizer_of(method), range(3))
    assert not method.paraphraser.network.training
    moved = {key for key, value in snapshot(method).items() if not torch.equal(value, before[key])}
    assert not any(key.startswith(("paraphraser", "teacher")) for key in moved)
    assert {key for key, _ in method.translator.named_parameters(prefix="translator")} <= moved


@pytest.mark.parametrize("name", ["ab", "fsp"])
def test_the_second_stage_is_plain_training(name: str) -> None:
    alone, method = built_method("baseline"), built_method(name)
    ran: list[int] = []
    teacher = method.get_submodule("teacher")
    teacher.register_forward_pre_hook(lambda *_: ran.append(1))
    expected, found = (train(own, optimizer_of(own), range(3)) for own in (alone, method))
    assert found == expected
    assert not ran, "a teacher without weight does not run"
    method = built_method(name, {"kd_weight": 0.9, "label_weight": 0.1})
    kd = built_method("kd")
    for losses, same in zip(
        updates(method, optimizer_of(method), batch_for(method)), updates(kd, optimizer_of(kd), batch_for(kd)), strict=True
    ):
        assert losses.keys() == same.keys()
        for key in losses:
            torch.testing.assert_close(losses[key], same[key])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fsp", {}, "networks of the same widths"),
        ("fsp", {"student_layers": ["stage1"], "teacher_layers": ["stage1"]}, "at least 2"),
        ("ab", {"student_layers": ["stage1"]}, "name as many of each"),
        ("ab", {"student_layers": ["stage9"], "teacher_layers": ["stage1"]}, "student_layers: .*stage9"),
        ("ab", {"student_layers": ["stage1"], "teacher_layers": ["classifier"]}, r"\(C, H, W\)"),
        ("ft", {"student_layers": ["stem", "stage1"], "teacher_layers": ["stem", "stage1"]}, "ft compares one map"),
        ("ft", {"student_layers": ["stage1"], "teacher_layers": ["classifier"]}, "name a map .* with teacher_layers"),
        ("ft", {"share": 0.01}, "leave no factor"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        first(name, teacher=trained_teacher(), **options)
    assert "\n" not in str(caught.value)


def test_a_students_feature_that_is_no_map_is_refused() -> None:
    with pytest.raises(UserError, match=r"student's feature has the shape \(1, 4\)"):
        built_method("ft", {"student_layers": ["classifier"], "teacher_layers": ["stage2"]})


@pytest.mark.parametrize("name", ["ab", "ft"])
def test_any_module_learns_if_its_layers_are_named(name: str) -> None:
    method = create_method(name, {"student_layers": ["body"], "teacher_layers": ["stage1"]})
    assert isinstance(method, AB | FT)
    stage = method.initial()
    make = maker(Plain, teacher=trained_teacher())
    stage.build(make)
    stage.train()
    train(stage, optimizer_of(stage), range(2))
    unnamed = type(method)().initial()
    with pytest.raises(UserError, match=r"Plain is no chain of blocks.*body"):
        unnamed.build(make)
