"""What goes wrong: one clear line, a non-zero exit, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import studygroup
from studygroup import TrainingError, UserError
from studygroup.batch import Batch
from studygroup.cli import main
from studygroup.clock import Clock
from studygroup.devices import pick_device
from studygroup.methods import Baseline
from studygroup.networks import NetworkFactory
from studygroup.options import RunOptions
from studygroup.pipeline.setup import settings_of
from studygroup.runs import checkpoint
from studygroup.runs.folder import lock_run_dir
from studygroup.runs.member import Run
from studygroup.training.meter import LossMeter
from studygroup.training.settings import Settings
from studygroup.training.updater import Updater

SIZES = {"--epochs": "2", "--train-size": "128", "--holdout": "32", "--batch-size": "32", "--precision": "float32"}
SMALL = [*(word for pair in SIZES.items() for word in pair), "--no-progress"]


@pytest.fixture(autouse=True)
def shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYGROUP_CACHE", str(cache))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["digits", "--method", "cgll"], "unknown method 'cgll'; did you mean cgl"),
        (["digits", "--student", "resnet9"], "unknown network 'resnet9'; did you mean resnet8"),
        (["digts"], "unknown data set 'digts'; did you mean digits?"),
        (["digits", "--method", "cgl", "--method.student", "4"], "unknown option of cgl 'student'; did you mean students"),
        (["digits", "--method", "baseline", "--method.students", "4"], "baseline has no options; 'students' was given"),
        (["digits", "--method", "cgl", "--method.probability", "1.5"], "probability is 1.5; it must be at least 0 and at most 1"),
        (["digits", "--method", "cgl", "--batch-size", "4"], "batch_size is 4 for 8 students together; give at least 8"),
        (["digits", "--method", "cgl", "--method.students", "four"], "cgl's students is 'four'; it must be a whole number"),
        (["digits", "--method", "kd"], "kd needs a teacher; give --teacher"),
        (["digits", "--method", "baseline", "--teacher", "resnet8"], "baseline takes no teacher"),
        (["digits", "--method", "kd", "--teacher", "resnet21"], "neither a run folder nor a network"),
        (["digits", "--method", "dml", "--peers", "resnet14", "--method.students", "3"], "1 peers make 2"),
        (["digits", "--student", "nowhere:network"], "cannot import the network 'nowhere:network'"),
        (["digits", "--device", "cuda:99"], "device 'cuda:99' cannot be used"),
        (["digits", "--schedule", "milestones"], "no milestones are given"),
        (["digits", "--method", "orc", "--teacher", "resnet8", "--microbatches", "2"], "its batches cannot be split"),
        (["digits", "--method", "rkd", "--teacher", "resnet8", "--batch-size", "1"], "take a batch_size of at least 2"),
        (["digits", "--milestones", "1"], "milestones is given, but the schedule is cosine, which has none; give --schedule milestones"),
        (["digits", "--schedule", "constant", "--gamma", "0.5"], "gamma is given, but the schedule is constant, which has none"),
        (["digits", "--method", "dml", "--teacher-epochs", "3"], "teacher_epochs is 3, but there is no teacher; leave it out"),
        (["digits", "--batch-size", "1000000000"], "batch_size is 1000000000; it must be at least 1 and at most 1,048,576"),
        (["digits", "--threads", "1000000000"], "threads is 1000000000; it must be at least 1 and at most 1,024"),
        (["digits", "--devices", "1000000000"], "devices is 1000000000; it must be at least 1 and at most 1,024"),
        (["digits", "--max-length", "1000000000"], "max_length is 1000000000; it must be at least 1 and at most 1,048,576"),
        (["digits", "--vocabulary", "1000000000"], "vocabulary is 1000000000; it must be at least 2 and at most 1,000,000"),
        (["digits", "--student", "resnet8@width=1000000"], "resnet8 has no stem 'width=1000000'"),
        (["digits", "--learning-rate-scales", "pivt=0.1", "--method", "dml"], "'pivt'"),
        (["digits", "--holdout", "99999"], "holdout is 99999"),
        (["digits", "--student", "resnet18", "--batch-size", "1", "--method", "baseline"], "a batch of 1 leaves batch norm a single value"),
    ],
)
def test_bad_words(words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [word for pair in SIZES.items() if pair[0] not in words for word in pair]
    code = main(["train", *words, "--out", str(tmp_path / "run"), *sizes, "--no-progress"])
    captured = capsys.readouterr()
    assert code != 0
    assert named in captured.err
    lines = [line for line in captured.err.splitlines() if line]
    assert lines[-1].startswith("studygroup: error: ")
    assert "Traceback" not in captured.err
    assert not (tmp_path / "run").exists()  # a second try finds the folder free


def test_the_traceback_is_there_if_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--method", "cgll", "--out", str(tmp_path / "run"), "--traceback"]) != 0
    assert "Traceback" in capsys.readouterr().err


def test_a_folder_that_is_not_empty(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="baseline", epochs=1)
    with pytest.raises(UserError, match=r"already holds a run; .*--resume.*--overwrite"):
        train(method="baseline", epochs=1)
    assert Run(run.folder).result["epochs"] == 1
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with ExitStack() as stack, pytest.raises(UserError, match=r"not empty and holds no run \(thesis.tex\)"):
            stack.enter_context(lock_run_dir(precious, resume=False, overwrite=overwrite))
    assert (precious / "thesis.tex").read_text() == "years of work"
    train(method="dml", epochs=1, overwrite=True)
    assert Run(run.folder).result["method"] == "dml"


def test_an_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "run", Path("/proc/run")):
        assert main(["train", "digits", "--method", "baseline", "--out", str(out), *SMALL]) == 1
        assert f"cannot write to {out}" in capsys.readouterr().err


def test_a_full_disk_keeps_the_checkpoint_before(train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(method="baseline", epochs=3, out=tmp_path / "whole")
    original, writes = os.fsync, []

    def full(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) > 9:  # file and folder of the mark, config, data and environment, then the first checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"cannot write .*No space left on device; free .*--resume"):
        train(method="baseline", epochs=3, out=tmp_path / "run")
    monkeypatch.undo()
    assert checkpoint.load_newest(tmp_path / "run" / "checkpoints", lambda _: None)
    assert not list((tmp_path / "run").rglob("*.part"))
    train(method="baseline", epochs=3, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "members" / "best.safetensors").read_bytes() == (
        tmp_path / "whole" / "members" / "best.safetensors"
    ).read_bytes()


def test_a_loss_that_is_not_finite(train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studygroup.losses import cross_entropy as original

    calls = []

    def spoiled(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        loss = original(logits, labels)
        return loss * float("nan") if len(calls) == 2 * (5 + 3) else loss  # student 1, in the third step of epoch 2

    monkeypatch.setattr("studygroup.methods.dml.cross_entropy", spoiled)
    with pytest.raises(TrainingError, match=r"the cross_entropy loss of student1 is nan in epoch 2, step 3.*last good checkpoint is kept"):
        train(method="dml")
    monkeypatch.undo()
    state = checkpoint.read(checkpoint.newest_first(tmp_path / "run" / "checkpoints")[0])
    assert state["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in state["method"].values() if torch.is_tensor(value))


def test_infinite_losses_are_named_too() -> None:
    meter = LossMeter()
    meter.add({"student3/imitation": torch.tensor(float("inf"))}, lambda _: 1.0)
    with pytest.raises(TrainingError, match="imitation loss of student3 is infinite in epoch 5, step 2"):
        meter.check(Clock(epoch=4, epochs=9, step=1, steps=7))


def test_a_diverging_run_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "digits", "--method", "orc", "--teacher", "resnet8", "--learning-rate", "1e20", "--out", str(tmp_path / "run")]
    assert main([*words, *SMALL]) == 1
    error = capsys.readouterr().err
    assert "is nan" in error or "is inf" in error
    assert "Traceback" not in error


def test_a_link_to_a_folder_is_cleared_and_stays_a_link(train: Callable[..., Run], tmp_path: Path) -> None:
    train(method="baseline", epochs=1, out=tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    train(method="dml", epochs=1, out=tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert Run(tmp_path / "there").result["method"] == "dml"


def test_ctrl_c_from_the_shell(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "digits", "--method", "dml", "--out", str(tmp_path / "run"), *SMALL, "--epochs", "500"]
    process = subprocess.Popen([sys.executable, "-m", "studygroup", *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    for word in ("--resume", "--overwrite"):  # a folder belongs to one process at a time
        assert main([*words, word]) == 1
        assert f"another process is at work in {tmp_path / 'run'}; wait until it is done" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    hint = f"studygroup train --config {tmp_path}/run/config.yaml --out {tmp_path}/run --resume"
    assert hint in error
    state = checkpoint.read(checkpoint.newest_first(tmp_path / "run" / "checkpoints")[0])
    done = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert state["epoch"] == done == len(json.loads(state["history"]))


def test_a_teacher_of_other_classes_or_inputs(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(20):
                Image.new("L", (8, 8), number * 10 if name == "cat" else 255 - number).save(folder / f"{number}.png")
    with pytest.raises(UserError, match=r"the teacher in .* was not trained on data like photos: its classes are"):
        train(data=tmp_path / "photos", method="kd", teacher=teacher, image_size=8, train_size=None, holdout=4)


def test_a_teacher_that_may_know_the_test(train: Callable[..., Run], teacher: Path) -> None:
    with pytest.warns(UserWarning, match=r"was trained on other data than digits, or on another split of it \(split_seed, test_size\)"):
        train(method="kd", teacher=teacher, epochs=1, split_seed=1)
    train(method="kd", teacher=teacher, epochs=1, overwrite=True)  # and no warning, which would be an error


def test_damaged_members_are_reported(train: Callable[..., Run]) -> None:
    run = train(method="baseline", epochs=1)
    path = run.folder / "members" / "best.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"its checksum is not the one in its card.*; its files are damaged"):
        _ = Run(run.folder).best
    with pytest.raises(UserError, match="holds no finished run: it is not a run folder"):
        Run(run.folder / "members")
    with pytest.raises(UserError, match="there is no run folder"):
        Run(run.folder / "nowhere")


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    for name in ("cuda:99", "abacus", "meta"):
        with pytest.raises(UserError, match=f"device '{name}' cannot be used"):
            pick_device(name)
    assert pick_device("cpu:0").type == "cpu"
    with pytest.raises(UserError, match="device is 'cpu:7', but the CPUs are one device; take cpu"):
        pick_device("cpu:7")


def test_a_warm_up_longer_than_the_run() -> None:
    options = RunOptions(data="digits", epochs=2, warmup=2.5, student="resnet8")
    with pytest.raises(UserError, match=r"warmup is 2.5 epochs, but the run has 2; give less"):
        settings_of(options)
    assert settings_of(replace(options, warmup=2.0)).warmup == 2


def test_other_value_errors_are_not_taken_for_batch_norms() -> None:
    own = Updater.__new__(Updater)
    method: Any = Baseline()
    method.build(NetworkFactory("resnet8", num_classes=2, in_channels=1))
    own.__init__(method, Settings(precision="float32"), torch.device("cpu"))  # type: ignore[misc]
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="expected input"):
        own.step(Batch(torch.zeros(2, 3, 8, 8), labels, labels), Clock(), LossMeter())


def test_a_disk_that_is_full_at_the_start_leaves_nothing(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.fsync
    writes: list[int] = []
    allowed: list[int] = []

    def full(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) > allowed[-1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    for count in (0, 2, 4):  # the mark, the configuration, the description
        writes.clear()
        allowed.append(count)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(TrainingError, match=r"cannot write .*No space left on device"):
            train(method="baseline", epochs=1)
        monkeypatch.undo()
        assert not (tmp_path / "run").exists()


def test_an_empty_configuration_is_written_again(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="baseline", epochs=1)
    whole = run.files.config.read_bytes()
    for content in (b"", b"\n", None):
        run.files.config.unlink()
        if content is not None:
            run.files.config.write_bytes(content)
            with pytest.raises(UserError, match=r"config.yaml gives no data: it is damaged; train the run again .*--resume"):
                studygroup.evaluate(run.folder)
        assert train(method="baseline", epochs=1, resume=True).files.config.read_bytes() == whole
