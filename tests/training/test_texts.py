"""Runs on texts, from a table to an answer."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import studygroup
from studygroup import UserError
from studygroup.data import Tokens
from studygroup.options import DataOptions, TrainOptions
from studygroup.pipeline.setup import run_options, short_name
from studygroup.runs.member import Run
from studygroup.training.trainer import Interrupted
from tests.training.test_resume import assert_same, stop_at

TINY = "transformer@depth=2,heads=2,hidden=16,embedding=16,feedforward=32"
WORDS = {"sea": ["wave", "ship", "fish", "salt", "tide"], "wood": ["tree", "leaf", "deer", "moss", "path"]}
COMMON = ["the", "a", "is", "old", "very", "near"]
TEXTS: dict[str, Any] = {"student": TINY, "vocabulary": 300, "method": "baseline", "test_size": 60.0, "learning_rate": 0.01, "epochs": 4}


def write(path: Path, rows: Sequence[tuple[str, str]], names: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of 3 to 20 words, of which a third tell the label."""
    drawn = random.Random(seed)
    rows = []
    for _ in range(count):
        label = drawn.choice(sorted(WORDS))
        words = [drawn.choice(WORDS[label] if place % 3 == 0 else COMMON) for place in range(drawn.randint(3, 20))]
        rows.append((" ".join(words), label))
    return rows


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "walks.csv", reviews(300))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    """A run whose student tells the classes apart."""
    folder = tmp_path_factory.mktemp("learnt") / "run"
    small: dict[str, Any] = {"train_size": 180, "holdout": 48, "batch_size": 32, "progress": False, "cache": folder.parent / "cache"}
    studygroup.train(table, out=folder, **{**TEXTS, **small})
    return folder


