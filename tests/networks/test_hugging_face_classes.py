"""Classes of Hugging Face classifiers: matched by name to the data's, with tiny models of the real transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from studygroup import UserError
from studygroup.networks import NetworkFactory
from studygroup.networks.factory import build_network, check_network
from studygroup.networks.hugging_face import SequenceClassifier, match_classes

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of transformers about itself

TOKENS = 20
IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
CLASSES = ["bad", "fair", "good"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 16}
ARCHITECTURES = {
    "bert": SMALL,
    "roberta": SMALL,
    "electra": SMALL | {"embedding_size": 8},
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 8, "max_position_embeddings": 16},
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16},
    "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 8},
}

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a function that saves a tiny classifier whose classes have these names, and returns its folder."""

    def make(names: list[str] | None, kind: str = "bert", *, classes: int = 3, base_only: bool = False) -> Path:
        named = {} if names is None else {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        config = transformers.AutoConfig.for_model(
            kind, vocab_size=TOKENS, pad_token_id=0, **(named or {"num_labels": classes}), **ARCHITECTURES[kind]
        )
        torch.manual_seed(3)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            parameter.data.normal_(0.0, 0.3)
        transformers.utils.logging.disable_progress_bar()
        (model.base_model if base_only else model).save_pretrained(tmp_path / "model")
        transformers.utils.logging.enable_progress_bar()
        return tmp_path / "model"

    return make


def build(folder: Path, classes: list[str] | None = CLASSES, *, is_teacher: bool = False) -> SequenceClassifier:
    network = build_network(
        f"hf:{folder}", num_classes=len(classes or CLASSES), vocabulary=TOKENS, classes=classes, is_teacher=is_teacher
    ).eval()
    assert isinstance(network, SequenceClassifier)
    return network


@pytest.mark.parametrize(
    ("theirs", "ours", "positions"),
    [
        (["a", "b", "c"], ["c", "a", "b"], [2, 0, 1]),
        ([" Good", "BAD"], ["bad", "good"], [1, 0]),
        (["a", "A"], ["A", "a"], [1, 0]),
        (["stra\u00dfe", "x"], ["X", "STRASSE"], [1, 0]),
        (["a", "A "], ["A", "a"], None),
        (["a", "b"], ["a", "c"], None),
        (["a", "b"], ["a", "b", "c"], None),
        (["a", "b", "c"], ["a", "b"], None),
    ],
)
def test_names_are_compared_exactly_then_without_case_and_spaces(theirs: list[str], ours: list[str], positions: list[int] | None) -> None:
    assert match_classes(theirs, ours) == positions


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("is_teacher", [False, True])
def test_logits_are_in_the_order_of_the_data(save: Save, kind: str, is_teacher: bool) -> None:
    folder = save(["good", "bad", "fair"], kind)
    plain, matched = build(folder, None), build(folder, is_teacher=is_teacher)
    torch.testing.assert_close(matched(IDS), plain(IDS)[:, [1, 2, 0]])
    assert matched.network.config.id2label == dict(enumerate(CLASSES))
    assert matched.network.config.label2id == {"bad": 0, "fair": 1, "good": 2}
    assert matched.notes == ()
    assert not torch.allclose(matched(IDS), plain(IDS), atol=1e-3)


def test_students_are_matched(save: Save) -> None:
    folder = save(["Good", "Bad", "Fair"])
    student = NetworkFactory(f"hf:{folder}", num_classes=3, vocabulary=TOKENS, classes=CLASSES).student(0)
    assert student.training
    torch.testing.assert_close(student.eval()(IDS), build(folder)(IDS))
    check_network(f"hf:{folder}", IDS, num_classes=3, vocabulary=TOKENS, classes=CLASSES)  # without a warning


@pytest.mark.parametrize("is_teacher", [False, True])
def test_other_names_are_refused(save: Save, is_teacher: bool) -> None:
    folder = save(["good", "poor", "Bad"])
    with pytest.raises(UserError) as caught:
        build(folder, is_teacher=is_teacher)
    assert str(caught.value) == (
        f"hf:{folder} has other classes than the data: missing are 'fair', extra are 'poor'; if they are the same classes, "
        f"correct id2label in {folder / 'config.json'}; for a new classifier give a folder with the base model alone"
    )


def test_names_that_differ_in_case_only_are_listed(save: Save) -> None:
    with pytest.raises(UserError, match="missing are 'A', extra are 'A '; if"):
        build(save(["a", "A ", "b"]), ["a", "A", "b"])
    with pytest.raises(UserError, match="missing are '0', '1', '2', '3', '4' and 2 more, extra are 'x0'"):
        build(save([f"x{number}" for number in range(7)]), list("0123456"))


@pytest.mark.parametrize("names", [None, ["LABEL_2", "LABEL_0", "LABEL_1"]])
def test_the_order_of_classes_without_names_is_assumed(save: Save, names: list[str] | None) -> None:
    folder = save(names)
    network = build(folder, is_teacher=True)
    torch.testing.assert_close(network(IDS), build(folder, None)(IDS))
    with pytest.warns(UserWarning, match="their order is assumed to be the data's, 'bad', 'fair', 'good'$") as caught:
        check_network(f"hf:{folder}", IDS, num_classes=3, vocabulary=TOKENS, classes=CLASSES, is_teacher=True)
    assert len(caught) == 1


def test_data_whose_classes_are_called_label_0_are_matched(save: Save) -> None:
    folder = save(["LABEL_2", "LABEL_0", "LABEL_1"])
    network = build(folder, ["LABEL_0", "LABEL_1", "LABEL_2"])
    torch.testing.assert_close(network(IDS), build(folder, None)(IDS)[:, [1, 2, 0]])
    assert network.notes == ()


def test_a_student_of_another_number_of_classes_has_a_new_classifier(save: Save) -> None:
    folder = save([*CLASSES, "best"])
    warning = r"hf:.* for 3 classes: newly initialised, as made for another number of classes: classifier.bias, classifier.weight$"
    with pytest.warns(UserWarning, match=warning):
        check_network(f"hf:{folder}", IDS, num_classes=3, vocabulary=TOKENS, classes=CLASSES)
    with pytest.raises(
        UserError, match=r"the teacher hf:.* has no trained classifier for 3 classes \(newly .*\); give one that was fine-tuned"
    ):
        build(folder, is_teacher=True)


def test_a_base_model_is_a_student_but_no_teacher(save: Save) -> None:
    """Its names of classes do not count, for it has no classifier."""
    folder = save(["x", "y", "z"], base_only=True)
    with pytest.warns(UserWarning, match="newly initialised, as missing in the folder: classifier.bias, classifier.weight"):
        check_network(f"hf:{folder}", IDS, num_classes=3, vocabulary=TOKENS, classes=CLASSES)
    assert build(folder).network.config.id2label == dict(enumerate(CLASSES))
    with pytest.raises(UserError, match=r"has no trained classifier for 3 classes \(newly initialised, as missing in the folder"):
        build(folder, is_teacher=True)
    (folder / "model.safetensors").unlink()
    with pytest.warns(UserWarning, match="the folder has no weights, so all are newly initialised"):
        check_network(f"hf:{folder}", IDS, num_classes=3, vocabulary=TOKENS, classes=CLASSES)
    with pytest.raises(UserError, match="the folder has no weights"):
        build(folder, is_teacher=True)


@pytest.mark.parametrize(
    "id2label",
    [
        ["bad", "fair", "good"],
        {"a": "bad", "b": "fair", "c": "good"},
        {"0": 1, "1": 2, "2": 3},
        {"1": "bad", "2": "fair"},
        {"0": "bad", "1": "fair", "2": "bad"},
        {"0": None},
        {},
        "bad",
    ],
)
def test_id2label_of_a_wrong_type_is_refused(save: Save, id2label: Any) -> None:
    config = save(CLASSES) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"id2label": id2label}))
    expected = rf"id2label in {re.escape(str(config))} is .*; it must map 0, 1, ... to different names, as in .*"
    with pytest.raises(UserError, match=expected) as caught:
        build(config.parent)
    assert "\n" not in str(caught.value)


