"""Online role change: who teaches whom, in which order, and how often every network runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from studygroup.batch import LabelTargets
from studygroup.clock import Clock
from studygroup.errors import TrainingError
from studygroup.losses import soft_kl
from studygroup.methods import ORC, Method
from studygroup.methods.method import WithMetrics
from studygroup.methods.roles import feedback, quotas, role_metrics
from studygroup.randomness import beta
from tests.methods.tiny import CLASSES, Plain, batch_for, built_method, images, optimizer_of, snapshot, tiny, updates, wider

CLOCK = Clock(epoch=1, epochs=4, step=1, steps=5, seed=8)


@pytest.mark.parametrize(
    ("losses", "batch", "expected"),
    [
        ((2, 1, 0.5), 64, [40, 15, 9]),
        ((1, 1, 1), 64, [22, 21, 21]),
        ((1, 1, 1), 16, [6, 5, 5]),
        ((4.6, 0.1, 0.1), 8, [8, 0, 0]),
        ((2, 1, 0.5), 1, [1, 0, 0]),
        ((3.0,), 7, [7]),
        ((1000.0, 0.0), 4, [4, 0]),
    ],
)
def test_how_much_each_student_feeds_back(losses: tuple[float, ...], batch: int, expected: list[int]) -> None:
    assert quotas(torch.tensor(losses), batch) == expected


@given(st.lists(st.floats(0, 20), min_size=1, max_size=6), st.integers(1, 200))
def test_quotas_sum_to_the_batch(losses: list[float], batch: int) -> None:
    found = quotas(torch.tensor(losses, dtype=torch.float64), batch)
    exact = torch.softmax(torch.tensor(losses, dtype=torch.float64), 0) * batch
    assert sum(found) == batch
    assert all(abs(quota - float(share)) <= 1 + 1e-6 for quota, share in zip(found, exact, strict=True))
    assert all(0 <= quota <= batch for quota in found)


def plain_feedback(errors: Tensor) -> list[int]:
    """Sorted positions that are fed back, counted out in Python."""
    found: list[int] = []
    for own, quota in zip(errors.tolist(), quotas(errors.mean(1), errors.shape[1]), strict=True):
        found += sorted(range(len(own)), key=lambda b: (-own[b], b))[:quota]
    return sorted(found)


@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 1000))
def test_feedback_is_each_students_worst_samples(students: int, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    errors = torch.randint(0, 4, (students, batch), generator=generator).float()  # with ties
    positions = feedback(errors, generator)
    assert sorted(positions.tolist()) == plain_feedback(errors)
    assert len(positions) == batch


def test_identical_students_feed_the_same_samples_back() -> None:
    errors = torch.rand(1, 12, generator=torch.Generator().manual_seed(0)).repeat(3, 1)
    assert quotas(errors.mean(1), 12) == [4, 4, 4]
    worst = torch.sort(errors[0], descending=True).indices[:4].tolist()
    assert sorted(feedback(errors, torch.Generator()).tolist()) == sorted(worst * 3)


def test_feedback_is_shuffled_by_the_stream() -> None:
    errors = torch.rand(2, 30, generator=torch.Generator().manual_seed(0))
    one, same, other = (feedback(errors, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one.sort().values, other.sort().values)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_mixing_shares_are_beta_distributed(alpha: float) -> None:
    generator = torch.Generator().manual_seed(1)
    draws = beta(alpha, generator, 3000)
    variance = 1 / (4 * (2 * alpha + 1))
    assert ((draws >= 0) & (draws <= 1)).all()
    assert abs(float(draws.mean()) - 0.5) < 5 * (variance / 3000) ** 0.5
    assert float(draws.var()) == pytest.approx(variance, rel=0.1)
    assert beta(0.0, generator, 2).tolist() == [1.0, 1.0]


def nets(method: Method) -> dict[str, nn.Module]:
    return {**{name: method.group[k] for k, name in enumerate(method.student_names())}, **method.extra_members()}


def named(losses: Sequence[str], kind: str) -> list[int]:
    return [int(name.split("/")[0].removeprefix("student")) for name in losses if name.endswith(f"/{kind}")]


def best_first(method: Method, inputs: Tensor, labels: Tensor) -> list[int]:
    """Students by mean cross-entropy in train mode, from copies."""
    errors = [float(F.cross_entropy(method.export(name).train()(inputs), labels).detach()) for name in method.student_names()]
    return sorted(range(len(errors)), key=errors.__getitem__)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, ["intensive", "private", "group"]),
        ({"temporary_teachers": 0}, ["intensive", "group"]),
        ({"temporary_teachers": 2}, ["intensive", "private", "group"]),
        ({"intensive": "off"}, ["private", "group"]),
        ({"intensive": "off", "temporary_teachers": 0}, ["group"]),
        ({"students": 1}, ["intensive", "private"]),
        ({"students": 2, "temporary_teachers": 2}, ["intensive", "private"]),
    ],
)
@pytest.mark.parametrize("count", [12, 2])
def test_order_and_roles(options: dict[str, Any], kinds: list[str], count: int) -> None:
    """Every network moves exactly once, the teachers before those that they teach, whatever the size of the batch."""
    if options.get("students", 3) == options.get("temporary_teachers", 1):
        with pytest.warns(UserWarning, match="no student is left"):
            method = built_method("orc", options)
    else:
        method = built_method("orc", options)
    assert isinstance(method, ORC)
    batch = batch_for(method, count=count)
    ranking = best_first(method, batch.inputs, batch.labels)
    temporary = ranking[: method.temporary_teachers]
    seen, moved = [], []
    for losses in updates(method, optimizer_of(method), batch, CLOCK):
        kind = {"pivot/intensive": "intensive"}.get(next(iter(losses)), "")
        kind = kind or ("private" if named(list(losses), "private") else "group")
        seen.append(kind)
        touched = sorted(name for name, network in nets(method).items() if any(p.grad is not None for p in network.parameters()))
        moved += touched
        wanted = {"private": temporary, "group": [k for k in range(method.students) if k not in temporary]}
        assert touched == (["pivot"] if kind == "intensive" else sorted(f"student{k}" for k in wanted[kind]))
        if kind != "intensive":
            assert sorted(named(list(losses), kind)) == sorted(wanted[kind])
            assert sorted(named(list(losses), "cross_entropy")) == sorted(wanted[kind])
    assert seen == kinds
    assert sorted(moved) == sorted(set(nets(method)) - ({"pivot"} if method.intensive == "off" else set()))


def calls(method: Method) -> list[tuple[str, bool, Tensor]]:
    """Fills with (network, whether gradients were on, its first weights) at every forward pass."""
    found: list[tuple[str, bool, Tensor]] = []

    def note(name: str, network: nn.Module) -> None:
        weights = next(network.parameters())
        network.register_forward_hook(lambda *_: found.append((name, torch.is_grad_enabled(), weights.detach().clone())))

    for name, network in nets(method).items():
        note(name, network)
    return found


@pytest.mark.parametrize(
    ("options", "passes", "gradients"),
    [
        ({}, 6, 4),
        ({"reuse_temporary": True}, 5, 4),
        ({"intensive": "off"}, 5, 3),
        ({"temporary_teachers": 0}, 5, 4),
        ({"temporary_teachers": 2}, 7, 4),
        ({"recompute": True}, 9, 4),
    ],
)
def test_forward_passes(options: dict[str, Any], passes: int, gradients: int) -> None:
    method = built_method("orc", options)
    found = calls(method)
    for _ in updates(method, optimizer_of(method), batch_for(method), CLOCK):
        pass
    assert len(found) == passes
    assert sum(on for _, on, _ in found) == gradients


def test_teachers_predict_with_their_new_weights() -> None:
    method = built_method("orc")
    before = {name: next(network.parameters()).detach().clone() for name, network in nets(method).items()}
    batch = batch_for(method)
    best = f"student{best_first(method, batch.inputs, batch.labels)[0]}"
    found = calls(method)
    for _ in updates(method, optimizer_of(method), batch, CLOCK):
        pass
    assert [name for name, _, _ in found] == ["student0", "student1", "student2", "pivot", "pivot", best]
    for name, on, weights in found[:4]:
        assert on
        assert torch.equal(weights, before[name])
    for name, on, weights in found[4:]:
        assert not on
        assert torch.equal(weights, next(nets(method)[name].parameters())), "as it is at the end: moved, and only once"
        assert not torch.equal(weights, before[name])


@pytest.mark.parametrize("style", ["individual", "ensemble"])
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("count", [12, 5])
def test_a_step_against_the_reference(style: str, reuse: bool, count: int) -> None:
    """Copies of the networks, an optimiser each, and the paper's steps one after the other (METHOD's order)."""
    alpha, temperature, rate = 0.3, 2.0, 0.05
    method = built_method("orc", {"alpha": alpha, "temperature": temperature, "style": style, "reuse_temporary": reuse})
    batch = batch_for(method, count=count)
    students = [method.export(f"student{k}").train() for k in range(3)]
    pivot = method.export("pivot").train()
    optimizers = [torch.optim.SGD(network.parameters(), lr=rate) for network in (*students, pivot)]
    own = torch.optim.SGD(method.parameters(), lr=rate)
    found = [{name: float(loss.detach()) for name, loss in losses.items()} for losses in updates(method, own, batch, CLOCK)]

    x, y = batch.inputs, batch.labels
    logits = [network(x) for network in students]
    errors = torch.stack([F.cross_entropy(z, y, reduction="none").detach() for z in logits])
    best = min(range(3), key=lambda k: float(errors[k].mean()))
    generator = CLOCK.generator("intensive")
    partners = feedback(errors, generator)
    assert sorted(partners.tolist()) == plain_feedback(errors)
    share = float(beta(1.0, generator))
    assert 0.01 < share < 0.99

    def move(network: int, loss: Tensor) -> float:
        optimizers[network].zero_grad()
        loss.backward()
        optimizers[network].step()
        return float(loss.detach())

    mixed = pivot(share * x + (1 - share) * x[partners])
    intensive = move(3, share * F.cross_entropy(mixed, y) + (1 - share) * F.cross_entropy(mixed, y[partners]))
    assert found[0] == pytest.approx({"pivot/intensive": intensive}, rel=1e-5)

    def ask(network: nn.Module) -> Tensor:
        with torch.no_grad():
            answer: Tensor = network(x)
        return answer

    buffers = [{name: value.clone() for name, value in network.named_buffers()} for network in (*students, pivot)]
    from_pivot = ask(pivot)
    private = move(best, (1 - alpha) * F.cross_entropy(logits[best], y) + alpha * soft_kl(logits[best], from_pivot, temperature))
    assert sum(found[1].values()) == pytest.approx(private, rel=1e-5)
    from_temporary = logits[best].detach() if reuse else ask(students[best])
    teachers = [from_temporary, from_pivot] if style == "individual" else [(from_temporary + from_pivot) / 2]
    for k in {0, 1, 2} - {best}:
        distillation = sum((soft_kl(logits[k], teacher, temperature) for teacher in teachers), torch.zeros(()))
        group = move(k, (1 - alpha) * F.cross_entropy(logits[k], y) + alpha * distillation)
        assert found[2][f"student{k}/cross_entropy"] + found[2][f"student{k}/group"] == pytest.approx(group, rel=1e-5)
    for number, (name, reference) in enumerate(zip(nets(method), (*students, pivot), strict=True)):
        reference.load_state_dict(buffers[number], strict=False)  # asking left no trace
        for key, value in snapshot(nets(method)[name]).items():
            torch.testing.assert_close(value, snapshot(reference)[key], rtol=1e-4, atol=1e-6)


def test_with_an_identical_teacher_only_the_labels_have_gradient() -> None:
    method = ORC(alpha=0.3)
    logits = torch.randn(6, CLASSES, requires_grad=True)
    labels = torch.randint(CLASSES, (6,))
    losses = method.student_loss(1, "group", logits, LabelTargets(labels), [logits.detach(), logits.detach() + 5.0])
    assert float(losses["student1/group"].detach()) == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(losses["student1/cross_entropy"], 0.7 * F.cross_entropy(logits, labels))


def test_individual_teachers_are_added_up() -> None:
    logits, first, second = torch.randn(3, 6, CLASSES).unbind()
    labels = torch.randint(CLASSES, (6,))
    both = ORC(alpha=0.5).student_loss(0, "group", logits, LabelTargets(labels), [first, second])["student0/group"]
    torch.testing.assert_close(both, 0.5 * (soft_kl(logits, first, 4.0) + soft_kl(logits, second, 4.0)))
    joined = ORC(alpha=0.5, style="ensemble").student_loss(0, "group", logits, LabelTargets(labels), [first, second])["student0/group"]
    torch.testing.assert_close(joined, 0.5 * soft_kl(logits, (first + second) / 2, 4.0))


class Fixed(nn.Module):
    """Always the same logits."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.logits)


