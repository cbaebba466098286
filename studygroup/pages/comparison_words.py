"""What a comparison's page says in words, above all what its intervals say and what they do not say."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from studygroup.escape import shortened
from studygroup.pages.run_words import duration
from studygroup.pages.tables import Fact, Finding, percent, points
from studygroup.reporting.comparison import LINEAR, seeds_text
from studygroup.reporting.comparison_tables import name, scored, scored_on
from studygroup.reporting.tables import accuracy

Row = Mapping[str, Any]
MOST_NAMES = 6


def compared(result: Mapping[str, Any]) -> list[Row]:
    """Return the rows that are compared with the baseline."""
    return [row for row in result["rows"] if row["role"] == ""]


def headline(result: Mapping[str, Any]) -> str:
    """Return the title of the page."""
    count, data = len(compared(result)), shortened(str(result["data"]), 60)
    students = ", ".join(shortened(one, 30) for one in result["students"][:3])
    return f"{students} on {data}: {count} {'method' if count == 1 else 'methods'} against {shortened(result['reference'], 30)}"


def sentence(result: Mapping[str, Any]) -> str:
    """Say what was compared, and with what outcome."""
    done = sum(len(row["seeds"]) for row in result["rows"] if row["role"] != LINEAR)
    variants = [row for row in result["rows"] if row["role"] != LINEAR]
    missing = len(variants) * len(result["seeds"]) - done
    state = f" {_many(missing, 'run is', 'runs are')} missing." if missing else ""
    first = best(result)
    budget = (
        result["budget"].replace("-", " ").replace("equal", "equal number of") if result["budget"] == "equal-epochs" else "equal compute"
    )
    start = (
        f"{done} runs with {seeds_text(result['rows'])}, at an {budget}."
        if result["budget"] == "equal-epochs"
        else (f"{done} runs with {seeds_text(result['rows'])}, at {budget}.")
    )
    if first is None:
        return start + state + " No run is finished yet."
    held = "best on the hold-out set" if first["holdout"] is not None else "first"
    score = f", with {percent(first['test'])} on the {scored_on(result)} samples" if first["test"] is not None else ""
    return f"{start}{state} {shortened(name(first), 40)} is {held}{score}. {_verdict(result)}"


def best(result: Mapping[str, Any]) -> Row | None:
    """Return the row that is best on the hold-out set, the baseline included."""
    return next((row for row in result["rows"] if row["role"] in ("", "baseline", "control") and row["seeds"]), None)


def groups(result: Mapping[str, Any]) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the compared rows whose interval lies above 0, below 0, and around it."""
    rows = [row for row in compared(result) if row["difference_low"] is not None]
    above = [row for row in rows if row["difference_low"] > 0]
    below = [row for row in rows if row["difference_high"] < 0]
    return above, below, [row for row in rows if row not in above and row not in below]


def _verdict(result: Mapping[str, Any]) -> str:
    above, below, between = groups(result)
    if not scored(result):
        return "The test set is not scored, so there are no differences."
    if not above and not below and not between:
        return "Nothing can be said of the differences yet: an interval needs two seeds."
    reference = shortened(result["reference"], 30)
    return f"Against {reference}, by 95 % intervals: {len(above)} better, {len(below)} worse, {len(between)} undecided."


def facts(result: Mapping[str, Any]) -> list[Fact]:
    """Return the numbers that stand out."""
    first, found = best(result), []
    base = next((row for row in result["rows"] if row["role"] == "baseline"), None)
    key, on = ("test", scored_on(result)) if scored(result) else ("holdout", "hold-out")
    note = f"{on} accuracy, mean ± deviation over seeds"
    if first is not None and first[key] is not None:
        found.append(Fact(f"best on the hold-out: {shortened(first['variant'], 26)}", accuracy(key)(first), note, "main"))
    if base is not None and base[key] is not None and base is not first:
        named = "baseline" if base["variant"] == "baseline" else f"baseline: {shortened(base['variant'], 26)}"
        found.append(Fact(named, accuracy(key)(base), note))
    above, below, between = groups(result)
    if above or below or between:
        found.append(
            Fact(
                "better · worse · undecided", f"{len(above)} · {len(below)} · {len(between)}", "by the 95 % interval, against the baseline"
            )
        )
    runs = sum(len(row["seeds"]) for row in result["rows"] if row["role"] != LINEAR)
    failed = len(result["failed"])
    found.append(Fact("finished runs", f"{runs}", f"{failed} failed" if failed else "none failed"))
    seconds = sum(row["seconds"] * len(row["seeds"]) for row in result["rows"] if row["seconds"])
    if seconds:
        found.append(Fact("training, all runs", duration(seconds), shortened(result["machine"].partition(";")[0], 40)))
    return found


