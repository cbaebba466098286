"""Runs whose batches have samples without labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studygroup.cli import main
from studygroup.data import open_data
from studygroup.errors import UserError
from studygroup.methods import create_method
from studygroup.networks import NetworkFactory
from studygroup.options import CompareOptions, DataOptions, RunOptions
from studygroup.pipeline.setup import open_splits
from studygroup.runs.member import Run
from studygroup.sweep.variants import make_variants
from studygroup.training.flops import training_cost
from studygroup.training.settings import Settings
from tests.training.test_resume import assert_resumes, records


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Images that are in none of the sets of the short runs."""
    folder = tmp_path_factory.mktemp("pool") / "images"
    folder.mkdir()
    data = open_data(DataOptions(data="digits", train_size=160, holdout=48, cache=cache, progress=False))
    inputs, _ = data.unused.gather(np.arange(100))
    for number, pixels in enumerate(inputs):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{number}.png")
    return folder


def test_they_change_the_students_and_are_recorded(
    train: Callable[..., Run], pool: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plain = train(method="dml", epochs=1, out=tmp_path / "plain")
    run = train(method="dml", epochs=1, unlabelled=pool, unlabelled_share=0.25)
    assert "unlabelled: 100 images of images, 25% of each batch" in caplog.messages
    assert not [line for line in caplog.messages if "see what they are scored on" in line]
    data = run.result["identity"]["data"]
    assert (data["unlabelled samples"], data["unlabelled share"]) == (100, 0.25)
    assert not [key for key in plain.result["identity"]["data"] if "unlabelled" in key]  # so that earlier runs can be resumed
    assert json.loads(run.files.data.read_text())["unlabelled"] == {"name": "images", "samples": 100, "share": 0.25, "kind": "images"}
    assert [record["steps"] for record in records(run.folder)] == [7]  # 160 / (32 - 8) labelled samples
    with pytest.raises(UserError, match="unlabelled"):
        train(method="dml", epochs=1, unlabelled=pool, unlabelled_share=0.5, resume=True)


@pytest.mark.parametrize("method", ["kd", "cgl"])
def test_interrupted_and_resumed(
    method: str, train: Callable[..., Run], teacher: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: dict[str, Any] = {"method": method, "unlabelled": pool}
    wanted |= {"teacher": teacher} if method == "kd" else {"method_options": {"students": 3}}
    assert_resumes(train, wanted, tmp_path, monkeypatch)


def test_a_memory_of_predictions_has_a_place_for_each_of_them(train: Callable[..., Run], pool: Path, tmp_path: Path) -> None:
    def of(weights: float) -> float:
        own = {"students": 3, "ramp_share": 0.0, "memory": weights}
        run = train(method="cgl", method_options=own, epochs=2, unlabelled=pool, out=tmp_path / f"{weights}")
        return float(records(run.folder)[-1]["losses"]["student0/imitation"])

    assert of(0.6) != of(0.0), "what is remembered is imitated, samples without labels included"


def test_a_teacher_that_is_trained_first_has_labels_only(train: Callable[..., Run], pool: Path) -> None:
    run = train(method="kd", teacher="resnet8", epochs=1, unlabelled=pool)
    stage = Run(run.folder / "stages" / "teacher")
    assert "unlabelled" in run.result["identity"]["data"]
    assert "unlabelled" not in stage.result["identity"]["data"]
    assert [records(one.folder)[0]["steps"] for one in (run, stage)] == [10, 5]


def test_they_cost_what_labelled_ones_cost(pool: Path, cache: Path) -> None:
    options = RunOptions(data="digits", train_size=160, holdout=48, cache=cache, progress=False, student="resnet8", epochs=2, method="dml")
    settings = Settings(epochs=2, batch_size=32, precision="float32", progress=False)
    networks = NetworkFactory("resnet8", num_classes=10, in_channels=1)
    found = [
        training_cost(create_method("dml"), networks, open_splits(one), settings) for one in (options, replace(options, unlabelled=pool))
    ]
    assert found[1].flops_per_sample == pytest.approx(found[0].flops_per_sample)
    assert [one.samples_per_epoch for one in found] == [160, 320]


def test_samples_that_are_scored_are_warned_of(
    train: Callable[..., Run], tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = open_data(DataOptions(data="digits", train_size=160, holdout=48, cache=cache, progress=False))
    (tmp_path / "seen").mkdir()
    for split in (data.test, data.holdout):
        for number, pixels in enumerate(split.gather(np.arange(7 if split is data.test else 4))[0]):
            Image.fromarray(pixels[0].numpy()).save(tmp_path / "seen" / f"{number}-{len(split)}.png")
    train(method="dml", epochs=1, unlabelled=tmp_path / "seen")
    notes = [line for line in caplog.messages if "see what they are scored on" in line]
    assert [note.partition(", too")[0] for note in notes] == [
        "note: 7 of 11 unlabelled images are test images",
        "note: 4 of 11 unlabelled images are hold-out images",
    ]


def test_compare_gives_them_to_methods_that_take_them(pool: Path, cache: Path) -> None:
    variants, _ = make_variants(
        CompareOptions(data="digits", methods=["dml", "papa"], unlabelled=str(pool), unlabelled_share=0.25, cache=cache)
    )
    given = {variant.name: (variant.options.unlabelled, variant.options.unlabelled_share) for variant in variants}
    assert given == {"baseline": (None, 0.5), "dml": (str(pool), 0.25), "papa": (None, 0.5)}
    with pytest.raises(UserError, match=r"unlabelled is .*, but no method that is compared takes samples without labels"):
        make_variants(CompareOptions(data="digits", methods=["papa"], unlabelled=str(pool)))
    with pytest.raises(UserError, match="variant papa: papa learns nothing from samples without labels"):
        make_variants(CompareOptions(data="digits", variants={"papa": {"method": "papa", "unlabelled": str(pool)}}))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--method", "orc", "--teacher", "auto"],
            "orc learns nothing from samples without labels; leave --unlabelled out, or take one of kd",
        ),
        (["--method", "dml", "--method.logit_loss", "dkd"], "logit_loss is dkd, which needs the label of every sample"),
        (["--method", "dml", "--unlabelled-share", "1"], "unlabelled_share is 1; it must be above 0 and below 1"),
        (["--method", "dml", "--unlabelled-share", "0.99", "--batch-size", "8"], "unlabelled_share is 0.99, which leaves a batch of 8"),
    ],
)
def test_what_cannot_be(
    words: list[str], message: str, pool: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--train-size", "64", "--no-progress", "--epochs", "1", "--cache", str(cache), "--out", str(tmp_path / "run")]
    assert main(["train", "digits", *words, "--unlabelled", str(pool), *small]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_share_needs_samples() -> None:
    with pytest.raises(UserError, match=r"unlabelled_share is 0\.3, but there are no such samples; give --unlabelled"):
        RunOptions(data="digits", unlabelled_share=0.3)
