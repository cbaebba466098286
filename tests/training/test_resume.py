"""A run that is stopped anywhere and resumed ends with the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import studygroup
from studygroup import TrainingError, UserError
from studygroup.methods import METHODS
from studygroup.networks import NETWORKS, create
from studygroup.runs import checkpoint
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Run
from studygroup.training.trainer import Interrupted, Trainer
from studygroup.training.updater import Updater
from tests.training.conftest import SMALL

TIMES = ("seconds", "samples_per_second")


def records(folder: Path) -> list[dict[str, Any]]:
    """The run's metrics without what a clock measured."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def assert_same(first: Path, second: Path) -> None:
    """Same members, bit for bit, same metrics, same result."""
    assert records(first) == records(second)
    names = sorted(path.name for path in (first / "members").glob("*.safetensors"))
    assert names == sorted(path.name for path in (second / "members").glob("*.safetensors"))
    for name in names:
        assert (first / "members" / name).read_bytes() == (second / "members" / name).read_bytes(), name
    results = [{**json.loads((folder / "result.json").read_text()), "seconds": None} for folder in (first, second)]
    assert results[0] == results[1]


def assert_resumes(train: Callable[..., Run], wanted: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a run at once in `folder/whole`, and with a stop in `folder/parts`; both must leave the same."""
    train(**wanted, out=folder / "whole")
    stop_at(monkeypatch, 1, 2)
    with pytest.raises(Interrupted, match="--resume"):
        train(**wanted, out=folder / "parts")
    monkeypatch.undo()
    train(**wanted, out=folder / "parts", resume=True)
    assert_same(folder / "whole", folder / "parts")


def newest(folder: Path) -> dict[str, Any]:
    """The newest intact checkpoint."""
    found: list[dict[str, Any]] = []
    assert checkpoint.load_newest(folder, found.append)
    return found[0]


def options(method: str, teacher: Path) -> dict[str, Any]:
    """What a method needs besides its name."""
    wanted: dict[str, Any] = {"method": method}
    if METHODS[method].needs_teacher:
        wanted["teacher"] = teacher
    special: dict[str, dict[str, Any]] = {
        "cgl": {"students": 4},
        **{name: {"assistants": ["resnet8"]} for name in ("takd", "dgkd")},
        **{name: {"initial_epochs": 1} for name in ("ab", "ft", "fsp")},
    }
    return wanted | ({"method_options": special[method]} if method in special else {})


def stop_at(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int, number: int = signal.SIGINT) -> None:
    """Send this process a signal once, after that step."""
    original = Trainer.run_epoch
    sent: list[bool] = []

    def spied(self: Trainer, steps: int, stop: Any, bars: Any) -> None:
        before = bars.step

        def after(at_epoch: int, at_step: int) -> None:
            before(at_epoch, at_step)
            if (at_epoch, at_step) == (epoch, step) and not sent:
                sent.append(True)
                signal.raise_signal(number)

        bars.step = after
        original(self, steps, stop, bars)

    monkeypatch.setattr(Trainer, "run_epoch", spied)


@pytest.mark.filterwarnings("ignore:the average of the students")  # after two epochs
@pytest.mark.parametrize("method", sorted(METHODS))
def test_interrupted_within_an_epoch_and_resumed(
    method: str, train: Callable[..., Run], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = options(method, teacher)
    train(**wanted, out=tmp_path / "whole")
    stop_at(monkeypatch, 1, 2)
    with pytest.raises(Interrupted, match="--resume"):
        train(**wanted, out=tmp_path / "parts")
    monkeypatch.undo()
    assert not (tmp_path / "parts" / "result.json").exists()
    train(**wanted, out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


class Killed(BaseException):
    """Nothing catches it and nothing is saved: what is on the disk then is what SIGKILL leaves."""


def kill(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.filterwarnings("ignore:the average of the students")  # after two epochs
@pytest.mark.parametrize(("method", "augment"), [*((method, "auto") for method in sorted(METHODS)), ("cgl", "strong"), ("kdcl", "strong")])
def test_killed_within_an_epoch_and_resumed(
    method: str, augment: str, train: Callable[..., Run], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {**options(method, teacher), "checkpoint_steps": 2, "augment": augment}
    train(**wanted, out=tmp_path / "whole")
    original, steps = Updater.step, []

    def mortal(self: Updater, *arguments: Any) -> None:
        steps.append(1)
        if len(steps) in (4, 10):
            kill()
        original(self, *arguments)

    monkeypatch.setattr(Updater, "step", mortal)
    for _ in range(2):
        with pytest.raises(Killed):
            train(**wanted, out=tmp_path / "parts", resume=True)
    train(**wanted, out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("file", ["data.json", "environment.json", "config.yaml"])
def test_killed_as_a_run_begins(file: str, train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half written file is written anew, and so is what follows it."""
    original = os.replace

    def mortal(source: Path, target: Path) -> None:
        if Path(target).name == file:
            kill()
        original(source, target)

    monkeypatch.setattr("studygroup.atomic.os.replace", mortal)
    with pytest.raises(Killed):
        train(method="baseline", epochs=1)
    monkeypatch.undo()
    assert (tmp_path / "run" / f".{file}.part").exists()
    train(method="baseline", epochs=1, resume=True)
    assert {"data.json", "environment.json", "config.yaml"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert not list((tmp_path / "run").rglob("*.part"))


@pytest.mark.parametrize(
    "where",
    [
        "studygroup.training.trainer.Trainer.save",  # the epoch is evaluated, its checkpoint is not written
        "studygroup.atomic.os.replace",  # a temporary file lies beside the checkpoints
        "studygroup.runs.metrics.MetricsLog.append",  # the checkpoint is there, the record is not
        "studygroup.training.results.write_member",  # trained to the end, but no member is written
        "studygroup.training.results.test_selected",  # members are there, the result is not
    ],
)
def test_killed_between_two_writes_and_resumed(
    where: str, train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"method": "cgl", "method_options": {"students": 2}}
    train(**wanted, out=tmp_path / "whole")
    monkeypatch.setattr(where, kill)
    with pytest.raises(Killed):
        train(**wanted, out=tmp_path / "parts")
    monkeypatch.undo()
    train(**wanted, out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_bf16_resumes_exactly_too(train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {
        "method": "cgl",
        "method_options": {"students": 2},
        "precision": "bf16",
        "channels_last": True,
        "optimizer": "adam",
        "learning_rate": 1e-3,
    }
    train(**wanted, out=tmp_path / "whole")
    stop_at(monkeypatch, 0, 3, signal.SIGTERM)
    with pytest.raises(Interrupted):
        train(**wanted, out=tmp_path / "parts")
    monkeypatch.undo()
    train(**wanted, out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_killed_with_sigkill_and_resumed(train: Callable[..., Run], tmp_path: Path, cache: Path) -> None:
    wanted: dict[str, Any] = {"method": "dml", "epochs": 4, "checkpoint_steps": 2}
    train(**wanted, out=tmp_path / "whole")
    script = (
        "import sys, torch, studygroup\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        f"studygroup.train('digits', method='dml', epochs=4, checkpoint_steps=2, train_size=160, holdout=48, batch_size=32, progress=False,"
        f" preset='none', linear_model=False, precision='float32',"
        f" cache={str(cache)!r}, out={str(tmp_path / 'killed')!r}, resume=True)"
    )
    kills = 0
    for patience in (1, 3, 10**9):  # killed after so many checkpoints have been seen, then left to finish
        process = subprocess.Popen([sys.executable, "-c", script], env=os.environ)
        seen: set[str] = set()
        while process.poll() is None:
            seen |= {path.name for path in (tmp_path / "killed" / "checkpoints").glob("*.ckpt")}
            if len(seen) > patience:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                break
            time.sleep(0.005)
    assert kills == 2
    assert process.returncode == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_a_damaged_newest_checkpoint_falls_back(train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(method="baseline", out=tmp_path / "whole")
    stop_at(monkeypatch, 1, 3)
    with pytest.raises(Interrupted):
        train(method="baseline", out=tmp_path / "parts")
    monkeypatch.undo()
    last, before = checkpoint.newest_first(tmp_path / "parts" / "checkpoints")
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(bytes(data))
    with pytest.warns(UserWarning, match=rf"{last.name} is damaged .* falling back"):
        train(method="baseline", out=tmp_path / "parts", resume=True)
    assert before.name < last.name
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_truncated_checkpoint_is_damaged(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"x": torch.ones(3)}, epoch=1, step=0)
    path = checkpoint.save(tmp_path, {"x": torch.zeros(3)}, epoch=2, step=0)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="checksum"):
        state = newest(tmp_path)
    assert torch.equal(state["x"], torch.ones(3))


def test_all_checkpoints_damaged(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"x": 1}, epoch=1, step=0).write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(RuntimeError, match="--overwrite"):
        newest(tmp_path)


def test_only_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for epoch in range(5):
        checkpoint.save(tmp_path, {"epoch": epoch}, epoch=epoch, step=0)
    assert [path.name[:12] for path in checkpoint.newest_first(tmp_path)] == ["epoch-000004", "epoch-000003"]
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_process_left_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda *_, **__: None)  # killed between the rename and the deletion of the oldest
            checkpoint.save(tmp_path, {"epoch": epoch}, epoch=epoch, step=0)
    (tmp_path / ".epoch-000003-step-00000000.ckpt.part").write_bytes(b"half")
    assert newest(tmp_path) == {"epoch": 2}
    assert sorted(path.name[:12] for path in tmp_path.iterdir() if path.is_file()) == ["epoch-000001", "epoch-000002"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"method": "dml"}, "method was 'baseline', is 'dml'"),
        ({"student": "resnet14"}, "student was"),
        ({"epochs": 3}, "settings.epochs was 2, is 3"),
        ({"train_size": 128}, "data.training samples"),
        ({"split_seed": 1}, "data."),
        ({"seed": 1}, "settings.seed"),
        ({"augment": "none"}, "data.augment"),
    ],
)
def test_resuming_another_run_is_refused(
    changed: dict[str, Any], named: str, train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 0, 1)
    with pytest.raises(Interrupted):
        train(method="baseline")
    monkeypatch.undo()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=named):
        train(**{"method": "baseline", **changed}, resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_group_with_other_routes_is_refused(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 0, 1)
    with pytest.raises(Interrupted):
        train(method="cgl", method_options={"students": 4})
    monkeypatch.undo()
    with pytest.raises(UserError, match="students was 4, is 3"):
        train(method="cgl", method_options={"students": 3}, resume=True)


def test_resuming_a_finished_run_changes_nothing(train: Callable[..., Run], tmp_path: Path) -> None:
    train(method="baseline")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert train(method="baseline", resume=True).result["epochs"] == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_finished_stage_is_not_trained_again(train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"method": "orc", "teacher": "resnet14", "teacher_epochs": 1, "method_options": {"students": 2}}
    train(**wanted, out=tmp_path / "whole")
    original, stopped = Trainer.run, []

    def stop_second(self: Trainer, *, resume: bool = False) -> Any:
        stopped.append(self.title)
        if self.title == "train" and len(stopped) == 2:
            raise Interrupted("stopped")
        return original(self, resume=resume)

    monkeypatch.setattr(Trainer, "run", stop_second)
    with pytest.raises(Interrupted):
        train(**wanted, out=tmp_path / "parts")
    train(**wanted, out=tmp_path / "parts", resume=True)
    assert stopped == ["teacher", "train", "train"]
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_every_network_makes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    for name in ("resnet8", "resnet50"):
        assert name in NETWORKS
        network = create(name, 10)
        path = checkpoint.save(tmp_path, {"method": network.state_dict()}, epoch=0, step=0)
        state = newest(tmp_path)
        assert state is not None
        network.load_state_dict(state["method"])
        path.unlink()


def test_a_run_of_an_earlier_version_is_refused_in_one_line(train: Callable[..., Run], tmp_path: Path) -> None:
    """Its members still predict; resuming and evaluating it would need options that have other names now."""
    wanted: dict[str, Any] = {"method": "baseline", "epochs": 1}
    run = train(**wanted)
    files = run.files
    config_text = files.config.read_text()
    files.config.write_text(config_text.replace("test_size:", "test_share:"))
    with pytest.raises(UserError, match=r"config.yaml was written by an earlier version \(test_share is called test_size now\)"):
        studygroup.evaluate(tmp_path / "run", progress=False)
    assert Run(tmp_path / "run").best.classes == list("0123456789")
    result = json.loads(files.result.read_text())
    result["identity"]["settings"]["accumulate"] = result["identity"]["settings"].pop("microbatches")
    files.result.write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"was written by an earlier version .*; train the run again"):
        train(**wanted, resume=True)
    files.result.unlink()
    state = newest(files.checkpoints)
    del state["format"]
    checkpoint.newest_first(files.checkpoints)[0].unlink()
    checkpoint.save(files.checkpoints, state, epoch=state["epoch"], step=state["step"])
    with pytest.raises(UserError, match="were written by another version of studygroup and cannot be resumed; train the run again"):
        train(**wanted, resume=True)


