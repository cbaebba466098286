"""The benchmarks: that each program works, that its reference does the same work, and the page of results.

No speed is tested.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from studygroup.batch import Partition
from studygroup.clock import Clock
from studygroup.data import Batches, Ragged, Split
from studygroup.data.transforms import TokenTransform
from studygroup.networks import NetworkFactory
from studygroup.training import Settings
from studygroup.training.meter import LossMeter
from studygroup.training.timing import quartiles
from studygroup.training.updater import Updater

HOME = Path(__file__).parent.parent / "benchmarks"
PROGRAMS = ["routing", "group_cost", "orc", "trainer", "dml", "augment", "memory", "text_networks"]
WITH_PROCESSES = ["allocator", "data", "texts", "start"]
WITHOUT_TARGETS = ["text_networks"]

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a program as it is when it is run: beside the others."""
    monkeypatch.syspath_prepend(str(HOME))
    return importlib.import_module


@pytest.mark.parametrize("name", [*PROGRAMS, *(pytest.param(name, marks=pytest.mark.slow) for name in WITH_PROCESSES)])
def test_each_program_works(load: Load, name: str) -> None:
    rows = load(name).measure(1, True)
    assert rows
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert math.isfinite(row.value)
        assert 0 <= row.low <= row.high
        assert row.value > 0 or row.unit == "MiB"
    assert any(row.target is not None for row in rows) == (name not in WITHOUT_TARGETS)


def test_no_program_is_forgotten(load: Load) -> None:
    assert set(load("all").programs()) >= {*PROGRAMS, *WITH_PROCESSES}
    assert set(load("all").programs()) <= set(load("table").ORDER)


@pytest.mark.slow
def test_all_of_them_from_the_command_line(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HOME.parent))
    monkeypatch.setattr(sys, "argv", ["all.py", "--quick", "--repeats", "1", "--out", str(tmp_path), "--only", "orc", "memory"])
    assert load("all").main() == 0
    results = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(results) == {"orc", "memory"}
    assert all(result["program"] == name and result["quick"] and result["repeats"] == 1 for name, result in results.items())


# ---------------------------------------------------------------- the references


@pytest.mark.parametrize("wrong", [False, True])
def test_the_loop_over_students_does_the_same_as_the_fused_step(load: Load, monkeypatch: pytest.MonkeyPatch, wrong: bool) -> None:
    routing = load("routing")
    batch = routing.batch_of(3, 8, torch.contiguous_format)
    if not wrong:
        assert routing.check(routing.of_images(routing.narrow_chain), batch, torch.contiguous_format) < 1e-3
        return
    monkeypatch.setattr(routing, "subgroups_of", lambda *_: [[] for _ in range(8)])
    with pytest.raises(AssertionError):
        routing.check(routing.of_images(routing.narrow_chain), batch, torch.contiguous_format)


def test_the_loop_makes_targets_of_texts_without_dropout_and_without_a_trace(load: Load) -> None:
    routing, subjects = load("routing"), load("text_networks").TINY_STUDENTS
    ids = torch.randint(1, 72, (4, 12), generator=torch.Generator().manual_seed(0))
    for student in subjects:
        loop = routing.Loop(NetworkFactory(student.network, num_classes=5, vocabulary=72), torch.contiguous_format)
        before = {name: value.clone() for name, value in loop.group.named_buffers()}
        loop.make_targets(True)
        torch.testing.assert_close(loop.logits(0, ids), loop.logits(0, ids), rtol=0, atol=0)
        assert all(torch.equal(value, before[name]) for name, value in loop.group.named_buffers())
        loop.make_targets(False)
        again, random = loop.logits(0, ids), bool(loop.dropouts)
        assert torch.equal(loop.logits(0, ids), again) != random
        moved = any(not torch.equal(value, before[name]) for name, value in loop.group.named_buffers())
        assert moved == bool(loop.norms) != random


def test_batches_of_texts_at_random_have_the_same_texts(load: Load) -> None:
    program, batches = load("text_networks"), batches_of_texts(load)
    mixed = program.at_random(batches)
    chosen, others = program.positions(batches), program.positions(mixed)
    assert [len(own) for own in chosen] == [len(own) for own in others] == [16] * 50 + [8]
    assert sorted(np.concatenate(chosen)) == sorted(np.concatenate(others)) == list(range(808))
    assert 0 < program.padding(batches) < 0.1 < 0.3 < program.padding(mixed)
    for made in (batches, mixed):
        found = list(made.epoch(0))
        assert [batch.inputs.shape[1] for batch in found] == program.widths(made).tolist()
        assert [batch.indices.tolist() for batch in found] == [own.tolist() for own in program.positions(made)]
        padded = sum(int((batch.inputs == 0).sum()) for batch in found) / sum(batch.inputs.numel() for batch in found)
        assert program.padding(made) == pytest.approx(padded)


def test_the_steps_that_are_timed_are_spread_over_the_lengths(load: Load) -> None:
    program = load("text_networks")
    assert program.evenly(np.array([70, 10, 40, 20, 60, 30, 50, 80]), 4) == [3, 2, 4, 7]
    assert program.evenly(np.array([3, 1, 2]), 3) == [1, 2, 0]
    # A step of a group has as many tokens as the same step of the student alone, or nearly: that is what the ratios stand on.
    alone, shared = batches_of_texts(load, 960), batches_of_texts(load, 960, Partition(8, "epoch"))
    for step in program.evenly(program.widths(alone), 4):
        one, other = (int((next(batches.epoch(0, step)).inputs > 0).sum()) for batches in (alone, shared))
        assert one == pytest.approx(other, rel=0.25)


