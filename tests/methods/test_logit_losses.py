"""The loss between logits as an option: the methods that have it, mixed labels, whole batches, and the presets of kd."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from studygroup import losses
from studygroup.batch import Batch, LabelMix, LabelTargets
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.losses import cross_entropy, decoupled_kl, dist, logit_mse, soft_kl, standardized_kl
from studygroup.methods import DML, KD, METHODS, Method, create_method, method_options
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.training.settings import Settings
from studygroup.training.updater import check_batches
from tests.methods.tiny import CLASSES, batch_for, built_method

# Of each method, the options with which students imitate in the first step, and their names of it.
IMITATING: dict[str, tuple[dict[str, Any], str]] = {
    "kd": ({}, "distillation"),
    "takd": ({"assistants": ("resnet20",)}, "distillation"),
    "dgkd": ({"assistants": ("resnet20",)}, "distillation"),
    "dml": ({}, "mimicry"),
    "kdcl": ({}, "imitation"),
    "okddip": ({}, "imitation"),
    "one": ({}, "imitation"),
    "cl_ilr": ({}, "imitation"),
    "codistillation": ({"burn_in": 0.0}, "imitation"),
    "cgl": ({"probability": 1.0, "students": 3}, "imitation"),
    "orc": ({}, "group"),
    "srrl": ({"kd_weight": 1.0}, "distillation"),
    "crd": ({"kd_weight": 1.0}, "distillation"),
    "ft": ({"kd_weight": 1.0}, "distillation"),
}
KINDS = ["standardized", "dkd", "dist", "mse"]


def logits(seed: int, count: int = 9) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, count, CLASSES, generator=torch.Generator().manual_seed(seed)).unbind(0)
    return student, teacher


def targets(count: int = 9) -> LabelTargets:
    return LabelTargets(torch.arange(count) % CLASSES)


def first_losses(method: Method, batch: Batch | None = None) -> dict[str, Tensor]:
    return {name: loss for step in method.step(batch or batch_for(method), Clock(3, 4)) for name, loss in step.items()}


@pytest.mark.parametrize("name", IMITATING)
def test_every_method_that_compares_logits_has_the_choice(name: str) -> None:
    options, kind = IMITATING[name]
    by_default = first_losses(built_method(name, options))
    for choice in KINDS:
        found = first_losses(built_method(name, options | {"logit_loss": choice}))
        assert found.keys() == by_default.keys()
        changed = [loss for loss in found if loss.endswith(kind)]
        assert changed
        for loss in changed:
            assert not torch.allclose(found[loss], by_default[loss], rtol=1e-3), (loss, choice)
        others = [loss for loss in found if loss.endswith("/cross_entropy")]
        if name != "orc":  # whose networks move between its losses
            assert all(torch.equal(found[loss], by_default[loss]) for loss in others)


def test_no_method_of_distillation_lacks_the_choice() -> None:
    with_option = {name for name in METHODS if "logit_loss" in method_options(name)}
    assert with_option >= set(IMITATING)
    assert all(issubclass(METHODS[name], ComparesLogits) for name in with_option)
    assert {name for name in METHODS if "temperature" in method_options(name)} - with_option == {"bss", "mcl"}  # whose T is of other things


def test_the_choices_call_the_losses() -> None:
    (student, teacher), labels = logits(0), targets()
    expected = {
        "kl": soft_kl(student, teacher, 3.0),
        "standardized": standardized_kl(student, teacher, 3.0),
        "dkd": decoupled_kl(student, teacher, labels.labels, 0.5, 2.0, 3.0),
        "dist": dist(student, teacher, 1.0, 3.0, 3.0),
        "mse": logit_mse(student, teacher),
    }
    own: dict[str, dict[str, float]] = {"dkd": {"dkd_alpha": 0.5, "dkd_beta": 2.0}, "dist": {"dist_beta": 1.0, "dist_gamma": 3.0}}
    for kind, value in expected.items():
        method = create_method("dml", {"logit_loss": kind, **own.get(kind, {})})
        assert isinstance(method, ComparesLogits)
        torch.testing.assert_close(method.compare(student, teacher, labels, 3.0), value)


@pytest.mark.parametrize("kind", ["kl", *KINDS])
@pytest.mark.parametrize("scale", [True, False])
def test_one_call_for_all_students_gives_each_its_own_loss(kind: Any, scale: bool) -> None:
    method = DML(logit_loss=kind)
    pairs = [logits(0, 4), logits(1, 7), logits(2, 3)]
    labels = [targets(4), LabelTargets(torch.tensor([3, 2, 1, 0, 0, 1, 2])), targets(3)]
    found = method.compare_each([s for s, _ in pairs], [t for _, t in pairs], labels, 2.0, scale=scale)
    factor = 1.0 if scale or kind == "mse" else 0.25
    for loss, (student, teacher), own in zip(found, pairs, labels, strict=True):
        torch.testing.assert_close(loss, factor * method.compare(student, teacher, own, 2.0))


def test_a_methods_own_divergence_is_kl() -> None:
    student, teacher = logits(0)
    half = partial(soft_kl, reduction="elementwise_mean")
    torch.testing.assert_close(DML().compare(student, teacher, targets(), 2.0, half), soft_kl(student, teacher, 2.0) / CLASSES)
    other = DML(logit_loss="standardized").compare(student, teacher, targets(), 2.0, half)
    torch.testing.assert_close(other, standardized_kl(student, teacher, 2.0))


def test_mixed_samples_have_both_labels_in_dkd() -> None:
    student, teacher = logits(0)
    share = torch.linspace(0.5, 1.0, 9)
    mixed = replace(targets(), mix=LabelMix((targets().labels + 1) % CLASSES, share))
    first = decoupled_kl(student, teacher, mixed.labels, 1.0, 8.0, 2.0, reduction="none")
    assert mixed.mix is not None
    second = decoupled_kl(student, teacher, mixed.mix.labels, 1.0, 8.0, 2.0, reduction="none")
    expected = (share * first + (1 - share) * second).mean()
    torch.testing.assert_close(DML(logit_loss="dkd").compare(student, teacher, mixed, 2.0), expected)
    assert not torch.allclose(expected, first.mean(), rtol=1e-3)
    for kind in ("kl", "standardized", "dist", "mse"):  # which know no labels
        method = DML(logit_loss=kind)
        assert torch.equal(method.compare(student, teacher, mixed, 2.0), method.compare(student, teacher, targets(), 2.0))


def test_dist_needs_whole_batches() -> None:
    settings = Settings(microbatches=2)
    check_batches(DML(), settings)
    for method in (DML(logit_loss="dist"), KD(preset="dist")):
        assert method.whole_batch
        with pytest.raises(UserError, match="microbatches 1"):
            check_batches(method, settings)
    assert create_method("crd").whole_batch


def test_a_selection_of_samples_is_not_gathered() -> None:
    def gather(rows: Tensor) -> Tensor:
        return torch.cat([rows, rows])

    whole = replace(targets(), gather=gather)
    assert len(whole.all_gather(torch.ones(9, 2))) == 18
    for part in (whole.map(lambda rows: rows[:4]), whole.split([4, 5])[0], LabelTargets.cat([whole, whole])):
        assert part.gather is None
        assert len(part.all_gather(torch.ones(4))) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dkd_beta": 2.0}, "dkd_beta is 2, but logit_loss is kl; give logit_loss dkd"),
        ({"dist_gamma": 1.0, "logit_loss": "dkd"}, "dist_gamma is 1, but logit_loss is dkd; give logit_loss dist"),
        ({"preset": "dist", "logit_loss": "dkd"}, "logit_loss is dkd, but preset dist is a recipe of dist"),
        ({"preset": "dkd", "alpha": 0.5}, "alpha is 0.5, a weight of preset crd; with preset dkd give label_weight and weight"),
    ],
)
def test_options_of_another_loss_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        create_method("kd", options)


# ---------------------------------------------------------------- presets of kd


@pytest.mark.parametrize(
    ("options", "label_weight", "loss"),
    [
        ({}, 0.1, lambda s, t, y: 0.9 * soft_kl(s, t, 4.0)),
        ({"weight": 9.0, "label_weight": 1.0}, 1.0, lambda s, t, y: 9 * soft_kl(s, t, 4.0)),
        ({"preset": "dkd"}, 1.0, losses.decoupled_kl),
        ({"preset": "dkd", "dkd_beta": 2.0}, 1.0, lambda s, t, y: decoupled_kl(s, t, y, beta=2.0)),
        ({"preset": "dist"}, 1.0, lambda s, t, y: dist(s, t)),
        ({"preset": "standardized"}, 0.1, lambda s, t, y: 9 * standardized_kl(s, t)),
        ({"preset": "standardized", "temperature": 3.0}, 0.1, lambda s, t, y: 9 * standardized_kl(s, t, 3.0)),
    ],
)
def test_presets_are_the_papers_recipes(options: dict[str, Any], label_weight: float, loss: Any) -> None:
    method = built_method("kd", options)
    batch = batch_for(method)
    found = first_losses(method, batch)
    twin = built_method("kd", options)
    student, teacher = twin.group[0](batch.inputs), twin.get_submodule("teacher")(batch.inputs)
    torch.testing.assert_close(found["student0/cross_entropy"], label_weight * cross_entropy(student, batch.labels))
    torch.testing.assert_close(found["student0/distillation"], loss(student, teacher, batch.labels))


def test_dkd_warms_up_over_a_twelfth_of_the_epochs() -> None:
    def weight(epoch: int, **options: Any) -> float:
        method = built_method("kd", options)
        (found,) = method.step(batch_for(method), Clock(epoch, 240))
        (full,) = method.step(batch_for(method), Clock(239, 240))
        return float((found["student0/distillation"] / full["student0/distillation"]).detach())

    assert [weight(epoch, preset="dkd") for epoch in (0, 9, 19, 20)] == pytest.approx([0.05, 0.5, 1.0, 1.0])
    assert weight(0, preset="dist") == 1.0
    assert weight(0, preset="dkd", warmup_share=0.0) == 1.0
    assert weight(1, warmup_share=0.1) == pytest.approx(2 / 24)