def a_weight(state: dict[str, Any]) -> str:
    weights: dict[str, Any] = state["method"]
    return next(name for name, value in weights.items() if torch.is_tensor(value) and value.dim() == 4)


def set_history(state: dict[str, Any], change: Callable[[list[dict[str, Any]]], object]) -> None:
    state["history"] = json.dumps(change(json.loads(state["history"])))


SPOILED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a weight of another shape": lambda state: state["method"].update({a_weight(state): torch.zeros(3)}),
    "a weight that is no tensor": lambda state: state["method"].update({a_weight(state): "text"}),
    "no weight": lambda state: state["method"].pop(a_weight(state)),
    "another optimizer": lambda state: state["optimizer"].update({"state": {0: {"exp_avg": torch.zeros(1)}}}),
    "momentum of another shape": lambda state: state["optimizer"]["state"][0].update({"momentum_buffer": torch.zeros(3)}),
    "fewer parameters": lambda state: state["optimizer"]["param_groups"][0]["params"].pop(),
    "another momentum": lambda state: state["optimizer"]["param_groups"][0].update({"momentum": 0.5}),
    "no learning rate factor": lambda state: state["optimizer"]["param_groups"][0].pop("scale"),
    "no groups": lambda state: state["optimizer"].pop("param_groups"),
    "an epoch too many": lambda state: state.update({"epoch": 99}),
    "a step too many": lambda state: state.update({"step": 10**6}),
    "a negative epoch": lambda state: state.update({"epoch": -1}),
    "no JSON": lambda state: state.update({"history": "{"}),
    "a history of another training": lambda state: set_history(state, lambda history: [*history, *history]),
    "a history without scores": lambda state: set_history(state, lambda history: [{"epoch": record["epoch"]} for record in history]),
    "losses that are none": lambda state: state.update({"losses": {"sums": {"a": 1.0}, "counts": {}}}),
    "no seconds": lambda state: state.update({"seconds": "long"}),
    "no threads": lambda state: state.update({"threads": 0}),
    "a best member that does not exist": lambda state: state["best"].update({"member": "nobody"}),
    "a best member of another network": lambda state: state["best"].update({"weights": {"weight": torch.zeros(1)}}),
    "another entry of the best member": lambda state: state.update({"best": {"weights": {}}}),
    "an identity that is a list": lambda state: state.update({"identity": "[1]"}),
}
"""Changes of the state of a training that no damage of the disk makes: the checksum is right."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run of two epochs, and one that was stopped in the second."""
    folder = tmp_path_factory.mktemp("stopped")
    wanted: dict[str, Any] = {**SMALL, "method": "baseline", "cache": cache, "linear_model": False}
    studygroup.train("digits", **wanted, out=folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 1, 3)
        with pytest.raises(Interrupted):
            studygroup.train("digits", **wanted, out=folder / "parts")
    return folder


