"""The answer of an advice: the winner, scored on the test set, among everything that it was compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studygroup import config, reporting
from studygroup.advice.candidates import ALONE, Candidate
from studygroup.advice.hand_over import score_on_test, train_command
from studygroup.advice.judgement import Scored, choose, interval, read_curves, standard_error
from studygroup.advice.rungs import TEACHER, Comparisons
from studygroup.options import AdviseOptions, RunOptions
from studygroup.runs.reader import read_run
from studygroup.sweep.variants import BASELINE
from studygroup.training.splits import DataSplits


@dataclass(frozen=True)
class Entry:
    """A candidate, or the student alone, as it was trained in one comparison.

    Attributes:
        about: what it is.
        kind: as of `Candidate`, or `alone`.
        comparison: `alone` or the rung.
        row: of that comparison.
        scored: its accuracies; None if it failed.
    """

    about: str
    kind: str
    comparison: str
    row: Mapping[str, Any]
    scored: Scored | None


@dataclass(frozen=True)
class Findings:
    """What the comparisons of an advice have found.

    Attributes:
        lengths: the student alone by epochs.
        entries: of all rungs, those of the last rung last; the student alone is the first of its rung.
        finished: whether the last doubling of the epochs of the student alone gained no more than noise.
        needed: epochs that the student alone needs, as far as they are known.
        left_out: candidate -> why it was not trained.
    """

    lengths: Mapping[int, Entry]
    entries: Sequence[Entry]
    finished: bool
    needed: int
    left_out: Mapping[str, str]

    @property
    def control(self) -> Entry:
        """The student alone in the last rung."""
        return [entry for entry in self.entries if entry.kind == ALONE][-1]

    def compared(self) -> list[Entry]:
        """Return the entries that may win: those of the last rung, and the student alone with any number of epochs."""
        control = self.control
        alone = (*self.lengths.values(), *(entry for entry in self.entries if entry.kind == ALONE))
        others = {entry.row["epochs"]: entry for entry in alone if entry.row["epochs"] != control.row["epochs"]}
        last = [entry for entry in self.entries if entry.comparison == control.comparison]
        return [entry for entry in (*last, *(others[length] for length in sorted(others))) if entry.scored is not None]

    def dropped(self) -> list[Entry]:
        """Return the last entry of each candidate that an earlier rung has dropped."""
        last = {entry.row["variant"]: entry for entry in self.entries if entry.kind != ALONE and entry.scored is not None}
        return [entry for entry in last.values() if entry.comparison != self.control.comparison]

    def not_trained(self) -> dict[str, str]:
        """Return the candidates without scores, with the reason."""
        failed = {str(e.row["variant"]): f"failed: {failure(e.row)}" for e in self.entries if e.scored is None}
        return {**self.left_out, **failed}

    def last_gain(self) -> dict[str, float] | None:
        """Return what the last doubling of the epochs of the student alone gained, and its noise."""
        scored = [entry.scored for entry in self.lengths.values() if entry.scored is not None]
        if len(scored) < 2:
            return None
        return {"gain": scored[-1].mean - scored[-2].mean, "noise": standard_error(scored[-1], scored[-2])}


def answer(
    options: AdviseOptions, base: RunOptions, splits: DataSplits, comparisons: Comparisons, found: Findings, candidates: Sequence[Candidate]
) -> dict[str, Any]:
    """Choose the winner, score it on the test set, and write the answer; return it as `studygroup.advise` does."""
    files, journal, control = comparisons.files, comparisons.journal, found.control
    compared = found.compared()
    best = choose([entry.scored for entry in compared if entry.scored is not None])
    winner = next(entry for entry in compared if entry.scored is best)
    run = files.comparison(winner.comparison).run(str(winner.row["variant"]), 0)
    test = score_on_test(run) if options.score_test else None
    controls = {entry.comparison: entry for entry in found.entries if entry.kind == ALONE}
    rows = [make_row(entry, control, winner=entry is winner) for entry in compared]
    rows += [make_row(entry, controls[entry.comparison], winner=False) for entry in found.dropped()]
    curves = read_curves([read_run(files.folder / control.comparison / path) for path in control.row["runs"]], finished=found.finished)
    result = {
        "data": splits.dataset.name,
        "student": str(base.student),
        "seeds": options.seeds,
        "holdout_samples": len(splits.holdout),
        "training_samples": len(splits.train),
        "time_limit": options.time_limit,
        "budget_epochs": control.row["epochs"],
        "needed_epochs": found.needed,
        "finished": found.finished,
        "lengths": {str(length): entry.scored.mean for length, entry in found.lengths.items() if entry.scored is not None},
        "last_gain": found.last_gain(),
        "curves": vars(curves),
        "linear": linear_model(files.folder / control.comparison),
        "winner": next(row for row in rows if row["winner"]),
        "rows": rows,
        "left_out": found.not_trained(),
        "test": test,
        "run": str(run.folder),
        "command": train_command(options, own_options(winner, base, comparisons, candidates)),
        "out": str(files.folder),
        "seconds": round(journal.spent, 1),
    }
    reporting.write_advice(files.folder, result)
    journal.save()
    return result


def make_row(entry: Entry, control: Entry, *, winner: bool) -> dict[str, Any]:
    """Return the row of an entry in the table of the answer."""
    scored, reference = entry.scored, control.scored
    assert scored is not None
    assert reference is not None
    shared = ("holdout", "holdout_std", "holdout_by_seed", "parameters", "seconds", "student", "method", "epochs", "disagreement_ratio")
    row = {
        "name": f"{ALONE}-{entry.row['epochs']}" if entry.kind == ALONE else str(entry.row["variant"]),
        "about": entry.about,
        "kind": entry.kind,
        "comparison": entry.comparison,
        "control": entry is control,
        "winner": winner,
        **{key: entry.row[key] for key in shared},
        **dict.fromkeys(("difference", "low", "high", "noise")),
        "training": scored.training,
        "inference": scored.inference,
    }
    if entry is not control:
        difference, low, high = interval(scored, reference)
        row |= {"difference": difference, "low": low, "high": high, "noise": standard_error(scored, reference)}
    return row


def own_options(entry: Entry, base: RunOptions, comparisons: Comparisons, candidates: Sequence[Candidate]) -> dict[str, object]:
    """Return the options of `studygroup train` that make an entry."""
    own = next((candidate for candidate in candidates if candidate.name == entry.row["variant"]), None)
    found = {"method": BASELINE, "student": base.student, **(own.options if own else {}), "epochs": entry.row["epochs"]}
    if own is not None and own.needs_teacher:
        teacher = config.load_group(comparisons.files.comparison(entry.comparison).run(TEACHER, 0).config, RunOptions)
        found |= {"teacher": comparisons.larger, "teacher_epochs": teacher.epochs}
    return found


def linear_model(folder: object) -> dict[str, Any] | None:
    """Return the hold-out accuracy of the linear model beside the runs of a comparison, if there is one for this data."""
    row = next((row for row in reporting.comparison(str(folder))["rows"] if row["role"] == reporting.LINEAR), None)
    return None if row is None else {"model": row["method"], "holdout": row["holdout"], "parameters": row["parameters"]}


def failure(row: Mapping[str, Any]) -> str:
    """Return the first reason why runs of a row failed."""
    reasons = [str(reason) for run, reason in row["reasons"].items() if run.startswith(f"{row['variant']}-s")]
    return reasons[0] if reasons else "its runs left no result"
