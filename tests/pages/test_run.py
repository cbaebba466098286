"""Run folder -> page, also of runs that lack something."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from studygroup.errors import UserError
from studygroup.pages import try_to_write_page, write_page
from studygroup.pages.run import run_page
from studygroup.pages.run_classes import MOST_CLASSES, MOST_ROWS, sure
from studygroup.pages.run_facts import RunFacts
from studygroup.runs.layout import RunFiles
from studygroup.runs.predictions import read_member_predictions, read_predictions
from tests.pages.folders import GROUPS, with_roles, write_full_run
from tests.run_folders import MakeRun


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_full_run(tmp_path / "run")


def html(folder: Path) -> str:
    return write_page(folder).read_text()


def test_it_says_what_was_trained_on_what_and_how_good_it_is(run: Path) -> None:
    page = run_page(run)
    assert page.title == "resnet8 on digits, by cgl"
    assert page.sentence == (
        "Four resnet8 networks (77,754 parameters each) learned together by cgl on 1,294 training images of 10 classes in 30 epochs. "
        "student0 as it was after epoch 30, chosen by 100 held-out images, classifies 90.50 % of the 300 test images correctly."
    )
    assert (page.facts[0].value, page.facts[0].note) == ("90.50 %", "95 % interval 86.7 % to 93.3 %")
    assert [one.name for one in page.yardstick] == [
        "always the most frequent class",
        "linear model (pixels)",
        "mean of the 4 students",
        "the selected student",
        "ensemble of the students",
    ]
    assert [command.about for command in page.commands][:2] == ["Try it", "Deploy it"]
    assert any("a clear gain" in finding.text for finding in page.findings)
    assert page.problems == []


def test_it_says_who_learned_and_what_is_handed_over(run: Path) -> None:
    files = RunFiles(run)
    result = json.loads(files.result.read_text())
    result["identity"]["peers"] = ["resnet20", "vgg8"]
    result["hand_over"] = {"kind": "soup"}
    result["selected"] |= {"member": "soup", "epoch": 30}
    files.result.write_text(json.dumps(result))
    page = run_page(run)
    assert page.sentence.startswith("Four networks (resnet8, resnet20, vgg8) learned together by cgl on ")
    assert "soup as it was after epoch 30 classifies 90.50 % of the 300 test images correctly" in page.sentence
    assert [command.text for command in page.commands[:2]] == [f"studygroup predict {run} IMAGE", f"studygroup export {run} --format onnx"]


def test_curves_mark_the_selected_epoch(run: Path) -> None:
    page = run_page(run)
    assert [plot.title for plot in page.curves] == ["Hold-out accuracy", "Training loss", "Hold-out loss", "Diversity", "Learning rate"]
    accuracy = page.curves[0]
    assert [line.series for line in accuracy.lines] == ["student0", "student1", "student2", "student3", "ensemble"]
    assert accuracy.points[0].tip.startswith("selected: student0, epoch 30\n")
    lines = [json.loads(line) for line in RunFiles(run).metrics.read_text().splitlines()]
    assert accuracy.lines[1].texts == [f"{100 * line['holdout']['student1']:.2f} %" for line in lines]
    assert page.curves[1].lines[0].texts[0] == f"{sum(v for k, v in lines[0]['losses'].items() if k.startswith('student0')):.3f}"


def test_the_matrix_has_every_confusion_and_the_table_every_class(run: Path) -> None:
    page, found = run_page(run), RunFacts.of(run).evaluation
    assert page.confusion is not None
    assert page.classes is not None
    assert found is not None
    assert {(s.row, s.column, int(s.text)) for s in page.confusion.squares} == set(found.confusions)
    assert [row.cells[0].text for row in page.classes.rows] == list(found.classes)
    assert [row.cells[2].sort for row in page.classes.rows] == list(found.recall)


def test_calibration_is_that_of_the_predictions(run: Path) -> None:
    page, predictions = run_page(run), read_predictions(RunFiles(run).predictions)
    assert page.reliability is not None
    high = [(p, a == b) for p, a, b in zip(predictions.probability, predictions.predicted, predictions.labels, strict=True) if p > 14 / 15]
    tip = [bar.tip for bar in page.reliability.bars if bar.css == "accuracy"][-1]
    assert f"{len(high)} predictions" in tip
    assert f"accuracy {100 * sum(right for _, right in high) / len(high):.1f} %" in tip
    mean = sum(predictions.probability) / 300 - sum(a == b for a, b in zip(predictions.predicted, predictions.labels, strict=True)) / 300
    assert sure(predictions) == pytest.approx(mean)


def test_mistakes_are_mistakes_and_the_disputed_are_disputed(run: Path) -> None:
    page, members = run_page(run), read_member_predictions(RunFiles(run).member_predictions)
    assert len(page.mistakes) == 20
    assert all(tile.true != tile.predicted and tile.picture.startswith("data:image/png;base64,") for tile in page.mistakes)
    assert len(page.disputed) == 10
    for tile in page.disputed:
        assert len({vote.label for vote in tile.votes}) > 1
        assert all(vote.right == (vote.label == tile.true) for vote in tile.votes)
    assert page.disagreement is not None
    first = next(square for square in page.disagreement.squares if (square.row, square.column) == (0, 1))
    votes = zip(members.by_member["student0"], members.by_member["student1"], strict=True)
    assert first.text == f"{100 * sum(a != b for a, b in votes) / 300:.1f}"
    assert sum(one.share for one in page.spread) == pytest.approx(1)


@pytest.mark.parametrize("method", ["cgl", "one", "orc"])
def test_what_students_share_is_drawn(tmp_path: Path, method: str) -> None:
    plot = run_page(write_full_run(tmp_path / "run", method=method)).structure
    if method == "orc":
        assert plot is None
        return
    assert plot is not None
    assert [line.series for line in plot.lines] == [f"student{k}" for k in range(4)]
    if method == "cgl":
        routes = GROUPS["cgl"]["routes"]
        assert isinstance(routes, list)
        used = {(layer, module) for route in routes for layer, module in enumerate(route)}
        assert len(plot.bars) == len(used)
        assert "layer 1, module 2\n2 of 4 students: student1, student3" in [bar.tip for bar in plot.bars]
        assert plot.note.endswith("Two students share 2.0 of 4 layers on average.")
    else:
        assert [bar.series for bar in plot.bars[1:]] == [f"student{k}" for k in range(4)]


def test_roles_over_time(tmp_path: Path) -> None:
    promoted, distinct = run_page(with_roles(write_full_run(tmp_path / "run", method="orc"))).roles
    assert promoted.title == "Promoted to a teacher"
    assert [line.series for line in promoted.lines] == [f"student{k}" for k in range(4)]
    assert (distinct.title, [line.series for line in distinct.lines]) == ("Feedback: distinct", ["feedback"])


def test_the_page_needs_no_network_and_runs_only_its_own_script(run: Path) -> None:
    text = html(run)
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!data:)[a-z]""", text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert text.count("<script") == 1
    assert len(text) < 400_000


