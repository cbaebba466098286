"""An advice in words: who won, by how much, and what would change it."""

from __future__ import annotations

from typing import Any

import pytest

from studygroup.reporting.advice import changes, columns, paragraph, points, render_advice_markdown


def row(name: str, kind: str, holdout: float, **more: Any) -> dict[str, Any]:
    found = {"name": name, "about": f"about {name}", "kind": kind, "comparison": "rung1", "epochs": 40, "control": False, "winner": False}
    found |= {"holdout": holdout, "holdout_std": 0.01, "holdout_by_seed": {0: holdout}, "parameters": 100.0, "seconds": 3.0}
    found |= {"difference": holdout - 0.9, "low": holdout - 0.92, "high": holdout - 0.88, "noise": 0.01}
    return {**found, "training": 1e9, "inference": 1e6, **more}


def advice(winner: dict[str, Any], *others: dict[str, Any], **more: Any) -> dict[str, Any]:
    control = row("alone-40", "alone", 0.9, control=True, difference=None, low=None, high=None, noise=0.02)
    curves = {"training_loss": 0.1, "holdout_loss": 0.4, "lowest_holdout_loss": 0.3, "verdict": "over-fitting"}
    found: dict[str, Any] = {"data": "photos", "student": "resnet8", "seeds": 3, "holdout_samples": 100, "training_samples": 900}
    found |= {"time_limit": "1h", "seconds": 3000.0, "needed_epochs": 20, "finished": True, "last_gain": {"gain": 0.001, "noise": 0.01}}
    found |= {"curves": curves, "linear": {"model": "pixels", "holdout": 0.5}, "left_out": {}, "test": None}
    winner["winner"] = True
    return {**found, "winner": winner, "rows": [control, winner, *others], **more}


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("group", "On photos, train resnet8 with about it, for 40 epochs."),
        ("larger", "On photos, take about it, trained alone for 40 epochs."),
        ("regularisation", "On photos, train resnet8 alone with about it, for 40 epochs."),
    ],
)
def test_the_winner_beside_the_student_alone(kind: str, start: str) -> None:
    text = paragraph(advice(row("it", kind, 0.95)))
    assert text.startswith(
        f"{start} It reaches 95.00% on the hold-out; the student alone at the same total compute, 40 epochs, reaches 90.00%"
    )
    assert "a difference of +5.00 points (95% interval +3.00 to +7.00)." in text
    assert "chance" not in text
    assert "This is within what chance does" in paragraph(advice(row("it", kind, 0.915)))


def test_the_student_alone_beside_the_best_candidate() -> None:
    found = advice(row("alone-20", "alone", 0.9, epochs=20, comparison="alone"), row("dml", "group", 0.89))
    text = paragraph(found)
    assert (
        "train resnet8 alone, for 20 epochs. It reaches 90.00% on the hold-out, and 90.00% with 40 epochs, which is no more than a tie."
        in text
    )
    assert "The best candidate, about dml, differs by -1.00 points" in text


def test_what_would_change_the_answer() -> None:
    close = row("dml", "group", 0.948)
    found = advice(row("larger", "larger", 0.95, inference=2e6), close, left_out={"cgl": "there was no time for it"}, finished=False)
    told = "\n".join(changes(found))
    assert "More seeds, or a larger hold-out: about dml (-0.20) cannot be told from the winner with 300 hold-out samples" in told
    assert "More time (now 1h): resnet8 alone still gains from longer training and there was none for cgl." in told
    assert "A limit on the cost of a prediction: the winner's is 2.0 times the student's; within it, about dml is best (94.80%)." in told
    assert "More data: the student over-fits 900 training samples" in told
    better = advice(row("dml", "group", 0.95), linear={"model": "tf-idf", "holdout": 0.96})
    assert "A simpler model: tf-idf is as good as the best network here (96.00%); use it." in changes(better)


def test_the_table_has_the_last_rung_and_the_student_alone_first() -> None:
    found = advice(
        row("dml", "group", 0.95, comparison="rung2"), row("cgl", "group", 0.99), row("alone-20", "alone", 0.8, comparison="alone")
    )
    found["rows"][0]["comparison"] = "rung2"
    assert dict(columns(found))["candidate"] == ["about dml", "about alone-40", "about alone-20", "about cgl"]


def test_the_winner_is_bold_in_markdown() -> None:
    found = render_advice_markdown(advice(row("dml", "group", 0.95), row("cgl", "group", 0.9), command="studygroup train", run="runs/dml"))
    assert "| **about dml** |" in found
    assert "| about cgl |" in found


def test_no_negative_zero() -> None:
    assert [points(value) for value in (-1e-9, 0.0, -0.0012, 0.0012)] == ["+0.00", "+0.00", "-0.12", "+0.12"]
