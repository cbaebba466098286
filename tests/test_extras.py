"""Each extra that is not installed gives one line that names it. `export` is in tests/exporting/test_errors.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from docs.blocks import extras
from studygroup.cli import main

FOR_DEVELOPERS = {"dev", "docs"}
COMMANDS = {  # extra -> its module, and a command that needs it
    "timm": ("timm", "train digits --student timm:resnet18 --epochs 1"),
    "transformers": ("transformers", "train table.csv --student hf:model --epochs 1"),
    "tensorboard": ("tensorboard", "train digits --tensorboard --epochs 1"),
    "ray": ("ray", "compare digits --methods dml --epochs 1 --ray local"),
    "parquet": ("pyarrow", "train table.parquet --epochs 1"),
    "datasets": ("datasets", "train hub:saved --epochs 1"),
}
PARTS = {"tensorboard": ["torch.utils.tensorboard"], "transformers": ["tokenizers"]}  # what comes with the module


def test_every_extra_has_a_command_here() -> None:
    assert extras() == {*COMMANDS, "export", *FOR_DEVELOPERS}


@pytest.mark.parametrize("extra", COMMANDS)
def test_an_absent_extra_gives_one_line(
    extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, command = COMMANDS[extra]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDYGROUP_CACHE", str(tmp_path / "cache"))
    for name in [known for known in sys.modules if known.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    for part in PARTS.get(extra, ()):
        monkeypatch.setitem(sys.modules, part, None)
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    (tmp_path / "table.csv").write_text("text,label\n" + "".join(f"a text {k},{'ab'[k % 2]}\n" for k in range(40)))
    for folder, file in (("saved", "dataset_dict.json"), ("model", "config.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("{}")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    assert main(command.split()) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("studygroup: error: ")]
    assert len(errors) == 1
    assert f"pip install 'studygroup[{extra}]'" in errors[0]
    assert not list(tmp_path.glob("runs/*/result.json"))
