"""Every method has a page in docs/methods that agrees with the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from studygroup.methods import METHODS, create_method, method_options
from studygroup.parameters import show

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "methods"
SECTIONS = ["Loss", "Options", "Departures", "Cost of an iteration", "Try it"]
every_method = pytest.mark.parametrize("name", METHODS)


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def sections(name: str) -> dict[str, str]:
    """Return the text under each heading."""
    parts = re.split(r"^## (.+)$", page(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_method_has_a_page_and_there_is_no_other() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*METHODS, "README"}


def test_generated_parts_are_current() -> None:
    found = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_index_has_a_line_for_every_method() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (.+) \| (yes|no) \|$", page("README"), flags=re.MULTILINE)
    assert [name for name, *_ in rows] == list(METHODS)
    for name, link, title, taught in rows:
        assert link == name
        assert page(name).startswith(f"# {name}: {title}\n")
        assert (taught == "yes") == METHODS[name].needs_teacher


def test_the_readme_names_every_method() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- generated: methods -->\n(.*?)<!-- end -->", readme, flags=re.DOTALL)
    named = re.findall(r"`(\w+)`", block)
    assert sorted(named) == sorted(METHODS)


@every_method
def test_a_page_has_its_sections_and_names_its_source(name: str) -> None:
    text = page(name)
    assert text.startswith(f"# {name}: ")
    assert [section for section in sections(name) if section in SECTIONS] == SECTIONS  # some have more
    assert all(part.strip() for part in sections(name).values())
    assert sections(name)["Loss"].count("```") == 2
    if name != "baseline":
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|\b(19|20)\d\d\b", text.split("##")[0])


@every_method
def test_a_page_says_whether_the_method_takes_texts(name: str) -> None:
    found = re.findall(r"^Texts: (yes|no)\b(.*?)\n\n## Loss", page(name), flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    answer, how = found[0]
    why = METHODS[name].images_only
    assert answer == ("no" if why else "yes")
    assert " ".join(how.split()) == f": {why}." if why else how.startswith(".")


@every_method
def test_a_page_lists_all_options_with_their_defaults(name: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (.+) \| (.+) \|$", sections(name)["Options"], flags=re.MULTILINE)
    known = method_options(name)
    assert [option for option, *_ in rows] == list(known)
    for option, default, values, meaning in rows:
        value = known[option].default
        assert default == ("–" if value is None else show(value)), option
        assert len(meaning) > 10, option
        for choice in known[option].kind.choices:
            assert f"`{choice}`" in values, f"{option} may be {choice}"


@every_method
def test_the_commands_of_a_page_are_valid(name: str) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", sections(name)["Try it"], flags=re.DOTALL)
    assert len(blocks) == 1
    commands = [shlex.split(line) for line in blocks[0].splitlines()]
    assert commands
    for words in commands:
        assert words[:2] == ["studygroup", "train"]
        assert words[2] in ("digits", "fashion-mnist")
        given: dict[str, str] = {}
        for word in words[3:]:  # a flag has one value or several
            if word.startswith("--"):
                given[word] = ""
            else:
                given[list(given)[-1]] += f" {word}"
        assert all(given.values())
        given = {flag: value.strip() for flag, value in given.items()}
        assert given.pop("--method") == name
        assert ("--teacher" in given) == METHODS[name].needs_teacher
        options = {flag.removeprefix("--method."): value for flag, value in given.items() if flag.startswith("--method.")}
        assert set(given) - {f"--method.{option}" for option in options} <= {"--teacher", "--out"}
        create_method(name, {option: method_options(name)[option].kind.parse(value) for option, value in options.items()})
