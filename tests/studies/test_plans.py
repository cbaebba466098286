"""The plans of all studies at all scales, and the papers' protocols in them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from studygroup import config
from studygroup.methods import METHODS
from studygroup.options import RunOptions, StudyOptions, TrainOptions, plain
from studygroup.runs.layout import StudyFiles
from studygroup.studies import orc_table6, orc_table7
from studygroup.studies.measures import unit_of
from studygroup.studies.orc_pairs import Pair
from studygroup.studies.registry import STUDIES
from studygroup.studies.run import compare_options
from studygroup.studies.study import Panel, Plan, Scale, Setting
from studygroup.studies.texts import first_paragraphs, write_docstrings
from studygroup.sweep.variants import Variant, make_variants

SCALES: tuple[Scale, ...] = get_args(Scale)
RECIPES = Path(__file__).parent.parent.parent / "recipes"
CRD = {"kd", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "ab", "ft", "fsp", "nst", "crd"}


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_docstrings(tmp_path_factory.mktemp("texts") / "docstrings.csv")


def plan_of(name: str, scale: Scale, texts: Path | None = None) -> Plan:
    study = STUDIES[name]
    given = str(texts) if texts is not None and scale != "paper" and "texts" in (*study.needs, *study.takes) else None
    return study.plan(Setting(scale, texts=given))


def variants_of(panel: Panel, name: str, scale: Scale) -> dict[str, Variant]:
    options = compare_options(panel, StudyOptions(name, scale=scale), StudyFiles(Path("runs")))
    return {variant.name: variant for variant in make_variants(options)[0]}


def published(name: str) -> dict[str, dict[str, Variant]]:
    return {panel.name: variants_of(panel, name, "paper") for panel in plan_of(name, "paper").panels}


@pytest.mark.filterwarnings("ignore:with 2 students there is one peer")
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_number_and_claim_has_its_runs(name: str, scale: Scale, texts: Path) -> None:
    study, plan = STUDIES[name], plan_of(name, scale, texts)
    assert study.name == name
    assert len({panel.name for panel in plan.panels}) == len(plan.panels)
    keys = [cell.key for cell in plan.cells]
    assert len(set(keys)) == len(keys)
    assert plan.claims
    for claim in plan.claims:
        assert claim.parts
        assert claim.how
        for part in claim.parts:
            assert part.cells()
            assert set(part.cells()) <= set(keys)
    for panel in plan.panels:
        variants = variants_of(panel, name, scale)
        for cell in plan.cells:
            assert cell.panel != panel.name or cell.variant in variants
        for variant in variants.values():
            assert variant.split_by_seed
    assert {cell.panel for cell in plan.cells} == {panel.name for panel in plan.panels}


@pytest.mark.parametrize("name", STUDIES)
def test_figures_have_what_they_draw(name: str, texts: Path) -> None:
    plan = plan_of(name, "small", texts)
    figure = plan.figure
    if figure.kind == "gains":
        assert figure.reference in {cell.row for cell in plan.cells}
    if figure.kind in ("lines", "map"):
        assert all(cell.x is not None for cell in plan.cells)
    assert all(set(group) <= {cell.block for cell in plan.cells} for group in figure.blocks)
    assert all(unit_of(cell.measure).name for cell in plan.cells)


def test_the_plain_measures_are_of_the_papers_kind() -> None:
    cells = [cell for name in STUDIES for cell in plan_of(name, "paper").cells if cell.published is not None]
    assert all(30 < (cell.published or 0) < 100 for cell in cells if unit_of(cell.measure).name == "accuracy (%)")
    assert {cell.published for cell in cells if cell.measure == "diversity"} == {0.535, 0.178, 0.185, 0.131, 0.056, 0.039}


def test_cgls_protocol() -> None:
    panels = published("cgl-table2")
    assert set(panels) == {"cifar10-resnet18", "cifar100-resnet18", "cifar100-resnet34"}
    for variants in panels.values():
        assert {name: (own.options.method_options or {}).get("students") for name, own in variants.items()} == {
            "baseline": None, "dml": 3, "cl_ilr": 3, "one": 3, "okddip": 3, "cgl": 8,
        }  # fmt: skip
        cgl = variants["cgl"].options
        assert cgl.method_options == {"students": 8, "modules": 2, "probability": 0.25, "ramp_share": 0.2}
        assert (cgl.optimizer, cgl.learning_rate, cgl.milestones, cgl.gamma) == ("adam", 1e-3, (60, 120, 160), 0.5)
        assert (cgl.epochs, cgl.batch_size, cgl.holdout, cgl.weight_decay) == (200, 64, 5000.0, 0.0)


@pytest.mark.parametrize(
    ("panel", "holdout", "learning_rate", "epochs"),
    [
        ("imdb-transformer", 2_000, 1e-4, 30),
        ("yelp_review_full-vdcnn9", 20_000, 1e-3, 20),
        ("yahoo_answers-vdcnn9", 50_000, 1e-3, 20),
        ("amazon_review_full-vdcnn9", 100_000, 1e-3, 20),
    ],
)
def test_texts_have_the_papers_sizes(panel: str, holdout: float, learning_rate: float, epochs: int) -> None:
    for name, variant in published("cgl-table3")[panel].items():
        options = variant.options
        assert (options.holdout, options.learning_rate, options.epochs) == (holdout, learning_rate, epochs)
        assert (options.optimizer, options.batch_size, options.schedule) == ("adam", 64, "constant")
        assert name == "baseline" or (options.method_options or {})["students"] == (8 if name == "cgl" else 5)


@pytest.mark.parametrize(("name", "pairs"), [("orc-table6", orc_table6.PAIRS["paper"]), ("orc-table7", orc_table7.PAIRS["paper"])])
def test_the_crd_benchmark_is_complete(name: str, pairs: tuple[Pair, ...]) -> None:
    panels = published(name)
    assert list(panels) == [f"{pair.teacher}-{pair.student}" for pair in pairs]
    for pair in pairs:
        variants = panels[f"{pair.teacher}-{pair.student}"]
        methods = CRD if pair.equal_widths else CRD - {"fsp"}
        assert set(variants) == {"teacher", "baseline", *methods, "kdcl", "srrl", "orc", "orc-crd"}
        slow = pair.student in ("mobilenetv2", "shufflenetv1", "shufflenetv2")
        assert (variants["teacher"].options.learning_rate, variants["crd"].options.learning_rate) == (0.05, 0.01 if slow else 0.05)
        assert variants["teacher"].options.student == pair.teacher
        for variant in variants.values():
            own = variant.options
            assert (own.epochs, own.batch_size, own.momentum, own.nesterov) == (240, 64, 0.9, False)
            assert (own.weight_decay, own.gamma, own.holdout, own.student in (pair.student, pair.teacher)) == (5e-4, 0.1, 0.0, True)
            assert own.milestones == ((100, 150, 210) if variant.name == "orc" else (150, 180, 210))
            assert bool(variant.teachers) == METHODS[str(own.method)].needs_teacher


@pytest.mark.parametrize(
    ("recipe", "study", "panel", "variant"),
    [
        ("cgl/cifar10-resnet18", "cgl-table2", "cifar10-resnet18", "cgl"),
        ("cgl/cifar100-resnet18", "cgl-table2", "cifar100-resnet18", "cgl"),
        ("cgl/cifar100-resnet34", "cgl-table2", "cifar100-resnet34", "cgl"),
        ("cgl/imdb-transformer", "cgl-table3", "imdb-transformer", "cgl"),
        ("cgl/yelp-vdcnn9", "cgl-table3", "yelp_review_full-vdcnn9", "cgl"),
        ("cgl/yahoo-vdcnn9", "cgl-table3", "yahoo_answers-vdcnn9", "cgl"),
        ("cgl/amazon-vdcnn9", "cgl-table3", "amazon_review_full-vdcnn9", "cgl"),
        ("orc/cifar100-resnet20-orc", "orc-table6", "resnet56-resnet20", "orc"),
        ("orc/cifar100-resnet20-crd", "orc-table6", "resnet56-resnet20", "orc-crd"),
        ("orc/cifar10-resnet8-orc", "orc-table5", "cifar10-resnet8", "orc"),
        ("orc/cifar10-resnet8-crd", "orc-table5", "cifar10-resnet8", "orc-crd"),
    ],
)
def test_a_method_is_trained_alone_as_in_its_table(recipe: str, study: str, panel: str, variant: str) -> None:
    in_table = published(study)[panel][variant].options.plain()
    given = config.load(RECIPES / f"{recipe}.yaml", TrainOptions)
    assert RunOptions.from_plain(given).student == in_table["student"]
    assert {key: plain(value) for key, value in given.items() if key != "teacher"} == {
        key: in_table[key] for key in given if key != "teacher"
    }


def test_given_data_and_network_take_the_place_of_the_scales() -> None:
    plan = STUDIES["cgl-table2"].plan(Setting("small", images="photos", student="wrn_16_1"))
    assert [(panel.options["data"], panel.options["student"]) for panel in plan.panels] == [("photos", "wrn_16_1")]
    regime = STUDIES["regime"].plan(Setting("small", images="photos", texts="mails.csv"))
    assert {panel.options["data"] for panel in regime.panels} == {"photos", "mails.csv"}


def test_the_place_of_published_data() -> None:
    plan = STUDIES["cgl-table2"].plan(Setting("paper", places={"cifar10": "cifar10:/data/c.tar.gz"}))
    assert [panel.options["data"] for panel in plan.panels] == ["cifar10:/data/c.tar.gz", "cifar100", "cifar100"]


def test_docstrings_are_real_texts_of_several_packages(texts: Path, tmp_path: Path) -> None:
    found = first_paragraphs("sklearn", 30)
    assert len(set(found)) == 30
    assert min(map(len, found)) >= 20
    written = texts.read_bytes()
    assert written.count(b",torch") >= 200
    assert write_docstrings(texts) == texts
    assert texts.read_bytes() == written
