"""An advice in words, as a table and in Markdown; docs/advise.md explains the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studygroup.reporting import tables
from studygroup.reporting.comparison_tables import operations
from studygroup.reporting.tables import Column, accuracy, time

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
TEXTS = ("candidate", "trained in")
CAPTION = (
    "hold-out: accuracy in %, mean ± sample standard deviation over seeds, each with its own hold-out set. difference: to the student "
    "alone at the same total compute, in points, paired by seed, with its 95% interval (of the student alone with other epochs: to itself "
    "in the last rung). noise: standard error of that difference, binomial and over seeds. training: operations with all members, stages "
    "and teachers. prediction: operations for one sample."
)
SURE = 2.0
"""Standard errors from which on a difference is called one."""


def points(value: float) -> str:
    """Format a difference of accuracies in percentage points."""
    return f"{round(100 * value, 2) + 0.0:+.2f}"  # not -0.00


def percent(value: float) -> str:
    """Format an accuracy in per cent."""
    return f"{100 * value:.2f}%"


def epochs(count: int) -> str:
    """Return `1 epoch` or `N epochs`."""
    return "1 epoch" if count == 1 else f"{count:,} epochs"


# -------------------------------------------------------------------- words


def paragraph(advice: Mapping[str, Any]) -> str:
    """Return the answer in plain words."""
    return " ".join(
        sentence
        for sentence in (_verdict(advice), _margin(advice), _length(advice), _curves(advice), _linear(advice), _test(advice))
        if sentence
    )


def _verdict(advice: Mapping[str, Any]) -> str:
    winner, data, student = advice["winner"], advice["data"], advice["student"]
    count = epochs(winner["epochs"])
    match winner["kind"]:
        case "alone":
            return f"On {data}, train {student} alone, for {count}."
        case "regularisation":
            return f"On {data}, train {student} alone with {winner['about']}, for {count}."
        case "larger":
            return f"On {data}, take {winner['about']}, trained alone for {count}."
        case _:
            return f"On {data}, train {student} with {winner['about']}, for {count}."


def _margin(advice: Mapping[str, Any]) -> str:
    """Say how good the winner is, and how much better than the student alone at equal compute."""
    winner, control = advice["winner"], control_of(advice)
    found = f"It reaches {percent(winner['holdout'])} on the hold-out"
    if winner["kind"] != "alone":
        sure = winner["difference"] > SURE * winner["noise"]
        certain = "" if sure else " This is within what chance does: another seed or split may turn it round."
        alone = f"the student alone at the same total compute, {epochs(control['epochs'])}, reaches {percent(control['holdout'])}"
        return f"{found}; {alone}: a difference of {interval_text(winner)}.{certain}"
    if winner["epochs"] > control["epochs"]:
        found += f", the candidates had time for the compute of {epochs(control['epochs'])} only"
    elif winner["epochs"] < control["epochs"]:
        found += f", and {percent(control['holdout'])} with {epochs(control['epochs'])}, which is no more than a tie"
    rivals = [row for row in advice["rows"] if row["kind"] != "alone" and row["comparison"] == control["comparison"]]
    if not rivals:
        return f"{found}."
    best = max(rivals, key=lambda row: float(row["holdout"]))
    return f"{found}. The best candidate, {best['about']}, differs by {interval_text(best)} at the same total compute."


def interval_text(row: Row) -> str:
    """Return a difference with its interval in words."""
    return f"{points(row['difference'])} points (95% interval {points(row['low'])} to {points(row['high'])})"


def _length(advice: Mapping[str, Any]) -> str:
    """Say how long the student alone needs."""
    gain, needed, student = advice["last_gain"], advice["needed_epochs"], advice["student"]
    if gain is None:
        return f"There was no time to find out how long {student} alone needs."
    change = f"changed the hold-out by {points(gain['gain'])} points, with a standard error of {100 * gain['noise']:.2f}"
    if advice["finished"]:
        return f"{student} alone needs about {epochs(needed)}: twice as many {change}, which is no more than noise."
    worse = "" if gain["gain"] > gain["noise"] else ", but it is worse than the linear model and does not over-fit"
    return f"{student} alone is not finished after {epochs(needed)}: the last doubling {change}{worse}. There was no time for the next one."


def _curves(advice: Mapping[str, Any]) -> str:
    """Say what the curves of the student alone show."""
    found = advice["curves"]
    losses = (
        f"cross-entropy on the training samples {found['training_loss']:.3f}, on the hold-out {found['holdout_loss']:.3f}, at its lowest "
        f"{found['lowest_holdout_loss']:.3f}"
    )
    match found["verdict"]:
        case "under-fitted":
            return f"Its curves ({losses}) are of a network that is still learning: more epochs are the first thing to try."
        case "over-fitting":
            return f"At the end it over-fits ({losses}): regularisation, a group, or more data can help, more epochs cannot."
        case _:
            return f"At the end it is fitted and does not over-fit ({losses}): a larger network is what may help."


def _linear(advice: Mapping[str, Any]) -> str:
    linear = advice["linear"]
    return f"A linear model ({linear['model']}) reaches {percent(linear['holdout'])} on the same hold-out sets." if linear else ""


def _test(advice: Mapping[str, Any]) -> str:
    test = advice["test"]
    if test is None:
        return ""
    return (
        f"On the test set, which nothing was chosen by and only the winner was scored on, it has {percent(test['accuracy'])}, 95% interval "
        f"{percent(test['low'])} to {percent(test['high'])} ({test['samples']:,} samples)."
    )


def changes(advice: Mapping[str, Any]) -> list[str]:
    """Say what would change the answer."""
    winner, control, found = advice["winner"], control_of(advice), []
    rivals = [row for row in advice["rows"] if not row["winner"] and row["comparison"] == control["comparison"]]
    close = [row for row in rivals if abs(row["holdout"] - winner["holdout"]) <= (row["noise"] or winner["noise"] or 0.0)]
    if close:
        names = ", ".join(f"{row['about']} ({points(row['holdout'] - winner['holdout'])})" for row in close)
        total = advice["seeds"] * advice["holdout_samples"]
        found.append(
            f"More seeds, or a larger hold-out: {names} cannot be told from the winner with {total:,} hold-out samples "
            f"({advice['seeds']} x {advice['holdout_samples']:,})."
        )
    if not advice["finished"] or advice["left_out"]:
        late = [name for name, reason in advice["left_out"].items() if "time" in reason]
        why = [f"{advice['student']} alone still gains from longer training"] if not advice["finished"] else []
        why += [f"there was none for {', '.join(late)}"] if late else []
        if why:
            found.append(f"More time (now {advice['time_limit']}): {' and '.join(why)}.")
    cost = winner["inference"] / control["inference"]
    if cost > 1.05:
        cheap = [row for row in advice["rows"] if row["inference"] <= 1.05 * control["inference"]]
        same = max(cheap, key=lambda row: float(row["holdout"]))
        found.append(
            f"A limit on the cost of a prediction: the winner's is {cost:.1f} times the student's; within it, {same['about']} is best "
            f"({percent(same['holdout'])})."
        )
    if advice["curves"]["verdict"] == "over-fitting":
        found.append(
            f"More data: the student over-fits {advice['training_samples']:,} training samples; with more, more epochs or layers gain."
        )
    linear = advice["linear"]
    if linear and linear["holdout"] >= winner["holdout"]:
        found.append(f"A simpler model: {linear['model']} is as good as the best network here ({percent(linear['holdout'])}); use it.")
    return found or ["Nothing that was tried comes close."]


def control_of(advice: Mapping[str, Any]) -> Row:
    """Return the row of the student alone at the compute of the last rung."""
    return next(row for row in advice["rows"] if row["control"])


# -------------------------------------------------------------------- table


def _difference(row: Row) -> str:
    if row["difference"] is None:
        return "–"
    return f"{points(row['difference'])} [{points(row['low'])}, {points(row['high'])}]"


def _stage(row: Row) -> str:
    return str(row["comparison"]).replace("rung", "rung ")


def columns(advice: Mapping[str, Any]) -> list[Column]:
    """Return the table: the candidates of the last rung and the student alone, best first, then those that were dropped."""
    control = control_of(advice)
    rows = ranked(advice)

    def relative(key: str) -> list[str]:
        return ["–" if row[key] is None else f"{row[key] / control[key]:.2f} x" for row in rows]

    return [
        ("candidate", [row["about"] for row in rows]),
        ("trained in", [_stage(row) for row in rows]),
        ("epochs", [str(row["epochs"]) for row in rows]),
        ("hold-out", [accuracy("holdout")(row) for row in rows]),
        ("difference", [_difference(row) for row in rows]),
        ("noise", ["–" if row["control"] or row["noise"] is None else f"{100 * row['noise']:.2f}" for row in rows]),
        ("training", [operations(row["training"]) for row in rows]),
        ("prediction", relative("inference")),
        ("parameters", [f"{row['parameters']:,.0f}" for row in rows]),
        ("time", [time(row) for row in rows]),
    ]


def ranked(advice: Mapping[str, Any]) -> list[Row]:
    """Return the rows, best on the hold-out first; those dropped in an earlier rung last, the latest rung first."""
    last = control_of(advice)["comparison"]

    def place(row: Row) -> tuple[object, ...]:
        dropped = row["kind"] != "alone" and row["comparison"] != last
        return dropped, -int(str(row["comparison"])[4:] or 0) if dropped else 0, -row["holdout"]

    return sorted(advice["rows"], key=place)


def notes(advice: Mapping[str, Any]) -> list[str]:
    """Return what was left out, with the reason."""
    return [f"left out: {name}: {reason}" for name, reason in advice["left_out"].items()]


def render_advice(advice: Mapping[str, Any], width: int | None = None) -> Table:
    """Return the table for a terminal; columns that do not fit into `width` are dropped."""
    shown = columns(advice)
    styles = ["bold" if row["winner"] else None for row in ranked(advice)]
    numbers = [header for header, _ in shown if header not in TEXTS]
    dropped = ("time", "parameters", "noise", "training", "trained in", "prediction", "epochs")
    return tables.lay_out(shown, numbers, title=title(advice), styles=styles, caption=CAPTION, dropped=dropped, width=width)


def title(advice: Mapping[str, Any]) -> str:
    """Return data, student, seeds and time in one line."""
    minutes = advice["seconds"] / 60
    return f"{advice['data']} · {advice['student']} · {advice['seeds']} seeds · {minutes:.1f} min of {advice['time_limit']}"


def render_advice_markdown(advice: Mapping[str, Any]) -> str:
    """Return the whole answer in Markdown."""
    shown = columns(advice)
    numbers = [header for header, _ in shown if header not in TEXTS]
    winner = [place for place, row in enumerate(ranked(advice)) if row["winner"]]
    lines = [f"# Advice: {title(advice)}", "", paragraph(advice), "", "```", advice["command"], "```", ""]
    lines += ["## What would change the answer", "", *(f"- {line}" for line in changes(advice)), ""]
    lines += ["## What was compared", "", *tables.markdown(shown, numbers, winner), "", CAPTION, ""]
    lines += [f"- {line}" for line in notes(advice)]
    lines += [f"- the winner's run: `{advice['run']}`", "", "![Accuracy against costs](advice.png)", ""]
    return "\n".join(lines)


def write_texts(advice: Mapping[str, Any]) -> Sequence[str]:
    """Return the lines that are printed below the table."""
    return [paragraph(advice), "", "What would change the answer:", *(f"- {line}" for line in changes(advice)), "", *notes(advice)]
