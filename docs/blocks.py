"""The code blocks of all pages, and a check of every command in them that runs nothing.

A block is a fence with a language. What is run (`docs/run.py`) are

    ```bash       commands
    ```console    commands, each after `$ `, with what they print; the page shows the output of a real run
    ```python     code; the blocks of a page share their names
    ```pycon      the same with prompts and outputs, as in a session of Python

A comment in the line before a block changes that:

    <!-- not run: REASON -->  several machines, downloads, installation: its commands are only checked here; the site shows the reason
    <!-- in full: REASON -->  its trainings are not shortened
    <!-- program: NAME -->    a whole program, which a test of its own runs
    <!-- file: NAME -->       is saved, for the blocks after it

`<!-- python` to `-->` is code that is run and not shown, for names that an example takes as given.
"""

from __future__ import annotations

import doctest
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from studygroup.command_line import UsageError, read_words
from studygroup.errors import UserError
from studygroup.methods import METHODS, method_options

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "recipes/README.md", "studies/README.md", "docs/**/*.md")
COMMANDS, CODE, WITH_OUTPUT = ("bash", "console"), ("python", "pycon"), ("console", "pycon")
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run|program|in full|file): (?P<about>[^\n]+) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^ *```$"
    r"|^<!-- python\n(?P<hidden>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
LOOKS_LIKE_A_COMMAND = re.compile(r"^\s*(\$ )?(studygroup|python3?|pip|make|torchrun) [\w-]", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: path of the page, relative to the repository.
        line: number of the first line of its code.
        language: of its fence; empty if it has none.
        code: without the page's indentation.
        not_run: why it is not run; empty if it is.
        program: name of a program that a test of its own runs; empty for other blocks.
        in_full: why its trainings are not shortened on a page where others are.
        file: where it is saved, instead of being run, for the blocks after it.
    """

    page: str
    line: int
    language: str
    code: str
    not_run: str = ""
    program: str = ""
    in_full: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        """Where it is."""
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether `docs/run.py` runs it."""
        return (self.language in COMMANDS + CODE or bool(self.file)) and not self.not_run and not self.program


def pages() -> list[Path]:
    """List the pages whose blocks are run."""
    return sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
    found = []
    for match in FENCE.finditer(text):
        hidden = match["hidden"]
        code = match["code"] if hidden is None else hidden
        line = text.count("\n", 0, match.start("code" if hidden is None else "hidden")) + 1
        indent = match["indent"] or ""
        code = "".join(row.removeprefix(indent) for row in code.splitlines(keepends=True))
        marks = {match["mark"]: match["about"]}
        language = "python" if hidden is not None else match["language"]
        found.append(
            Block(
                name,
                line,
                language,
                code,
                marks.get("not run", ""),
                marks.get("program", ""),
                marks.get("in full", ""),
                marks.get("file", ""),
            )
        )
    return found


@dataclass(frozen=True)
class Command:
    """A command of a block, or an example of a session of Python.

    Attributes:
        text: as a shell, or Python, takes it.
        shown: the output below it, in a block with outputs.
        typed: it as it stands on the page, with prompts, in a block with outputs.
    """

    text: str
    shown: str = ""
    typed: str = ""


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block of commands."""
    if block.language == "console":
        for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:[^\n]*\\\n)*[^\n]*\n", part)
            assert command is not None
            yield Command(command[0].replace("\\\n", " ").strip(), part[command.end() :], f"$ {command[0]}")
    elif block.language == "pycon":
        lines, end = block.code.splitlines(keepends=True), 0
        for example in doctest.DocTestParser().get_examples(block.code):
            output = example.lineno + example.source.count("\n")
            yield Command(example.source, example.want, "".join(lines[end:output]))
            end = output + example.want.count("\n")
    else:
        yield from (Command(line.strip()) for line in block.code.replace("\\\n", " ").splitlines() if shlex.split(line, comments=True))


def check(block: Block) -> None:
    """Check all that can be checked of a block without running it.

    Raises:
        ValueError: a command or a program that cannot be right; the message begins with its place.
    """
    try:
        if block.language == "pycon":
            for example in commands(block):
                compile(example.text, block.place, "single")
        elif block.language in CODE:
            compile(block.code, block.place, "exec")
        elif block.language in COMMANDS:
            for command in commands(block):
                check_command(command.text)
        elif not block.language and LOOKS_LIKE_A_COMMAND.search(block.code):
            raise UserError("a block with commands has no language; write ```bash")
    except (UsageError, UserError, SyntaxError) as error:
        raise ValueError(f"{block.place}: {error}") from error


def check_command(text: str) -> None:
    """Check a command: its flags and the options of its method, a program's file, a target of make, an extra of pip.

    Raises:
        UsageError, UserError: it cannot be right.
    """
    words = shlex.split(text, comments=True)
    words = words[: next((k for k, word in enumerate(words) if word in ("|", "<", ">", "&", "&&", ";")), len(words))]
    while "=" in words[0] and "/" not in words[0].partition("=")[0]:  # variables before the command
        words = words[1:]
    program, arguments = words[0], words[1:]
    if "-m" in arguments and "studygroup" in arguments:
        program, arguments = "studygroup", arguments[arguments.index("studygroup") + 1 :]
    if program == "studygroup":
        check_arguments(arguments)
    elif program in ("python", "python3") and arguments[0].endswith(".py") and "/" in arguments[0]:
        if not (ROOT / arguments[0]).is_file():
            raise UserError(f"there is no program {arguments[0]}")
    elif program == "make" and not set(arguments) <= targets():
        raise UserError(f"make has no target {' '.join(arguments)}; there are {', '.join(sorted(targets()))}")
    elif program == "pip" and (strange := {name for word in arguments for name in extras_in(word)} - extras()):
        raise UserError(f"there is no extra {', '.join(strange)}; there are {', '.join(sorted(extras()))}")


def check_arguments(words: list[str]) -> None:
    """Check the arguments of `studygroup`, without reading or running anything."""
    given = read_words(words)
    if given is None or not given.method_options:
        return
    method = str(given.arguments.get("method", ""))
    if method in METHODS and (strange := given.method_options.keys() - method_options(method).keys()):
        raise UserError(f"{method} has no option {', '.join(strange)}")


def extras_in(word: str) -> list[str]:
    """Return the extras that a requirement names: `.[a,b]`, `studygroup[a]`."""
    found = re.fullmatch(r"(?:\.|studygroup)\[([\w,]+)\]", word)
    return found[1].split(",") if found else []


def extras() -> set[str]:
    """Return the extras of the package."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return set(tomllib.load(file)["project"]["optional-dependencies"])


def targets() -> set[str]:
    """Return the targets of the Makefile that are meant for people."""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return set(phony.split())
