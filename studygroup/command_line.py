"""What a command line says: the parsers, made from the option groups (`studygroup.options`), and what they convert it to."""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from studygroup import api
from studygroup.errors import unknown_name
from studygroup.options import (
    RENAMED,
    AdviseOptions,
    BenchmarkOptions,
    CompareOptions,
    EvaluateOptions,
    ExportOptions,
    ListOptions,
    Options,
    PredictOptions,
    ReportOptions,
    StudyOptions,
    TrainOptions,
)
from studygroup.options.flags import ALIASES, SYNONYMS
from studygroup.parameters import Parameter, parameters_of

COMMANDS: dict[str, tuple[str, type[Options]]] = {  # command: public function, its options
    "train": ("train", TrainOptions),
    "evaluate": ("evaluate", EvaluateOptions),
    "predict": ("predict", PredictOptions),
    "export": ("export", ExportOptions),
    "list": ("list_names", ListOptions),
    "report": ("report", ReportOptions),
    "benchmark": ("benchmark", BenchmarkOptions),
    "compare": ("compare", CompareOptions),
    "advise": ("advise", AdviseOptions),
    "study": ("study", StudyOptions),
}
WITH_RECIPE = ("train", "benchmark", "compare", "advise")  # commands that take a recipe
WITH_METHOD = ("train", "benchmark")  # of these, commands that take options of one method
STREAMED = ("jsonl", "csv")  # formats of predictions: a line per sample, as soon as its batch is computed
METHOD = ("--method.", "--no-method.")
NOT_A_FLAG = ("method_options", "variants")  # options that have no flag: they are given in another way
TITLES = (
    "comparison",
    "study",
    "advice",
    "parallel runs",
    "measurement",
    "evaluation",
    "prediction",
    "exported file",
    "networks and method",
    "optimisation",
    "learning rate schedule",
    "data",
)
"""Titles of option groups that help pages begin with."""
TRACEBACK = {"action": "store_true", "default": argparse.SUPPRESS, "help": "Show the Python traceback of an error"}
METHOD_HELP = """\
options of the method:
  --method.OPTION VALUE           Option of the method, e.g. --method.students 8. VALUE is a number, a word, true, false,
                                  null, or a list such as 1,2 or [1,2]. --method.OPTION=true switches an option on,
                                  --no-method.OPTION off. `studygroup list methods` shows the methods and their options.
"""


