"""Collaborative group learning: who imitates whom, what is learned, and that a group of one is plain training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.groups import Modular
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods import CGL, Method
from studygroup.methods.past_logits import PastLogits
from studygroup.schedules import ramp
from tests.methods.tiny import batch_for, built_method, optimizer_of, snapshot, train, updates


def drawn(draws: int, **options: Any) -> Tensor:
    """How often k imitated j, (K, K), in so many draws."""
    method = CGL(**options)
    counts = torch.zeros(method.students, method.students)
    for step in range(draws):
        for k, chosen in enumerate(method.subgroups.draw(Clock(step=step, steps=draws).generator("subgroups"))):
            assert len(set(chosen)) == len(chosen)
            assert k not in chosen
            counts[k, chosen] += 1
    return counts


def off_diagonal(counts: Tensor) -> Tensor:
    return counts[~torch.eye(len(counts), dtype=torch.bool)]


@pytest.mark.parametrize("probability", [0.125, 0.25, 0.9])
def test_bernoulli_selection_has_its_probability(probability: float) -> None:
    draws = 1500
    counts = off_diagonal(drawn(draws, students=8, probability=probability))
    spread = math.sqrt(draws * probability * (1 - probability))
    assert ((counts - draws * probability).abs() < 5 * spread).all(), "each of the 56 pairs lies within 5 standard deviations"
    assert abs(float(counts.sum()) - 56 * draws * probability) < 4 * spread * math.sqrt(56)
    assert counts.std() > 0.5 * spread, "pairs are drawn independently"


@pytest.mark.parametrize(("probability", "size"), [(0.01, 1), (0.25, 2), (0.5, 4), (0.9, 7), (1.0, 7)])
def test_fixed_selection_has_its_size(probability: float, size: int) -> None:
    method = CGL(students=8, probability=probability, select="fixed")
    draws = 700
    for step in range(20):
        assert {len(chosen) for chosen in method.subgroups.draw(Clock(step=step, steps=20).generator("subgroups"))} == {size}
    counts = off_diagonal(drawn(draws, students=8, probability=probability, select="fixed"))
    share = size / 7
    assert ((counts - draws * share).abs() <= 5 * math.sqrt(draws * share * (1 - share))).all()


@pytest.mark.parametrize("select", ["bernoulli", "fixed"])
def test_the_ends_of_the_probability(select: str) -> None:
    assert off_diagonal(drawn(5, students=5, probability=1.0, select=select)).tolist() == [5.0] * 20
    assert not drawn(5, students=5, probability=0.0, select=select).any()
    assert not drawn(5, students=1, probability=1.0, select=select).any()


def test_subgroups_change_from_step_to_step_and_come_back_after_a_resume() -> None:
    method = CGL(students=8, probability=0.5)
    groups = [method.subgroups.draw(Clock(epoch=2, step=step, steps=4, seed=5).generator("subgroups")) for step in (1, 2, 1)]
    assert groups[0] == groups[2] != groups[1]


@pytest.mark.parametrize(("select", "probability"), [("bernoulli", 0.25), ("bernoulli", 1.0), ("fixed", 0.25), ("fixed", 1.0)])
def test_the_expected_divisor_gives_the_mean_of_the_others_in_expectation(select: Any, probability: float) -> None:
    method = CGL(students=6, probability=probability, select=select, normalize="expected")
    draws = 2000
    total, squares = torch.zeros(2, 6, dtype=torch.float64)
    for step in range(draws):
        chosen = method.subgroups.draw(Clock(step=step, steps=draws).generator("subgroups"))[2]
        target = method.subgroups.target(
            torch.zeros(1, 6), [torch.eye(6)[j : j + 1] for j in chosen]
        )  # student j's logits are unit vector j
        assert target is not None
        total += target[0]
        squares += target[0] ** 2
    mean = total / draws
    error = ((squares / draws - mean**2).clamp(min=0) / draws).sqrt()
    wanted = torch.tensor([0.2, 0.2, 0.0, 0.2, 0.2, 0.2], dtype=torch.float64)
    assert ((mean - wanted).abs() <= 5 * error + 1e-6).all()


def test_readings_of_select_agree_at_probability_one() -> None:
    imitated = [torch.randn(2, 3) for _ in range(3)]
    targets = [
        CGL(students=4, probability=1.0, select=select, normalize=normalize).subgroups.target(torch.zeros(2, 3), imitated)
        for select in ("bernoulli", "fixed")
        for normalize in ("realised", "expected")
    ]
    for target in targets:
        assert target is not None
        torch.testing.assert_close(target, torch.stack(imitated).mean(0))


def test_an_empty_subgroup_is_skipped_or_uniform() -> None:
    own = torch.randn(2, 3)
    assert CGL(students=4, probability=0.5).subgroups.target(own, []) is None
    strict = CGL(students=4, probability=0.5, normalize="expected").subgroups.target(own, [])
    assert strict is not None
    assert torch.equal(strict, torch.zeros(2, 3)), "equal logits: a uniform target"
    assert CGL(students=4, probability=0.0, normalize="expected").subgroups.target(own, []) is None
    assert CGL(students=1, normalize="expected").subgroups.target(own, []) is None


def one_step(method: Method, batch: Batch, clock: Clock | None = None) -> dict[str, Tensor]:
    return next(iter(method.step(batch, clock or Clock())))


def test_without_imitation_the_loss_is_the_sum_of_cross_entropies() -> None:
    method = built_method("cgl", {"students": 3, "probability": 0.0, "bn": "per_student"})
    batch = batch_for(method)
    losses = one_step(method, batch)
    assert set(losses) == {f"student{k}/cross_entropy" for k in range(3)}
    fresh = built_method("cgl", {"students": 3, "probability": 0.0, "bn": "per_student"})
    for k, share in enumerate(batch.per_student(3)):
        alone = cross_entropy(fresh.export(f"student{k}").train()(share.inputs), share.labels)
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], alone)


def test_the_whole_loss_against_a_loop_over_students() -> None:
    """Every student a plain network of its own, batch norm by student; all imitate all others."""
    options = {"students": 3, "probability": 1.0, "bn": "per_student", "temperature": 2.0, "ramp_share": 0.5}
    method = built_method("cgl", options)
    networks = [method.export(f"student{k}") for k in range(3)]
    batch = batch_for(method)
    clock = Clock(epoch=1, epochs=8)
    losses = one_step(method, batch, clock)
    phi = math.exp(-5 * (1 - 1 / 4) ** 2)
    for k, share in enumerate(batch.per_student(3)):
        logits = [network.train()(share.inputs) for network in networks]
        target = (sum(logits) - logits[k]) / 2
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], cross_entropy(logits[k], share.labels))
        torch.testing.assert_close(losses[f"student{k}/imitation"], phi * soft_kl(logits[k], target, 2.0))
    assert len(losses) == 6


@pytest.mark.parametrize(("epoch", "weight"), [(0, math.exp(-5)), (1, math.exp(-5 / 4)), (2, 1.0), (3, 1.0), (9, 1.0)])
def test_imitation_is_ramped_up(epoch: int, weight: float) -> None:
    method = built_method("cgl", {"students": 2, "probability": 1.0, "ramp_share": 0.2})
    batch = batch_for(method)
    late = one_step(built_method("cgl", {"students": 2, "probability": 1.0, "ramp_share": 0.0}), batch)
    losses = one_step(method, batch, Clock(epoch=epoch, epochs=10))
    for k in range(2):
        torch.testing.assert_close(losses[f"student{k}/imitation"], weight * late[f"student{k}/imitation"])
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], late[f"student{k}/cross_entropy"])


def test_the_ramp_may_rise_with_every_step() -> None:
    values = []
    for by_step in (False, True):
        method = built_method("cgl", {"students": 2, "probability": 1.0, "ramp_share": 0.5, "ramp_by_step": by_step})
        batch = batch_for(method)
        for step in (0, 3):
            losses = one_step(method, batch, Clock(epoch=1, epochs=8, step=step, steps=4))
            values.append(float(losses["student0/imitation"].detach()))
    assert values[1] == pytest.approx(values[0])
    assert values[2] == pytest.approx(values[0])
    assert values[3] / values[2] == pytest.approx(ramp(1.75, 0, 4) / ramp(1, 0, 4), rel=1e-4)


def test_the_ramp_may_start_later() -> None:
    method = built_method("cgl", {"students": 2, "probability": 1.0, "ramp_share": 0.5, "ramp_start": 2})
    batch = batch_for(method)
    values = [float(one_step(method, batch, Clock(epoch=epoch, epochs=8))["student0/imitation"].detach()) for epoch in (0, 2, 4, 6, 7)]
    factors = [value / values[0] for value in values]
    assert factors == pytest.approx([1.0, *(ramp(epoch, 2, 6) for epoch in (2, 4, 6)), 1.0], rel=1e-4)


def test_temperature_squared_is_an_option() -> None:
    batch = batch_for(built_method("cgl", {"students": 2}))
    base = {"students": 2, "probability": 1.0, "temperature": 3.0, "ramp_share": 0.0}
    with_square = one_step(built_method("cgl", base), batch)
    without = one_step(built_method("cgl", {**base, "t2_scale": False}), batch)
    torch.testing.assert_close(with_square["student1/imitation"], 9 * without["student1/imitation"])


def test_a_student_without_samples_is_skipped() -> None:
    method = built_method("cgl", {"students": 3, "probability": 1.0, "head": "per_student"})
    batch = batch_for(method, sizes=(7, 0, 5))
    optimizer = optimizer_of(method)
    before = snapshot(method)
    for losses in updates(method, optimizer, batch):
        assert set(losses) == {f"student{k}/{kind}" for k in (0, 2) for kind in ("cross_entropy", "imitation")}
    own = {id(p) for p in method.parameter_sets()["student1"]}
    for name, parameter in method.named_parameters():
        if id(parameter) in own:
            assert torch.equal(parameter, before[name])


def test_students_on_one_batch_imitate_without_another_forward() -> None:
    for options, calls in (({"division": "none"}, 1), ({"division": "epoch"}, 2)):
        method = built_method("cgl", {"students": 4, "probability": 1.0, **options})
        assert isinstance(method.group, Modular)
        counts: list[int] = []
        method.group.layers[-1].get_submodule("0").register_forward_hook(lambda *_, counts=counts: counts.append(1))
        one_step(method, batch_for(method))
        assert len(counts) == calls


def test_modules_on_no_route_are_not_updated() -> None:
    method = built_method("cgl", {"students": 2, "modules": 3, "probability": 1.0})
    assert isinstance(method.group, Modular)
    unused = method.group.unused_modules()
    assert len(unused) >= 4
    idle = [method.group.layers[depth].get_submodule(str(module)) for depth, module in unused]
    counted = {id(p) for parameters in method.parameter_sets().values() for p in parameters}
    assert counted.isdisjoint(id(p) for module in idle for p in module.parameters())
    before = [snapshot(module) for module in idle]
    optimizer = optimizer_of(method)  # with momentum and weight decay
    for _ in updates(method, optimizer, batch_for(method)):
        assert all(p.grad is None for module in idle for p in module.parameters())
    for module, values in zip(idle, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in snapshot(module).items())


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("bn", ["pooled", "per_student"])
@pytest.mark.parametrize("routing", [True, False])
def test_a_group_of_one_is_plain_training_bit_for_bit(kind: str, bn: str, routing: bool) -> None:
    alone = built_method("baseline", seed=4)
    group = built_method("cgl", {"students": 1, "bn": bn, "routing": routing}, seed=4)
    expected = train(alone, optimizer_of(alone, kind), range(5))
    assert train(group, optimizer_of(group, kind), range(5)) == expected
    one, other = alone.export("student0").state_dict(), group.export("student0").state_dict()
    assert list(one) == list(other)
    for name, value in one.items():
        if name.endswith("num_batches_tracked"):
            continue  # per student it is not counted; nothing depends on it
        assert torch.equal(value, other[name]), name


def test_clipping_does_not_tell_a_group_of_one_from_plain_training() -> None:
    norms = []
    for name, options in (("baseline", {}), ("cgl", {"students": 1})):
        method = built_method(name, options)
        for _ in updates(method, optimizer_of(method), batch_for(method)):
            ordered = [p for parameters in method.parameter_sets().values() for p in parameters if p.grad is not None]
            norms.append(nn.utils.clip_grad_norm_(ordered, 0.1))
    assert torch.equal(*norms)


def test_rescaling_divides_by_the_students_of_a_module() -> None:
    plain, scaled = (built_method("cgl", {"students": 4, "ilr_rescale": rescale}) for rescale in (False, True))
    assert isinstance(plain.group, Modular)
    batch = batch_for(plain)
    for method in (plain, scaled):
        torch.stack(list(one_step(method, batch).values())).sum().backward()
    student_count = {
        f"{d}.{m}": plain.group.student_count(d, m)
        for d, layer in enumerate(plain.group.layers)
        for m in range(len(list(layer.children())))
    }
    others = dict(scaled.group.named_parameters())
    assert set(student_count.values()) - {0, 1}
    for name, parameter in plain.group.named_parameters():
        _, depth, module, *_ = name.split(".")
        if parameter.grad is not None:
            torch.testing.assert_close(others[name].grad, parameter.grad / student_count[f"{depth}.{module}"])


@pytest.mark.parametrize("head", ["shared", "routed", "per_student"])
def test_a_network_with_few_routes_has_as_many_students(head: Any) -> None:
    """The tiny network has a stem and three blocks."""
    routes = {"shared": 16, "routed": 32, "per_student": 16}[head]
    with pytest.warns(UserWarning, match=f"so {routes} students are trained, not 40"):
        method = built_method("cgl", {"students": 40, "head": head})
    assert isinstance(method, CGL)
    assert len(method.group) == method.partition().students == len(method.candidates) == routes
    assert method.options()["students"] == 40, "what was asked for is what the run's configuration has"
    losses = next(method.step(batch_for(method, count=120), Clock()))
    assert {name.partition("/")[0] for name in losses} <= set(method.student_names())


def test_partition_of_the_samples() -> None:
    assert CGL().partition().division == "epoch"
    partition = CGL(students=5, division="fixed", overlap=0.25, batch="per_student").partition()
    assert (partition.students, partition.division, partition.overlap, partition.per_student) == (5, "fixed", 0.25, True)


def test_the_preset_paper_is_the_text_to_the_letter() -> None:
    letter = {"division": "fixed", "normalize": "expected", "t2_scale": False}
    method, by_hand = built_method("cgl", {"preset": "paper"}), built_method("cgl", letter)
    assert isinstance(method, CGL)
    assert isinstance(by_hand, CGL)
    assert method.partition() == by_hand.partition()
    assert method.subgroups.normalize == by_hand.subgroups.normalize == "expected"
    losses = [list(trained.step(batch_for(trained, 0), Clock(epoch=3, epochs=10))) for trained in (method, by_hand)]
    assert {name: value.item() for name, value in losses[0][0].items()} == {name: value.item() for name, value in losses[1][0].items()}
    given = built_method("cgl", {"preset": "paper", "division": "epoch", "t2_scale": True})
    assert given.partition().division == "epoch"


def remembered(**options: Any) -> CGL:
    method = built_method("cgl", {"students": 3, "ramp_share": 0.0, "memory": 0.6, **options})
    assert isinstance(method, CGL)
    return method


@pytest.mark.parametrize("division", ["epoch", "none"])
def test_memory_against_a_loop_over_epochs_and_samples(division: str) -> None:
    """Bias-corrected moving averages per sample; of what several students predict at once, the mean."""
    method = remembered(division=division, bn="per_student")
    optimizer = optimizer_of(method)
    past: dict[int, tuple[Tensor, float]] = {}
    random = torch.Generator().manual_seed(0)
    for epoch in range(4):
        batch = batch_for(method, epoch)
        batch = batch.take(torch.randperm(len(batch), generator=random), batch.sizes)
        networks = [method.export(f"student{k}").train() for k in range(3)]
        for losses in updates(method, optimizer, batch, Clock(epoch, 4)):
            predicted: dict[int, list[Tensor]] = {}
            indices = batch.indices.split(batch.sizes) if batch.sizes is not None else [batch.indices] * 3
            for k, share in enumerate(batch.per_student(3)):
                logits = networks[k](share.inputs)
                target = [past[i][0] / past[i][1] if i in past else z.detach() for i, z in zip(indices[k].tolist(), logits, strict=True)]
                torch.testing.assert_close(losses[f"student{k}/cross_entropy"], cross_entropy(logits, share.labels))
                torch.testing.assert_close(losses[f"student{k}/imitation"], soft_kl(logits, torch.stack(target), 3.0), rtol=1e-4, atol=1e-6)
                for i, z in zip(indices[k].tolist(), logits.detach(), strict=True):
                    predicted.setdefault(i, []).append(z)
            if epoch == 0:
                assert all(float(losses[f"student{k}/imitation"].detach()) < 1e-6 for k in range(3)), "nothing is known yet"
            else:
                assert all(float(losses[f"student{k}/imitation"].detach()) > 1e-4 for k in range(3))
            for i, found in predicted.items():
                total, weight = past.get(i, (torch.zeros_like(found[0]), 0.0))
                past[i] = (0.6 * total + 0.4 * torch.stack(found).mean(0), 0.6 * weight + 0.4)
    for i, (total, weight) in past.items():
        torch.testing.assert_close(method.past.sums[i], total, rtol=1e-4, atol=1e-5)
        assert float(method.past.weights[i]) == pytest.approx(weight)


def test_nothing_is_learned_from_a_sample_that_was_never_seen() -> None:
    method, without = remembered(), built_method("cgl", {"students": 3, "probability": 0.0})
    batch = batch_for(method)
    for one in (method, without):
        torch.stack(list(one_step(one, batch).values())).sum().backward()
    others = dict(without.named_parameters())
    for name, parameter in method.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, others[name].grad, rtol=1e-4, atol=1e-6)


def test_only_visited_samples_are_remembered_and_no_student_makes_targets() -> None:
    method = remembered()
    assert isinstance(method.group, Modular)
    counts: list[int] = []
    method.group.layers[-1].get_submodule("0").register_forward_hook(lambda *_: counts.append(1))
    whole = batch_for(method)
    part = whole.take(torch.tensor([7, 2, 9]), (1, 0, 2))
    for _ in range(2):
        losses = one_step(method, part)
    assert len(counts) == 2, "one pass in each step"
    assert set(losses) == {f"student{k}/{kind}" for k in (0, 2) for kind in ("cross_entropy", "imitation")}
    assert method.past.weights.nonzero().flatten().tolist() == [2, 7, 9]
    assert not method.past.sums[[0, 1, 3]].any()


def test_a_sample_of_several_students_counts_once() -> None:
    past = PastLogits(4, 2, 0.5)
    past.update(torch.tensor([3, 1, 3]), torch.tensor([[2.0, 0.0], [8.0, 8.0], [4.0, 2.0]]))
    torch.testing.assert_close(past.targets(torch.tensor([3, 1]), torch.zeros(2, 2)), torch.tensor([[3.0, 1.0], [8.0, 8.0]]))
    past.update(torch.tensor([3]), torch.tensor([[9.0, 4.0]]))
    torch.testing.assert_close(past.targets(torch.tensor([3, 0]), torch.ones(2, 2)), torch.tensor([[7.0, 3.0], [1.0, 1.0]]))
    assert past.weights.tolist() == [0.0, 0.5, 0.0, 0.75]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"probability": 0.5}, "probability: with memory there is no forward pass for targets"),
        ({"select": "fixed", "detach_targets": False}, "select, detach_targets: with memory"),
        ({"normalize": "expected"}, "normalize: with memory"),
        ({"targets": "eval"}, "targets: with memory"),
        ({"memory": 1.0}, "memory is 1; it must be at least 0 and below 1"),
        ({"memory": -0.1}, "memory is -0.1; it must be at least 0 and below 1"),
    ],
)
def test_options_that_memory_does_not_go_with(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        CGL(**{"memory": 0.5, **options})