def test_equal_students_are_ranked_by_number_and_feed_back_alike() -> None:
    method = built_method("orc", spec=Fixed())
    assert isinstance(method, ORC)
    batch = batch_for(method)
    steps = list(updates(method, optimizer_of(method), batch, CLOCK))
    assert named(list(steps[1]), "private") == [0]
    assert named(list(steps[2]), "group") == [1, 2]


def test_every_kind_of_intensive_teaching_against_its_definition() -> None:
    batch = batch_for(built_method("orc"))
    errors = torch.rand(3, len(batch), generator=torch.Generator().manual_seed(0))
    for intensive in ("feedback_mixup", "mixup", "feedback"):
        method = built_method("orc", {"intensive": intensive})
        assert isinstance(method, ORC)
        seen: list[Tensor] = []
        method.pivot.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        teaching = method.intensive_teaching
        teaching.loss(method.pivot, batch, teaching.draw(batch, errors, torch.Generator().manual_seed(1)))
        generator = torch.Generator().manual_seed(1)
        partners = torch.randperm(len(batch), generator=generator) if intensive == "mixup" else feedback(errors, generator)
        share = 0.0 if intensive == "feedback" else float(beta(1.0, generator))
        torch.testing.assert_close(seen[0], share * batch.inputs + (1 - share) * batch.inputs[partners])


