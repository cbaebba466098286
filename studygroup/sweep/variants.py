"""What is compared: cells, each the words of `studygroup.train` but for the seed, and one of them the baseline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studygroup import config, session
from studygroup.errors import UserError, unknown
from studygroup.methods import METHODS, Method, method_options
from studygroup.networks import NETWORKS
from studygroup.networks.factory import is_fresh
from studygroup.parameters import Parameter

OWN = (
    *("methods", "seeds", "options", "cells", "budget", "count_teacher", "validation", "split_by_seed"),
    *("workers", "ray", "overwrite", "progress", "out"),
)
BASELINE = "baseline"
NAME = re.compile(r"[\w.+-]+")
NOT_A_CELLS = ("data", "seed", "out", "resume", "overwrite", "progress")


@dataclass(frozen=True)
class Cell:
    """What is trained once per seed.

    Attributes:
        name: of the cell, its folders and its row.
        arguments: all words of `studygroup.train` but the seed, the folder and what is about them.
        teacher: the cell whose student of the same seed teaches.
        teaches: whether it is there only because others learn from it.
        split_by_seed: whether each seed divides the data anew.
    """

    name: str
    arguments: Mapping[str, Any]
    teacher: str | None = None
    teaches: bool = False
    split_by_seed: bool = False


def make_cells(arguments: Mapping[str, Any], known: Mapping[str, Parameter]) -> tuple[list[Cell], str]:
    """The cells, and which of them is the baseline that the others are compared with: the one of that name, or the first that is it.

    Args:
        arguments: of `studygroup.compare`.
        known: the parameters of `studygroup.train`.

    Raises:
        UserError: one of them cannot be trained, as far as its words say.
    """
    words = plain_words(arguments, known)
    given = _given(arguments, known)
    cells = [Cell(name, _arguments(name, cell, words, arguments["options"])) for name, cell in given.items()]
    alone = {**words, "method": BASELINE, "method_options": {}, "teacher": None, "peers": []}
    same = next((cell.name for cell in cells if cell.arguments == alone), BASELINE)
    reference = BASELINE if BASELINE in given else same
    if reference not in given:
        cells.insert(0, Cell(BASELINE, {**alone, "method_options": _options({"method": BASELINE}, words, arguments["options"])}))
    strange = sorted(set(_by_method(arguments["options"])) - {str(cell.arguments["method"]) for cell in cells})
    if strange:
        raise UserError(f"options are given for {strange[0]}, which is not compared; add it to the methods, or leave them out")
    cells = [
        replace(cell, arguments=session.with_defaults(cell.arguments), split_by_seed=arguments["split_by_seed"])
        for cell in _with_teachers(cells, words)
    ]
    for cell in cells:
        _check(cell, cells, arguments["seeds"], named=cell.name in (arguments["cells"] or {}))
    taught = {cell.teacher for cell in cells} - {reference}
    teaches = {cell.name for cell in cells if cell.name in taught and cell.arguments["method"] == BASELINE}
    return [replace(cell, teaches=cell.name in teaches) for cell in cells], reference


def plain_words(arguments: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """The words that all cells share, with the defaults, as plain values, which can be sent to another machine.

    Raises:
        UserError: one is an object of Python.
    """
    defaults = {name: word.default for name, word in known.items() if name not in NOT_A_CELLS}
    words = {name: config.plain(value) for name, value in (defaults | dict(arguments)).items() if name not in OWN}
    for name, value in words.items():
        if isinstance(value, str) and value.startswith(config.FROM_PYTHON):
            raise UserError(f"{name} is a {value}; what is compared is trained by other processes: name it, e.g. package.module:function")
    return words


def _given(arguments: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    """What each cell says itself, of the right types."""
    known = {name: word for name, word in known.items() if name not in NOT_A_CELLS}
    given: dict[str, dict[str, Any]] = {}
    for name, cell in (arguments["cells"] or {}).items():
        where = f"cell {name}"
        if not NAME.fullmatch(name):
            raise UserError(f"{where}: its name is to be a folder's: letters, digits, and . + - _")
        if not isinstance(cell, Mapping | None):
            raise UserError(f"{where} is {cell!r}; write the words in which it differs, e.g. {{method: dml, epochs: 50}}")
        given[name] = {}
        for key, value in config.split_method(cell or {}, where).items():
            if key not in known:
                raise UserError(f"{where}: {unknown('key', key, known)}")
            try:
                given[name][key] = config.plain(known[key].kind.check(value))
            except ValueError as error:
                raise UserError(f"{where}: {key} is {error}") from None
    for method in arguments["methods"]:
        if not isinstance(method, str):
            raise UserError(f"methods holds {type(method).__name__}; give names of methods, and their options by `options`")
        if method in given:
            raise UserError(f"{method} is given twice; a second variant is a cell of a recipe with a name of its own")
        given[method] = {"method": method}
    if not given:
        raise UserError(f"there is nothing to compare; give --methods, e.g. {','.join(list(METHODS)[:3])}, or a recipe with cells")
    return given


def _arguments(name: str, cell: Mapping[str, Any], words: Mapping[str, Any], options: Mapping[str, object] | None) -> dict[str, Any]:
    """All words of one cell. What all cells share goes only to the methods that take it."""
    method = cell.get("method", words["method"])
    if method is None:
        raise UserError(f"cell {name} names no method; write `method: cgl`, or give one to all cells")
    own = method_options(method)
    inherited = {
        **words,
        "peers": words["peers"] if "students" in own else [],
        "teacher": words["teacher"] if METHODS[method].needs_teacher else None,
    }
    return {**inherited, **cell, "method": method, "method_options": _options({**cell, "method": method}, words, options)}


def _options(cell: Mapping[str, Any], words: Mapping[str, Any], options: Mapping[str, object] | None) -> dict[str, Any]:
    """A cell's options of its method: on top of those for the method in all cells, which go before the recipe's."""
    method = str(cell["method"])
    shared = words.get("method_options") or {} if words["method"] == method else {}
    return {**shared, **_by_method(options).get(method, {}), **(cell.get("method_options") or {})}


def _by_method(options: Mapping[str, object] | None) -> dict[str, dict[str, Any]]:
    """`{"cgl.students": 8}` or `{"cgl": {"students": 8}}` -> the latter."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in (options or {}).items():
        method, dot, option = key.partition(".")
        if dot:
            found.setdefault(method, {})[option] = config.scalar(value) if isinstance(value, str) else config.plain(value)
        elif isinstance(value, Mapping):
            found.setdefault(method, {}).update({str(name): config.plain(item) for name, item in value.items()})
        else:
            raise UserError(f"options: {key}={value} names no option; write METHOD.OPTION=VALUE, e.g. cgl.students=8")
    return found