def test_names_are_escaped(tmp_path: Path) -> None:
    hostile = ("<script>alert(1)</script>", "</style>", "\" onload='x'", "{{ 7 * 7 }}", "=1+1", "\x1b[31m\u202ex")
    run = write_full_run(tmp_path / "<b>run</b>", classes=hostile)
    text = html(run)
    assert "<script>alert" not in text
    assert re.findall(r"</style>", text)[0] == "</style>"
    assert text.count("</style>") == 1
    assert "<b>run</b>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "&#39;=1+1" not in text, "classes are spelled as they are, not as for a spreadsheet"


def test_a_thousand_classes(tmp_path: Path) -> None:
    names = [f"class {c}" for c in range(1000)]
    page = run_page(write_full_run(tmp_path / "run", classes=names, samples=3000, test=0.5))
    assert page.confusion is not None
    assert page.classes is not None
    assert len(page.confusion.rows) == MOST_CLASSES
    assert "of 1,000 classes that are confused most" in page.confusion.note
    assert len(page.classes.rows) == MOST_ROWS
    assert page.pairs is not None
    assert len(html(tmp_path / "run")) < 700_000


def test_a_run_that_is_being_written(make_run: MakeRun) -> None:
    page = run_page(make_run("begun", finished=False, epochs=6))
    assert page.sentence.endswith("The run is not finished: 3 of 6 epochs are done.")
    assert page.facts[0].name == "hold-out accuracy so far"
    assert (page.commands[0].about, page.commands[0].text.endswith("--resume")) == ("Continue it, if it was stopped", True)
    assert page.classes is None
    assert "run, not finished" in html(make_run("other", finished=False))


