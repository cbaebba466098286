"""Several teachers as one: whose predictions they are, and which methods take them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.losses import soft_kl
from studygroup.losses.targets import mix_softened
from studygroup.methods import METHODS, create_method
from studygroup.methods.taught import ImitatesTeachers
from studygroup.networks import NetworkFactory
from tests.methods.tiny import CLASSES, batch_for, built_method, maker, optimizer_of, tiny, train, trained_teacher

TEMPERATURE = 2.5
ACCURACIES = (0.75, 0.5, 0.2)  # the last is below chance


def three() -> list[nn.Module]:
    """The tests' teacher and two more, of another size."""
    return [trained_teacher(), *(NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, seed=seed).student(0) for seed in (90, 91))]


def taught(name: str = "kd", teachers: list[nn.Module] | None = None, accuracies: tuple[float, ...] = ACCURACIES, **options: Any) -> Any:
    teachers = three() if teachers is None else teachers
    left = list(accuracies)
    method = create_method(name, {"temperature": TEMPERATURE, **options})
    factory = maker(teacher=teachers[0], more_teachers=teachers[1:])
    factory.holdout_accuracy = lambda _: left.pop(0)
    method.build(factory)
    return method.train()


@pytest.mark.parametrize("weights", [(0.2, 0.5, 0.3), (0.0, 1.0, 0.0), (1 / 3, 1 / 3, 1 / 3)])
def test_mixed_probabilities_against_a_loop(weights: tuple[float, ...]) -> None:
    logits = 3 * torch.randn(3, 5, CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mixed = mix_softened(logits, torch.tensor(weights), TEMPERATURE)
    for sample in range(5):
        wanted = [0.0] * CLASSES
        for weight, own in zip(weights, logits[:, sample], strict=True):
            total = sum(torch.exp(z / TEMPERATURE).item() for z in own)
            for c in range(CLASSES):
                wanted[c] += weight * torch.exp(own[c] / TEMPERATURE).item() / total
        torch.testing.assert_close(
            (mixed[sample] / TEMPERATURE).softmax(-1), torch.tensor(wanted, dtype=torch.float64), atol=1e-7, rtol=1e-6
        )


def test_the_gradient_of_the_mean_is_the_mean_of_the_teachers_gradients() -> None:
    """That of averaged logits is not."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(3, 6, CLASSES, generator=generator, dtype=torch.float64)
    student = torch.randn(6, CLASSES, generator=generator, dtype=torch.float64, requires_grad=True)

    def gradient(teacher: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(soft_kl(student, teacher, TEMPERATURE), student)
        return found

    wanted = torch.stack([gradient(teacher) for teacher in logits]).mean(0)
    torch.testing.assert_close(gradient(mix_softened(logits, torch.full((3,), 1 / 3, dtype=torch.float64), TEMPERATURE)), wanted)
    assert not torch.allclose(gradient(logits.mean(0)), wanted, atol=1e-3)


def test_mixing_has_a_gradient_and_needs_a_weight_for_each() -> None:
    logits = torch.randn(2, 3, CLASSES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: mix_softened(z, torch.tensor([0.3, 0.7], dtype=torch.float64), 2.0), (logits,))
    with pytest.raises(UserError, match=r"weights are \(3,\), but there are 2 networks"):
        mix_softened(logits, torch.ones(3) / 3)


@pytest.mark.parametrize(("combine", "weights"), [("mean", (1 / 3, 1 / 3, 1 / 3)), ("holdout", (2 / 3, 1 / 3, 0.0))])
def test_kd_imitates_the_weighted_mean(combine: str, weights: tuple[float, ...]) -> None:
    method = taught(alpha=0.6, combine=combine)
    torch.testing.assert_close(method.teacher_weights(), torch.tensor(weights))
    batch = batch_for(method)
    student = method.group[0](batch.inputs)
    mean = torch.stack([w * F.softmax(t.eval()(batch.inputs) / TEMPERATURE, -1) for w, t in zip(weights, three(), strict=True)]).sum(0)
    wanted = 0.6 * TEMPERATURE**2 * F.kl_div(F.log_softmax(student / TEMPERATURE, -1), mean, reduction="batchmean")
    losses = next(method.step(batch, Clock()))
    torch.testing.assert_close(losses["student0/distillation"], wanted)
    torch.testing.assert_close(losses["student0/cross_entropy"], 0.4 * F.cross_entropy(student, batch.labels))


def test_one_teacher_is_drawn_per_step_and_no_other_runs() -> None:
    method = taught(combine="random")
    ran: list[int] = []
    teachers = [method.teacher, *method.more_teachers]
    for j, teacher in enumerate(teachers):
        teacher.register_forward_pre_hook(lambda *_, j=j: ran.append(j))
    batch, drawn = batch_for(method), Counter[int]()
    for step in range(60):
        clock = Clock(step=step, steps=60, seed=4)
        losses = next(method.step(batch, clock))
        (chosen,) = ran
        again = next(method.step(batch, clock))  # as after a resume, or on another rank
        assert ran == [chosen, chosen]
        torch.testing.assert_close(again, losses)
        wanted = 0.9 * soft_kl(method.group[0](batch.inputs), three()[chosen].eval()(batch.inputs), TEMPERATURE)
        torch.testing.assert_close(losses["student0/distillation"], wanted)
        drawn[chosen] += 1
        ran.clear()
    assert set(drawn) == {0, 1, 2}
    assert min(drawn.values()) > 10


def test_teachers_no_better_than_chance_count_the_same() -> None:
    torch.testing.assert_close(taught(combine="holdout", accuracies=(0.1, 0.25, 0.2)).teacher_weights(), torch.full((3,), 1 / 3))


def test_a_resumed_run_has_the_weights_that_it_began_with() -> None:
    begun, other = taught(combine="holdout"), taught(combine="holdout", accuracies=(0.5, 0.5, 0.5))
    other.load_state_dict(begun.state_dict())
    assert torch.equal(other.teacher_weights(), begun.teacher_weights())


def test_what_is_recorded() -> None:
    assert taught().taught_by() == {name: {"weight": pytest.approx(1 / 3)} for name in ("teacher", "teacher2", "teacher3")}
    found = taught(combine="holdout").taught_by()
    assert found["teacher2"] == {"weight": pytest.approx(1 / 3), "holdout": pytest.approx(0.5)}
    assert built_method("kd").taught_by() == {}


@pytest.mark.parametrize("combine", ["mean", "holdout", "random"])
def test_one_teacher_is_as_without_the_option(combine: str) -> None:
    plain, method = built_method("kd"), built_method("kd", {"combine": combine})
    assert list(plain.state_dict()) == list(method.state_dict())
    assert not any("accuracy" in name or "more" in name for name in plain.state_dict())
    assert train(plain, optimizer_of(plain), range(3)) == train(method, optimizer_of(method), range(3))


@pytest.mark.parametrize("loss", ["dkd", "dist", "standardized", "mse"])
def test_every_loss_between_logits_takes_several_teachers(loss: str) -> None:
    several, one = taught(logit_loss=loss), taught(logit_loss=loss, teachers=[three()[1]] * 2)
    alone = taught(logit_loss=loss, teachers=three()[1:2])
    batch = batch_for(several)
    found, same, wanted = (next(method.step(batch, Clock()))["student0/distillation"] for method in (several, one, alone))
    torch.testing.assert_close(same, wanted, rtol=1e-4, atol=1e-5)  # two that agree are as one
    assert not torch.allclose(found, wanted, rtol=1e-2)


def test_assistants_learn_from_all_teachers() -> None:
    first = create_method("takd", {"assistants": ["resnet8"], "combine": "random"}).stages()[0]
    assert first.teachers == ("teacher",)  # which stands for all teachers of the run
    assert first.method.options()["combine"] == "random"
    method = taught("takd", alpha=1.0)
    batch = batch_for(method)
    mean = torch.stack([F.softmax(teacher.eval()(batch.inputs) / TEMPERATURE, -1) for teacher in three()]).mean(0)
    student = F.log_softmax(method.group[0](batch.inputs) / TEMPERATURE, -1)
    wanted = TEMPERATURE**2 * F.kl_div(student, mean, reduction="batchmean")
    torch.testing.assert_close(next(method.step(batch, Clock()))["student0/distillation"], wanted)
    dense = create_method("dgkd", {"drop": 0})
    dense.build(maker(teacher=three()[0], more_teachers=three()[1:]))
    assert len(dense.teachers) == 3  # type: ignore[arg-type]


def test_accuracies_must_be_known() -> None:
    method = create_method("kd", {"combine": "holdout"})
    with pytest.raises(UserError, match="combine is holdout, but no accuracies are known"):
        method.build(maker(teacher=three()[0], more_teachers=three()[1:]))


def test_which_methods_take_several() -> None:
    assert {name for name, kind in METHODS.items() if kind.several_teachers} == {"kd", "takd", "dgkd"}
    assert issubclass(METHODS["kd"], ImitatesTeachers)
    assert all(kind.needs_teacher for kind in METHODS.values() if kind.several_teachers)
