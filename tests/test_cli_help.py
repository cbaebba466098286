"""`--help` and `--version`: complete, and nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from studygroup import cli
from studygroup.command_line import COMMANDS, NOT_A_FLAG
from studygroup.parameters import parameters_of

HEAVY = ("torch", "numpy", "sklearn", "matplotlib", "rich", "docstring_parser", "yaml")


def help_of(*words: str) -> tuple[list[str], str]:
    """Print help in a fresh process; return the names of the imported modules, and what was printed."""
    code = "import sys, studygroup.cli\ntry: studygroup.cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.split(), done.stdout


@pytest.mark.parametrize("words", [[], ["train"], ["predict"], ["benchmark"], ["compare"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    modules, written = help_of(*words)
    assert "usage: studygroup" in written
    assert {module.partition(".")[0] for module in modules}.isdisjoint(HEAVY)
    assert len([module for module in modules if module.startswith("studygroup")]) <= 22
    assert len(modules) < 200  # 119 with Python 3.12


@pytest.mark.parametrize("command", ["train", "benchmark"])
def test_help_explains_the_options_of_methods(command: str) -> None:
    _, written = help_of(command)
    assert f"usage: studygroup {command} [DATA]" in written
    assert "--method.OPTION VALUE" in written
    assert "studygroup list methods" in written
    assert "--config RECIPE" in written
    assert "--batch-size N" in written
    assert "Batch size (default: 64)" in written


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_option_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    written = capsys.readouterr().out
    for name, parameter in parameters_of(COMMANDS[command][1]).items():
        hidden = name in NOT_A_FLAG or (name == "method" and command == "compare")
        flag = name.upper().removesuffix("S") if parameter.positional else f"--{name.replace('_', '-')} "
        assert hidden or flag in written.replace("\n", " ").replace(",", " ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("studygroup ")


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for command in COMMANDS:
        assert command in captured.err
