"""A run on texts and the tables that it classifies; the linear model beside it; epochs that follow the amount of text."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import studygroup
from studygroup import UserError, cli, config, output
from studygroup.api import stream_predictions
from studygroup.data import Split
from studygroup.data.texts.unlabelled import read_table
from studygroup.options import TrainOptions
from studygroup.pipeline.setup import open_splits, run_options
from studygroup.runs.member import Run
from studygroup.runs.predict_data import write_predictions_to
from studygroup.training import linear
from studygroup.training.linear import fit_texts, linear_scores
from tests.training.test_texts import TEXTS, reviews, write

SMALL: dict[str, Any] = {**TEXTS, "train_size": 180, "holdout": 48, "batch_size": 32, "progress": False}
ASKED = [("the wave is near,\nthe ship", "sea"), ('an old "deer"; a mossy path', "wood"), ("very salt", "sea")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose student tells the classes apart, trained on lists."""
    folder = tmp_path_factory.mktemp("learnt")
    texts, labels = zip(*reviews(300), strict=True)
    return studygroup.train((list(texts), list(labels)), out=folder / "run", cache=folder / "cache", **{**SMALL, "epochs": 12})


def cache_of(run: Run) -> Path:
    return run.folder.parent / "cache"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------- predictions


def test_a_run_on_lists_predicts_and_is_evaluated(run: Run) -> None:
    assert "given/lists-" in (run.folder / "config.yaml").read_text()
    assert [row["label"] for row in run.best.predict([text for text, _ in ASKED])] == [label for _, label in ASKED]
    own = studygroup.evaluate(run.folder, cache=cache_of(run), progress=False)["best"]
    assert own["accuracy"] == pytest.approx(run.result["selected"]["test"])


