"""Comparison -> a table for the terminal or in Markdown; docs/compare.md explains the columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from studygroup.escape import markdown_cell
from studygroup.reporting import tables
from studygroup.reporting.comparison import LINEAR, seeds_text
from studygroup.reporting.evaluation_tables import markdown_classes
from studygroup.reporting.tables import Column, Row, accuracy, count, diversity, time

if TYPE_CHECKING:
    from rich.table import Table

UNITS = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))


def name(row: Row) -> str:
    """Return a variant's name, with its method or `teacher` unless the name contains it."""
    variant = str(row["variant"])
    kind = str(row["role"] if row["role"] == "teacher" else row["method"])
    return variant if kind in variant else f"{variant} ({kind})"


def _seeds(row: Row) -> str:
    done, failed = row["seeds"], row["failed"]
    assert isinstance(done, list)
    assert isinstance(failed, list)
    return f"{len(done)}" + (f", {len(failed)} failed" if failed else "")


def _difference(key: str) -> Callable[[Row], str]:
    """Return a formatter of a difference in percentage points with its interval."""

    def text(row: Row) -> str:
        mean, low, high = row[key], row[f"{key}_low"], row[f"{key}_high"]
        if row["role"] == "baseline":
            return "0"
        if not isinstance(mean, float):
            return "–"
        if not isinstance(low, float) or not isinstance(high, float):
            return f"{100 * mean:+.2f}"
        return f"{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"

    return text


def operations(value: object) -> str:
    """Format a number of floating-point operations, as `1.23 PFLOP`."""
    if not isinstance(value, int | float):
        return "–"
    unit, size = next((pair for pair in UNITS if value >= pair[1]), UNITS[-1])
    return f"{value / size:.3g} {unit}FLOP"


