"""Methods on texts: what a text teaches does not depend on the padding behind it, and methods of images alone say so."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.methods import AB, FSP, FT, METHODS, Losses, Method, create_method
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks import Chain, NetworkFactory
from studygroup.networks.factory import Spec
from studygroup.networks.mixing import can_mix_texts, mixed_logits
from studygroup.networks.padded import Padded
from studygroup.networks.transformer import transformer
from studygroup.networks.vdcnn import vdcnn
from tests.methods.tiny import (
    CLASSES,
    VOCABULARY,
    PlainText,
    batch_for,
    built_method,
    images,
    maker,
    padded,
    sentences,
    snapshot,
    tiny,
    tiny_text,
    trained_teacher,
    wider_text,
)

ALLOWED = [name for name, method in METHODS.items() if not method.images_only]
REFUSED = [name for name, method in METHODS.items() if method.images_only]
OPTIONS: dict[str, dict[str, Any]] = {
    "cgl": {"students": 3, "probability": 0.7},
    "codistillation": {"burn_in": 0.0},
    "ab": {"kd_weight": 0.5},
    "fsp": {"kd_weight": 0.5},
}


def small_transformer(num_classes: int = CLASSES, vocabulary: int = VOCABULARY) -> Chain:
    """No dropout: what is drawn would follow the padding."""
    return transformer(num_classes=num_classes, vocabulary=vocabulary, hidden=8, heads=2, embedding=6, feedforward=8, dropout=0.0)


def small_vdcnn(num_classes: int = CLASSES, vocabulary: int = VOCABULARY) -> Chain:
    return vdcnn((1, 1, 1, 1), num_classes=num_classes, vocabulary=vocabulary, embedding=4, width=4, k=2, hidden=8)


def taught(method: Method, batch: Batch) -> list[Losses]:
    """The losses of a step's updates, of which none moves anything."""
    return list(method.step(batch, Clock(epoch=1, epochs=4, seed=3)))


def assert_same_losses(method: Method, batches: Sequence[Batch]) -> None:
    """Check that losses, gradients and statistics do not depend on the padding."""
    kept = copy.deepcopy(method.state_dict())
    found: list[tuple[list[Losses], dict[str, Tensor]]] = []
    for batch in batches:
        method.load_state_dict(kept)
        method.zero_grad()
        losses = taught(method, batch)
        torch.stack([loss for update in losses for loss in update.values()]).sum().backward()
        left = {name: parameter.grad.clone() for name, parameter in method.named_parameters() if parameter.grad is not None}
        found.append((losses, left | snapshot(method)))
    (expected, left), *others = found
    for losses, state in others:
        assert [list(update) for update in losses] == [list(update) for update in expected]
        for update, other in zip(losses, expected, strict=True):
            for name, loss in update.items():
                torch.testing.assert_close(loss, other[name], rtol=1e-9, atol=1e-9, msg=name)
        assert state.keys() == left.keys()
        for name, value in state.items():
            torch.testing.assert_close(value, left[name], rtol=1e-7, atol=1e-9, msg=name)


def widths(method: Method) -> list[Batch]:
    batch = batch_for(method)
    return [batch, padded(batch, 1), padded(batch, 6)]


@pytest.mark.parametrize("name", ALLOWED)
def test_padding_does_not_change_losses(name: str) -> None:
    method = built_method(name, OPTIONS.get(name), texts=True).double()
    assert_same_losses(method, widths(method))


@pytest.mark.parametrize("spec", [small_transformer, small_vdcnn])
@pytest.mark.parametrize("name", ALLOWED)
def test_padding_does_not_change_losses_of_real_networks(name: str, spec: Spec) -> None:
    method = create_method(name, OPTIONS.get(name))
    teacher = NetworkFactory(spec, num_classes=CLASSES, vocabulary=VOCABULARY, seed=9).student(0) if method.needs_teacher else None
    method.build(maker(spec, teacher=teacher, texts=True))
    method.double().train()
    assert_same_losses(method, widths(method))