def test_a_labelled_table(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.csv", [*ASKED, ("tree leaf", "sea"), ("moss", "air")])
    out = tmp_path / "p.csv"
    assert cli.main(["predict", str(run.folder), "--data", str(table), "--out", str(out), "--batch-size", "2"]) == 0
    rows = read_csv(out)
    assert list(rows[0]) == ["row", "label", "predicted", "probability"]
    assert [row["row"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["label"] for row in rows] == ["sea", "wood", "sea", "sea", "air"]
    assert [row["predicted"] for row in rows] == ["sea", "wood", "sea", "wood", "wood"]
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)
    printed = capsys.readouterr().out
    assert f"5 predictions: {out}" in printed
    assert "accuracy 60.00% of 5 labelled samples; 1 have a label that the run does not know" in printed
    (summary,) = studygroup.predict(run.folder, data=table, out=out)
    assert summary == {"out": str(out), "samples": 5, "labelled": 5, "unknown": 1, "accuracy": 0.6}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("t.csv", 'text\n"the wave is near,\nthe ship"\n"an old ""deer""; a mossy path"\nvery salt\n', {}),
        ("t.csv", 'id;text\n1;"the wave is near,\nthe ship"\n2;"an old ""deer""; a mossy path"\n3;very salt\n', {}),
        ("t.csv", '"the wave is near,\nthe ship"\n"an old ""deer""; a mossy path"\nvery salt\n', {"text_columns": ("1",)}),
        ("t.tsv", "remark\tid\nthe wave, the ship\t1\nan old deer, a mossy path\t2\nvery salt\t3\n", {"text_columns": ("remark",)}),
        ("t.jsonl", "".join(json.dumps({"text": text}) + "\n" for text, _ in ASKED), {}),
    ],
)
def test_tables_without_labels(run: Run, tmp_path: Path, name: str, content: str, options: dict[str, Any]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    studygroup.predict(run.folder, data=tmp_path / name, out=tmp_path / "p.csv", **options)
    rows = read_csv(tmp_path / "p.csv")
    assert list(rows[0]) == ["row", "predicted", "probability"]
    assert [row["predicted"] for row in rows] == [label for _, label in ASKED]


def test_a_table_in_another_encoding(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("text\ncafé near the tide\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"row 1 of t.csv .*bytes that are not utf-8; give another encoding by --encoding"):
        studygroup.predict(run.folder, data=path)
    (row,) = studygroup.predict(run.folder, data=path, encoding="latin-1")
    assert (row["row"], row["text"], row["label"]) == (1, "café near the tide", "sea")
    assert studygroup.predict(run.folder, data=path, on_error="skip") == []


def test_rows_that_cannot_be_read_keep_their_numbers(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\nship,sea\nbroken\nmoss,\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"row 2 of t\.csv .line 3: 1 column instead of 2. cannot be read"):
        studygroup.predict(run.folder, data=path, out=tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    assert list(tmp_path.iterdir()) == [path]
    rows = studygroup.predict(run.folder, data=path, on_error="skip")
    assert [(row["row"], row["true"], row["label"]) for row in rows] == [(1, "sea", "sea"), (3, "", "wood")]


def test_a_folder_of_texts(run: Run, tmp_path: Path) -> None:
    for name, text in {"sea/1.txt": "ship tide", "wood/2.txt": "tree", "3.txt": "leaf"}.items():
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_text(text)
    (summary,) = studygroup.predict(run.folder, data=tmp_path / "all", out=tmp_path / "p.csv")
    assert (summary["samples"], summary["labelled"], summary["accuracy"]) == (3, 2, 1.0)
    rows = read_csv(tmp_path / "p.csv")
    assert [(Path(row["path"]).name, row["label"], row["predicted"]) for row in rows] == [
        ("3.txt", "", "wood"),
        ("1.txt", "sea", "sea"),
        ("2.txt", "wood", "wood"),
    ]


def test_a_large_table_is_not_held_in_memory(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that are read ahead of the predictions are those of one batch."""
    path = tmp_path / "t.csv"
    path.write_text("text\n" + "ship\n" * 2000)
    ahead = []

    def counted(rows: Iterator[Any]) -> Iterator[Any]:
        for row in rows:
            read.append(row)
            yield row

    read: list[Any] = []
    monkeypatch.setattr("studygroup.runs.predict_data.read_table", lambda *args: counted(read_table(*args)))
    for done, _ in enumerate(stream_predictions(run.folder, data=path, batch_size=100), 1):
        ahead.append(len(read) - done)
    assert len(read) == 2000
    assert max(ahead) <= 200


def test_writing_holds_one_row(tmp_path: Path) -> None:
    rows = ({"row": i, "label": "a", "probability": 0.5, "text": "x" * 1000} for i in range(20_000))
    tracemalloc.start()
    found = write_predictions_to(tmp_path / "p.csv", rows, ["a"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {"out": str(tmp_path / "p.csv"), "samples": 20_000}
    assert peak < 1_000_000


@pytest.mark.parametrize("name", ["reviews.csv", "my reviews.tsv", "mails.jsonl.gz", "letter.txt", "some/where", "cat.jpg", "table.xlsx"])
def test_what_looks_like_a_file_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"^{name} does not exist; .*if it is a text to classify, --as-text \(as_text=True\)$"):
        studygroup.predict(run.folder, [name])
    (row,) = studygroup.predict(run.folder, [name], as_text=True)
    assert row["text"] == name
    assert run.best.predict_proba([name], as_text=True).shape == (1, 2)


@pytest.mark.parametrize(
    "text", ["the ship.", "U.S.A.", "e.g. moss", "I read all of it in reviews.csv", "salt and/or tide", "1.5", "a\nb.csv"]
)
def test_ordinary_texts_are_not_taken_for_files(run: Run, text: str) -> None:
    assert run.best.predict(text)[0]["text"] == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "there is nothing to classify; give images, texts or files, or --data"),
        ({"inputs": ["a"], "data": "t.csv"}, r"both inputs \(a, ...\) and --data t.csv"),
        (
            {"data": {"text": []}},
            "data is a dict; give a DataFrame, the path of a table or a folder, or a list of texts or images as inputs",
        ),
        ({"data": "gone.csv"}, r"gone.csv does not exist; give a table"),
        ({"data": "t.csv", "out": "t.csv"}, "--out t.csv is the data that is read"),
        ({"data": "t.csv", "out": "gone/p.csv"}, "gone is no folder; make it"),
        ({"data": "t.csv", "out": "."}, r"\. is a folder; give a file"),
        ({"data": "t.csv", "out": "p.csv", "top": 2}, "top is 2, but --out has the most probable class only"),
        ({"data": "t.csv", "as_text": True}, "as_text is for inputs"),
        ({"data": "t.csv", "text_columns": ("body",)}, "t.csv has no column 'body'; it has 'text', 'label'"),
        ({"data": "t.csv", "label_column": "stars"}, "t.csv has no column 'stars'"),
        ({"data": "two.csv"}, "several columns of two.csv may hold the texts: 'title', 'body'"),
        ({"data": "none.csv"}, r"not clear which column of none.csv holds the texts \(--text-columns\)"),
        ({"data": "empty.csv", "out": "p.csv"}, "the data has no rows; nothing is written"),
        ({"data": "photo.png"}, "photo.png is a file, and this run classifies texts"),
        ({"inputs": ["a"], "delimiter": ";"}, "delimiter is for tables; give one by --data"),
        ({"inputs": ["a"], "encoding": "idna"}, "unknown encoding 'idna'"),
        ({"inputs": ["t.csv"]}, "t.csv is a table; classify its rows by --data t.csv"),
        ({"data": "t.csv", "delimiter": "::"}, "delimiter is '::'"),
    ],
)
def test_bad_arguments(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "t.csv": "text,label\nship,sea\n",
        "two.csv": "title,body\na,b\n",
        "none.csv": "x,y,z\na,b,c\n",
        "empty.csv": "text,label\n",
        "photo.png": "",
    }.items():
        Path(name).write_text(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        studygroup.predict(run.folder, **options)
    assert sorted(tmp_path.iterdir()) == before
    assert Path("t.csv").read_text() == "text,label\nship,sea\n"


def test_an_old_file_of_predictions_is_kept_until_the_new_one_is_complete(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("old")
    (tmp_path / "t.csv").write_text("text,label\nship,sea\nbroken\n")
    with pytest.raises(UserError, match="row 2"):
        studygroup.predict(run.folder, data=tmp_path / "t.csv", out=tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "old"


# ---------------------------------------------------------------- unknown tokens and classes


def test_unknown_characters_are_warned_of(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run.best.predict("ship and tide")
    assert "unknown to the tokenizer" not in caplog.text
    run.best.predict(["корабль", "море"])
    assert "of the tokens of the inputs are unknown to the tokenizer" in caplog.text
    caplog.clear()
    strange = write(tmp_path / "strange.csv", [("корабль и море", "sea"), ("дерево", "wood")])
    studygroup.evaluate(run.folder, data=strange, cache=tmp_path / "cache", progress=False)
    assert "of the tokens of strange are unknown to the tokenizer" in caplog.text
    caplog.clear()
    options = {**SMALL, "tokenizer": "chars", "student": "vdcnn9@embedding=2,width=2,k=1,hidden=4", "train_size": 4, "holdout": 2}
    rows = [("éèà", "a"), ("ôöü", "b")] * 5
    open_splits(
        run_options(TrainOptions(write(tmp_path / "accents.csv", rows), **{**options, "test_size": 2, "cache": tmp_path / "cache"}))
    )
    assert "100% of the tokens of accents are unknown to the tokenizer" in caplog.text


def test_data_with_some_of_the_classes(run: Run, tmp_path: Path) -> None:
    one = write(
        tmp_path / "one.csv",
        [("ship near the tide", "sea"), ("fish near the salt", "sea"), ("tree near the moss", "sea")],
    )
    found = studygroup.evaluate(run.folder, data=one, cache=cache_of(run), progress=False)["best"]
    assert found["samples"] == 3
    assert found["accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(UserError, match="one has the single class 'sea'; at least two are needed"):
        studygroup.train(one, out=tmp_path / "run", cache=cache_of(run), progress=False)


def test_unknown_classes(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write(
        tmp_path / "more.csv",
        [("ship near the tide", "sea"), ("tree near the moss", "wood"), ("sky", "air"), ("fish near the salt", "sea")],
    )
    options: dict[str, Any] = {"data": data, "cache": cache_of(run), "progress": False}
    with pytest.raises(UserError, match=r"classes that the run does not know: air; it knows sea, wood\..*--unknown-classes skip or count"):
        studygroup.evaluate(run.folder, **options)
    skipped = studygroup.evaluate(run.folder, unknown_classes="skip", **options)["best"]
    assert (skipped["samples"], skipped["accuracy"]) == (3, 1.0)
    assert "1 of 4 samples have classes that the run does not know (air): skipped" in caplog.text
    counted = studygroup.evaluate(run.folder, unknown_classes="count", **options)["best"]
    assert (counted["samples"], counted["accuracy"], counted["unknown"]) == (4, 0.75, 1)
    assert counted["cross_entropy"] == pytest.approx(skipped["cross_entropy"])
    assert "counted as wrong" in caplog.text
    strange = write(tmp_path / "strange.csv", [("sky", "air"), ("rain", "water")])
    with pytest.raises(UserError, match="no sample has a class that the run knows: sea, wood"):
        studygroup.evaluate(run.folder, unknown_classes="skip", **{**options, "data": strange})
    with pytest.raises(UserError, match="unknown_classes is 'drop'; it must be stop or skip or count"):
        studygroup.evaluate(run.folder, unknown_classes="drop", **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the linear model


def sentences(split: Split) -> list[str]:
    return [" ".join(str(token) for token in split.inputs[np.array([row])][0] if token) for row in np.asarray(split.rows)]


def test_the_linear_model_is_that_of_scikit_learn(run: Run) -> None:
    splits = open_splits(run_options(config.load_group(run.files.config, TrainOptions)))
    features = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), sublinear_tf=True)
    train = features.fit_transform(sentences(splits.train))
    scores = []
    for strength in (1.0, 10.0, 100.0):
        model = LogisticRegression(C=strength, max_iter=200).fit(train, splits.train.labels)
        scores.append([model.score(features.transform(sentences(s)), s.labels) for s in (splits.holdout, splits.dataset.test)])
    holdout, test = max(scores, key=lambda pair: pair[0])
    found = run.result["linear"]
    assert (found["holdout"], found["test"]) == (pytest.approx(holdout), pytest.approx(test))
    assert found["model"] == "tf-idf + logistic regression"
    assert found["parameters"] == train.shape[1] + 1


def test_the_linear_model_is_in_the_table_and_cached(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("train", run, {})
    assert "linear (tf-idf)" in capsys.readouterr().out
    splits = open_splits(run_options(config.load_group(run.files.config, TrainOptions)))
    monkeypatch.setattr(linear, "fit_texts", lambda *_: pytest.fail("it is fitted again"))
    assert linear_scores(splits, {"test": splits.dataset.test}, cache_of(run)) == run.result["linear"]


def test_the_linear_model_can_be_left_out(run: Run, tmp_path: Path) -> None:
    texts, labels = zip(*reviews(300), strict=True)
    small = {**SMALL, "epochs": 1, "train_size": 40, "cache": cache_of(run)}
    without = studygroup.train((list(texts), list(labels)), out=tmp_path / "without", linear_model=False, **small)
    assert "linear" not in without.result
    again = studygroup.train((list(texts), list(labels)), out=tmp_path / "without", resume=True, **small)
    assert again.result["linear"]["test"] > 0.5, "it is added to a finished run"


def test_large_data_gets_a_hashed_model_or_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = open_splits(run_options(config.load_group(run.files.config, TrainOptions)))
    monkeypatch.setattr(linear, "MAX_EXACT", 10)
    found = fit_texts(splits.train, {"holdout": splits.holdout, "test": splits.dataset.test})
    assert found["model"] == "tf-idf + logistic regression (hashed, SGD)"
    assert found["test"] > 0.9
    assert found == {**fit_texts(splits.train, {"holdout": splits.holdout, "test": splits.dataset.test}), "seconds": found["seconds"]}
    monkeypatch.setattr(linear, "MAX_TOKENS", 20)
    assert fit_texts(splits.train, {"holdout": splits.holdout})["skipped"] == "more than 20 training tokens"
    same = splits.train.take(np.flatnonzero(splits.train.labels == 0))
    assert "one class" in fit_texts(same, {})["skipped"]


# ---------------------------------------------------------------- defaults