def _with_teachers(cells: Sequence[Cell], words: Mapping[str, Any]) -> list[Cell]:
    """The cells, those first that teach: a cell by its name, and one more for every network that is to be trained first."""
    names = {cell.name for cell in cells}
    made: dict[str, Cell] = {}
    linked = []
    for cell in cells:
        teacher = cell.arguments["teacher"]
        if isinstance(teacher, str) and teacher not in names and not Path(teacher).is_dir() and _is_network(teacher):
            name = "teacher-" + re.sub(r"[^\w.+-]+", "-", teacher)
            own: dict[str, Any] = {"method": BASELINE, "method_options": {}, "teacher": None, "peers": [], "student": teacher}
            own |= {"epochs": words["teacher_epochs"] or words["epochs"], "accumulate": 1, "learning_rate_scales": None}
            made[name] = Cell(name, {**words, **own})
            teacher = name
        linked.append(replace(cell, teacher=teacher if teacher in names or teacher in made else None))
    every = {cell.name: cell for cell in (*made.values(), *linked)}
    for cell in every.values():
        line = [cell.name]
        while (teacher := every[line[-1]].teacher) is not None:
            if teacher in line:
                raise UserError(f"cell {cell.name} learns from itself ({' from '.join([*line, teacher])}); give it another teacher")
            line.append(teacher)
    teachers = {cell.teacher for cell in linked}
    return sorted(every.values(), key=lambda cell: (cell.teacher is not None, cell.name not in teachers))


def _is_network(name: str) -> bool:
    return is_fresh(name) and (":" in name or name.partition("@")[0] in NETWORKS)


def train_arguments(cell: Cell, cells: Sequence[Cell], seed: int) -> dict[str, Any]:
    """All words of `studygroup.train` but what is about the folder; a teacher that is a cell is given as its network."""
    teacher = cell.arguments["teacher"]
    if cell.teacher is not None:
        teacher = next(other.arguments["student"] for other in cells if other.name == cell.teacher)
    elif isinstance(teacher, str) and "{seed}" in teacher:
        teacher = teacher.replace("{seed}", str(seed))
    scales = cell.arguments["learning_rate_scales"] or {}
    split_seed = cell.arguments["split_seed"] + (seed if cell.split_by_seed else 0)
    own = {"learning_rate_scales": scales, "teacher": teacher, "seed": seed, "split_seed": split_seed, "progress": False}
    return {**cell.arguments, **own}


def _check(cell: Cell, cells: Sequence[Cell], seeds: int, *, named: bool) -> None:
    """Raise UserError if a cell cannot be trained, as far as its words say."""
    try:
        arguments = train_arguments(cell, cells, 0)
        config.validate(arguments)
        given = cell.arguments["teacher"] if cell.teacher is None else None
        if cell.split_by_seed and isinstance(given, str) and Path(given).is_dir():
            raise UserError(
                f"split_by_seed: the teacher {given} has learnt from what other seeds keep for the test; give a network, which is trained "
                "anew for each seed, or a run for each ({seed})"
            )
        method: Method = session.make_method(arguments)
        settings = session.make_settings(arguments)
        for seed in range(seeds):
            session.make_stages(train_arguments(cell, cells, seed), method, settings)
    except UserError as error:
        if not named:
            raise
        raise UserError(f"cell {cell.name}: {error}") from error
