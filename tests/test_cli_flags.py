"""Aliases, former names, names in other tools, and typos of flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from studygroup import cli
from studygroup.command_line import COMMANDS
from studygroup.options import RENAMED
from studygroup.options.flags import SYNONYMS
from studygroup.parameters import parameters_of
from tests.fake_api import Calls, error_of, fake_train


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return fake_train(monkeypatch)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("--lr 0.1 --batch 8 --imgsz 64", {"learning_rate": 0.1, "batch_size": 8, "image_size": 64}),
        ("--learning-rate 0.1 --batch-size 8 --image-size 64", {"learning_rate": 0.1, "batch_size": 8, "image_size": 64}),
        ("--lr 0.1 --learning-rate 0.2", {"learning_rate": 0.2}),
    ],
)
def test_aliases_of_flags(train: Calls, words: str, given: dict[str, object]) -> None:
    assert cli.main(["train", "digits", *words.split()]) == 0
    assert train.kwargs == given


FORMER = [("train", old) for old in RENAMED if old not in ("cells", "validation")] + [("compare", "validation"), ("compare", "test_share")]


@pytest.mark.parametrize(("command", "old"), FORMER)
def test_former_flags_are_refused_with_their_new_name(capsys: pytest.CaptureFixture[str], command: str, old: str) -> None:
    name, new = old.replace("_", "-"), RENAMED[old].replace("_", "-")
    for words in ([f"--{name}", "3"], [f"--{name}=3"], [f"--{old}=3"]):
        assert error_of(capsys, command, "digits", *words) == f"studygroup: error: --{name} is called --{new} now\n"
    assert f"--no-{name} is called --{new} now" in error_of(capsys, command, "digits", f"--no-{name}")


def test_former_flags_of_other_commands_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --validation; " in error_of(capsys, "train", "digits", "--validation", "3")
    assert "unknown flag --clip; " in error_of(capsys, "list", "--clip", "3")


def test_former_keys_of_recipes_are_refused_with_their_new_name(train: Calls, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: digits\ntest_share: 0.2\n")
    assert "recipe.yaml: test_share is called test_size now" in error_of(capsys, "train", "--config", str(recipe), code=1)
    assert train == []


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("train digits --model resnet20", "--student"),
        ("train digits --output x", "--out"),
        ("train digits --gpus 2", "--devices"),
        ("train digits --wd 0", "--weight-decay"),
        ("train digits --grad-accum 2", "--microbatches"),
        ("train digits --val-split 0.1", "--holdout"),
        ("train digits --amp", "--precision"),
        ("train digits --scheduler cosine", "--schedule"),
        ("train digits --force", "--overwrite"),
        ("train --recipe x.yaml", "--config"),
        ("train digits --learning-rates 0.1", "--learning-rate"),
        ("compare digits --arch resnet20", "--student"),
    ],
)
def test_flags_of_other_tools_and_typos_are_refused_with_ours(capsys: pytest.CaptureFixture[str], words: str, flag: str) -> None:
    assert error_of(capsys, *words.split()).endswith(f"; did you mean {flag}?\n")


@pytest.mark.parametrize("words", ["train digits --temperature 3", "predict runs/x a.png --model x", "report runs/x --gpus 2"])
def test_unrelated_flags_are_not_suggested(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert "; --help shows the flags" in error_of(capsys, *words.split())


def test_the_flags_of_synonyms_exist() -> None:
    flags = {f"--{name.replace('_', '-')}" for _, options in COMMANDS.values() for name in parameters_of(options)} | {"--config"}
    assert set(SYNONYMS.values()) <= flags
    assert flags.isdisjoint(SYNONYMS)
    assert {new for _, options in COMMANDS.values() for new in parameters_of(options)} >= set(RENAMED.values())
