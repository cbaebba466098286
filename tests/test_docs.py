"""The code blocks of the pages: every command is understood (quick), and every block runs (slow)."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import studygroup
from docs.blocks import ROOT, Block, check, commands, extras, pages, read_blocks, targets
from docs.catalogue import SOURCE_PAGES, families, network_row, source_options
from docs.drawings.__main__ import files as drawings
from docs.drawings.tables import numbers, read_table, spread
from docs.run import agrees, renewed_lines, run_pages
from docs.site.conf import FOLDERS, NAVIGATION, REFERENCE, include_patterns
from studygroup.command_line import COMMANDS, parsers
from studygroup.data import SOURCES
from studygroup.methods import METHODS, method_options

every_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


@cache
def known_flags() -> set[str]:
    """Return the flags of all commands and methods."""
    flags = {flag for command in COMMANDS for flag in parsers(command)[1].flags()}  # type: ignore[union-attr]
    options = {f"--method.{option}" for method in METHODS for option in method_options(method)}
    return flags | options | {"--version", "--method.NAME", "--method.OPTION"}


def write(folder: Path, text: str) -> list[Block]:
    (folder / "page.md").write_text(text)
    return read_blocks(folder / "page.md")


@every_page
def test_every_block_is_found_and_its_commands_are_understood(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = read_blocks(page)
    assert len(blocks) == len(re.findall(r"^ *```", text, re.MULTILINE)) // 2 + len(re.findall(r"^<!-- python$", text, re.MULTILINE))
    for block in blocks:
        check(block)


@every_page
def test_every_mark_stands_before_a_block(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    marks = re.findall(r"^<!-- (?:not run|program|in full|file)\b.*$", text, re.MULTILINE)
    assert len(marks) == sum(bool(block.not_run or block.program or block.in_full or block.file) for block in read_blocks(page))


def test_there_are_pages_blocks_and_commands() -> None:
    blocks = [block for page in pages() for block in read_blocks(page)]
    assert len(pages()) > 50
    assert sum(block.runs for block in blocks) >= 60
    assert sum(len(list(commands(block))) for block in blocks if block.runs and block.language == "bash") > 80


def test_a_block_has_its_place_marks_and_code(tmp_path: Path) -> None:
    text = (
        "# Title\n\n<!-- not run: needs two machines -->\n```bash\nmake test \\\n  docs  # a comment\n```\n\n1. An item\n\n"
        "   ```python\n   if True:\n       pass\n   ```\n\n<!-- python\nx = 1\n-->\n```\nplain\n```\n"
    )
    first, second, third, fourth = write(tmp_path, text)
    assert (first.line, first.language, first.not_run, first.runs) == (5, "bash", "needs two machines", False)
    assert [command.text for command in commands(first)] == ["make test    docs  # a comment"]
    assert (second.code, second.runs) == ("if True:\n    pass\n", True)
    assert (third.language, third.code, third.runs) == ("python", "x = 1\n", True)
    assert (fourth.language, fourth.runs) == ("", False)


def test_a_console_block_has_commands_with_their_outputs(tmp_path: Path) -> None:
    (block,) = write(tmp_path, "```console\n$ studygroup list \\\n    methods\nfirst\nsecond\n$ ls\n```\n")
    assert [(command.text, command.shown) for command in commands(block)] == [
        ("studygroup list      methods", "first\nsecond\n"),
        ("ls", ""),
    ]


@pytest.mark.parametrize(
    ("language", "code", "message"),
    [
        ("bash", "studygroup train photos/ --epoch 3", r"page.md:2: unknown flag --epoch; did you mean --epochs\?"),
        ("bash", "studygroup train photos/ --epochs three", "page.md:2: .*--epochs: "),
        ("bash", "studygroup trian photos/", "page.md:2: unknown command 'trian'"),
        ("bash", "studygroup train photos/ --method dml --method.student 3", "page.md:2: dml has no option student"),
        ("bash", "torchrun --nnodes 2 -m studygroup train photos/ --spread members", "page.md:2: --spread is called --shard now"),
        ("console", "$ studygroup predict runs/photos cat.jpg --topp 3\ncat\n", "page.md:2: unknown flag --topp"),
        ("bash", "python recipes/absent.py photos/", "page.md:2: there is no program recipes/absent.py"),
        ("bash", "make everything", "page.md:2: make has no target everything"),
        ("bash", "pip install '.[exports]'", "page.md:2: there is no extra exports"),
        ("python", "sg.train(", "page.md:2: "),
        ("", "studygroup train photos/", "page.md:2: a block with commands has no language; write ```bash"),
    ],
)
@pytest.mark.parametrize("mark", ["", "<!-- not run: hours -->\n"])
def test_what_cannot_be_right_is_found(tmp_path: Path, language: str, code: str, message: str, mark: str) -> None:
    (block,) = write(tmp_path, f"{mark}```{language}\n{code}\n```\n")
    with pytest.raises(ValueError, match=message if not mark else message.replace("md:2", "md:3")):
        check(block)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("accuracy 97.2%, 3 s\n", "accuracy 88%, 12.5 s\n", True),
        ("accuracy 97.2%\n", "precision 97.2%\n", False),
        ("first\n...\nlast 1\n", "first\nsecond\nthird\nlast 2\n", True),
        ("first\n...\n", "first\n", True),
        ("first\n...\n", "second\n", False),
        ("...\nsecond\n...\n", "first\nsecond\nthird\n", True),
        ("...\nlast\nlast\n", "first\nlast\nmore\n", False),
        ("first 1\nsecond\n", "second\nfirst 2\n", True),
        ("first\n", "first\nfirst\n", False),
        ("", "", True),
        ("took 3 s\n", "took 1.2 min\n", True),
        ("a  ·  3\n\n", "\na 12 –\n", True),
        ("", "something\n", False),
        ("  a   1 \n ──── \n", " a 100\n ──────\n", True),
    ],
)
def test_an_output_agrees_but_for_numbers_and_what_is_left_out(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) == same


def test_an_output_is_renewed_whole_or_in_the_lines_that_the_page_shows() -> None:
    printed = "first 1 \nsecond 2\nthird 3\n\n"
    assert renewed_lines("", printed) == "first 1\nsecond 2\nthird 3\n"
    assert renewed_lines("first 8\n...\nthird 9\n", printed) == "first 1\n...\nthird 3\n"
    assert renewed_lines("fourth 8\n...\n", printed) == "first 1\nsecond 2\nthird 3\n"


@every_page
def test_flags_in_sentences_are_flags(page: Path) -> None:
    assert set(re.findall(r"`(--[\w.-]+)", page.read_text(encoding="utf-8"))) <= known_flags()


def test_a_session_of_python_has_examples_with_outputs(tmp_path: Path) -> None:
    (block,) = write(tmp_path, "```pycon\n>>> x = 1\n\n>>> for k in range(2):\n...     print(k)\n0\n1\n>>> x\n1\n```\n")
    examples = list(commands(block))
    assert [example.shown for example in examples] == ["", "0\n1\n", "1\n"]
    assert "".join(example.typed + example.shown for example in examples) == block.code


def test_the_extras_and_targets_are_those_of_the_project() -> None:
    assert {"export", "docs", "dev"} <= extras()
    assert {"install", "test", "docs"} <= targets()


@pytest.mark.slow
@every_page
def test_every_block_runs(page: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "docs.run", str(page)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_block_that_fails_fails_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.run.BUILD", tmp_path)
    monkeypatch.setattr("docs.run.ROOT", tmp_path)
    monkeypatch.setattr("docs.stand_ins.build", lambda folder, studygroup: None)
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    assert "AssertionError" in run_pages([page])["page.md"]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = {page for group in NAVIGATION.values() for page in group} | {"README"}
    there = {path.relative_to(ROOT).with_suffix("").as_posix() for pattern in include_patterns for path in ROOT.glob(pattern)}
    assert {page for page in there if page.rpartition("/")[0] not in FOLDERS or page.endswith("/README")} == listed


def test_the_reference_has_every_public_name() -> None:
    shown = {name.rpartition(".")[2] for names in REFERENCE.values() for name in names}
    assert set(dir(studygroup)) - {"analysis", "data", "losses", "methods", "networks", "options"} <= shown


def test_the_drawings_are_those_of_the_code() -> None:
    for path, content in drawings().items():
        assert path.read_text(encoding="utf-8") == content, "run `make figures`"


def test_every_network_family_and_data_source_has_a_page() -> None:
    others = {"README", "timm", "hugging_face"}
    assert {path.stem for path in (ROOT / "docs" / "networks").glob("*.md")} == families().keys() | others
    assert {path.stem for path in (ROOT / "docs" / "sources").glob("*.md")} == SOURCE_PAGES.keys() | {"README"}
    assert sorted(name for names in SOURCE_PAGES.values() for name in names) == sorted(SOURCES.built_in)


def test_the_table_of_a_network_has_its_size_operations_and_maps() -> None:
    row = network_row("resnet8")
    # 78,042 parameters (CRD benchmark); of a convolution 2 K K C D H W operations: 885 k of the stem, 9.4 M of stage 1, and so on
    assert row == "| `resnet8` | 78,042 | 25 M | 16·32², 16·32², 32·16², 64·8² |"


def test_the_options_of_a_source_are_those_that_it_takes() -> None:
    assert {"text_columns", "delimiter", "on_error", "tokenizer"} <= source_options("table").keys()
    assert "encoding" in source_options("texts").keys() - source_options("imdb").keys()
    assert "download" in source_options("cifar").keys() - source_options("folder").keys()
    assert not {"tokenizer", "text_columns"} & source_options("digits").keys()


def test_a_table_of_a_page_is_read_with_its_numbers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n\n| a | gain |\n|---|---|\n| one | -1.5 [-2.0, -1.0] |\n| two | – |\n\n| other |\n")
    assert read_table(page, "gain") == [{"a": "one", "gain": "-1.5 [-2.0, -1.0]"}, {"a": "two", "gain": "–"}]
    assert [numbers(row["gain"]) for row in read_table(page, "gain")] == [[-1.5, -2.0, -1.0], []]


def test_labels_are_apart_and_above_the_foot() -> None:
    assert spread([10, 11, 30], 5, 0, 100) == [10, 15, 30]
    assert spread([98, 99, 100], 5, 0, 100) == [90, 95, 100]