def test_recomputing_changes_memory_and_nothing_else() -> None:
    found = []
    for recompute in (False, True):
        method = built_method("orc", {"recompute": recompute})
        for number in range(3):
            for _ in updates(method, optimizer_of(method), batch_for(method, number), CLOCK):
                pass
        found.append(snapshot(method))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)


def test_each_sample_may_have_its_own_share() -> None:
    method = built_method("orc", {"mixup_per_sample": True})
    assert isinstance(method, ORC)
    batch = batch_for(method)
    errors = torch.rand(3, len(batch), generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    method.pivot.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    teaching = method.intensive_teaching
    loss = teaching.loss(method.pivot, batch, teaching.draw(batch, errors, torch.Generator().manual_seed(1)))
    generator = torch.Generator().manual_seed(1)
    partners = feedback(errors, generator)
    shares = beta(1.0, generator, len(batch)).float()
    assert len(set(shares.tolist())) == len(batch)
    for b, share in enumerate(shares.tolist()):
        torch.testing.assert_close(seen[0][b], share * batch.inputs[b] + (1 - share) * batch.inputs[partners[b]])
    logits = method.export("pivot").train()(seen[0]).detach()
    terms = [
        share * F.cross_entropy(logits[b : b + 1], batch.labels[b : b + 1])
        + (1 - share) * F.cross_entropy(logits[b : b + 1], batch.labels[partners[b] : partners[b] + 1])
        for b, share in enumerate(shares.tolist())
    ]
    torch.testing.assert_close(loss.detach(), torch.stack(terms).mean())


def test_promoting_the_deepest_ignores_the_errors() -> None:
    method = built_method("orc", {"promotion": "deepest"}, peers=(wider, tiny))
    assert isinstance(method, ORC)
    for number in range(5):
        batch = batch_for(method, number)
        names = [list(losses) for losses in updates(method, optimizer_of(method), batch, CLOCK)]
        assert named(names[1], "private") == [1]
        assert sorted(named(names[2], "group")) == [0, 2]


def test_mixing_nothing_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="mixup_alpha is 0"):
        method = built_method("orc", {"mixup_alpha": 0.0})
    batch = batch_for(method)
    expected = F.cross_entropy(method.export("pivot").train()(batch.inputs), batch.labels)
    torch.testing.assert_close(next(iter(method.step(batch, CLOCK)))["pivot/intensive"], expected)


