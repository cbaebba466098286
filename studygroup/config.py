"""Recipes: YAML files whose keys are the options of `studygroup train`.

    data: cifar100
    student: resnet18
    method: {name: cgl, students: 8}     # or simply `method: cgl`
    epochs: 200

YAML is read by the rules of version 1.2: `1e-3` is a number, and `on`, `off`, `yes` and `no` are text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from studygroup.atomic import write_atomically
from studygroup.errors import UserError, one_line
from studygroup.options import RENAMED, Options, checked
from studygroup.parameters import parameters_of

G = TypeVar("G", bound=Options)
ALLOW_CODE = "allow_code"  # which code may run is for the caller to say, not for a file
NOT_SAVED = ("resume", "overwrite", ALLOW_CODE)  # what to do about an existing folder is not part of a run's configuration


MAX_DEPTH = 50  # of brackets within brackets
MAX_LIST = 1_000_000  # bytes of a file that holds an option


class Loader(yaml.SafeLoader):
    """A safe loader with YAML 1.2's plain scalars that refuses a key given twice, aliases, and what nests too deep.

    A few lines of aliases of aliases stand for more values than fit into memory.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as the base class has it)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node as the base class does, but refuse aliases and too deep nesting."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, f"aliases are not read: write out what *{event.anchor} stands for", mark)
        if self.depth == MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"it nests more than {MAX_DEPTH} levels deep", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value as the base class does; text that is no value of its tag is an error of YAML like others."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, TypeError, AttributeError, LookupError) as error:
            raise yaml.constructor.ConstructorError(None, None, one_line(error, 80), node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Construct a mapping as the base class does, but refuse a repeated key."""
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


class Dumper(yaml.SafeDumper):
    """A safe dumper that quotes text which YAML 1.1 or 1.2 would read as another type, and writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        """Return that every value is written out."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Represent text with non-printable characters in double quotes: YAML would fold some of them into spaces."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


Dumper.add_representer(str, _represent_text)
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
    """Parse a method's option typed on the command line: a YAML scalar, or a list or mapping in brackets.

    Raises:
        UserError: a bracket is not closed, or a number has too many digits.
    """
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return yaml.load(text, Loader)  # a safe loader
        except yaml.YAMLError as error:
            raise UserError(f"cannot read {text!r}: {_problem(error)}") from None
    loader = Loader("")
    try:
        value: object = loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text))  # type: ignore[no-untyped-call]
    except yaml.YAMLError as error:
        raise UserError(f"cannot read {text[:40]!r}: {_problem(error)}") from None
    finally:
        loader.dispose()
    return value


def read(path: str | Path) -> dict[str, object]:
    """Read a YAML file whose top level is a mapping; its values are not checked.

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
        raise UserError(f"{path} is not a recipe; write one `option: value` per line")
    return content


def read_list(path: str | Path) -> list[object]:
    """Read a YAML or JSON file whose top level is a list; its items are not checked.

    Raises:
        UserError: there is no such file, or it is large, or holds something else.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(f"there is no file {path}; give the path of a YAML file with a list, or the list itself in brackets")
        if path.stat().st_size > MAX_LIST:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes; a file with a list may have {MAX_LIST:,}")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)  # a safe loader
    except (yaml.YAMLError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {str(path)[:200]!r}: {_problem(error)[:200]}") from None
    if not isinstance(content, list):
        raise UserError(f"{path} holds no list; write one `- [0, 1, 1]` per line")
    return content


def is_given(path: Path) -> bool:
    """Return whether there is a recipe with content; a disk that was full may have left an empty one."""
    return path.is_file() and bool(path.read_bytes().strip())


def load(path: str | Path, *groups: type[Options]) -> dict[str, object]:
    """Read the options that a recipe gives.

    Args:
        path: a YAML file. `method` may be a name, or a mapping of `name` and the method's options, which become `method_options`.
        groups: option classes whose fields may be given; a later one defines an option of several.

    Returns:
        The given options by name, of the types of their fields.

    Raises:
        UserError: the file cannot be read, an option is unknown or renamed, or a value is of the wrong type, out of range, or contradicts
            another one.
    """
    known = {name: parameter for group in groups for name, parameter in parameters_of(group).items() if name != ALLOW_CODE}
    try:
        content = read(path)
        if ALLOW_CODE in content:
            raise UserError("allow_code is for you to say, not for a file; remove it, and give --allow-code on the command line")
        options = checked(known, split_method(content, ""))
        for group in groups:  # checks ranges, and values that depend on each other
            own = parameters_of(group).items()
            group(**{name: options.get(name, "") for name, parameter in own if name in options or parameter.required})
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    return options


def load_group(path: str | Path, group: type[G]) -> G:
    """Read one option group from a run's configuration; the rest of the file is ignored.

    Raises:
        UserError: the file cannot be read, was written by a version with other option names, or a value is wrong.
    """
    content = split_method(read(path), f"{path}: ")
    if old := sorted(set(content) & set(RENAMED)):
        raise UserError(f"{path} was written by an earlier version ({old[0]} is called {RENAMED[old[0]]} now); train the run again")
    known = parameters_of(group)
    if missing := [name for name, parameter in known.items() if parameter.required and name not in content]:
        raise UserError(f"{path} gives no {missing[0]}: it is damaged; train the run again with the same options and --resume")
    return group.from_plain({name: value for name, value in content.items() if name in known and name not in NOT_SAVED})


def save(path: str | Path, options: Options) -> None:
    """Write options as a recipe that `load` reads back to the same.

    The method and its options are written as one mapping; `NOT_SAVED` is left out. An object without text (a network or a method from
    Python) is written as a note of its class, which `load` refuses with the reason.
    """
    content = {name: value for name, value in options.plain().items() if name not in NOT_SAVED}
    own = content.pop("method_options", None)
    if content.get("method") is None:
        content.pop("method", None)
    else:
        content["method"] = {"name": content["method"], **(own if isinstance(own, Mapping) else {})}
    text = yaml.dump(content, Dumper=Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)
    write_atomically(Path(path), text.encode())


def split_method(content: Mapping[str, object], where: str) -> dict[str, object]:
    """Replace a mapping under `method` by `method` and `method_options`; `where` begins error messages."""
    method = content.get("method")
    if not isinstance(method, Mapping):
        return dict(content)
    if "method_options" in content:
        raise UserError(f"{where}the method's options are given twice; give them under method or under method_options")
    if not isinstance(method.get("name"), str):
        raise UserError(f"{where}method has no name; write `method: {{name: cgl, ...}}`")
    options = {key: value for key, value in method.items() if key != "name"}
    return {**content, "method": method["name"], **({"method_options": options} if options else {})}


def _problem(error: Exception) -> str:
    """Return a YAML error's message in one line."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return f"{error.problem or error.context}" + (f" (line {mark.line + 1})" if mark else "")
    return " ".join(str(error).split())
