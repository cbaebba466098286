"""Recipes: YAML files whose keys are the parameters of `studygroup.train`.

    data: cifar100
    student: resnet18
    method: {name: cgl, students: 8}     # or simply `method: cgl`
    epochs: 200

YAML is read by the rules of version 1.2: `1e-3` is a number, and `on`, `off`, `yes` and `no` are words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import yaml

from studygroup.errors import UserError, unknown_name
from studygroup.parameters import parameters_of

HOW_NOT_WHAT = ("resume", "overwrite")  # what to do about a folder that is not empty is no part of a run's configuration
FROM_PYTHON = "python object "


class Loader(yaml.SafeLoader):
    """A safe loader with YAML 1.2's plain scalars that refuses a key given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as the base class has it)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """As the base class does, but a repeated key is an error."""
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


class Dumper(yaml.SafeDumper):
    """A safe dumper that quotes text which either version of YAML would take for something else."""


def _quoted_if_odd(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Characters that cannot be seen are written as escapes: YAML would fold some of them into spaces."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


Dumper.add_representer(str, _quoted_if_odd)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
for _tag, _pattern, _first in (
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
    Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)


def scalar(text: str) -> object:
    """What `text`, typed by hand as a method's option, stands for: a YAML scalar, or a list or mapping in YAML's brackets.

    Raises:
        UserError: a bracket is not closed.
    """
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return yaml.load(text, Loader)  # a safe loader
        except yaml.YAMLError as error:
            raise UserError(f"cannot read {text!r}: {_problem(error)}") from None
    loader = Loader("")
    try:
        value: object = loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text))  # type: ignore[no-untyped-call]
    finally:
        loader.dispose()
    return value