class UsageError(Exception):
    """A command line that cannot be understood."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with room for the flags, and as wide as the terminal up to 120 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=min(shutil.get_terminal_size((120, 24)).columns, 120))


class Version(argparse.Action):
    """Prints the version, which takes a while to look up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print and exit."""
        from importlib import metadata

        try:
            version = metadata.version("studygroup")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"studygroup {version}")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, and whose help keeps line breaks."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=Formatter, **options)  # type: ignore[arg-type]

    def flags(self) -> list[str]:
        """Return all flags of this parser."""
        return [flag for action in self._actions for flag in action.option_strings]

    def arguments(self) -> list[argparse.Action]:
        """Return the positional arguments."""
        return [action for action in self._actions if not action.option_strings]

    def groups(self) -> dict[str, list[argparse.Action]]:
        """Return the options by the title of their group, those without one last."""
        known = {str(group.title): list(group._group_actions) for group in self._action_groups}
        others = [action for action in known.pop("options", []) if action.option_strings]
        known.pop("positional arguments", None)
        return known | {"others": others}

    def error(self, message: str) -> NoReturn:
        """Raise an error that argparse would print."""
        raise UsageError(f"{message} (see {self.prog} --help)")


@dataclass(frozen=True)
class Given:
    """A command line that is understood.

    Attributes:
        command: its name.
        arguments: options of the command, converted.
        settings: the command line's own: `config`, `format`.
        method_options: options of the method, as YAML has them.
        without_data: the error for a command line that names no data; None if the command needs none.
    """

    command: str
    arguments: dict[str, object]
    settings: dict[str, str]
    method_options: dict[str, object]
    without_data: str | None


def read_words(words: Sequence[str]) -> Given | None:
    """Return what a command line says; None, after the help was printed, if it names no command.

    Raises:
        UsageError: it cannot be understood.
    """
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise UsageError(str(unknown_name("command", command, COMMANDS)))
    parser, chosen = parsers(command)
    if command is None or chosen is None:
        _refuse_unknown(words, parser.flags())
        if [*words] not in ([], ["--traceback"]):
            parser.parse_args(words)  # --help and --version exit here
        parser.print_help(sys.stderr)
        return None
    words = [_with_hyphens(word) for word in words]
    options: dict[str, object] = {}
    greedy: list[str] = []
    if command in WITH_METHOD:
        words, options, greedy = _take_method_options(words, command)
    _refuse_unknown(words, [*chosen.flags(), "--version"])
    given = vars(parser.parse_args(words))
    arguments, settings = _convert(given, command, chosen)
    if command not in WITH_RECIPE:
        return Given(command, arguments, settings, options, None)
    long = next((name for name, value in given.items() if isinstance(value, list) and len(value) > 1), None)
    swallowed = "" if long is None else f"; it comes before flags such as --{long.replace('_', '-')}, which take all words that follow"
    taken = f"; --method.{greedy[-1]} was read as the method's: write --method.{greedy[-1].split(' ')[0]}=true" if greedy else ""
    return Given(
        command, arguments, settings, options, f"no data: name a data set or a folder{taken or swallowed} (see {chosen.prog} --help)"
    )


def parsers(chosen: str | None) -> tuple[Parser, Parser | None]:
    """Build the parser of the program and that of the chosen command; the other commands have no arguments."""
    parser = Parser(prog="studygroup", description="Train groups of neural networks that teach each other, and deploy the best student.")
    parser.add_argument("--version", action=Version, nargs=0, default=argparse.SUPPRESS, help="Show the version and exit")
    parser.add_argument("--traceback", **TRACEBACK)  # type: ignore[arg-type]
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    built = None
    for command, (function, options) in COMMANDS.items():
        title, _, rest = inspect.cleandoc(getattr(api, function).__doc__ or "").partition("\n\n")
        about = re.split(r"^(?:Args|Returns):", rest, flags=re.MULTILINE)[0].strip()
        recipe = command in WITH_RECIPE
        usage = f"studygroup {command} [DATA] [--OPTION VALUE ...]" if recipe else None
        epilog = METHOD_HELP if command in WITH_METHOD else None
        sub = commands.add_parser(command, help=title, description="\n\n".join(filter(None, (title, about))), usage=usage, epilog=epilog)
        if command != chosen:
            continue
        built = sub
        known = [item for item in parameters_of(options).values() if item.name not in NOT_A_FLAG]
        titles = sorted({item.group for item in known}, key=lambda title: (TITLES.index(title) if title in TITLES else len(TITLES), title))
        groups = {title: sub.add_argument_group(title) for title in titles}
        for parameter in known:
            if parameter.name != "method" or command in WITH_METHOD:
                container = sub if parameter.positional else groups[parameter.group]
                _add(container, parameter, required=parameter.required and not recipe)
        if recipe:
            sub.add_argument("--config", metavar="RECIPE", default=argparse.SUPPRESS, help="YAML recipe with options; flags win over it")
        if command not in ("train", "export"):  # `export` has a --format of its own
            formats = ("table", "json", *(STREAMED if command == "predict" else ()))
            sub.add_argument("--format", choices=formats, default=argparse.SUPPRESS, help="Output format (default: table)")
        sub.add_argument("--traceback", **TRACEBACK)  # type: ignore[arg-type]
    return parser, built


def _add(parser: argparse._ActionsContainer, parameter: Parameter, *, required: bool) -> None:
    """Add one option. Only what is given on the command line gets into the result, and as text: `_convert` does the rest."""
    kind = parameter.kind
    note = (parameter.help + parameter.default_note()).replace("%", "%%")
    if parameter.positional:
        several = {"nargs": "+" if required else "*"} if kind.base == "list" else {} if required else {"nargs": "?"}
        parser.add_argument(parameter.name, metavar=_metavar(parameter), default=argparse.SUPPRESS, help=note, **several)  # type: ignore[arg-type]
        return
    flags = ("--" + parameter.name.replace("_", "-"), *ALIASES.get(parameter.name, ()))
    if kind.base == "bool":
        parser.add_argument(*flags, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=note)
    elif kind.base in ("list", "map"):
        parser.add_argument(*flags, nargs="+", action="extend", metavar=_metavar(parameter), default=argparse.SUPPRESS, help=note)
    else:
        parser.add_argument(*flags, metavar=_metavar(parameter), default=argparse.SUPPRESS, help=note)


def _metavar(parameter: Parameter) -> str:
    kind = parameter.kind
    if parameter.positional:
        name = parameter.name.upper()
        return name.removesuffix("S") if kind.base == "list" else name
    if kind.base == "choice":
        return "{" + ",".join(kind.choices) + "}"
    named = f"{parameter.name.upper()}|NAME=VALUE" if kind.or_text else "NAME=VALUE"
    item = parameter.name.upper() if kind.or_text else "N" if kind.item is not None and kind.item.base == "int" else "NAME"
    names = {"map": named, "int": "N", "float": "X", "list": item}
    return names.get(kind.base, parameter.name.upper())


def _convert(given: Mapping[str, object], command: str, parser: Parser) -> tuple[dict[str, object], dict[str, str]]:
    """Convert what was given: the command's options, and the command line's own settings."""
    known = parameters_of(COMMANDS[command][1])
    arguments: dict[str, object] = {}
    settings: dict[str, str] = {}
    for name, value in given.items():
        if name not in known:
            settings[name] = str(value)
            continue
        parameter = known[name]
        label = parameter.name if parameter.positional else "--" + name.replace("_", "-")
        try:
            if isinstance(value, list) and parameter.positional:  # file names may hold commas
                arguments[name] = tuple(value)
            elif isinstance(value, list) and parameter.kind.base == "list" and parameter.kind.or_text:
                arguments[name] = parameter.kind.parse(value[0]) if len(value) == 1 else tuple(value)
            elif isinstance(value, list):
                arguments[name] = parameter.kind.parse(",".join(value))
            else:
                arguments[name] = parameter.kind.parse(value) if isinstance(value, str) else value
        except ValueError as error:
            parser.error(f"{label}: {error}")
    return arguments, settings


def _with_hyphens(word: str) -> str:
    """Replace underscores in a flag by hyphens; options of a method keep theirs."""
    if not word.startswith("--") or word.startswith(METHOD):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def _refuse_unknown(words: Sequence[str], known: Sequence[str]) -> None:
    """Raise an error for the first unknown flag, with its new name or one that means the same."""
    for word in words:
        flag = word.partition("=")[0]
        if word == "--":
            return
        if not flag.startswith("--") or flag in known:
            continue
        if flag.startswith(METHOD):
            raise UsageError(
                f"{flag}: options of a method go with `studygroup {'` or `studygroup '.join(WITH_METHOD)}`; "
                "`studygroup compare` takes --options METHOD.OPTION=VALUE"
            )
        renamed = RENAMED.get(flag.removeprefix("--no-").removeprefix("--").replace("-", "_"), "")
        if (new := f"--{renamed.replace('_', '-')}") in known:
            raise UsageError(f"{flag} is called {new} now")
        synonym = SYNONYMS.get(flag)
        near = [synonym] if synonym in known else difflib.get_close_matches(flag, known, n=1, cutoff=0.8)
        raise UsageError(f"unknown flag {flag}; " + (f"did you mean {near[0]}?" if near else "--help shows the flags"))


def _take_method_options(words: Sequence[str], command: str) -> tuple[list[str], dict[str, object], list[str]]:
    """Split the words into those for the parser, the method's options, and the options that consumed the following word."""
    if not any(word.startswith(METHOD) for word in words):
        return list(words), {}, []
    from studygroup import config

    rest: list[str] = []
    options: dict[str, object] = {}
    greedy: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        prefix = next((start for start in METHOD if word.startswith(start)), None)
        if prefix is None:
            rest.append(word)
            continue
        name, equals, value = word.removeprefix(prefix).partition("=")
        name = name.replace("-", "_")
        if not name.isidentifier() or (prefix != METHOD[0] and equals):
            raise UsageError(f"{word}: write --method.OPTION VALUE, or --no-method.OPTION (see studygroup {command} --help)")
        if prefix != METHOD[0]:
            options[name] = False
        elif equals:
            options[name] = config.scalar(value)
        elif queue and _is_value(queue[0]):
            greedy.append(f"{name} {queue[0]}")
            options[name] = config.scalar(queue.pop(0))
        else:
            options[name] = True
    return rest, options, greedy


def _is_value(word: str) -> bool:
    return not word.startswith("-") or word[1:2].isdigit() or word[1:2] == "."
