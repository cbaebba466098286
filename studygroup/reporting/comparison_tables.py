"""A comparison -> a table in the terminal or in Markdown; what each column means is in docs/compare.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from studygroup.reporting import tables
from studygroup.reporting.comparison import seeds_text
from studygroup.reporting.tables import Column, Row, accuracy, count, diversity, time

if TYPE_CHECKING:
    from rich.table import Table

UNITS = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))


def name(row: Row) -> str:
    """A variant's name, with what it does not say itself."""
    variant = str(row["variant"])
    says = str(row["role"] if row["role"] == "teacher" else row["method"])
    return variant if says in variant else f"{variant} ({says})"


def _seeds(row: Row) -> str:
    done, failed = row["seeds"], row["failed"]
    assert isinstance(done, list)
    assert isinstance(failed, list)
    return f"{len(done)}" + (f", {len(failed)} failed" if failed else "")


def _difference(key: str) -> Callable[[Row], str]:
    """A difference in percentage points, and its interval."""

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
    """A number of floating-point operations, as `1.23 PFLOP`."""
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
    "epochs": lambda row: str(row["epochs"]),
    "seeds": _seeds,
    "hold-out": accuracy("holdout"),
    "test": accuracy("test"),
    "test – baseline": _difference("difference"),
    "last epoch": accuracy("last_test"),
    "last – baseline": _difference("last_difference"),
    "mean member": accuracy("members_test"),
    "ensemble": accuracy("ensemble_test"),
    "diversity": diversity,
    "parameters": count,
    "training": lambda row: operations(row["flops"]),
    "cost": _times("cost"),
    "teacher's cost": _times("teacher_cost"),
    "time": time,
}
WORDS = ("method", "student")
NARROW = (
    "training",
    "last – baseline",
    "diversity",
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
NUMBERS = [header for header in COLUMNS if header not in WORDS]


def _columns(result: Mapping[str, Any]) -> list[Column]:
    """All columns but those in which no row has anything to say, and a student that all have."""
    rows = result["rows"]
    texts = {header: [text(row) for row in rows] for header, text in COLUMNS.items()}
    if len(set(texts["student"])) == 1:
        del texts["student"]
    shown = [(header, variants) for header, variants in texts.items() if header in ("method", "seeds") or set(variants) - {"–", "0"}]
    return [(header.replace("test", "unused") if result["score_on_unused"] else header, variants) for header, variants in shown]


def title(result: Mapping[str, Any]) -> str:
    """What was compared, in a line."""
    students = f"{', '.join(result['students'])}"
    return f"{result['data']} · {students} · {seeds_text(result['rows'])} · {result['budget'].replace('-', ' ')}"


def notes(result: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know, a sentence or two each."""
    rows, scored = result["rows"], "score_on_unused" if result["score_on_unused"] else "test"
    held_out = any(row["holdout"] is not None for row in rows)
    size = f" ({result['test_samples']:,} samples)" if result["test_samples"] else ""
    order = "Sorted by hold-out accuracy, not by test accuracy" if held_out else "Nothing is held out: in the order given"
    first = (
        f"{order}; teachers last. Accuracies in %, mean ± sample standard deviation over seeds. {scored}{size}: of the student and epoch "
        "that the hold-out selected. last epoch: of the member that is best on the hold-out there; mean member and ensemble are of that "
        "epoch, too."
    )
    found = [first]
    paired = [row for row in rows if row["role"] == ""]
    if any(row["difference_low"] is not None for row in paired):
        many = " Each interval is of one method: of many methods, some lie off 0 by chance." if len(paired) > 2 else ""
        alike = "All seeds divide the data alike: the interval is of other seeds, not of other data."
        division = "Each seed divides the data anew: the interval is of other data, too." if result["split_by_seed"] else alike
        found.append(
            f"Differences to {result['reference']} in points, paired by seed, with the 95% interval of Student's t. {division}{many}"
        )
    if any(row["difference"] is not None and row["difference_low"] is None for row in paired):
        found.append(f"Differences to {result['reference']} in points; an interval needs 2 seeds that both have, and there are fewer.")
    if result["score_on_unused"]:
        found.append("Scored on training samples that were neither learnt from nor held out; the test set is not used.")
    cost = (
        "training, cost: floating-point operations of one run's training, all members, stages and passes of teachers included, over the "
        "baseline's"
    )
    if any(row["teacher_flops"] for row in rows):
        counted = "counted" if result["count_teacher"] else "not counted"
        spent = f" and is {counted} in the equal compute" if result["budget"] == "equal-compute" else ""
        cost += f"; what the training of the teacher cost stands beside it{spent}"
    found.append(f"{cost}. time: measured seconds of training alone, {result['machine']}.")
    if result["budget"] == "equal-compute":
        found.append(f"Equal compute: the epochs that cost what the baseline's {result['baseline_epochs']} cost, rounded down, at least 1.")
    return found


def render_comparison(result: Mapping[str, Any], width: int | None = None) -> Table:
    """The leaderboard for a terminal; what does not fit into `width` columns is left out, the least important first."""
    columns = _columns(result)
    rename = {header: header.replace("test", "unused") if result["score_on_unused"] else header for header in COLUMNS}
    styles = ["bold" if row["role"] == "baseline" else "dim" if row["role"] == "teacher" else None for row in result["rows"]]
    numbers = [rename[header] for header in NUMBERS]
    narrow = [rename[header] for header in NARROW]
    return tables.lay_out(columns, numbers, title=title(result), styles=styles, caption=" ".join(notes(result)), narrow=narrow, width=width)


def render_comparison_markdown(result: Mapping[str, Any]) -> str:
    """The leaderboard in Markdown, with what failed, the seeds, the commit and the command."""
    columns = _columns(result)
    numbers = [header for header, _ in columns if header not in WORDS]
    lines = [f"# {title(result)}", "", *tables.markdown(columns, numbers), ""]
    for note in notes(result):
        lines += [note, ""]
    lines += [f"- failed: {run}: {reason}" for run, reason in result["failed"].items()]
    lines.append(f"- seeds: {', '.join(map(str, result['seeds']))}")
    lines.append(f"- commit: {', '.join(result['commits']) or 'unknown'}")
    lines.append(f"- command: `{result['command']}`")
    return "\n".join([*lines, "", "![Leaderboard](leaderboard.png)", "", "![Curves](curves.png)", ""])