def test_a_run_that_has_only_begun(make_run: MakeRun) -> None:
    run = make_run("run", finished=False, epochs=1)
    RunFiles(run).metrics.unlink()
    assert run_page(run).curves == []
    assert "metrics.jsonl has no finished epoch" in html(run)


def test_a_finished_run_without_metrics(run: Path) -> None:
    RunFiles(run).metrics.unlink()
    page = run_page(run)
    assert page.curves == []
    assert page.facts[0].value == "90.50 %"
    assert "metrics.jsonl has no finished epoch" in html(run)


def test_a_run_of_an_earlier_version_without_predictions_and_samples(make_run: MakeRun) -> None:
    page = run_page(make_run("old"))
    assert page.problems == []
    assert (page.mistakes, page.sheet, page.reliability, page.confusion, page.disagreement) == ([], "", None, None, None)
    assert page.members is not None


def test_the_contact_sheet_of_an_earlier_version_is_shown_unless_it_is_large(run: Path) -> None:
    files = RunFiles(run)
    files.samples.unlink()
    files.mistakes_picture.write_bytes(b"\x89PNG" + bytes(100))
    assert run_page(run).sheet.startswith("data:image/png;base64,")
    files.mistakes_picture.write_bytes(b"\x89PNG" + bytes(700_000))
    assert run_page(run).sheet == ""
    files.mistakes_picture.write_bytes(b"<svg onload=alert(1)>")
    assert run_page(run).sheet == ""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("test.csv", "sample,name\n1,2\n", "test.csv is damaged (it has no columns sample, name, label"),
        ("test.csv", "sample,name,label,predicted,probability,label_probability\n1,2\n", "its rows are not all of 6 columns"),
        ("members.csv", "what\n", "members.csv is damaged (it has no columns sample, label"),
        ("samples.json", "[]", "samples.json is damaged (it is no JSON object)"),
        ("samples.json", "{", "samples.json is damaged"),
    ],
)
def test_unreadable_predictions_are_said_in_a_line(run: Path, name: str, content: str, told: str) -> None:
    (run / "predictions" / name).write_text(content)
    page = run_page(run)
    assert len(page.problems) == 1
    assert told in page.problems[0]
    assert page.facts[0].value == "90.50 %"
    assert "What could not be read" in html(run)


def test_samples_that_are_no_pictures_are_left_out(run: Path) -> None:
    files = RunFiles(run)
    content = json.loads(files.samples.read_text())
    first, second = content["mistakes"][:2]
    content["samples"][str(first)] = {"png": 'x" onerror="alert(1)'}
    content["samples"][str(second)] = {"png": "A" * 100_000}
    files.samples.write_text(json.dumps(content))
    page = run_page(run)
    assert [tile.picture for tile in page.mistakes[:2]] == ["", ""]
    assert "onerror" not in html(run)


@pytest.mark.parametrize("routes", ["x", [], [[0], [0, 1]], [[0, -1]], [[0, "1"]], [[0] * 500], [[1e9]]])
def test_routes_that_are_none_are_not_drawn(run: Path, routes: object) -> None:
    files = RunFiles(run)
    result = json.loads(files.result.read_text())
    result["identity"]["group"]["routes"] = routes
    files.result.write_text(json.dumps(result))
    assert run_page(run).structure is None


def test_a_damaged_result_is_an_error_in_a_line_and_no_failure_of_a_training(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    RunFiles(run).result.write_text("{")
    with pytest.raises(UserError, match=r"result.json is damaged"):
        write_page(run)
    assert try_to_write_page(run) is None
    assert "no report of" in caplog.text


def test_findings_tell_too_short_a_training_and_over_fitting(tmp_path: Path) -> None:
    run = write_full_run(tmp_path / "run")
    files = RunFiles(run)
    lines = [json.loads(line) for line in files.metrics.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["holdout"] = dict.fromkeys(line["holdout"], 0.3 + 0.02 * number)
    files.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert any("still rises at the end" in finding.text for finding in run_page(run).findings)
    for number, line in enumerate(lines):
        line["holdout"] = dict.fromkeys(line["holdout"], 0.9)
        line["holdout_cross_entropy"] = dict.fromkeys(line["holdout_cross_entropy"], 0.3 + 0.01 * number)
    files.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert any("it over-fits" in finding.text for finding in run_page(run).findings)
