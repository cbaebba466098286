"""Scores by class and calibration, against loops and scikit-learn's other functions; old and hostile run folders."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics

from studygroup.data import Images, Split
from studygroup.data.texts.ragged import Ragged
from studygroup.errors import UserError
from studygroup.escape import csv_cell, markdown_cell, one_line, shortened
from studygroup.runs.evaluation import Evaluation, Outcomes, calibration_error, read_evaluations, write_evaluations
from studygroup.runs.layout import RunFiles, from_epoch_one
from studygroup.runs.member import Run
from studygroup.runs.reader import read_run
from studygroup.runs.writer import write_predictions
from studygroup.training.evaluate import collect
from tests.run_folders import MakeRun, make_run

__all__ = ["make_run"]
HOSTILE = ["=cmd|'/c calc'!A1", "a|b`c`", "two\nlines", "[x](http://y)", "<b>", "-1", "$x_1$"]


def drawn(samples: int, classes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed)) * 2


def outcomes_of(logits: torch.Tensor, labels: torch.Tensor) -> Outcomes:
    split = Split(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), labels.numpy())
    transform = Images((1, 1, 1), (0.0,), (1.0,)).transform(torch.device("cpu"), torch.contiguous_format)
    at = iter(logits.split(7))
    return collect(lambda _: {"best": next(at)}, (), split, transform, 7)["best"]


def test_scores_against_independent_computations() -> None:
    classes, samples = 8, 100
    logits = drawn(samples, classes)
    labels = torch.randint(0, classes - 1, (samples,), generator=torch.Generator().manual_seed(1))  # none of the last class
    found = Evaluation.of(outcomes_of(logits, labels), [f"class {c}" for c in range(classes)])
    p = logits.double().softmax(-1).numpy()
    y, z = labels.tolist(), p.argmax(1).tolist()
    matrix = found.confusion_matrix
    assert np.array_equal(matrix, metrics.confusion_matrix(y, z, labels=range(classes)))
    for c in range(classes):
        hits = sum(a == b == c for a, b in zip(y, z, strict=True))
        assert found.support[c] == y.count(c) == matrix[c].sum()
        assert found.precision[c] == pytest.approx(hits / z.count(c))
        assert found.recall[c] == (pytest.approx(hits / y.count(c)) if y.count(c) else None)
        assert found.f1[c] == pytest.approx(2 * hits / (y.count(c) + z.count(c)))
    assert found.macro_f1 == pytest.approx(np.mean([value for value in found.f1[:-1] if value is not None]))
    assert found.accuracy == metrics.accuracy_score(y, z)
    assert found.top5 == pytest.approx(metrics.top_k_accuracy_score(y, p, k=5, labels=range(classes)))
    assert found.negative_log_likelihood == pytest.approx(metrics.log_loss(y, p, labels=range(classes)), rel=1e-5)
    error = 0.0
    for b in range(15):
        inside = [i for i in range(samples) if b / 15 < p[i].max() <= (b + 1) / 15]
        if inside:
            error += len(inside) / samples * abs(np.mean([y[i] == z[i] for i in inside]) - np.mean([p[i].max() for i in inside]))
    assert found.calibration_error == pytest.approx(error, rel=1e-5)
    assert "top-5" in repr(found)
    assert repr(found).count("class ") == 5 + 2 * 5


def test_a_class_that_is_never_predicted_and_one_without_samples() -> None:
    logits = torch.tensor([[2.0, 0.0, -9.0], [2.0, 0.0, -9.0]])
    found = Evaluation.of(outcomes_of(logits, torch.tensor([0, 1])), ["a", "b", "c"])
    assert (found.precision, found.recall) == ((0.5, None, None), (1.0, 0.0, None))
    assert list(found.f1) == [pytest.approx(2 / 3), 0.0, None]
    assert found.top5 is None
    assert found.macro_f1 == pytest.approx(1 / 3), "over the classes that have samples"
    assert found.weakest() == [1, 0]


@pytest.mark.parametrize(
    ("probability", "right", "error"), [([1.0, 1.0], [True, False], 0.5), ([0.25] * 4, [True, False, False, False], 0)]
)
def test_calibration_by_hand(probability: list[float], right: list[bool], error: float) -> None:
    assert calibration_error(np.array(probability), np.array(right)) == pytest.approx(error)


def test_texts_are_in_their_order_and_an_ensemble_has_several_students() -> None:
    texts = Ragged.of([np.full(n, n, dtype=np.int64) for n in (1, 3, 2)])
    labels = np.array([1, 3, 2])

    class Same:
        device = torch.device("cpu")

        def __call__(self, raw: torch.Tensor) -> torch.Tensor:
            return raw

    def logits(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        z = torch.nn.functional.one_hot(inputs[:, 0], 4) * 9.0
        return {"student0": z, "student1": z.flip(1)}

    found = collect(logits, ["student0", "student1"], Split(texts, labels), Same(), 2)  # type: ignore[arg-type]
    assert found["student0"].labels.tolist() == found["student0"].predicted.tolist() == [1, 3, 2]
    assert found["student0"].rank.tolist() == [0, 0, 0]
    mean = (logits(torch.tensor([[1]]))["student0"].softmax(-1) + logits(torch.tensor([[1]]))["student1"].softmax(-1)) / 2
    assert found["ensemble"].log_likelihood[0] == pytest.approx(math.log(mean[0, 1]))
    assert set(collect(lambda x: {"student0": logits(x)["student0"]}, ["student0"], Split(texts, labels), Same(), 2)) == {"student0"}  # type: ignore[arg-type]


def test_predictions_that_are_no_numbers_are_refused() -> None:
    logits = drawn(6, 3)
    logits[2, 1] = float("nan")
    with pytest.raises(UserError, match=r"1 of 6 predictions are no numbers \(nan\), so they cannot be evaluated"):
        Evaluation.of(outcomes_of(logits, torch.zeros(6, dtype=torch.int64)), list("abc"))
    with pytest.raises(UserError, match="no samples to evaluate on"):
        Evaluation.of(Outcomes(*(np.zeros(0, dtype=np.int64),) * 5), list("abc"))  # type: ignore[arg-type]


def test_a_thousand_classes_stay_small(make_run: MakeRun) -> None:
    folder = make_run("a")
    labels = torch.arange(1500) % 1000
    found = Evaluation.of(outcomes_of(drawn(1500, 1000), labels), [f"c{c}" for c in range(1000)])
    write_evaluations(RunFiles(folder), {"best": found})
    assert RunFiles(folder).evaluation.stat().st_size < 100_000
    assert Run(folder).evaluation == found == read_run(folder).evaluations["best"]
    assert len(repr(found)) < 600


def test_an_older_run_has_no_evaluation_and_counts_epochs_from_zero(make_run: MakeRun) -> None:
    folder = make_run("a", epochs=3)
    with pytest.raises(UserError, match=r"has no evaluation: .* an earlier version of studygroup trained it; `studygroup evaluate"):
        _ = Run(folder).evaluation
    result = json.loads((folder / "result.json").read_text())
    del result["format"]
    result["selected"]["epoch"], result["last"]["epoch"] = 0, 2
    (folder / "result.json").write_text(json.dumps(result))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps({**line, "epoch": line["epoch"] - 1}) + "\n" for line in lines))
    record = read_run(folder)
    assert [epoch["epoch"] for epoch in record.epochs] == [1, 2, 3]
    for read in (record.result, Run(folder).result):
        assert read is not None
        assert (read["selected"]["epoch"], read["last"]["epoch"]) == (1, 3)  # type: ignore[index]
    assert from_epoch_one({"epoch": 4, "name": "best"})["epoch"] == 5
    assert from_epoch_one({"format": 2, "epoch": 4})["epoch"] == 4


@pytest.mark.parametrize("content", ["{", '{"best": {}}', '{"best": 3}', "[]"])
def test_a_damaged_evaluation_is_named(make_run: MakeRun, content: str) -> None:
    folder = make_run("a")
    RunFiles(folder).evaluation.write_text(content)
    with pytest.raises(UserError, match=r"evaluation.json is damaged; delete it"):
        read_evaluations(folder)


def test_hostile_names_in_files(tmp_path: Path) -> None:
    outcomes = outcomes_of(torch.eye(len(HOSTILE)) * 5, torch.arange(len(HOSTILE)))
    write_predictions(tmp_path / "test.csv", outcomes, ["=1+1", "@x", "+a", "a/b.png", "7", "\ud800.png", "  =2"], HOSTILE)
    with (tmp_path / "test.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample", "name", "label", "predicted", "probability", "label_probability"]
    assert [row["name"] for row in rows] == ["'=1+1", "'@x", "'+a", "a/b.png", "7", "?.png", "'  =2"]
    assert [row["label"] for row in rows] == [f"'{HOSTILE[0]}", *HOSTILE[1:]], "-1 is a number"
    assert float(rows[0]["probability"]) == float(rows[0]["label_probability"]) > 0.9


def test_escaping() -> None:
    assert csv_cell("\t=1") == "'\t=1"
    assert csv_cell("-") == "'-"
    assert (csv_cell("-1.5"), csv_cell("a=b")) == ("-1.5", "a=b")
    assert markdown_cell("a|b\n`c` <i> [d](e) *f* $g$") == r"a\|b \`c\` &lt;i&gt; \[d\](e) \*f\* \$g\$"
    assert one_line("a\x00b\u202ec\n\td") == "a?b?c d"
    assert shortened("a " * 50, 5) == "a a …"
