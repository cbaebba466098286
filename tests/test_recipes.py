"""The recipes: that they load, that all methods and networks exist, and that they have the settings of the papers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studygroup import config
from studygroup.methods import METHODS, create_method
from studygroup.networks import NETWORKS
from studygroup.options import CompareOptions, RunOptions, TrainOptions, plain
from studygroup.sweep.variants import Variant, make_variants

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
TABLES = [path for path in RECIPES if "variants" in config.read(path)]
SINGLE_PROCESS = [path for path in RECIPES if path not in TABLES]
DATA = ("cifar10", "cifar100", "fashion-mnist", "imdb", "yelp_review_full", "yahoo_answers", "amazon_review_full")
CRD = {"kd", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "ab", "ft", "fsp", "nst", "crd"}
EQUAL_WIDTHS = {"wrn_40_2-wrn_16_2", "resnet56-resnet20", "resnet110-resnet20", "resnet110-resnet32", "resnet32x4-resnet8x4", "vgg13-vgg8"}
PUBLISHED = re.compile(r"  [\w.+-]+: \{.*\}  # ((?P<number>\d+\.\d+)\b.*|diversity \d.*|not published|not quoted|the same, by the text)")


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def variants_of(path: Path) -> tuple[dict[str, Variant], str]:
    given = config.load(path, TrainOptions, CompareOptions)
    variants, reference = make_variants(CompareOptions.from_plain(given))
    return {variant.name: variant for variant in variants}, reference


def options_of(path: Path) -> RunOptions:
    return RunOptions.from_plain(config.load(path, RunOptions))


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_every_recipe_loads_and_names_its_source(path: Path) -> None:
    options = config.load(path, TrainOptions, *([CompareOptions] if path in TABLES else []))
    assert options["data"] in DATA
    assert "Source:" in path.read_text()
    assert max(len(line) for line in path.read_text().splitlines()) <= 140


@pytest.mark.parametrize("path", SINGLE_PROCESS, ids=name)
def test_methods_and_networks_of_a_recipe_exist(path: Path) -> None:
    given, options = config.load(path, RunOptions), options_of(path)
    method = create_method(str(options.method), options.method_options or {})
    assert method.needs_teacher == ("teacher" in given)
    assert {options.student, *options.peers, given.get("teacher", "resnet8")} <= set(NETWORKS)


@pytest.mark.parametrize("path", TABLES, ids=name)
def test_a_recipe_with_variants_can_be_compared(path: Path) -> None:
    variants, reference = variants_of(path)
    given = config.read(path)["variants"]
    assert isinstance(given, dict)
    assert set(variants) == set(given), "every teacher is a variant of the recipe, and the baseline is"
    assert reference == "baseline"
    for variant in variants.values():
        assert (variant.teacher is not None) == METHODS[str(variant.options.method)].needs_teacher


@pytest.mark.parametrize("path", TABLES, ids=name)
def test_each_variant_has_its_published_number_beside_it(path: Path) -> None:
    lines = path.read_text().partition("\nvariants:\n")[2].splitlines()
    found = [PUBLISHED.fullmatch(line) for line in lines]
    assert not [line for line, match in zip(lines, found, strict=True) if match is None]
    if not path.name.startswith(("tables", "table6-imdb", "table6-yelp")):  # ablations are not repeated in the README
        readme = re.findall(r"\d+\.\d+", (FOLDER / "README.md").read_text())
        assert {match["number"] for match in found if match and match["number"]} <= set(readme)


def test_the_crd_benchmark_is_complete() -> None:
    tables = {path.stem: variants_of(path)[0] for path in TABLES if path.parent.name == "crd"}
    assert len(tables) == 13
    for pair, variants in tables.items():
        assert set(variants) == {"teacher", "baseline", *(CRD if pair in EQUAL_WIDTHS else CRD - {"fsp"})}
        teacher, student = variants["teacher"].options, variants["crd"].options
        assert f"{teacher.student}-{student.student}" == pair
        slow = student.student in ("mobilenetv2", "shufflenetv1", "shufflenetv2")
        assert (teacher.learning_rate, student.learning_rate) == (0.05, 0.01 if slow else 0.05)
        for variant in variants.values():
            own = variant.options
            assert (own.epochs, own.batch_size, own.momentum, own.nesterov) == (240, 64, 0.9, False)
            assert (own.weight_decay, own.milestones, own.gamma, own.holdout) == (5e-4, (150, 180, 210), 0.1, 0.0)


@pytest.mark.parametrize(
    ("alone", "table", "variant"),
    [
        *((f"cgl/{path.stem.partition('-')[2]}", name(path), "cgl") for path in TABLES if path.match("cgl/table[23]-*")),
        ("orc/cifar100-resnet20-orc", "orc/table6-resnet56-resnet20", "orc"),
        ("orc/cifar100-resnet20-crd", "orc/table6-resnet56-resnet20", "orc-crd"),
        ("orc/cifar10-resnet8-orc", "orc/table5-resnet26-resnet8", "orc"),
        ("orc/cifar10-resnet8-crd", "orc/table5-resnet26-resnet8", "orc-crd"),
    ],
)
def test_a_method_is_trained_alone_as_in_its_table(alone: str, table: str, variant: str) -> None:
    in_table = variants_of(FOLDER / f"{table}.yaml")[0][variant].options.plain()
    given = config.load(FOLDER / f"{alone}.yaml", TrainOptions)
    assert {key: plain(value) for key, value in given.items() if key not in ("data", "teacher")} == {
        key: in_table[key] for key in given if key not in ("data", "teacher")
    }


def test_the_papers_protocols_are_there() -> None:
    cgl = options_of(FOLDER / "cgl" / "cifar100-resnet18.yaml")
    assert cgl.method_options == {"students": 8, "modules": 2, "probability": 0.25, "ramp_share": 0.2}
    assert (cgl.optimizer, cgl.learning_rate, cgl.milestones, cgl.gamma, cgl.holdout) == ("adam", 1e-3, (60, 120, 160), 0.5, 5000.0)
    orc, crd = (options_of(FOLDER / "orc" / f"cifar100-resnet20-{preset}.yaml") for preset in ("orc", "crd"))
    assert (orc.milestones, crd.milestones) == ((100, 150, 210), (150, 180, 210))
    assert (orc.student, orc.peers, orc.teacher, orc.holdout) == ("resnet20", ("resnet44", "resnet32"), "resnet56", 0.0)


@pytest.mark.parametrize("path", [path for path in TABLES if path.parent.name == "okddip"], ids=name)
def test_okddips_protocol_is_the_same_for_all_methods(path: Path) -> None:
    variants, _ = variants_of(path)
    assert set(variants) == {"baseline", "dml", "cl_ilr", "one", "okddip", "kdcl", "pcl"}
    expected = {
        "holdout": 0.0,
        "augment": "crop+flip",
        "epochs": 300,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": "milestones",
        "milestones": (150, 225),
        "gamma": 0.1,
    }
    for variant in variants.values():
        own = variant.options
        assert f"{own.data}-{own.student}" == path.stem
        assert {key: getattr(own, key) for key in expected} == expected
        assert variant.name == "baseline" or (own.method_options or {})["students"] == (3 if variant.name == "pcl" else 4)


@pytest.mark.parametrize(
    ("recipe", "holdout", "learning_rate", "epochs"),
    [
        ("imdb-transformer", 2_000, 1e-4, 30),
        ("yelp-vdcnn9", 20_000, 1e-3, 20),
        ("yahoo-vdcnn9", 50_000, 1e-3, 20),
        ("amazon-vdcnn9", 100_000, 1e-3, 20),
    ],
)
def test_texts_have_the_papers_sizes(recipe: str, holdout: float, learning_rate: float, epochs: int) -> None:
    options = options_of(FOLDER / "cgl" / f"{recipe}.yaml")
    assert (options.holdout, options.learning_rate, options.epochs) == (holdout, learning_rate, epochs)
    assert (options.optimizer, options.batch_size, options.schedule) == ("adam", 64, "constant")
    assert options.method_options == {"students": 8, "modules": 2, "probability": 0.5, "ramp_share": 0.2}
    variants = config.read(FOLDER / "cgl" / f"table3-{recipe}.yaml")["variants"]
    assert isinstance(variants, dict)
    assert {variant: own["method"]["students"] for variant, own in variants.items() if variant != "baseline"} == {
        **dict.fromkeys(("dml", "cl_ilr", "one", "okddip"), 5),
        "cgl": 8,
    }