def read(path: str | Path) -> dict[str, object]:
    """A YAML file whose top level is a mapping, unchecked.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no recipe {path}; give the path of a YAML file")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)  # a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {_problem(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path} is not a recipe; write one `parameter: value` a line")
    return content


def load(path: str | Path, *functions: Callable[..., object]) -> dict[str, object]:
    """The keyword arguments that a recipe holds, checked against the signatures of `functions` (`studygroup.train` and others).

    Args:
        path: a YAML file. `method` may be a name, or a mapping of `name` and the method's options, which become `method_options`.
        functions: what the arguments are for; a later one says what a parameter of several takes.

    Returns:
        The arguments that the recipe gives, of the types that the functions take.

    Raises:
        UserError: the file cannot be read, a key is unknown, or a value is of the wrong type or out of range.
    """
    content = split_method(read(path), str(path))
    known = {name: parameter for function in functions for name, parameter in parameters_of(function).items()}
    arguments: dict[str, object] = {}
    for key, value in content.items():
        if key not in known:
            raise UserError(f"{path}: {unknown_name('key', key, known)}")
        if isinstance(value, str) and value.startswith(FROM_PYTHON):
            raise UserError(f"{path}: {key} was a {value}; such a run can be repeated from Python only, or name a {key} that has a name")
        try:
            arguments[key] = known[key].kind.check(value)
        except ValueError as error:
            raise UserError(f"{path}: {key} is {error}") from None
    try:
        validate(arguments)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return arguments


def save(path: str | Path, arguments: Mapping[str, object]) -> None:
    """Write `arguments` of `studygroup.train` as a recipe that `load` reads back to the same.

    The method and its options are written as one mapping; `resume` and `overwrite` are left out. What has no text (a network or
    a method object from Python) is written as the name of its class, which `load` refuses with the reason.
    """
    content: dict[str, object] = {}
    options = arguments.get("method_options") or {}
    for key, value in arguments.items():
        if key in HOW_NOT_WHAT or key == "method_options" or (key == "method" and value is None):
            continue
        content[key] = {"name": plain(value), **_plain_mapping(options)} if key == "method" else plain(value)
    text = yaml.dump(content, Dumper=Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


# parameter: (lowest, whether the lowest itself will do, highest, whether the highest itself will do)
LIMITS: dict[str, tuple[float, bool, float | None, bool]] = {
    "seed": (0, True, None, True),
    "epochs": (1, True, None, True),
    "batch_size": (1, True, None, True),
    "learning_rate": (0, False, None, True),
    "learning_rate_scales": (0, True, None, True),
    "momentum": (0, True, 1, False),
    "weight_decay": (0, True, None, True),
    "milestones": (0, True, None, True),
    "gamma": (0, False, None, True),
    "warmup": (0, True, None, True),
    "clip_grad_norm": (0, False, None, True),
    "microbatches": (1, True, None, True),
    "devices": (1, True, None, True),
    "nodes": (1, True, None, True),
    "teacher_epochs": (1, True, None, True),
    "train_size": (0, False, None, True),
    "holdout": (0, True, None, True),
    "test_size": (0, False, None, True),
    "split_seed": (0, True, None, True),
    "image_size": (1, True, None, True),
    "vocabulary": (2, True, 2**31 - 1, True),
    "max_length": (1, True, None, True),
    "checkpoint_steps": (1, True, None, True),
    "group_sizes": (1, True, None, True),
    "steps": (1, True, None, True),
    "repeats": (1, True, None, True),
    "seeds": (1, True, None, True),
    "workers": (1, True, None, True),
    "score_on_unused": (0, True, None, True),
}


def validate(arguments: Mapping[str, object]) -> None:
    """Check the ranges of the numbers of `studygroup.train`, `benchmark` and `compare`, and what contradicts each other.

    Args:
        arguments: some or all of the arguments, of the right types.

    Raises:
        UserError: a number out of range; the message names it and the range.
    """
    for name, value in arguments.items():
        if name in LIMITS:
            for number in _numbers(value):
                _check_range(name, number)
    if arguments.get("channels") not in (None, 1, 3):
        raise UserError(f"channels is {arguments['channels']}; it must be 1 (grey) or 3 (colour)")
    if arguments.get("resume") and arguments.get("overwrite"):
        raise UserError("resume and overwrite exclude each other; give one of them")
    stops = list(_numbers(arguments.get("milestones", ())))
    if stops != sorted(set(stops)):
        raise UserError(f"milestones are {', '.join(f'{stop:g}' for stop in stops)}; they must rise")


def _check_range(name: str, number: float) -> None:
    low, low_will_do, high, high_will_do = LIMITS[name]
    fits = number >= low if low_will_do else number > low
    if high is not None:
        fits = fits and (number <= high if high_will_do else number < high)
    if not fits:
        wanted = f"at least {low:g}" if low_will_do else f"above {low:g}"
        if high is not None:
            wanted += f" and {'at most' if high_will_do else 'below'} {high:g}"
        raise UserError(f"{name} is {number:g}; it must be {wanted}")


def _numbers(value: object) -> list[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, int | float):
        return [value]
    return [item for item in value if isinstance(item, int | float)] if isinstance(value, Sequence) else []


def split_method(content: Mapping[str, object], path: str) -> dict[str, object]:
    """`content` with a mapping under `method` taken apart into `method` and `method_options`; `path` says in errors where it stands."""
    method = content.get("method")
    if not isinstance(method, Mapping):
        return dict(content)
    if "method_options" in content:
        raise UserError(f"{path}: the method's options are given twice; put them under method or under method_options")
    if not isinstance(method.get("name"), str):
        raise UserError(f"{path}: method has no name; write `method: {{name: cgl, ...}}`")
    options = {key: value for key, value in method.items() if key != "name"}
    return {**content, "method": method["name"], **({"method_options": options} if options else {})}


def plain(value: object) -> object:
    """`value` as YAML and JSON have it."""
    if value is None or isinstance(value, bool):
        return value
    for base in (int, float, str):  # of a subclass (NumPy's numbers) the plain value
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return f"{FROM_PYTHON}{type(value).__module__}.{type(value).__qualname__}"


def _plain_mapping(value: object) -> dict[str, object]:
    return {str(key): plain(item) for key, item in value.items()} if isinstance(value, Mapping) else {}


def _problem(error: Exception) -> str:
    """What a YAML error says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return f"{error.problem or error.context}" + (f" (line {mark.line + 1})" if mark else "")
    return " ".join(str(error).split())