def running(network: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for name, value in network.named_buffers() if "running" in name])


@pytest.mark.parametrize(("options", "moves"), [({}, 1), ({"pivot_clean_bn": True}, 2), ({"intensive": "off"}, 0)])
def test_running_statistics_of_the_pivot(options: dict[str, Any], moves: int) -> None:
    method = built_method("orc", options)
    assert isinstance(method, ORC)
    counted = next(value for name, value in method.pivot.named_buffers() if name.endswith("num_batches_tracked"))
    before, statistics = int(counted), running(method.pivot)
    for _ in updates(method, optimizer_of(method), batch_for(method), CLOCK):
        pass
    assert int(counted) - before == moves
    assert torch.equal(running(method.pivot), statistics) == (moves == 0)
    students = [value for name, value in method.group.named_buffers() if name.endswith("num_batches_tracked")]
    assert {int(value) for value in students} == {1}


def test_a_loss_that_is_not_finite_names_the_student() -> None:
    method = built_method("orc")
    with torch.no_grad():
        next(method.group[1].parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="student1 is nan"):
        next(method.step(batch_for(method), CLOCK))


def test_batches_are_never_cut_and_the_pivot_has_its_rate() -> None:
    assert ORC.whole_batch
    assert ORC(pivot_lr_scale=0.2).learning_rate_scales() == {"pivot": 0.2}
    assert ORC().learning_rate_scales() == {"pivot": 0.1}
    assert ORC(preset="paper").learning_rate_scales() == {"pivot": 1.0}
    assert ORC(preset="paper", pivot_lr_scale=0.2).learning_rate_scales() == {"pivot": 0.2}