def truncated(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])


def pickled(weights: Path) -> None:
    torch.save({"classifier.weight": torch.zeros(3, 16)}, weights)


def of_another_model(weights: Path) -> None:
    safetensors.torch.save_file({"strange": torch.zeros(2)}, weights, {"format": "pt"})


def of_another_width(weights: Path) -> None:
    state = safetensors.torch.load_file(weights)
    state["bert.encoder.layer.0.output.dense.weight"] = torch.zeros(4, 4)
    safetensors.torch.save_file(state, weights, {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "cannot be made for 3 classes ("),
        (pickled, "cannot be made for 3 classes ("),
        (of_another_model, "belong to a BertForSequenceClassification; give the folder of another model"),
        (of_another_width, "bert.encoder.layer.0.output.dense.weight in its weights has another shape than config.json says"),
    ],
)
def test_foreign_weights_are_refused(save: Save, spoil: Callable[[Path], None], message: str) -> None:
    folder = save(CLASSES)
    spoil(folder / "model.safetensors")
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        build(folder)
    assert "\n" not in str(caught.value)


def test_an_output_layer_that_is_not_found_is_refused(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(["good", "bad", "fair"])
    forward = transformers.BertForSequenceClassification.forward

    def reversed_logits(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = forward(self, *args, **kwargs)
        out.logits = out.logits.sort(1).values
        return out

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", reversed_logits)
    with pytest.raises(UserError, match="its output layer was not found; save it in the data's order"):
        build(folder)
