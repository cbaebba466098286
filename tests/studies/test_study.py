"""The command: what it leaves, verdicts, continuing, failures, and what a user can get wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup import cli
from studygroup.errors import TrainingError, UserError
from studygroup.options import TrainOptions
from studygroup.studies import costs
from tests.studies.conftest import World

Study = Callable[..., dict[str, Any]]
RAMPS = {0.0: 0.80, 0.2: 0.84, 0.4: 0.80, 0.8: 0.86}


def by_ramp(options: TrainOptions) -> float:
    """As the paper has it, but that the longest ramp is best; a seed is a little worse than the one before."""
    ramp = float((options.method_options or {}).get("ramp_share", 0.2))  # type: ignore[arg-type]
    return RAMPS[ramp] - 0.0005 * options.seed * (1 + ramp)


def verdicts(result: dict[str, Any]) -> dict[str, str]:
    return {claim["text"]: claim["verdict"] for claim in result["claims"]}


def test_it_leaves_a_table_a_figure_and_verdicts(study: Study, world: World, tmp_path: Path) -> None:
    world.accuracy = by_ramp
    result = study("cgl-table5")
    assert [claim["verdict"] for claim in result["claims"]] == ["holds", "opposite"]
    part = result["claims"][0]["parts"][0]
    assert part["by_seed"] == {0: pytest.approx(4.0), 1: pytest.approx(3.99)}
    assert part["published"] == pytest.approx(78.01 - 77.79)
    folder = tmp_path / "study"
    assert {path.name for path in folder.iterdir()} == {
        ".studygroup", "study.yaml", "study.json", "study.md", "study.csv", "figure.png", "figure.svg", "costs.json", "panels",
        "report.html",
    }  # fmt: skip
    page = (folder / "study.md").read_text()
    assert "| 84.47 ± 0.04" in page, "mean of 84.5 and 84.44: the selected student of these runs has half a point more"
    assert "**holds**: A ramp alleviates homogenisation" in page
    with (folder / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["mean"]) == pytest.approx(84.47)
    assert [rows[1][key] for key in ("column", "published", "seeds")] == ["20%", "78.01", "2"]
    stored = json.loads((folder / "study.json").read_text())
    assert stored["claims"] == json.loads(json.dumps(result["claims"]))
    assert "studygroup study cgl-table5 --scale tiny" in stored["command"]


def test_a_finished_study_trains_nothing_again_and_more_seeds_only_those(study: Study, world: World) -> None:
    study("cgl-table5")
    assert len(world.started) == 10, "four ramps and the network alone, two seeds"
    assert world.measured == ["baseline", "ramp-0", "ramp-20", "ramp-40", "ramp-80"]
    study("cgl-table5")
    assert len(world.started) == 10
    assert len(world.measured) == 5, "what was measured is not measured again"
    study("cgl-table5", seeds=3)
    assert [name for _, name in world.started[10:]] == [f"{name}-s2" for name in ("baseline", "ramp-0", "ramp-20", "ramp-40", "ramp-80")]


def test_each_seed_has_a_split_of_its_own_and_the_test_set_selects_nothing(study: Study, world: World) -> None:
    seen: list[TrainOptions] = []

    def accuracy(options: TrainOptions) -> float:
        seen.append(options)
        return 0.8

    world.accuracy = accuracy
    study("cgl-table5")
    assert {(options.seed, options.split_seed) for options in seen} == {(0, 0), (1, 1)}
    assert all(options.holdout for options in seen)


def test_a_failed_run_leaves_a_hole_and_an_undecided_verdict(study: Study, world: World, tmp_path: Path) -> None:
    def accuracy(options: TrainOptions) -> float:
        if (options.method_options or {}).get("ramp_share") == 0.8:
            raise TrainingError("the loss of student0 is not finite")
        return by_ramp(options)

    world.accuracy = accuracy
    result = study("cgl-table5")
    assert result["failed"] == {f"digits-resnet8/ramp-80-s{seed}": "the loss of student0 is not finite" for seed in (0, 1)}
    assert [claim["verdict"] for claim in result["claims"]] == ["holds", "undecided"]
    assert result["claims"][1]["reason"] == "there is no run of CGL, 80%"
    page = (tmp_path / "study" / "study.md").read_text()
    assert "– (2 failed)" in page
    assert "- failed: digits-resnet8/ramp-80-s0: the loss of student0 is not finite" in page


def test_an_interrupted_study_says_how_to_continue_and_shows_what_there_is(study: Study, world: World, tmp_path: Path) -> None:
    world.interrupt = 3
    with pytest.raises(KeyboardInterrupt, match=r"3 runs are finished.*Continue with: studygroup study cgl-table5 --scale tiny.* --out "):
        study("cgl-table5")
    stored = json.loads((tmp_path / "study" / "study.json").read_text())
    assert not stored["complete"]
    assert {claim["verdict"] for claim in stored["claims"]} == {"undecided"}
    assert "not finished" in (tmp_path / "study" / "study.md").read_text()
    assert study("cgl-table5")["complete"]
    assert len(world.started) == len(set(world.started)) == 10


def test_a_variant_whose_loss_is_not_finite_is_left_to_fail(study: Study, world: World) -> None:
    result = study("cgl-table2", panels=["digits-resnet8"])
    assert "dml" in world.measured
    assert result["failed"] == {}, "it fails where it is trained"


def test_one_seed_decides_nothing(study: Study, world: World) -> None:
    result = study("cgl-table5", seeds=1)
    assert {claim["reason"] for claim in result["claims"]} == {"one seed has no interval; run more --seeds"}


def test_some_panels(study: Study, world: World) -> None:
    result = study("cgl-table2", panels=["digits-resnet14"])
    assert {panel for panel, _ in world.started} == {"digits-resnet14"}
    gains_more = next(claim for claim in result["claims"] if "smaller network" in claim["text"])
    assert (gains_more["verdict"], gains_more["reason"]) == ("undecided", "nothing of it is run at this scale")
    with pytest.raises(UserError, match="unknown panel 'digits-resnet9'; did you mean digits-resnet8 or digits-resnet14"):
        study("cgl-table2", panels=["digits-resnet9"])


def test_the_list_names_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    listed = studygroup.study("list")["studies"]
    assert [row["name"] for row in listed] == [
        *(f"cgl-table{number}" for number in range(2, 8)),
        *(f"cgl-figure{number}" for number in range(3, 7)),
        *(f"orc-table{number}" for number in range(1, 8)),
        "regime",
    ]
    assert cli.main(["study", "list"]) == 0
    assert "ORC's number of temporary teachers" in capsys.readouterr().out


def test_the_command_prints_tables_verdicts_and_paths(
    world: World, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.accuracy = by_ramp
    out = tmp_path / "s"
    assert cli.main(["study", "cgl-table5", "--scale", "tiny", "--no-progress", "--cache", str(cache), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "holds      A ramp alleviates homogenisation" in printed.out
    assert str(out / "figure.svg") in printed.out
    assert "cgl-table5, scale tiny: 10 runs; " in printed.err, "what it costs is printed before it starts"


# -------------------------------------------------------------------- what a user can get wrong


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cgl-table1", {}, "unknown study 'cgl-table1'; did you mean"),
        ("nothing", {}, "unknown study 'nothing'; known: cgl-figure3"),
        ("cgl-table5", {"scale": "large"}, "scale is 'large'"),
        ("cgl-table5", {"seeds": 0}, "seeds is 0; it must be at least 1"),
        ("cgl-table3", {"scale": "small"}, "cgl-table3 is about texts, and scale small has none of its own; give a table"),
        ("cgl-table3", {"data": ["digits"]}, "digits is images, but cgl-table3 is about texts"),
        ("cgl-table5", {"data": ["digits", "fashion-mnist"]}, "digits and fashion-mnist are both images"),
        ("cgl-table5", {"data": ["no/such/folder"]}, "no/such/folder does not exist"),
        ("cgl-table5", {"scale": "paper", "data": ["digits"]}, "data is digits, but scale paper has the published data, cifar100"),
        ("cgl-table5", {"scale": "paper", "data": ["cifar10:/x"]}, "data is cifar10:/x, but scale paper has the published data, cifar100"),
        (
            "cgl-table5",
            {"scale": "paper", "student": "resnet8"},
            "student is resnet8, but cgl-table5 takes none: scale paper has the published",
        ),
        ("orc-table1", {"student": "resnet8"}, "student is resnet8, but orc-table1 takes none: its networks are what it studies"),
        ("cgl-table5", {"student": "resnet9"}, "resnet9"),
    ],
)
def test_bad_options_are_one_line(study: Study, world: World, tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        study(name, **options)
    assert message in str(caught.value)
    assert world.started == []
    assert not (tmp_path / "study").exists(), "a start that is refused leaves no folder"


def test_published_data_that_is_not_there(study: Study, world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cifar100-resnet18: .*nowhere.tar.gz does not exist"):
        study("cgl-table5", scale="paper", data=[f"cifar100:{tmp_path / 'nowhere.tar.gz'}"])


def test_a_long_study_asks_for_consent(study: Study, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.seconds = 3600.0 * 4  # an epoch
    monkeypatch.setattr(costs, "processes", lambda *_: (2, 1))
    with pytest.raises(UserError, match=r"this study takes 10 runs; .*about 60 h with 2 processes of this machine; give --yes"):
        study("cgl-table5")
    assert world.started == []
    assert len(study("cgl-table5", yes=True)["cells"]) == 4


def test_a_folder_of_something_else(study: Study, world: World, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "letter.txt").write_text("dear")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(UserError, match=r"is not empty and holds no study \(letter.txt\); take another --out"):
            study("cgl-table5", **options)


def test_a_folder_of_another_study(study: Study, world: World) -> None:
    study("cgl-table5")
    with pytest.raises(UserError, match="is cgl-table5 at scale tiny; take another --out, or start again with --overwrite"):
        study("cgl-table4")
    result = study("cgl-table4", overwrite=True)
    assert result["name"] == "cgl-table4"


def test_overwriting_keeps_what_is_not_the_studys(study: Study, world: World, tmp_path: Path) -> None:
    study("cgl-table5")
    (tmp_path / "study" / "panels" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds more than studygroup has written \(panels/notes.txt\)"):
        study("cgl-table5", overwrite=True)
    assert (tmp_path / "study" / "study.json").is_file()


def test_other_data_in_the_same_folder_is_refused(study: Study, world: World) -> None:
    study("cgl-table5")
    with pytest.raises(UserError, match="had other options"):
        study("cgl-table5", train_size=300)


def test_hostile_names_are_shown_as_text(study: Study, world: World, tmp_path: Path) -> None:
    table = tmp_path / "<b>|x.csv"
    table.write_text("text,label\n" + "".join(f"some words {number} of a text,{'ab'[number % 2]}\n" for number in range(700)))
    result = study("cgl-table3", data=[str(table)])
    assert result["panels"][0]["title"] == "<b>|x, transformer"
    assert result["panels"][0]["name"] == "-b--x-transformer"
    page = (tmp_path / "study" / "study.md").read_text()
    assert "<b>" not in page.replace(str(table), "")
    assert "|  | &lt;b&gt;\\|x, transformer |" in page


def test_studies_share_runs(study: Study, world: World, tmp_path: Path) -> None:
    study("cgl-table5", out=tmp_path / "five")
    world.started.clear()
    study("cgl-table4", reuse=[tmp_path], out=tmp_path / "four")
    trained = {name for _, name in world.started}
    assert not trained & {"baseline-s0", "baseline-s1", "cgl-s0", "cgl-s1"}, "the network alone, and CGL with a ramp of 20%"
    assert len(trained) == 2 * 6
    with pytest.raises(UserError, match=r"reuse: .*nowhere does not exist"):
        study("cgl-table4", reuse=[tmp_path / "nowhere"], out=tmp_path / "six")
    assert not (tmp_path / "six").exists()