def test_the_preset_paper_weighs_labels_and_teachers_alike() -> None:
    def losses(**options: Any) -> list[dict[str, float]]:
        method = built_method("orc", options)
        return [{name: value.item() for name, value in step.items()} for step in method.step(batch_for(method), CLOCK)]

    assert losses(preset="paper") == losses(alpha=0.5, pivot_lr_scale=1.0) != losses()


def test_different_architectures_can_be_students() -> None:
    method = built_method("orc", peers=(Plain, tiny))
    assert method.candidates == ("student0", "student2")
    with torch.no_grad():
        assert [tuple(z.shape) for z in method.logits(images(3, seed=1)).values()] == [(3, CLASSES)] * 4


# ---------------------------------------------------------------- metrics


@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 1000))
def test_metrics_of_roles_counted_out(students: int, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    errors = torch.rand(students, batch, generator=generator, dtype=torch.float64) * 3
    fed = feedback(errors, generator)
    found = {name: float(value) for name, value in role_metrics([students - 1], errors, fed).items()}
    positions = fed.tolist()
    means = [sum(own[b] for own in errors.tolist()) / students for b in range(batch)]
    assert found.pop("feedback/distinct") == pytest.approx(len(set(positions)) / batch)
    assert found.pop("feedback/cross_entropy") == pytest.approx(sum(means[b] for b in positions) / batch)
    assert found.pop("batch/cross_entropy") == pytest.approx(sum(means) / batch)
    for k, quota in enumerate(quotas(errors.mean(1), batch)):
        assert found.pop(f"student{k}/promoted") == (k == students - 1)
        assert found.pop(f"student{k}/fed") == quota / batch
    assert not found


@pytest.mark.parametrize("intensive", ["feedback_mixup", "feedback", "mixup", "off"])
@pytest.mark.parametrize("temporary_teachers", [0, 1, 2])
def test_a_step_yields_its_roles_once(intensive: str, temporary_teachers: int) -> None:
    method = built_method("orc", {"intensive": intensive, "temporary_teachers": temporary_teachers})
    batch = batch_for(method)
    ranking = best_first(method, batch.inputs, batch.labels)
    first, *others = list(updates(method, optimizer_of(method), batch, CLOCK))
    assert isinstance(first, WithMetrics)
    assert not any(isinstance(losses, WithMetrics) for losses in others)
    promoted = [k for k in range(3) if first.metrics[f"student{k}/promoted"] == 1.0]
    assert sorted(ranking[:temporary_teachers]) == promoted
    assert ("feedback/distinct" in first.metrics) == intensive.startswith("feedback")


def test_the_pivot_is_fed_the_samples_of_the_metrics() -> None:
    """Of feedback alone, the pivot's inputs are the samples themselves."""
    method = built_method("orc", {"intensive": "feedback"})
    assert isinstance(method, ORC)
    batch = batch_for(method)
    seen: list[Tensor] = []
    method.pivot.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    errors = torch.stack(
        [F.cross_entropy(method.export(f"student{k}").train()(batch.inputs), batch.labels, reduction="none") for k in range(3)]
    )
    losses = next(method.step(batch, CLOCK))
    assert isinstance(losses, WithMetrics)
    rows = [next(b for b in range(len(batch)) if torch.equal(batch.inputs[b], fed)) for fed in seen[0]]
    assert float(losses.metrics["feedback/distinct"]) == pytest.approx(len(set(rows)) / len(batch))
    assert float(losses.metrics["feedback/cross_entropy"]) == pytest.approx(float(errors.mean(0)[rows].mean().detach()))
    assert float(losses.metrics["feedback/cross_entropy"]) > float(losses.metrics["batch/cross_entropy"]), "it is what is hard"