@pytest.mark.parametrize("what", SPOILED)
def test_a_checkpoint_with_content_that_does_not_fit_falls_back(
    what: str, stopped: Path, train: Callable[..., Run], tmp_path: Path
) -> None:
    shutil.copytree(stopped / "parts", tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    last = checkpoint.newest_first(checkpoints)[0]
    state = checkpoint.read(last)
    epoch, step = state["epoch"], state["step"]
    SPOILED[what](state)
    checkpoint.save(checkpoints, state, epoch=epoch, step=step)
    with pytest.warns(UserWarning, match=rf"{last.name} is damaged .* falling back"):
        train(method="baseline", resume=True)
    assert_same(stopped / "whole", tmp_path / "run")


def test_only_foreign_checkpoints_are_an_error(stopped: Path, train: Callable[..., Run], tmp_path: Path) -> None:
    shutil.copytree(stopped / "parts", tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    for path in checkpoint.newest_first(checkpoints):
        state = checkpoint.read(path)
        SPOILED["no weight"](state)
        checkpoint.save(checkpoints, state, epoch=int(path.name[6:12]), step=int(path.name[18:26]))
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(TrainingError, match=r"all checkpoints .* start again with --overwrite"),
    ):
        train(method="baseline", resume=True)


def test_a_flipped_bit_in_a_module_of_an_earlier_stage(
    teacher: Path, train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paraphraser of `ft` is in no member; its digest is in the result of the stage."""
    wanted = {**options("ft", teacher), "epochs": 1}
    run = train(**wanted, out=tmp_path / "whole")
    files = RunFiles(RunFiles(run.folder).stage("initial"))
    path = files.module("paraphraser")
    result = json.loads(files.result.read_text())
    assert list(result["modules"]) == ["paraphraser"]
    assert run.result["modules"]["paraphraser"] == result["modules"]["paraphraser"]  # it is frozen in the second stage
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (run.folder / "result.json").unlink()
    with pytest.raises(UserError, match=r"modules/paraphraser of .* cannot be read \(its checksum is not the one in result.json\)"):
        train(**wanted, out=tmp_path / "whole", resume=True)
