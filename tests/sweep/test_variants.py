"""Variants from options: the baseline, teachers, options of methods. Every study of the repository is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from studygroup import config
from studygroup.errors import UserError
from studygroup.methods import METHODS
from studygroup.options import CompareOptions, RunOptions, TrainOptions
from studygroup.parameters import parameters_of
from studygroup.sweep.comparison import command
from studygroup.sweep.variants import Variant, make_variants, seeded

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


def variants_of(**given: Any) -> tuple[dict[str, Variant], str]:
    variants, reference = make_variants(CompareOptions(data="digits", **given))
    return {variant.name: variant for variant in variants}, reference


def test_the_baseline_is_always_included() -> None:
    variants, reference = variants_of(methods=["dml"], epochs=7)
    assert reference == "baseline"
    assert list(variants) == ["baseline", "dml"]
    assert [variant.options.epochs for variant in variants.values()] == [7, 7]


@pytest.mark.parametrize(
    ("variants", "reference"),
    [
        ({"x": {"method": "dml"}, "alone": {"method": "baseline"}}, "alone"),
        ({"big": {"method": "baseline", "student": "resnet20"}, "x": {"method": "dml"}}, "baseline"),
        ({"alone": {"method": "baseline"}, "baseline": {"method": "baseline", "learning_rate": 0.1}}, "baseline"),
        ({"first": {"method": "baseline", "batch_size": 64}, "second": {"method": "baseline"}}, "first"),
    ],
)
def test_which_variant_is_the_baseline(variants: dict[str, Any], reference: str) -> None:
    found, chosen = variants_of(variants=variants)
    assert chosen == reference
    assert set(found) == {*variants, reference}


def test_methods_get_only_the_options_that_they_take() -> None:
    variants, _ = variants_of(methods=["dml", "kd"], peers=["resnet14"], teacher="resnet20")
    assert variants["dml"].options.peers == ("resnet14",)
    assert variants["dml"].options.teacher is None
    assert variants["kd"].options.peers == ()
    assert variants["baseline"].options.peers == ()
    assert variants["baseline"].options.teacher is None
    assert variants["kd"].taught_by == ("teacher-resnet20",)


def test_a_network_as_teacher_becomes_a_variant() -> None:
    variants, _ = variants_of(methods=["kd"], teacher="resnet20", teacher_epochs=9, microbatches=2, learning_rate_scales={"student0": 0.5})
    teacher = variants["teacher-resnet20"]
    assert teacher.teaches
    own = {
        name: getattr(teacher.options, name) for name in ("method", "student", "epochs", "microbatches", "learning_rate_scales", "teacher")
    }
    assert own == {
        "method": "baseline",
        "student": "resnet20",
        "epochs": 9,
        "microbatches": 1,
        "learning_rate_scales": None,
        "teacher": None,
    }
    assert next(iter(variants)) == "teacher-resnet20"
    assert seeded(variants["kd"], list(variants.values()), 3).teacher == "resnet20"


def test_several_teachers_are_variants_runs_and_networks(tmp_path: Path) -> None:
    run = str(tmp_path / "run-s{seed}")
    for seed in (0, 1):
        (tmp_path / f"run-s{seed}").mkdir()
    group = {"method": "dml", "epochs": 3}
    taught = {"method": {"name": "kd", "combine": "holdout"}, "teacher": ["group", "resnet20", run]}
    with pytest.raises(UserError, match=r"variant kd: .*run-s0 holds no finished run"):
        variants_of(variants={"group": group, "kd": taught}, seeds=2)
    variants, _ = variants_of(variants={"group": group, "kd": {**taught, "teacher": ["group", "resnet20"], "teacher_epochs": 4}})
    kd = variants["kd"]
    assert kd.taught_by == ("group", "teacher-resnet20")
    assert kd.plain()["teacher"] == ["group", "teacher-resnet20"]
    assert (variants["teacher-resnet20"].options.epochs, kd.options.teacher_epochs) == (4, None)
    assert not variants["group"].teaches
    assert list(variants).index("kd") == len(variants) - 1
    assert seeded(kd, list(variants.values()), 1).teacher == ("resnet8", "resnet20")
    mixed = replace(kd, options=replace(kd.options, teacher=(run, "group")), taught_by=(None, "group"))
    assert seeded(mixed, list(variants.values()), 1).teacher == (str(tmp_path / "run-s1"), "resnet8")
    assert mixed.plain()["teacher"] == [None, "group"]
    for given, message in (
        ({"teacher": ["group", "group"]}, "the teacher group is given twice"),
        ({"teacher": ["group", "kd"]}, "variant kd is its own teacher"),
        ({"teacher": ["resnet14", "resnet20"], "weights": {"teacher": "w.pt"}}, "weights w.pt are given for one of several teachers"),
        ({"teacher": ["resnet14", "resnet20"], "method": "crd"}, "variant kd: crd learns from one teacher, and 2 are given"),
    ):
        with pytest.raises(UserError, match=message):
            variants_of(variants={"group": group, "kd": {"method": "kd", **given}})


def test_each_seed_can_have_weights_of_its_own(tmp_path: Path) -> None:
    for seed in (0, 1):
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / f"weights-s{seed}.safetensors")
    given = str(tmp_path / "weights-s{seed}.safetensors")
    variants, _ = variants_of(methods=["dml"], weights=given, seeds=2)
    for seed in (0, 1):
        expected = {"student0": str(tmp_path / f"weights-s{seed}.safetensors")}
        assert [seeded(variant, list(variants.values()), seed).weights for variant in variants.values()] == [expected, expected]
    with pytest.raises(UserError, match=r"weights-s2\.safetensors"):
        variants_of(methods=["dml"], weights=given, seeds=3)
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"split_by_seed: the weights of .*run were trained on what other seeds test on.*\{seed\}"):
        variants_of(methods=["dml"], weights=str(tmp_path / "run"), split_by_seed=True)


def test_weights_go_to_the_members_that_a_method_has(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, path)
    file = str(path)
    given = {"student": file, "student1": file, "teacher": file}
    variants, _ = variants_of(methods=["dml", "kd"], teacher="resnet20", weights=given, trained_rate_scale=0.5)
    assert variants["baseline"].options.sources() == variants["kd"].options.sources() == {"student0": file}
    assert variants["dml"].options.sources() == {"student0": file, "student1": file}
    assert variants["teacher-resnet20"].options.sources() == {"student0": file}
    assert variants["teacher-resnet20"].options.trained_rate_scale == 0.5
    variants, _ = variants_of(methods=["kd"], teacher="resnet20", weights=file, freeze="stem", trained_rate_scale=0.5)
    teacher = variants["teacher-resnet20"].options
    assert (teacher.weights, teacher.freeze, teacher.trained_rate_scale) == (None, "none", 1.0)
    own = {"a": {"method": "kd", "weights": {"teacher": file}}, "b": {"method": "kd"}}
    with pytest.raises(UserError, match="the teacher resnet20 is given different weights; make it a variant, "):
        variants_of(variants=own, teacher="resnet20")


def test_each_seed_may_have_a_split_of_its_own(tmp_path: Path) -> None:
    for by_seed, expected in ((False, [7, 7]), (True, [7, 9])):
        variants, _ = variants_of(methods=["kd"], teacher="resnet20", split_seed=7, split_by_seed=by_seed)
        for variant in variants.values():
            assert [seeded(variant, list(variants.values()), seed).split_seed for seed in (0, 2)] == expected
    with pytest.raises(UserError, match=r"split_by_seed: the teacher .* was trained on what other seeds test on; .*\{seed\}"):
        variants_of(methods=["kd"], teacher=str(tmp_path), split_by_seed=True)


def test_later_options_of_methods_override_earlier_ones() -> None:
    variants, _ = variants_of(
        methods=["cgl", "dml"],
        method="cgl",
        method_options={"modules": 3, "students": 2},
        options={"cgl.students": "8", "cgl": {"probability": 0.5}, "dml.detach": "false"},
        variants={"own": {"method": {"name": "cgl", "students": 4}}, "same": {}, "other": {"method": "baseline"}},
    )
    assert variants["cgl"].options.method_options == {"modules": 3, "students": 8, "probability": 0.5}
    assert variants["same"].options.method_options == variants["cgl"].options.method_options
    assert variants["own"].options.method_options == {"modules": 3, "students": 4, "probability": 0.5}
    assert variants["dml"].options.method_options == {"detach": False}
    assert variants["other"].options.method_options == {}


def test_variants_have_every_option_of_a_run() -> None:
    variants, _ = variants_of(methods=["dml"], cache=Path("/somewhere"))
    assert set(variants["dml"].plain()) == {"name", "options", "teacher", "teaches", "split_by_seed", "holdout_by_seed"}
    assert set(variants["dml"].options.plain()) == set(parameters_of(RunOptions))
    assert set(parameters_of(TrainOptions)) - set(parameters_of(CompareOptions)) - set(parameters_of(RunOptions)) == {
        "devices",
        "nodes",
        "rendezvous",
        "shard",
        "resume",
    }
    assert variants["dml"].options.cache == "/somewhere"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_can_be_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("mails.csv", "names.csv", "words.csv"):  # which users download
        (tmp_path / table).touch()
    monkeypatch.chdir(tmp_path)
    variants, reference = make_variants(CompareOptions.from_plain(config.load(path, TrainOptions, CompareOptions)))
    plain = next(variant for variant in variants if variant.name == reference)
    assert plain.options.method == "baseline"
    assert not plain.teaches
    names = [variant.name for variant in variants]
    for variant in variants:
        assert bool(variant.teachers) == METHODS[str(variant.options.method)].needs_teacher
        assert all(names.index(teacher) < names.index(variant.name) for teacher in variant.teachers)


def test_there_are_studies() -> None:
    assert len(STUDIES) >= 7


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"methods": ("dml", "cgl")}, "studygroup compare digits --methods dml,cgl --seeds 3"),
        (
            {
                "methods": ("dml",),
                "seeds": 5,
                "epochs": 3,
                "nesterov": False,
                "learning_rate": 0.1,
                "out": "x",
                "workers": 2,
                "ray": "auto",
            },
            "studygroup compare digits --methods dml --seeds 5 --epochs 3 --learning-rate 0.1 --no-nesterov",
        ),
        (
            {
                "methods": ("dml",),
                "options": {"dml.detach": False, "dml": {"students": 3}},
                "schedule": "milestones",
                "milestones": (3, 5),
                "count_teacher": True,
            },
            (
                "studygroup compare digits --methods dml --seeds 3 --options dml.students=3 dml.detach=false --count-teacher "
                "--schedule milestones --milestones 3,5"
            ),
        ),
        (
            {"methods": ("dml",), "split_by_seed": True, "tensorboard": True, "nesterov": False},
            "studygroup compare digits --methods dml --seeds 3 --split-by-seed --no-nesterov",
        ),
        ({"variants": {"a": {"method": "dml"}}}, "studygroup compare --config comparison.yaml"),
    ],
)
def test_the_command_of_a_comparison(given: dict[str, Any], line: str) -> None:
    assert command(CompareOptions(data="digits", **given)) == line