def batches_of_texts(load: Load, count: int = 808, partition: Partition | None = None) -> Batches:
    random = np.random.default_rng(0)
    lengths = np.minimum(np.exp(random.normal(3, 0.8, count)).astype(np.int64) + 1, 100)
    rows = Ragged.of([random.integers(1, 9, length) for length in lengths])
    return Batches(Split(rows, np.zeros(count, dtype=np.int64)), TokenTransform(torch.device("cpu")), batch_size=16, partition=partition)


def test_the_loop_of_mutual_learning_has_the_products_loss(load: Load) -> None:
    dml = load("dml")
    logits = [torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    labels = torch.arange(6) % 4
    method = dml.DML(students=3)
    expected = sum(sum(method.student_loss(k, logits, labels).values()) for k in range(3))
    torch.testing.assert_close(dml.loss_of(logits, labels), torch.as_tensor(expected))


def test_the_parts_of_an_iteration_are_those_that_it_has(load: Load) -> None:
    orc = load("orc")
    parts = orc.measure(1, True)[0].figures["milliseconds"]
    counted: Counter[str] = Counter()
    common = load("common")
    splits = common.random_material(32, 8, (1, 28, 28))
    method = orc.ORC(students=3)
    method.build(common.maker("resnet8", splits, teacher="resnet8"))
    for network in (*(method.group[k] for k in range(3)), method.pivot):
        network.register_forward_hook(lambda *_: counted.update(["forward"]))
        next(network.parameters()).register_hook(lambda gradient: counted.update(["backward"]))
    updater = Updater(method.train(), Settings(precision="float32"), torch.device("cpu"))
    batch = load("routing").batch_of(2, 28, torch.contiguous_format)
    updater.step(type(batch)(batch.inputs[:, :1], batch.labels, batch.indices), Clock(), LossMeter())
    assert counted["forward"] == sum("forward" in name for name in parts) == 6
    assert counted["backward"] == sum("backward" in name for name in parts) == 4


# ---------------------------------------------------------------- rows, files and the page


def rows_of(common: ModuleType) -> list[Any]:
    return [
        common.row("fast | slow", quartiles([1.1, 1.2, 1.3]), target=1.25, details="a detail"),
        common.row("slow", quartiles([1.1, 1.2, 1.3]), bound="at least", target=1.25),
        common.exact("reported", 1234.0, "MiB"),
    ]


def run_main(common: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[tuple[int, bool]]:
    asked: list[tuple[int, bool]] = []

    def measure(repeats: int, quick: bool) -> list[Any]:
        asked.append((repeats, quick))
        return rows_of(common)

    monkeypatch.setattr(sys, "argv", ["benchmarks/trial.py", *words])
    common.main("A trial.\n\nWhat it does.", measure, repeats=5)
    return asked


def test_the_command_line_of_a_program(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common, table = load("common"), load("table")
    assert run_main(common, monkeypatch, "--json", str(tmp_path / "new" / "trial.json")) == [(5, False)]
    printed = capsys.readouterr().out
    for expected in ("1.20 x", "1.15 – 1.25", "≤ 1.25 x", "not reached", "1,234 MiB", "a detail", "5 repetitions"):
        assert expected in printed
    result = json.loads((tmp_path / "new" / "trial.json").read_text())
    assert [found["reached"] for found in result["rows"]] == [True, False, None]
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["command"].startswith("python benchmarks/trial.py --json")

    page = table.page([result])
    assert "**1 of 2 targets reached.**" in page
    assert "## A trial\n\nWhat it does.\n" in page
    assert r"| fast \| slow | 1.20 x | 1.15 – 1.25 | ≤ 1.25 x | reached | a detail |" in page
    assert page.count("Machine: ") == 1
    other = {**result, "program": "orc", "machine": {**result["machine"], "processor": "Another"}}
    both = table.page([result, other])
    assert both.count("Machine: ") == 2
    assert both.index("Another") < both.index(result["machine"]["processor"]), "in the order of the programs"


def test_a_quick_run_measures_nothing(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common, table = load("common"), load("table")
    assert run_main(common, monkeypatch, "--quick", "--json", str(tmp_path / "trial.json")) == [(2, True)]
    printed = capsys.readouterr().out
    assert "reached" not in printed
    assert "no measurement" in printed
    monkeypatch.setattr(sys, "argv", ["table.py", str(tmp_path), "--out", str(tmp_path / "page.md")])
    assert table.main() == 1
    assert "trial: run with --quick" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()
    with pytest.raises(ValueError, match="no results"):
        table.page([])


def test_the_number_of_repetitions_is_checked(load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_main(load("common"), monkeypatch, "--repeats", "0")
    assert "at least 1" in capsys.readouterr().err


def test_noise_stands_in_for_data_that_is_not_there(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = load("common")

    def missing(*_: object, **__: object) -> SimpleNamespace:
        raise common.UserError("no such data")

    monkeypatch.setattr(common, "open_dataset", missing)
    splits = common.clothes(20, 4, quick=False)
    assert (len(splits.train), len(splits.holdout), splits.dataset.images.shape) == (20, 4, (1, 28, 28))
    assert not set(splits.train.rows) & set(splits.holdout.rows)
    assert "no such data" in capsys.readouterr().err
