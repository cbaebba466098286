"""Printed results of the commands: tables for people, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.errors import UserError
from studygroup.escape import csv_cell, visible, visible_json
from studygroup.foreign import allow_flag, is_import_path
from studygroup.regular import read_regular_text
from studygroup.runs.layout import REPORT
from studygroup.terminal import safe_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 160  # of tables if standard output is no terminal
INPUTS = {"row": "row", "path": "image", "text": "text"}  # key of the input of a prediction: header of its column
MAX_TEXT = 60  # characters of a text in a table
MAX_DETAILED = 2  # members whose scores by class are printed


def console() -> Console:
    """Return a console on standard output."""
    return safe_console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def print_result(style: str, command: str, result: object, arguments: Mapping[str, object]) -> None:
    """Print the result of a command.

    Args:
        style: `table`, `json`, or for an iterator of predictions `jsonl` or `csv`.
        command: name of the command.
        result: returned by its function.
        arguments: keyword arguments of the call.

    Raises:
        UserError: the style has no place for what is asked for.
    """
    if style == "json":
        print_json(result)
    elif isinstance(result, Iterator):
        _stream_predictions(style, result, arguments.get("top", 1))
    else:
        print_table(command, result, arguments)


def print_json(result: object) -> None:
    """Print a result as JSON; numbers that are not finite become null."""
    print(visible_json(json.dumps(_plain(result), indent=2, ensure_ascii=False)))


def print_table(command: str, result: object, arguments: Mapping[str, object]) -> None:
    """Print the result of a command as a table.

    Args:
        command: `train`, `evaluate`, `predict`, `export`, `list`, `report`, `benchmark`, `compare`, `advise` or `study`.
        result: returned by its function.
        arguments: keyword arguments of the call.
    """
    match command, result:
        case "predict", list() if result and "out" in result[0]:
            _print_written(result[0])
        case "predict", list():
            _print_predictions(result)
        case "evaluate", Mapping():
            _print_evaluation(result)
        case "export", Mapping():
            _print_export(result)
        case "list", Mapping():
            _print_names(result)
        case "report", list():
            _print_leaderboard(result, arguments.get("out"))
        case "train", _:
            _print_run(result)
        case "benchmark", Mapping():
            _print_costs(result)
        case "compare", Mapping():
            _print_comparison(result)
        case "advise", Mapping():
            _print_advice(result)
        case "study", Mapping():
            _print_study(result)
        case _:
            print_json(result)


def _print_run(run: object) -> None:
    from studygroup import reporting
    from studygroup.runs.evaluation import read_evaluations
    from studygroup.runs.layout import RunFiles
    from studygroup.runs.reader import read_run

    files = RunFiles.of(str(getattr(run, "folder", run)))
    screen = console()
    if files.advice.result.is_file():
        _print_answer(json.loads(read_regular_text(files.advice.result)))
    screen.print(reporting.show_run(files.folder))
    for name, evaluation in read_evaluations(files.folder).items():
        screen.print(f"{name} on the test set: {evaluation.summary()}", soft_wrap=True, markup=False)
    for label, path in (
        ("test", files.predictions),
        ("mistakes", files.mistakes_picture),
        ("mistakes", files.mistakes_table),
        ("advice", files.advice.page),
        ("report", files.report),
    ):
        if path.is_file():
            screen.print(f"{label + ':':<10}{path}", soft_wrap=True, markup=False)
    screen.print(f"student:  {files.weights('best')}", soft_wrap=True, markup=False)
    sample = "'A TEXT'" if files.tokenizer.is_dir() else "IMAGE"
    record = read_run(files.folder)
    student = record.name("student")
    code = allow_flag(filter(is_import_path, [student]))
    screen.print(f"try:      studygroup predict {_quoted(files.folder)} {sample}{code}", soft_wrap=True, markup=False)
    if record.name("method") == "baseline" and not files.advice.page.is_file():
        question = f"studygroup advise {_quoted(str(record.settings.get('data')))} --student {_quoted(student)}"
        screen.print(f"more:     {question} (longer, larger or a group?)", soft_wrap=True, markup=False)


def _print_predictions(predictions: Sequence[Mapping[str, object]]) -> None:
    others = [_others(row.get("top")) for row in predictions]
    given = [key for key in INPUTS if predictions and key in predictions[0]] or ["path"]
    labelled = bool(predictions) and "true" in predictions[0]
    table = _table(
        *(INPUTS[key] for key in given), *(["true"] if labelled else []), "label", ">probability", *(["then"] if any(others) else [])
    )
    for row, then in zip(predictions, others, strict=True):
        cells = [
            *(_shortened(str(row[key])) if key == "text" else str(row[key]) for key in given),
            *([str(row["true"])] if labelled else []),
            str(row["label"]),
            _percent(row["probability"]),
            *([then] if any(others) else []),
        ]
        table.add_row(*map(_escaped, cells))
    console().print(table)


def _print_written(summary: Mapping[str, Any]) -> None:
    """Print what was written to the file of predictions."""
    lines = [f"{summary['samples']:,} predictions: {summary['out']}"]
    if summary.get("accuracy") is not None:
        unknown = f"; {summary['unknown']:,} have a label that the run does not know, and count as wrong" if summary["unknown"] else ""
        lines.append(f"accuracy {_percent(summary['accuracy'])} of {summary['labelled']:,} labelled samples{unknown}")
    for line in lines:
        console().print(line, soft_wrap=True, markup=False)


def _stream_predictions(style: str, rows: Iterator[Mapping[str, object]], top: object) -> None:
    """Print each prediction as a line, and flush it."""
    if style == "csv" and top != 1:
        raise UserError(f"top is {top}, but --format csv has the most probable class only; take --format jsonl, or leave out --top")
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names that are no UTF-8: their bytes, or JSON's escapes
        sys.stdout.reconfigure(errors="surrogateescape" if style == "csv" else "backslashreplace")
    cell = (lambda text: visible(csv_cell(text))) if sys.stdout.isatty() else csv_cell
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for count, row in enumerate(rows):
        if style == "csv":
            key = next(key for key in INPUTS if key in row)
            true = ["true"] if "true" in row else []
            if count == 0:
                writer.writerow([key, *true, "label", "probability"])
            writer.writerow([*(cell(str(row[name])) for name in (key, *true, "label")), f"{row['probability']:.6f}"])
        else:
            print(visible_json(json.dumps(_plain(row), ensure_ascii=False)))
        sys.stdout.flush()


def _shortened(text: str) -> str:
    """Return a text in one line of limited length."""
    line = " ".join(text[: 10 * MAX_TEXT].split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _others(top: object) -> str:
    """Format the classes after the most probable one."""
    pairs = top[1:] if isinstance(top, Sequence) else []
    return ", ".join(f"{label} {_percent(probability)}" for label, probability in pairs)


def _print_evaluation(result: Mapping[str, Mapping[str, Any]]) -> None:
    from studygroup import reporting
    from studygroup.runs.evaluation import Evaluation

    found = {member: Evaluation.from_plain(values) for member, values in result.items()}
    screen = console()
    screen.print(reporting.render_evaluations(found))
    for member, evaluation in found.items() if len(found) <= MAX_DETAILED else ():
        screen.print(reporting.render_classes(member, evaluation))
        screen.print(reporting.render_confusions(member, evaluation))


def _print_export(card: Mapping[str, Any]) -> None:
    """Print an exported file beside the network."""
    check = card["check"]
    table = _table("", ">accuracy", ">size", ">per sample, batch 1", ">batch 64")
    for name, score in ((f"{card['network']}, float32", check["network"]), (card["file"], check["file"])):
        accuracy = "–" if score["accuracy"] is None else _percent(score["accuracy"])
        table.add_row(_escaped(name), accuracy, f"{score['bytes'] / 1e6:,.2f} MB", *(_short_time(score["seconds"][n]) for n in ("1", "64")))
    screen = console()
    screen.print(table)
    checked = (
        f"checked on {check['samples']} samples ({check['origin']}): labels agree on {_percent(check['agreement'])}, "
        f"largest difference of logits {check['difference']:.1e} of the largest"
    )
    for note in (
        checked,
        f"file:     {card['path']}",
        f"card:     {', '.join(card['cards'])}",
    ):
        screen.print(note, soft_wrap=True, markup=False)


def _print_costs(result: Mapping[str, Any]) -> None:
    """Print the costs of groups relative to the student alone."""
    screen = console()
    table = _table("", ">one step", ">one epoch", f">{result['epochs']} epochs", ">cost", ">quartiles", ">parameters", ">memory of a step")
    for row in result["rows"]:
        low, high = row["ratio_quartiles"]
        table.add_row(
            _escaped(row["name"]),
            _duration(row["seconds_per_step"]),
            _duration(row["seconds_per_epoch"]),
            _duration(row["seconds_per_epoch"] * result["epochs"]),
            f"{row['ratio']:.2f} x",
            f"{low:.2f} – {high:.2f}",
            f"{row['parameters']:,}",
            "–" if row["memory"] is None else f"{row['memory'] / 2**20:,.1f} MiB",
        )
    screen.print(table)
    machine = result["machine"]
    device = machine["gpu"] if result["device"] == "cuda" else f"{machine['processor']}, {machine['threads']} threads"
    samples = f"{result['training_samples']:,} training samples, {result['batch_size']} per step"
    notes = [
        f"{result['data']}, {samples}; {device}, {result['precision']}",
        f"training only, without evaluation and checkpoints; medians of {result['repeats']} repetitions of {result['steps']} steps",
        *(f"left out: {name}: {reason}" for name, reason in result["left_out"].items()),
    ]
    for note in notes:
        screen.print(note, soft_wrap=True, markup=False)


def _print_names(kinds: Mapping[str, Mapping[str, str]]) -> None:
    screen = console()
    for kind, names in kinds.items():
        table = _table(kind, "")
        for name, line in names.items():
            table.add_row(_escaped(name), _escaped(line))
        screen.print(table)


def _print_leaderboard(rows: Sequence[Mapping[str, object]], out: object) -> None:
    from studygroup import reporting

    screen = console()
    runs = [row for row in rows if "kind" not in row]
    if runs:
        screen.print(reporting.render_terminal(runs, screen.width))
        if out is not None:
            for file in (Path(str(out)) / name for name in reporting.FILES):
                if file.exists():
                    screen.print(str(file), soft_wrap=True, markup=False)
    for row in rows:
        if row.get("kind") == "comparison":
            screen.print(reporting.render_comparison(reporting.comparison(str(row["folder"])), screen.width))
    paths = [str(path) for row in rows for path in _listed(row.get("report"))]
    together = [] if out is None or len(runs) == len(rows) == len(paths) == 1 else [str(Path(str(out)) / REPORT)]
    for path in dict.fromkeys([*paths, *(path for path in together if Path(path).is_file())]):
        screen.print(path, soft_wrap=True, markup=False)


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _print_comparison(result: Mapping[str, Any]) -> None:
    """Print the leaderboard of a comparison, failed runs, and the paths of its files."""
    from studygroup import reporting

    screen = console()
    screen.print(reporting.render_comparison(result, screen.width))
    for run, reason in result["failed"].items():
        screen.print(f"failed: {run}: {reason}", soft_wrap=True, markup=False)
    for name in (*reporting.COMPARISON_FILES, REPORT):
        path = Path(str(result["out"])) / name
        if path.exists():
            screen.print(str(path), soft_wrap=True, markup=False)


def _print_advice(result: Mapping[str, Any]) -> None:
    """Print an advice: its answer, and the command that trains the winner."""
    from studygroup.runs.layout import AdviceFiles

    screen, files = console(), AdviceFiles(Path(str(result["out"])))
    _print_answer(result)
    for label, text in (("winner", result["run"]), ("again", result["command"]), ("page", files.page), ("picture", files.picture)):
        screen.print(f"{label + ':':<10}{text}", soft_wrap=True, markup=False)


def _print_answer(result: Mapping[str, Any]) -> None:
    """Print the table of an advice, and its answer in words."""
    from studygroup import reporting

    screen = console()
    screen.print(reporting.render_advice(result, screen.width))
    for line in reporting.write_texts(result):
        screen.print(line, soft_wrap=True, markup=False)


def _print_study(result: Mapping[str, Any]) -> None:
    """Print a study: its tables, its verdicts, and the paths of its files; or the list of all studies."""
    from studygroup import reporting
    from studygroup.runs.layout import StudyFiles

    screen = console()
    if "studies" in result:
        table = _table("study", "shows", "published in")
        for row in result["studies"]:
            table.add_row(*map(_escaped, (row["name"], row["title"], row["source"])))
        screen.print(table)
        return
    for part in reporting.render_study(result, screen.width):
        screen.print(part, soft_wrap=isinstance(part, str), markup=False)
    for run, reason in result["failed"].items():
        screen.print(f"failed: {run}: {reason}", soft_wrap=True, markup=False)
    files = StudyFiles(Path(str(result["out"])))
    for path in (files.page, files.table, files.figure("png"), files.figure("svg"), files.folder / REPORT):
        screen.print(str(path), soft_wrap=True, markup=False)


def _table(*headers: str) -> Table:
    """Create a plain table; `>` before a header aligns its column to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for header in headers:
        table.add_column(header.removeprefix(">"), justify="right" if header.startswith(">") else "left", overflow="fold")
    return table


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _percent(fraction: object) -> str:
    return f"{100 * fraction:.2f}%" if isinstance(fraction, int | float) else str(fraction)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * size or (unit == "s" and seconds >= 1):
            return f"{seconds / size:.1f} {unit}"
    return f"{1000 * seconds:.1f} ms"


def _short_time(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-4 else f"{1e6 * seconds:.1f} µs"


def _quoted(path: str | Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _plain(value: object) -> object:
    """Convert a value to JSON's types."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return str(value)
