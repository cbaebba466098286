"""Rewrites the generated parts of pages from the code: `make docs`. With --check it writes nothing and names the stale files.

A part is between `<!-- generated: NAME -->` and `<!-- end -->`, in Python between `# generated: NAME` and `# end`.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from docs import catalogue
from studygroup import api
from studygroup.command_line import COMMANDS, parsers
from studygroup.kinds import Kind
from studygroup.methods import CONTRACT, METHODS, method_options
from studygroup.parameters import Bounds, Parameter, show
from studygroup.reporting.study import number
from studygroup.studies.measures import unit_of
from studygroup.studies.registry import STUDIES
from studygroup.studies.study import Plan, Setting

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "methods"
NETWORK_PAGES = ROOT / "docs" / "networks"
SOURCE_PAGES = ROOT / "docs" / "sources"
COMMAND_PAGES = ROOT / "docs" / "commands"
KINDS = {"int": "integer", "float": "number", "bool": "yes or no", "list": "list", "map": "NAME=VALUE pairs"}


def option_table(options: Mapping[str, Parameter]) -> str:
    """Return the table of some options, such as those of a method."""
    rows = [option_row(option) for option in options.values()]
    return "\n".join(["| option | default | values | meaning |", "|---|---|---|---|", *rows] if rows else ["None."])


def option_row(option: Parameter) -> str:
    """Return an option's row."""
    default = "–" if option.default is None else show(option.default)
    meaning = f"{option.help}; by default {option.default_help}" if option.default_help else option.help
    return f"| `{option.name}` | {default} | {values(option.kind, option.bounds)} | {meaning} |"


def values(kind: Kind, bounds: Bounds) -> str:
    """Return the allowed values in a few words: `a` or `b`, integer >= 1, number in [0, 1)."""
    if kind.base == "choice":
        return " or ".join(f"`{choice}`" for choice in kind.choices)
    low, high = (bounds.at_least, bounds.above), (bounds.at_most, bounds.below)
    number = KINDS.get(kind.base, "text")
    if low != (None, None) and high != (None, None):
        start = f"[{low[0]:g}" if low[0] is not None else f"({low[1]:g}"
        return f"{number} in {start}, {f'{high[0]:g}]' if high[0] is not None else f'{high[1]:g})'}"
    ends = zip((">=", ">", "<=", "<"), (*low, *high), strict=True)
    return " ".join([number, *(f"{sign} {end:g}" for sign, end in ends if end is not None)])