def test_it_learns_and_answers(learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(learnt)
    assert run.result["selected"]["test"] >= 0.95
    asked = ["the ship is near the tide", "an old deer, a mossy path"]
    predictions = studygroup.predict(learnt, asked)
    assert [(row["text"], row["label"]) for row in predictions] == [(asked[0], "sea"), (asked[1], "wood")]

    alone = [studygroup.predict(learnt, [text])[0]["probability"] for text in asked]
    assert alone == pytest.approx([row["probability"] for row in predictions], abs=1e-2), "whatever stands beside it"
    letter = tmp_path / "letter.txt"
    letter.write_text("\ufefffish and salt", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    assert [row["label"] for row in studygroup.predict(learnt, [letter, tmp_path])] == ["sea", "sea"]
    monkeypatch.setattr("sys.stdin", io.StringIO("tree leaf\nwave ship\n"))
    assert [(row["text"], row["label"]) for row in studygroup.predict(learnt, ["-"])] == [("tree leaf", "wood"), ("wave ship", "sea")]


@pytest.mark.parametrize(
    "text", ["", "x", "\u0434\u0435\u0440\u0435\u0432\u043e \u6a39 \U0001f333", "a\0b", "salt " * 200_000, "/", ".", "~nobody at all"]
)
def test_any_text_has_an_answer(learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "only.txt").write_text("sea", encoding="utf-8")
    inputs = Run(learnt).best.inputs
    assert isinstance(inputs, Tokens)
    assert len(inputs.read_sample(text)) <= inputs.max_length
    if text != "/":  # a folder with more than is of use here
        (answer,) = studygroup.predict(learnt, [text])
        assert answer["label"] in WORDS
        assert answer["text"] == ("only.txt" if text == "." else text)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("letter.txt", "letter.txt does not exist; give a file that does, or, if it is a text to classify, --as-text"),
        ("some/where", "some/where does not exist"),
        (
            "latin.txt.bin",
            "latin.txt.bin cannot be read: bytes that are not utf-8; give another encoding by --encoding; repair it, or leave it out",
        ),
        ("nothing", "nothing has no texts; give a folder with .txt files"),
    ],
)
def test_questions_that_cannot_be_read(learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.txt.bin").write_bytes("caf\u00e9".encode("latin-1"))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=message):
        studygroup.predict(learnt, [question])


def test_what_a_run_leaves(learnt: Path, table: Path) -> None:
    card = json.loads((learnt / "members" / "best.json").read_text())
    assert card["tokenizer"]["kind"] == "bpe"
    assert card["max_length"] == 512
    assert card["network"] == TINY
    options = DataOptions(table, vocabulary=300, test_size=60.0, cache=learnt.parent / "cache", progress=False)
    options, tokenizer = Run(learnt).best.inputs.like_training(options)
    opened = studygroup.data.open_data(options, tokenizer=tokenizer)
    with (learnt / "predictions" / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample"] for row in rows] == [str(i) for i in range(60)], "in the data's order, however they were read"
    assert [row["label"] for row in rows] == [opened.classes[label] for label in opened.test.labels]
    right = sum(row["label"] == row["predicted"] for row in rows) / 60
    assert right == pytest.approx(Run(learnt).result["selected"]["test"])


def test_evaluating(learnt: Path, tmp_path: Path) -> None:
    cache = learnt.parent / "cache"
    own = studygroup.evaluate(learnt, cache=cache, progress=False)["best"]
    assert own["samples"] == 60
    assert own["accuracy"] == pytest.approx(Run(learnt).result["selected"]["test"])
    other = write(tmp_path / "other.csv", reviews(50, seed=1), ("remark", "kind"))
    with pytest.raises(UserError, match="--text-columns"):
        studygroup.evaluate(learnt, data=write(tmp_path / "c.csv", [("a", "b")] * 5, ("x", "y")), cache=cache, progress=False)
    found = studygroup.evaluate(learnt, data=other, text_columns=["remark"], label_column="kind", cache=cache, progress=False)["best"]
    assert found["samples"] == 50
    assert found["accuracy"] >= 0.9
    strange = write(tmp_path / "strange.csv", [*reviews(20), ("blue sky", "air")])
    with pytest.raises(UserError, match="the data has classes that the run does not know: air"):
        studygroup.evaluate(learnt, data=strange, cache=cache, progress=False)


def test_without_its_tokenizer(learnt: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(learnt, copy)
    next((copy / "tokenizer").glob("*.model")).write_bytes(b"other")
    with pytest.raises(UserError, match=r"the tokenizer in .* cannot be read"):
        studygroup.predict(copy, ["salt"])
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(UserError, match=r"the tokenizer in .* cannot be read"):
        studygroup.predict(copy, ["salt"])


@pytest.mark.parametrize("method", ["cgl", "orc"])
def test_stopped_and_resumed(train: Callable[..., Run], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    words: dict[str, Any] = {**TEXTS, "data": table, "epochs": 2, "method": method}
    if method == "orc":
        words |= {"teacher": TINY, "teacher_epochs": 1}
    else:
        words |= {"method_options": {"students": 3}}
    train(**words, out=tmp_path / "whole")
    stop_at(monkeypatch, 1, 2)
    with pytest.raises(Interrupted):
        train(**words, out=tmp_path / "parts")
    train(**words, out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_teachers_have_the_same_tokens(train: Callable[..., Run], learnt: Path, table: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {**TEXTS, "data": table, "method": "kd", "teacher": learnt, "epochs": 1, "train_size": 180, "holdout": 48}
    run = train(**words, cache=learnt.parent / "cache", out=tmp_path / "same")
    assert run.result["method"] == "kd"
    with pytest.raises(
        UserError, match=r"was not trained on data like walks: its texts are made into tokens by .*; train a teacher on this data"
    ):
        train(**words | {"tokenizer": "chars"}, out=tmp_path / "other")


def test_a_character_network(train: Callable[..., Run], table: Path) -> None:
    run = train(**{**TEXTS, "student": "vdcnn9@width=8,hidden=16", "data": table, "max_length": 40, "epochs": 1, "train_size": 64})
    assert run.best.card["tokenizer"] == {"kind": "chars", "vocabulary": 72}
    assert run.best.card["max_length"] == 40
    assert len(studygroup.predict(run.folder, ["THE SHIP", "the ship"])) == 2
    upper, lower = studygroup.predict(run.folder, ["THE SHIP", "the ship"])
    assert upper["probability"] == lower["probability"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"student": "resnet8"}, "resnet8 reads images, but the data are texts"),
        ({"image_size": 32}, "image_size is given, but .*walks.csv has texts; leave it out"),
        ({"augment": "strong"}, "augment is 'strong', which is for images; leave it out for texts"),
        ({"augment": "crop"}, "augment is 'crop', which is for images; leave it out for texts"),
        ({"stem": "large"}, "has no stem 'large'"),
        ({"tokenizer": "words"}, "unknown tokenizer 'words'"),
        ({"text_columns": ["review"]}, "review"),
        ({"label_column": "stars"}, "stars"),
        ({"method": "bss", "teacher": TINY}, "bss"),
        ({"student": "transformer@dept=3"}, "did you mean depth"),
        ({"test_size": 300.0}, "test_size|samples"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    train: Callable[..., Run], table: Path, tmp_path: Path, words: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(**{**TEXTS, "data": table, **words})
    assert not (tmp_path / "run").exists()


def test_images_are_no_texts(train: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="transformer reads texts, but the data are images"):
        train(student="transformer", method="baseline")
    with pytest.raises(UserError, match="text_columns is given, but digits has images; leave it out"):
        train(text_columns=["a"], method="baseline")


def test_defaults_by_kind_of_data(table: Path) -> None:
    def found(data: str | Path, **given: Any) -> list[object]:
        resolved = run_options(TrainOptions(data, **given))
        return [resolved.student, resolved.optimizer, resolved.learning_rate, resolved.weight_decay]

    assert found("digits") == ["resnet8", "sgd", 0.05, 5e-4]
    assert found(table) == ["transformer", "adam", 1e-3, 0.0]
    assert found(table, optimizer="sgd", student="vdcnn9") == ["vdcnn9", "sgd", 0.05, 5e-4]
    assert found("digits", optimizer="adamw", learning_rate=0.1, weight_decay=0.0) == ["resnet8", "adamw", 0.1, 0.0]
    with pytest.raises(UserError, match="optimizer is 'sdg'; did you mean sgd"):
        found("digits", optimizer="sdg")


def test_names_of_folders() -> None:
    assert [short_name(spec) for spec in ("resnet18@large", "pkg.nets:Bag", "hf:/some/where/bert/", "timm:vit", torch.nn.Linear)] == [
        "resnet18@large",
        "Bag",
        "bert",
        "vit",
        "Linear",
    ]


def test_a_comparison(table: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {
        **{name: value for name, value in TEXTS.items() if name != "method"},
        "epochs": 1,
        "options": {"cgl.students": 4},
        "train_size": 64,
        "holdout": 32,
    }
    found = studygroup.compare(
        table,
        methods=["cgl"],
        seeds=1,
        workers=1,
        score_on_unused=20,
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        progress=False,
        **words,
    )
    rows = found["rows"]
    assert isinstance(rows, list)
    assert {row["variant"] for row in rows} == {"baseline", "cgl", "linear"}
    assert all(row["test"] is not None for row in rows)
    assert all(row["flops"] > 0 for row in rows if row["variant"] != "linear")
    linear = next(row for row in rows if row["variant"] == "linear")
    assert linear["seeds"] == [0]
    assert linear["difference"] == pytest.approx(linear["test"] - next(row["test"] for row in rows if row["role"] == "baseline"))
    assert "| linear (tf-idf + logistic regression) |" in (tmp_path / "out" / "leaderboard.md").read_text()
    assert not found["failed"]


def test_a_network_of_ones_own(train: Callable[..., Run], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bags.py").write_text(
        "from torch import nn\n"
        "class Bag(nn.Module):\n"
        "    def __init__(self, num_classes, vocabulary):\n"
        "        super().__init__()\n"
        "        self.words = nn.EmbeddingBag(vocabulary, 16, padding_idx=0)\n"
        "        self.out = nn.Linear(16, num_classes)\n"
        "    def forward(self, ids):\n"
        "        return self.out(self.words(ids))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = train(**{**TEXTS, "student": "bags:Bag", "data": table, "method": "dml", "precision": "float32"})
    assert run.result["selected"]["test"] >= 0.8
    assert isinstance(run.best.network.get_parameter("words.weight"), torch.Tensor)
