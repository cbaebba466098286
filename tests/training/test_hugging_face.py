"""Runs with Hugging Face teachers and students, made here with a tokenizer of words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import studygroup
from studygroup import UserError
from studygroup.data import Tokens
from studygroup.data.texts.tokenizers import make_tokenizer
from studygroup.networks.factory import build_network
from studygroup.networks.hugging_face import SequenceClassifier
from studygroup.runs.member import Run
from tests.training.test_texts import COMMON, TEXTS, TINY, WORDS, reviews, write

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of transformers about itself

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COMMON, *WORDS["sea"], *WORDS["wood"]]
Train = Callable[..., Run]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "walks.csv", reviews(300))


def save_tokenizer(folder: Path, vocabulary: Sequence[str] = VOCABULARY) -> None:
    """Save a tokenizer that puts [CLS] and [SEP] around the words."""
    words = tokenizers.models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(words)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    ends = [(word, vocabulary.index(word)) for word in ("[CLS]", "[SEP]")]
    made.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.save(str(folder / "tokenizer.json"))


def save_model(folder: Path, names: Sequence[str] | None = ("sea", "wood"), rows: Sequence[int] = (0, 1)) -> Path:
    """Save a classifier and its tokenizer; `rows` are the rows of the output layer, in the order of the names."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 24}
    config = transformers.BertConfig(vocab_size=len(VOCABULARY), pad_token_id=0, num_labels=len(rows), **sizes)
    if names is not None:
        config.id2label, config.label2id = dict(enumerate(names)), {name: number for number, name in enumerate(names)}
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.normal_(0.0, 1.0)
        model.classifier.bias.normal_(0.0, 1.0)
        for parameter in (model.classifier.weight, model.classifier.bias):
            parameter.copy_(parameter[list(rows)])
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    transformers.utils.logging.enable_progress_bar()
    save_tokenizer(folder)
    return folder


def losses(run: Run) -> list[object]:
    return [json.loads(line)["losses"] for line in run.files.metrics.read_text().splitlines()]


def test_a_teacher_in_another_order_teaches_the_same(train: Train, table: Path, tmp_path: Path) -> None:
    """KD from a teacher whose classes are permuted: exactly the same losses."""
    plain = save_model(tmp_path / "plain")
    permuted = save_model(tmp_path / "permuted", ("Wood ", "SEA"), (1, 0))
    misnamed = save_model(tmp_path / "misnamed", ("sea", "wood"), (1, 0))
    found = []
    for folder in (plain, permuted, misnamed):
        words: dict[str, Any] = {**TEXTS, "method": "kd", "teacher": f"hf:{folder}", "tokenizer": f"hf:{folder}", "epochs": 2}
        found.append(losses(train(**words, data=table, out=tmp_path / "runs" / folder.name)))
    assert found[0] == found[1]
    assert found[0] != found[2], "the order matters"