def _times(key: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = row.get(key)
        return f"{value:.2f} x" if isinstance(value, int | float) else "–"

    return text


COLUMNS: dict[str, Callable[[Row], str]] = {
    "method": name,
    "student": lambda row: str(row["student"]),
    "epochs": lambda row: str(row["epochs"] or "–"),
    "seeds": _seeds,
    "hold-out": accuracy("holdout"),
    "test": accuracy("test"),
    "test – baseline": _difference("difference"),
    "last epoch": accuracy("last_test"),
    "last – baseline": _difference("last_difference"),
    "mean member": accuracy("members_test"),
    "ensemble": accuracy("ensemble_test"),
    **dict(tables.SCORES),
    "diversity": diversity,
    "disagreement / error": lambda row: f"{row['disagreement_ratio']:.2f}" if isinstance(row["disagreement_ratio"], float) else "–",
    "parameters": count,
    "training": lambda row: operations(row["flops"]),
    "cost": _times("cost"),
    "teacher's cost": _times("teacher_cost"),
    "time": time,
}
TEXTS = ("method", "student")
DROPPED = (  # in a narrow terminal, in this order
    *dict(tables.SCORES),
    "training",
    "last – baseline",
    "diversity",
    "disagreement / error",
    "teacher's cost",
    "time",
    "parameters",
    "mean member",
    "student",
    "ensemble",
    "last epoch",
    "epochs",
    "cost",
)
NUMBERS = [header for header in COLUMNS if header not in TEXTS]


def _columns(result: Mapping[str, Any]) -> list[Column]:
    """Return the columns, without those in which every row is empty, and without the student if all rows have the same."""
    rows = result["rows"]
    texts = {header: [text(row) for row in rows] for header, text in COLUMNS.items()}
    if len({row["student"] for row in rows if row["role"] != LINEAR}) == 1:
        del texts["student"]
    shown = [(header, cells) for header, cells in texts.items() if header in ("method", "seeds") or set(cells) - {"–", "0"}]
    return [(header.replace("test", scored_on(result)), cells) for header, cells in shown]


def scored(result: Mapping[str, Any]) -> bool:
    """Return whether there are scores on the test set, or on unused samples: not with --no-score-test, nor before a run is finished."""
    return any(row["test"] is not None for row in result["rows"])


def scored_on(result: Mapping[str, Any]) -> str:
    """Return the name of the samples that accuracies are of: `test` or `unused`."""
    return "unused" if result["score_on_unused"] else "test"


def title(result: Mapping[str, Any]) -> str:
    """Return data, students, seeds and budget in one line."""
    return f"{result['data']} · {', '.join(result['students'])} · {seeds_text(result['rows'])} · {result['budget'].replace('-', ' ')}"


def notes(result: Mapping[str, Any]) -> list[str]:
    """Return notes on the columns of the table, one or two sentences each."""
    rows, samples = result["rows"], scored_on(result)
    held_out = any(row["holdout"] is not None for row in rows)
    size = f" ({result['test_samples']:,} samples)" if result["test_samples"] else ""
    order = "Sorted by hold-out accuracy, not by test accuracy" if held_out else "Nothing is held out: in the given order"
    accuracies = "Accuracies in %, mean ± sample standard deviation over seeds"
    columns = (
        f"{samples}{size}: of the student and epoch selected on the hold-out set. last epoch: of the member that is best on the hold-out "
        "set at the last epoch; mean member and ensemble are of the last epoch, too. mean F1 over the classes, NLL (negative "
        "log-likelihood in nats) and calibration error (15 bins) are of the selected student on the test set."
    )
    found = [f"{order}; teachers last. {accuracies}. {columns if scored(result) else 'The test set is not scored.'}"]
    paired = [row for row in rows if row["role"] in ("", "control")]
    if any(row["difference_low"] is not None for row in paired):
        many = " Each interval is of one method: of many 95% intervals, some exclude 0 by chance." if len(paired) > 2 else ""
        same = "All seeds share one data split: the interval covers other seeds, not other data."
        split = "Each seed has its own data split: the interval covers other data, too." if result["split_by_seed"] else same
        found.append(f"Differences to {result['reference']} in points, paired by seed, with the 95% interval of Student's t. {split}{many}")
    if any(row["difference"] is not None and row["difference_low"] is None for row in paired):
        found.append(f"Differences to {result['reference']} in points; an interval needs 2 seeds in common, and there are fewer.")
    found += [f"linear: {row['method']}, trained on the same samples." for row in rows if row["role"] == LINEAR]
    controls = (row["variant"] for row in rows if row["role"] == "control")
    found += [f"{control}: the baseline at the compute of the costliest method." for control in controls]
    if result["score_on_unused"]:
        found.append("Scored on training samples that were neither trained on nor held out; the test set is not used.")
    cost = (
        "training: floating-point operations of one run's training, with all members, stages and forward passes of teachers; cost: the "
        "same relative to the baseline"
    )
    if any(row["teacher_flops"] for row in rows):
        counted = "counted" if result["count_teacher"] else "not counted"
        spent = f" and is {counted} in the equal compute" if result["budget"] == "equal-compute" else ""
        cost += f"; the cost of training the teacher is a column of its own{spent}"
    found.append(f"{cost}. time: measured training time, without evaluation, {result['machine']}.")
    if result["budget"] == "equal-compute":
        found.append(
            f"Equal compute: as many epochs as cost what the baseline's {result['baseline_epochs']} cost, rounded down, at least 1."
        )
    return found


def render_comparison(result: Mapping[str, Any], width: int | None = None) -> Table:
    """Return the leaderboard for a terminal; columns that do not fit into `width` are dropped, the least important first."""
    columns = _columns(result)
    rename = {header: header.replace("test", scored_on(result)) for header in COLUMNS}
    styles = ["bold" if row["role"] == "baseline" else "dim" if row["role"] == "teacher" else None for row in result["rows"]]
    numbers = [rename[header] for header in NUMBERS]
    dropped = [rename[header] for header in DROPPED]
    return tables.lay_out(
        columns, numbers, title=title(result), styles=styles, caption=" ".join(notes(result)), dropped=dropped, width=width
    )


def render_comparison_markdown(result: Mapping[str, Any]) -> str:
    """Return the leaderboard in Markdown, with failures, seeds, commit and command."""
    columns = _columns(result)
    numbers = [header for header, _ in columns if header not in TEXTS]
    lines = [f"# {markdown_cell(title(result))}", "", *tables.markdown(columns, numbers), ""]
    for note in notes(result):
        lines += [note, ""]
    if result["by_class"] is not None:
        lines += [*markdown_classes(result["by_class"]), ""]
    lines += [f"- failed: {run}: {reason}" for run, reason in result["failed"].items()]
    lines += [f"- copied: {run}, trained as {markdown_cell(source)}" for run, source in result["reused"].items()]
    lines.append(f"- seeds: {', '.join(map(str, result['seeds']))}")
    lines.append(f"- commit: {', '.join(result['commits']) or 'unknown'}")
    lines.append(f"- command: `{result['command']}`")
    pictures = ["![Leaderboard](leaderboard.png)", ""] if scored(result) else []
    return "\n".join([*lines, "", *pictures, "![Curves](curves.png)", ""])
