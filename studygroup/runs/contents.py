"""The names in the folders that studygroup makes. Only these are ever deleted; what lies beside them is somebody else's.

A folder carries a mark that says what it is. Those of earlier versions have none: a run folder is known by the package's version in
`environment.json`, or by a finished run's `result.json`, a comparison folder by `comparison.json`, one of an advice by its journal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, cast, get_args

from studygroup.regular import read_regular
from studygroup.runs.files import write_json
from studygroup.runs.layout import AdviceFiles, ComparisonFiles, RunFiles

Kind = Literal["run", "comparison", "study", "advice"]
MARK = ".studygroup"
"""Name of the file with `{"kind": KIND}`, the first that is written to a folder and the last that is deleted."""


def _under(folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names)


REPORT = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "leaderboard.png", "curves.png", "metrics.png", "report.html")
STAGE = (
    *("config.yaml", "data.json", "environment.json", "metrics.jsonl", "result.json", "evaluation.json", "unused.json"),
    *("checkpoints/epoch-*-step-*.ckpt", "modules/*.safetensors"),
    *_under("members", ("*.safetensors", "*.json", "*.hf/config.json")),
    *_under("predictions", ("test.csv", "members.csv", "samples.json", "mistakes.png", "mistakes.md")),
    *_under("tokenizer", ("tokenizer.json", "bpe.model", "hf.json")),
    *_under("exported", ("*.onnx", "*.onnx.data", "*.pt2", "*.pt", "*.safetensors", "*.json", "*.md", "*.hf/*", "tokenizer/*")),
    *("tensorboard/events.out.tfevents.*", MARK, *REPORT),
)
COMPARED = STAGE + _under("stages/*", STAGE)
COMPARISON = ("comparison.json", "comparison.yaml", "logs/*.log", MARK, *REPORT, *_under("runs/*", COMPARED))
ADVICE = (
    *("advice.json", "advice.md", "advice.png", "advice.yaml", "journal.json", MARK),
    *_under("alone", COMPARISON),
    *_under("rung*", COMPARISON),
)
STUDY = (
    *("study.json", "study.md", "study.csv", "study.yaml", "figure.png", "figure.svg", "costs.json", "values.json", "docstrings.csv"),
    *("report.html", MARK),
    *_under("panels/*", COMPARISON),
)
KNOWN = [tuple(name.split("/")) for name in {*COMPARED, *COMPARISON, *STUDY, *ADVICE, *_under("advice", ADVICE)}]


def mark(folder: Path, kind: Kind) -> None:
    """Write the mark of a folder that has none."""
    if not (folder / MARK).is_file():
        write_json(folder / MARK, {"kind": kind})


def names_in(folder: Path) -> list[str]:
    """List the names in a folder, which need not exist; without the unfinished mark of a process that was killed as it wrote it."""
    return sorted(path.name for path in folder.iterdir() if path.name != f".{MARK}.part") if folder.exists() else []


def kind_of_folder(folder: Path) -> Kind | None:
    """Return what a folder, which need not exist, is of, also one of an earlier version; None if studygroup did not make it."""
    kind = _json(folder / MARK).get("kind")
    if kind in get_args(Kind):
        return cast("Kind", kind)
    files = RunFiles(folder)
    result, environment = _json(files.result), _json(files.environment)
    if "studygroup" in environment.get("versions", ()) or {"method", "student", "selected", "last"} <= result.keys():
        return "run"
    if {"variants", "cells"} & _json(ComparisonFiles(folder).manifest).keys():
        return "comparison"
    return "advice" if {"options", "seconds", "decisions"} <= _json(AdviceFiles(folder).journal).keys() else None


@dataclass(frozen=True)
class Item:
    """Something in a folder that studygroup made.

    Attributes:
        parts: of its path in the folder.
        is_dir: whether it is a folder; a link to one is none.
        known: whether its name is one that studygroup writes.
    """

    parts: tuple[str, ...]
    is_dir: bool
    known: bool


def walk(folder: Path, parts: tuple[str, ...] = ()) -> Iterator[Item]:
    """Yield what is in a folder, each folder before its content; unknown folders are not entered."""
    for path in sorted(folder.iterdir()):
        own, is_dir = (*parts, path.name), path.is_dir() and not path.is_symlink()
        item = Item(own, is_dir, _known(own, is_dir=is_dir))
        yield item
        if is_dir and item.known:
            yield from walk(path, own)


def _known(parts: tuple[str, ...], *, is_dir: bool) -> bool:
    *folders, name = parts
    if not is_dir and name.startswith(".") and name.endswith(".part"):  # of a process that was killed as it wrote
        name = name[1:].removesuffix(".part")
    parts = (*folders, name)
    return any(
        (len(known) > len(parts) if is_dir else len(known) == len(parts))
        and all(fnmatchcase(part, pattern) for part, pattern in zip(parts, known, strict=False))
        for known in KNOWN
    )


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is none."""
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