def findings(result: Mapping[str, Any]) -> list[Finding]:
    """Say what the intervals say, and what they do not say."""
    above, below, between = groups(result)
    reference = shortened(result["reference"], 30)
    found = []
    if above:
        found.append(Finding("good", f"Better than {reference}: {_listed(above)}. The whole 95 % interval is above 0."))
    if below:
        found.append(Finding("warn", f"Worse than {reference}: {_listed(below)}."))
    if between:
        widths = [(row["difference_high"] - row["difference_low"]) / 2 for row in between]
        reach = f"differences below about {100 * statistics.median(widths):.1f} points cannot be seen with {len(result['seeds'])} seeds"
        found.append(Finding("info", f"Undecided: {_listed(between)}. That is no proof of equality: {reach}."))
    many = len(above) + len(below) + len(between)
    if not scored(result):
        found.append(Finding("info", "The test set is not scored, so nothing is said of differences."))
    elif not many and compared(result):
        found.append(
            Finding("info", "There are no intervals: they need at least two seeds that the method and the baseline have in common.")
        )
    if many > 2:
        text = f"Of {many} intervals at 95 %, {0.05 * many:.1f} are expected to miss 0 by chance alone, in either direction."
        found.append(Finding("info", text))
    split = "Each seed has its own data split: the intervals cover other data of the same kind, too."
    same = "All seeds share one data split: the intervals cover other seeds, not other data. --split-by-seed covers both."
    if many:
        found.append(Finding("info", split if result["split_by_seed"] else same))
    found += _costs(result)
    linear = next((row for row in result["rows"] if row["role"] == LINEAR and row["test"] is not None), None)
    first = best(result)
    if linear is not None and first is not None and first["test"] is not None and linear["test"] >= first["test"]:
        found.append(Finding("warn", f"A linear model is as good as the best network here ({percent(linear['test'])})."))
    if result["failed"]:
        found.append(Finding("warn", f"{_many(len(result['failed']), 'run', 'runs')} failed, as listed under Origin."))
    return found


def _costs(result: Mapping[str, Any]) -> list[Finding]:
    """Say what a longer training of the baseline does at the compute of the costliest method."""
    control = next((row for row in result["rows"] if row["role"] == "control" and row["test"] is not None), None)
    base = next((row for row in result["rows"] if row["role"] == "baseline" and row["test"] is not None), None)
    if control is None or base is None:
        costs = [row["cost"] for row in compared(result) if row["cost"] is not None]
        if costs and result["budget"] == "equal-epochs" and max(costs) > 1.1:
            return [
                Finding("info", f"Methods cost up to {max(costs):.1f} times the baseline's compute: with equal epochs they had more of it.")
            ]
        return []
    ahead = [row for row in compared(result) if row["test"] is not None and row["test"] > control["test"]]
    longer = f"Trained for {control['cost']:.1f} times the compute ({shortened(control['variant'], 30)})"
    text = f"{longer}, the baseline reaches {percent(control['test'])}"
    more = f"; {len(ahead)} of {len(compared(result))} methods are above that" if ahead else "; no method is above that"
    return [Finding("info", f"{text}{more}.")]


def _listed(rows: Sequence[Row]) -> str:
    ordered = sorted(rows, key=lambda row: -row["difference"])
    names = [f"{shortened(row['variant'], 30)} ({points(row['difference'])})" for row in ordered[:MOST_NAMES]]
    return ", ".join(names) + (f" and {len(ordered) - MOST_NAMES} more" if len(ordered) > MOST_NAMES else "")


def _many(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