FIRST_STAGES = [(AB, small_transformer), (AB, small_vdcnn), (AB, wider_text), (FSP, small_transformer), (FSP, wider_text)]


@pytest.mark.parametrize(("kind", "spec"), FIRST_STAGES)
def test_padding_does_not_change_losses_of_a_first_stage(kind: type[AB | FSP], spec: Spec) -> None:
    method = kind().initial()
    student = tiny_text if kind is AB and spec is wider_text else spec  # of other widths, so that there is a connector
    teacher = NetworkFactory(spec, num_classes=CLASSES, vocabulary=VOCABULARY, seed=9).student(0)
    method.build(maker(student, teacher=teacher, texts=True))
    method.double().train()
    assert_same_losses(method, widths(method))


@pytest.mark.parametrize("name", ["rkd", "pkt", "sp"])
def test_relations_may_be_of_maps(name: str) -> None:
    method = built_method(name, {"student_layers": ("stage1",), "teacher_layers": ("stage2",)}, texts=True).double()
    assert_same_losses(method, widths(method))


def test_dropout_leaves_padding_zero() -> None:
    """Texts of other widths draw other masks, so only empty ones can be compared."""
    network = transformer(num_classes=CLASSES, vocabulary=VOCABULARY, hidden=8, heads=2, embedding=6, feedforward=8, dropout=0.5)
    method = built_method("baseline", spec=network, texts=True).double()
    empty = torch.zeros(2, 5, dtype=torch.int64)
    batch = replace(batch_for(method), inputs=empty, labels=torch.tensor([0, 1]), indices=torch.arange(2))
    assert_same_losses(method, [batch, padded(batch, 3)])


def test_compared_maps_of_texts_have_masks() -> None:
    """A transformer has no stem; its embedding, as a VDCNN's, is compared by nobody."""
    blocks = {
        small_transformer: ["stage1_block1", "stage2_block1", "stage3_block1"],
        small_vdcnn: [f"stage{n}_block1" for n in (1, 2, 3, 4)],
    }
    for spec, after in blocks.items():
        expected = {"at": after, "fitnet": after[1:2], "sp": after[-1:], "srrl": after[-1:], "rkd": []}
        for name, feature_layers in expected.items():
            method = create_method(name)
            assert isinstance(method, OneTeacher)
            method.build(maker(spec, teacher=spec(), texts=True))
            assert method.student_paths == method.teacher_paths == feature_layers


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", REFUSED)
def test_methods_for_images_only_refuse_texts_with_a_reason(name: str) -> None:
    with pytest.raises(UserError, match=rf"the data are texts, but {name} .*; use another method, such as kd") as caught:
        built_method(name, texts=True)
    assert "\n" not in str(caught.value)
    built_method(name)


def test_some_methods_take_images_only() -> None:
    assert set(REFUSED) == {"bss", "ft"}
    with pytest.raises(UserError, match="ft compares maps"):
        FT().initial().build(maker(teacher=trained_teacher(texts=True), texts=True))


@pytest.mark.parametrize("name", ["cc", "crd"])
def test_embeddings_of_maps_of_texts_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="a map of texts has no fixed number of values"):
        built_method(name, {"student_layers": ("stage1",), "teacher_layers": ("pool",)}, texts=True)
    built_method(name, {"student_layers": ("pool",), "teacher_layers": ("pool",)}, texts=True)


@pytest.mark.parametrize("name", ["at", "nst", "vid", "fitnet"])
@pytest.mark.parametrize(("teacher", "shown"), [("stage2", "another 4 positions"), ("pool", "another no positions")])
def test_maps_of_texts_are_not_pooled_to_one_length(name: str, teacher: str, shown: str) -> None:
    method = create_method(name, {"student_layers": ("stage1",), "teacher_layers": (teacher,)})
    with pytest.raises(UserError, match=rf"8 positions, {shown}; name features of the same length"):
        method.build(maker(small_vdcnn, teacher=small_vdcnn(), texts=True))