def test_teachers_that_do_not_fit_are_refused(train: Train, table: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {**TEXTS, "data": table, "method": "kd", "epochs": 1}
    teacher = f"hf:{save_model(tmp_path / 'model')}"
    with pytest.raises(UserError, match=r"the teacher hf:.* reads the tokens of its own tokenizer, but .* by 'bpe'; give --tokenizer hf:"):
        train(**words, teacher=teacher)
    (tmp_path / "other").mkdir()
    save_tokenizer(tmp_path / "other", [*VOCABULARY[:4], *reversed(VOCABULARY[4:])])
    shutil.copy(tmp_path / "model" / "config.json", tmp_path / "other")
    with pytest.raises(UserError, match="whose vocabulary is not that of the data; give --tokenizer hf:"):
        train(**words, teacher=teacher, tokenizer=f"hf:{tmp_path / 'other'}")
    for name, names, message in (
        ("two", ("sea", "forest"), "missing are 'wood', extra are 'forest'"),
        ("three", ("sea", "wood", "sky"), "has no trained classifier for 2 classes"),
    ):
        folder = save_model(tmp_path / name, names, range(len(names)))
        with pytest.raises(UserError, match=message):
            train(**words, teacher=f"hf:{folder}", tokenizer=f"hf:{folder}")
    assert not (tmp_path / "run").exists()


def test_the_order_of_classes_without_names_is_warned_of_once(train: Train, table: Path, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", None)
    words: dict[str, Any] = {**TEXTS, "data": table, "method": "kd", "epochs": 1, "tokenizer": f"hf:{folder}", "out": tmp_path / "run"}
    with pytest.warns(UserWarning, match="their order is assumed to be the data's, 'sea', 'wood'") as caught:
        train(**words, teacher=f"hf:{folder}")
    assert len(caught) == 1


@pytest.fixture
def run(train: Train, table: Path, tmp_path: Path) -> Run:
    """A run of two students that start from a folder that is gone afterwards."""
    folder = save_model(tmp_path / "model", ("wood", "sea"), (1, 0))
    words: dict[str, Any] = {**TEXTS, "data": table, "method": "dml", "epochs": 2, "student": f"hf:{folder}", "precision": "float32"}
    found = train(**words, out=tmp_path / "run")
    shutil.rmtree(folder)
    return found


def test_a_run_holds_what_its_networks_need(run: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection is opened"))
    assert run.best.card["config_folder"] == "members/best.hf"
    assert run.names() == ["best", "student0", "student1"]
    moved = tmp_path / "moved"
    run.folder.rename(moved)
    for name, member in Run(moved).members.items():
        assert isinstance(member.network, SequenceClassifier)
        assert member.network.network.config.id2label == {0: "sea", 1: "wood"}, name
    found = studygroup.evaluate(moved, cache=cache, progress=False)["best"]
    assert found["accuracy"] == pytest.approx(run.result["selected"]["test"])
    assert {row["label"] for row in studygroup.predict(moved, ["wave ship fish", "tree leaf deer"])} <= {"sea", "wood"}
    shutil.rmtree(moved / "members" / "best.hf")
    with pytest.raises(
        UserError, match=r"there is no .*best.hf/config.json; give a folder made by save_pretrained \(nothing is downloaded\)"
    ):
        _ = Run(moved).best


def test_a_pivot_is_matched_and_held(train: Train, table: Path, tmp_path: Path) -> None:
    folders = [save_model(tmp_path / "plain"), save_model(tmp_path / "permuted", ("wood", "sea"), (1, 0))]
    runs = []
    for folder in folders:
        words: dict[str, Any] = {**TEXTS, "method": "orc", "method_options": {"intensive": "feedback"}, "epochs": 1}
        words |= {"student": f"hf:{folder}", "teacher": f"hf:{folder}"}
        runs.append(train(**words, data=table, out=tmp_path / "runs" / folder.name))
        shutil.rmtree(folder)
    assert losses(runs[0]) == losses(runs[1])
    for name, member in runs[0].members.items():
        state = runs[1].member(name).network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in member.network.state_dict().items())
    assert {"student0"} < set(runs[0].members), "the pivot is a member"


def test_a_run_of_an_earlier_version_uses_the_original_folder(run: Run, tmp_path: Path) -> None:
    card = run.files.card("best")
    content = json.loads(card.read_text())
    del content["config_folder"]
    card.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"there is no .*model/config.json"):
        _ = run.best
    save_model(tmp_path / "model", ("other", "names"))
    assert run.best.classes == ["sea", "wood"]


def test_code_beside_the_configuration_is_not_run(run: Run, tmp_path: Path) -> None:
    config = run.files.hugging_face("best") / "config.json"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    (config.parent / "own.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(UserError, match="cannot be made for 2 classes"):
        _ = run.best
    assert not (tmp_path / "it-ran").exists()


def test_a_member_is_saved_for_transformers(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    member, folder = run.best, tmp_path / "out"
    capfd.readouterr()
    member.save_pretrained(folder)
    assert capfd.readouterr().err == ""
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    transformers.utils.logging.enable_progress_bar()
    assert (model.config.id2label, model.config.label2id) == ({0: "sea", 1: "wood"}, {"sea": 0, "wood": 1})
    texts = ["the ship is near the tide", "moss", "a deer " * 40]
    inputs = member.inputs
    assert isinstance(inputs, Tokens)
    ids = inputs.stack([inputs.read_sample(text) for text in texts])
    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    assert torch.equal(encoded["input_ids"], ids)
    assert ids.shape[1] == inputs.max_length == 24
    with torch.no_grad():
        logits = member.network(ids)
        assert torch.equal(model(**encoded).logits, logits)
    again = build_network(f"hf:{folder}", num_classes=2, vocabulary=len(VOCABULARY), classes=["wood", "sea"], is_teacher=True).eval()
    torch.testing.assert_close(again(ids), logits[:, [1, 0]])
    with pytest.raises(UserError, match="out is not an empty folder; give a new one"):
        member.save_pretrained(folder)


def test_other_members_are_not_saved_for_transformers(train: Train, table: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {**TEXTS, "data": table, "epochs": 1, "train_size": 64}
    with pytest.raises(UserError, match=r"best is a transformer@.*; only a member with a network hf:FOLDER can be saved"):
        train(**words | {"student": TINY}).best.save_pretrained(tmp_path / "out")
    folder = save_model(tmp_path / "model")
    run = train(**words | {"student": f"hf:{folder}", "tokenizer": f"hf:{folder}"}, out=tmp_path / "hf")
    member = run.best
    member.inputs = Tokens(make_tokenizer("chars", lambda: iter(())), 24)
    with pytest.raises(
        UserError, match="best does not use a Hugging Face tokenizer, which transformers needs; train with --tokenizer auto"
    ):
        member.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()