def command_options(command: str) -> str:
    """Return the tables of a command's arguments and options, one for each group."""
    _, parser = parsers(command)
    assert parser is not None
    groups = {"Arguments": parser.arguments(), **parser.groups()}
    tables = []
    for title, actions in groups.items():
        rows = [f"| {flags(action)} | {cell(action.help or '')} |" for action in actions]
        tables += [f"### {title[0].upper()}{title[1:]}\n", "| | |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(tables).strip()


def flags(action: argparse.Action) -> str:
    """Return an action's flags and its value as it is typed."""
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else ""
    value = "" if action.nargs == 0 else f" {action.metavar or choices}"
    return ", ".join(f"`{name}{value}`" for name in action.option_strings).replace("|", "\\|") or f"`{action.metavar}`"


def cell(text: str) -> str:
    """Return a help text as a cell of a table."""
    return catalogue.plain(text.replace("%%", "%"))


def command_index() -> str:
    """Return the table of all commands, for docs/commands/README.md."""
    rows = [f"| [{name}]({name}.md) | {about(name)} |" for name in COMMANDS]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def about(command: str) -> str:
    """Return the first sentence of a command's help."""
    return inspect.cleandoc(getattr(api, COMMANDS[command][0]).__doc__).partition("\n")[0]


def title(method: str) -> str:
    """Return a method's title, from the first line of its page."""
    first = (PAGES / f"{method}.md").read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix(f"# {method}: ")


def method_index() -> str:
    """Return the table of all methods, for docs/methods/README.md."""
    rows = [f"| [{name}]({name}.md) | {title(name)} | {'yes' if kind.needs_teacher else 'no'} |" for name, kind in METHODS.items()]
    return "\n".join(["| method | title | needs a trained teacher |", "|---|---|---|", *rows])


def method_list() -> str:
    """Return a paragraph that names all methods, for the README."""
    taught = [f"`{name}`" for name, kind in METHODS.items() if kind.needs_teacher]
    untaught = [f"`{name}`" for name, kind in METHODS.items() if not kind.needs_teacher]
    return "\n".join(
        [
            f"{len(METHODS)} methods, [a page each](docs/methods/README.md). Without a teacher: {', '.join(untaught)}.",
            f"With a trained network as teacher, or pivot: {', '.join(taught)}.",
        ]
    )


def method_imports() -> str:
    """Return the imports by which editors and type checkers know the methods' classes."""
    lines = (entry.partition(":")[::2] for entry in (*CONTRACT, *METHODS.built_in.values()))
    return "\n".join(f"    from {module} import {name} as {name}" for module, name in sorted(lines))


def study_index() -> str:
    """Return the table of all studies with their claims, for docs/studies.md."""
    rows = ["| study | shows | published in | claims that are tested |", "|---|---|---|---|"]
    for name, study in STUDIES.items():
        claims = "; ".join(dict.fromkeys(claim.text.partition(": ")[0] if name == "regime" else claim.text for claim in paper(name).claims))
        rows.append(f"| `{name}` | {study.title} | {study.source} | {claims} |")
    return "\n".join(rows)


def published_numbers() -> str:
    """Return the published numbers of all studies, for docs/studies/published.md."""
    lines: list[str] = []
    for name, study in STUDIES.items():
        told = [cell for cell in paper(name).cells if cell.published is not None]
        columns = list(dict.fromkeys(cell.column for cell in told))
        if not told:
            continue
        at = {(cell.row, cell.column): cell for cell in told}
        unit = unit_of(told[0].measure)
        lines += [
            f"## {study.title}: `{name}`",
            "",
            f"{study.source}; {unit.name}.",
            "",
            f"| | {' | '.join(columns)} |",
            "|---|" + "---:|" * len(columns),
        ]
        for row in dict.fromkeys(cell.row for cell in told):
            own = [at.get((row, column)) for column in columns]
            texts = ["–" if cell is None else number(cell.published, cell.published_std, unit.digits) for cell in own]
            lines.append(f"| {row} | {' | '.join(texts)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def network_parts(names: list[str]) -> dict[str, str]:
    """Return the generated parts of the page on a family of networks."""
    options = catalogue.network_options(names[0])
    return {"networks": catalogue.network_table(names), **({"options": options} if options else {})}


def source_parts(page: str) -> dict[str, str]:
    """Return the generated parts of a page on data sources."""
    return {"sources": catalogue.source_table(page), "options": option_table(catalogue.source_options(page))}


def paper(name: str) -> Plan:
    """Return the plan of a study at the scale `paper`."""
    return STUDIES[name].plan(Setting("paper"))


def parts() -> dict[Path, dict[str, str]]:
    """Return all generated parts: file -> name -> text."""
    return {
        **{PAGES / f"{name}.md": {"options": option_table(method_options(name))} for name in METHODS},
        PAGES / "README.md": {"methods": method_index()},
        **{COMMAND_PAGES / f"{name}.md": {"options": command_options(name)} for name in COMMANDS},
        COMMAND_PAGES / "README.md": {"commands": command_index()},
        **{NETWORK_PAGES / f"{family}.md": network_parts(names) for family, names in catalogue.families().items()},
        NETWORK_PAGES / "README.md": {"families": catalogue.family_index()},
        **{SOURCE_PAGES / f"{page}.md": source_parts(page) for page in catalogue.SOURCE_PAGES},
        SOURCE_PAGES / "README.md": {"sources": catalogue.source_index()},
        ROOT / "README.md": {"methods": method_list()},
        ROOT / "docs" / "studies.md": {"studies": study_index()},
        ROOT / "docs" / "studies" / "published.md": {"numbers": published_numbers()},
        ROOT / "studygroup" / "methods" / "__init__.py": {"methods": method_imports()},
    }


def fill(content: str, name: str, text: str) -> str:
    """Return a file's content with one part replaced."""
    return re.sub(
        rf"((?:<!--|#) generated: {name}\b[^\n]*\n)(?:.*?\n)??([ ]*(?:<!--|#) end\b)",
        lambda found: f"{found[1]}{text}\n{found[2]}",
        content,
        flags=re.DOTALL,
    )


def main(arguments: list[str]) -> int:
    """Rewrite all stale files, or name them; 1 if there are some and `--check` is given."""
    stale = []
    for path, texts in parts().items():
        content = current = path.read_text(encoding="utf-8")
        for name, text in texts.items():
            current = fill(current, name, text)
        if current != content:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(current, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is stale; run `make docs`' if '--check' in arguments else 'rewritten'}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