def test_flows_of_texts_do_not_change_their_length() -> None:
    teacher = small_vdcnn()
    with pytest.raises(UserError, match="one map has 8 positions, another 4 positions"):
        FSP().initial().build(maker(small_vdcnn, teacher=teacher, texts=True))
    feature_layers = ("stem", "stage1")
    FSP(student_layers=feature_layers, teacher_layers=feature_layers).initial().build(maker(small_vdcnn, teacher=teacher, texts=True))


@pytest.mark.parametrize("name", ["at", "rkd"])
def test_a_map_of_texts_without_a_mask_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"student_layers: the module 'words' gives \(1, 8, 5\) for one text.*padding"):
        built_method(name, {"student_layers": ("words",), "teacher_layers": ("stage1",)}, spec=PlainText, texts=True)


@pytest.mark.parametrize("name", ["baseline", "kd", "dml", "kdcl", "codistillation", "crd", "rkd"])
def test_any_module_can_be_a_student_of_texts(name: str) -> None:
    method = built_method(name, OPTIONS.get(name), spec=PlainText, texts=True).double()
    assert_same_losses(method, widths(method))


# ---------------------------------------------------------------- mix-up


@pytest.mark.parametrize("weight", [torch.tensor([0.3]), torch.linspace(0, 1, 5)])
def test_images_are_mixed_as_they_are(weight: Tensor) -> None:
    network = tiny().eval()
    first, second = images(5, seed=1), images(5, seed=2)
    each = weight.view(-1, 1, 1, 1)
    torch.testing.assert_close(mixed_logits(network, first, second, weight), network(each * first + (1 - each) * second))


@pytest.mark.parametrize("spec", [tiny_text, small_transformer, small_vdcnn])
def test_embeddings_of_texts_are_mixed(spec: Any) -> None:
    network = spec().double().eval()
    first, second = sentences(4, seed=1), sentences(4, seed=2)
    weight = torch.tensor([1.0, 0.0, 0.25, 0.5], dtype=torch.float64)
    found = mixed_logits(network, first, second, weight)
    torch.testing.assert_close(found, mixed_logits(network, second, first, 1 - weight))
    torch.testing.assert_close(mixed_logits(network, F.pad(first, (0, 3)), F.pad(second, (0, 3)), weight), found)
    torch.testing.assert_close(mixed_logits(network, first, first, weight), network(first))
    # One by one, each as long as the longer of the two.
    for row in range(4):
        length = max(int(((first[row] != 0) | (second[row] != 0)).sum()), 1)
        one, other = (network.embed(ids[row : row + 1, :length]) for ids in (first, second))
        values = weight[row] * one.values + (1 - weight[row]) * other.values
        expected = network.forward_embedded(Padded(values, one.mask | other.mask))
        torch.testing.assert_close(found[row : row + 1], expected)


def test_texts_cannot_be_mixed_if_the_embedding_is_unknown() -> None:
    assert not can_mix_texts(PlainText())
    assert not can_mix_texts(tiny())
    with pytest.raises(UserError, match="PlainText is no chain with a stage called embedding"):
        mixed_logits(PlainText(), sentences(2, seed=1), sentences(2, seed=2), torch.ones(1))


@pytest.mark.parametrize("intensive", ["feedback_mixup", "mixup"])
def test_a_pivot_with_an_unknown_embedding_is_refused_with_a_remedy(intensive: str) -> None:
    def orc(intensive: str) -> Method:
        method = create_method("orc", {"intensive": intensive})
        method.build(maker(teacher=PlainText(), texts=True))
        return method.train()

    with pytest.raises(UserError, match=r"pivot, PlainText, .*--method\.intensive feedback"):
        orc(intensive)
    for other in ("feedback", "off"):
        method = orc(other).double()
        assert_same_losses(method, widths(method))


# ---------------------------------------------------------------- views


def test_texts_are_not_augmented_so_one_view_is_enough() -> None:
    assert built_method("kdcl", texts=True).partition().views == 1
    assert built_method("kdcl").partition().views == 2
