"""The recipes: that they load, that all methods and networks exist, and that they have the settings of the papers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studygroup import config
from studygroup.methods import METHODS, create_method
from studygroup.networks import NETWORKS
from studygroup.options import CompareOptions, RunOptions, TrainOptions
from studygroup.sweep.variants import Variant, make_variants

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
TABLES = [path for path in RECIPES if "variants" in config.read(path)]
SINGLE_PROCESS = [path for path in RECIPES if path not in TABLES]
DATA = ("cifar10", "cifar100", "fashion-mnist", "imdb", "yelp_review_full", "yahoo_answers", "amazon_review_full")
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
        assert bool(variant.teachers) == METHODS[str(variant.options.method)].needs_teacher


@pytest.mark.parametrize("path", TABLES, ids=name)
def test_each_variant_has_its_published_number_beside_it(path: Path) -> None:
    lines = path.read_text().partition("\nvariants:\n")[2].splitlines()
    found = [PUBLISHED.fullmatch(line) for line in lines]
    assert not [line for line, match in zip(lines, found, strict=True) if match is None]
    pages = (FOLDER / "README.md").read_text() + (FOLDER.parent / "docs" / "studies" / "published.md").read_text()
    assert {match["number"] for match in found if match and match["number"]} <= set(re.findall(r"\d+\.\d+", pages))


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
