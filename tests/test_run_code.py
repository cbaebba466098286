"""Networks and methods of a user's own, from training to prediction; and run folders of others, which run no code."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

import studygroup
from studygroup import cli, config
from studygroup.errors import UserError
from studygroup.options import CompareOptions, TrainOptions
from studygroup.runs.layout import ComparisonFiles, RunFiles
from studygroup.runs.member import Run
from studygroup.sweep import comparison
from studygroup.sweep.comparison import make_jobs
from studygroup.sweep.variants import make_variants
from tests.fake_api import fake, fake_train
from tests.own_code import NETWORK, Project, project
from tests.training.conftest import SMALL

__all__ = ["project"]
METHOD = "from studygroup.methods.baseline import Baseline\nclass Own(Baseline):\n    pass\n"
TRAIN = f"train digits --train-size 160 --holdout 48 --batch-size 32 --no-progress --precision float32 --epochs {SMALL['epochs']}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with `mine.py` and `run`, whose network is `mine:make`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "mine.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        studygroup.train("digits", student="mine:make", method="baseline", out=folder / "run", cache=cache, **SMALL)
    sys.modules.pop("mine")
    return folder


@pytest.fixture
def mine(project: Project, trained: Path) -> Project:
    """A working directory with `mine.py`, a run whose network it is, and an image."""
    project.write("mine")
    shutil.copytree(trained / "run", project.folder / "run")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(project.folder / "digit.png")
    return project


@pytest.fixture
def hostile(mine: Project) -> Path:
    """A run folder that names its own `evil.py` in all of its files; the module could be imported, and would leave a mark."""
    files = RunFiles(mine.folder / "run")
    for path in [*files.members.glob("*.json"), files.result, files.config]:
        path.write_text(path.read_text().replace("mine:make", "evil:make").replace("name: baseline", "name: evil:Own"))
    assert "evil:make" in files.card("best").read_text()
    assert {"student: evil:make", "  name: evil:Own"} < set(files.config.read_text().splitlines())
    (files.folder / "evil.py").write_text(mine.marking() + METHOD)
    sys.path.insert(0, str(files.folder))
    return files.folder


def error(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Run a command that must fail; return the last line on standard error."""
    assert cli.main(list(map(str, words))) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1].removeprefix("studygroup: error: ")


COMMANDS = [
    "predict run digit.png",
    "predict run digit.png --format jsonl",
    "predict run --data . --out p.csv",
    "evaluate run --cache CACHE",
    "evaluate run --members all --cache CACHE",
    "export run --cache CACHE",
    "export run --member ensemble --cache CACHE",
    f"{TRAIN} --method kd --teacher run --out new --cache CACHE",
    f"{TRAIN} --weights run --out new --cache CACHE",
    "benchmark digits --method kd --teacher run --cache CACHE",
    "compare digits --methods kd --teacher run --seeds 1 --out new --cache CACHE",
    "train --config run/config.yaml --out new --cache CACHE",
    "train --config run/config.yaml --out run --resume --cache CACHE",
    "benchmark --config run/config.yaml --cache CACHE",
    "compare --config run/config.yaml --seeds 1 --out new --cache CACHE",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_folder_runs_no_code(hostile: Path, mine: Project, cache: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.replace("CACHE", str(cache)).split()
    message = error(capsys, *words)
    assert re.search(r"(best|student0).json names the code evil:make, |config.yaml names the code evil:make, evil:Own, ", message)
    assert not mine.marker.exists()
    offered = shlex.split(re.search(r"--allow-code [\w: ]+", message)[0])  # type: ignore[index]
    message = error(capsys, *words, *offered)
    assert re.search(r"^(kd: )?evil is .*evil.py, inside the run folder .*run, from which no code is run", message)
    assert not mine.marker.exists()
    assert "evil" not in sys.modules
    assert not (mine.folder / "new").exists()


def test_reports_and_resumed_runs_import_nothing(hostile: Path, mine: Project, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "run", "--out", "report"]) == 0
    capsys.readouterr()
    (hostile / "result.json").unlink()
    words = f"{TRAIN} --method baseline --student resnet8 --out run --resume --cache".split()
    assert "cannot resume: the run in this folder was started differently" in error(capsys, *words, cache)
    assert not mine.marker.exists()


@pytest.mark.parametrize("option", ["--student evil:make", "--peers evil:make --method dml", "--method evil:Own"])
def test_code_in_the_run_folder_is_refused_even_if_it_is_typed(
    hostile: Path, mine: Project, cache: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "from which no code is run" in error(capsys, *f"{TRAIN} {option} --out run --resume --cache".split(), cache)
    assert not mine.marker.exists()


def test_a_run_folder_in_python(hostile: Path, mine: Project, cache: Path) -> None:
    for open_member in (
        lambda: Run("run").best,
        lambda: Run("run").members,
        lambda: Run("run").member("student0"),
        lambda: studygroup.list_runs(".")[0].best,
        lambda: Run("run", allow_code=["mine:make"]).best,
        lambda: studygroup.predict("run", ["digit.png"]),
    ):
        with pytest.raises(UserError, match=r"json names the code evil:make, .*in Python allow_code=\['evil:make'\]"):
            open_member()
    with pytest.raises(UserError, match="from which no code is run"):
        _ = studygroup.list_runs(".", allow_code=["evil:make"])[0].best
    assert Run("run").member("best", nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).predict("digit.png")
    assert not mine.marker.exists()


@pytest.mark.parametrize("name", ["os:abort", "sys:exit", "os:system", "studygroup.cli:main"])
def test_a_card_may_name_nothing_that_is_no_network(mine: Project, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    card = mine.folder / "run" / "members" / "best.json"
    card.write_text(card.read_text().replace("mine:make", name))
    assert f"names the code {name}" in error(capsys, "predict", "run", "digit.png")
    assert re.search("standard library|returned a int", error(capsys, "predict", "run", "digit.png", "--allow-code", name))


# ---------------------------------------------------------------- one's own


def test_one_word_is_enough(mine: Project, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "add --allow-code mine:make (in" in error(capsys, "predict", "run", "digit.png")
    words = ["--allow-code", "mine:make"]
    assert cli.main(["predict", "run", "digit.png", "--format", "json", *words]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert Run("run", allow_code=("mine:make",)).best.predict("digit.png")[0]["probability"] == pytest.approx(row["probability"])
    assert studygroup.predict("run", ["digit.png"], allow_code=["mine:make"])[0]["label"] == row["label"]
    assert cli.main(["evaluate", "run", "--cache", str(cache), "--format", "json", *words]) == 0
    accuracy = json.loads(capsys.readouterr().out)["best"]["accuracy"]
    assert accuracy == json.loads((mine.folder / "run" / "result.json").read_text())["selected"]["test"]
    run = studygroup.train(
        "digits", method="orc", student="resnet8", teacher="run", weights=None, allow_code=["mine:make"], out="taught", cache=cache,
        method_options={"students": 2}, **{**SMALL, "epochs": 1},
    )  # fmt: skip
    assert run.members["pivot"].card["network"] == "mine:make"


def test_what_this_call_has_named_needs_no_word(mine: Project, cache: Path) -> None:
    """The run that a training returns, its stages, and what is typed beside a recipe."""
    given = {"cache": cache, **SMALL, "epochs": 1}
    run = studygroup.train(
        "digits", method="takd", student="mine:make", teacher="mine:make", method_options={"assistants": ["mine:Net"]}, out="one", **given
    )
    assert run.best.card["network"] == "mine:make"
    with pytest.raises(UserError, match="names the code mine:Net"):
        _ = Run(run.folder / "stages" / "assistant1").best
    shutil.rmtree("one")
    network = sys.modules["mine"].Net
    run = studygroup.train("digits", method="baseline", student=network, out="two", **given)
    assert run.best.card["network"] == "mine:Net"
    assert config.read("two/config.yaml").keys() == config.read("run/config.yaml").keys()


def test_a_registered_network_that_was_given_as_a_function(mine: Project) -> None:
    """Its card has an import path, which is no foreign code."""
    card = mine.folder / "run" / "members" / "best.json"
    card.write_text(card.read_text().replace("mine:make", "studygroup.networks.resnet:resnet8"))
    with pytest.raises(UserError, match="the weights of best do not fit"):
        _ = Run("run").best


def test_a_run_goes_on_with_the_command_that_it_prints(mine: Project, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine.folder / "own_method.py").write_text(METHOD)
    words = f"{TRAIN} --method own_method:Own --student mine:make --allow-code other:net --out new --cache {cache}".split()
    assert cli.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "try:      studygroup predict new IMAGE --allow-code mine:make"
    message = error(capsys, *words, "--resume", "--epochs", "9")
    command = message.partition("its weights: studygroup ")[2].replace("--out NEW", "--out newer").replace("--epochs 9", "--epochs 1")
    assert command.endswith(" --allow-code other:net mine:make own_method:Own")
    assert cli.main(shlex.split(command)) == 0
    assert Run("newer").result["method"] == "own_method:Own"


def test_a_stopped_comparison_goes_on_with_the_command_that_it_prints(
    mine: Project, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparison, "run_all", lambda *_, **__: False)
    words = f"compare digits --methods baseline --student mine:make --epochs 1 --seeds 1 --workers 1 --out new --cache {cache}".split()
    assert cli.main(words) == 130
    command = capsys.readouterr().err.splitlines()[-1].partition("Continue with: studygroup ")[2]
    assert command == "compare --config new/comparison.yaml --allow-code mine:make"
    assert cli.main(command.split()) == 130, "it would run"
    assert "new/comparison.yaml names the code mine:make" in error(capsys, *command.split()[:-2])


# ---------------------------------------------------------------- recipes


@pytest.fixture
def recipe(project: Project) -> Path:
    path = project.folder / "recipe.yaml"
    path.write_text("data: digits\nstudent: mine:make\npeers: [mine:peer]\nmethod: {name: mine:Own, network: mine:extra}\n")
    return path


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("", "mine:make, mine:peer, mine:Own, mine:extra"),
        ("--allow-code mine:make,mine:peer mine:Own mine:extra", ""),
        ("--allow-code mine:make --allow-code mine:Own", "mine:peer, mine:extra"),
        ("--student resnet8", "mine:peer, mine:Own, mine:extra"),
        ("--student mine:make --peers mine:peer --method mine:Own", "mine:extra"),
        ("--student mine:make --peers resnet8 --method dml", ""),
        ("--allow-code mine:make --peers resnet8 --method mine:Own --method.network mine:extra", ""),
        ("--allow-code mine:peer --student mine:other --method dml --method.network mine:extra", ""),
    ],
)
def test_a_recipe_needs_the_word_for_what_the_command_line_does_not_name(
    recipe: Path, words: str, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_train(monkeypatch)
    code = cli.main(["train", "--config", str(recipe), *words.split()])
    message = capsys.readouterr().err
    if missing:
        assert code == 1
        assert f"recipe.yaml names the code {missing}, which" in message
        assert f"add --allow-code {missing.replace(',', '')} (in Python" in message
        assert not calls
    else:
        assert code == 0
        assert len(calls) == 1


def test_variants_need_the_word(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake(monkeypatch, "compare", {"rows": []})
    (project.folder / "table.yaml").write_text(
        "data: digits\nvariants:\n  a: {method: dml, student: mine:make}\n  b: {method: {name: mine:Own}}\n"
    )
    words = ["compare", "--config", "table.yaml", "--format", "json"]
    assert "table.yaml names the code mine:make, mine:Own, which" in error(capsys, *words)
    assert not calls
    assert cli.main([*words, "--allow-code", "mine:make", "mine:Own"]) == 0
    assert calls.kwargs["allow_code"] == ("mine:make", "mine:Own")


@pytest.mark.parametrize("content", ["allow_code: [mine:make]", "variants: {a: {method: dml, allow_code: [mine:make]}}"])
def test_a_recipe_cannot_give_the_word(project: Project, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project.folder / "recipe.yaml").write_text(f"data: digits\nstudent: mine:make\nmethods: [dml]\n{content}\n")
    message = error(capsys, "compare", "--config", "recipe.yaml", "--allow-code", "mine:make")
    assert "allow_code is for you to say, not for a file" in message or "unknown option 'allow_code'" in message


def test_a_configuration_that_grants_itself_the_word(mine: Project) -> None:
    path = mine.folder / "run" / "config.yaml"
    assert "allow_code" not in path.read_text()
    path.write_text(path.read_text() + "allow_code: [mine:make]\n")
    assert config.load_group(path, TrainOptions).allow_code == ()
    with pytest.raises(UserError, match="allow_code is for you to say"):
        config.load(path, TrainOptions)


def test_a_recipe_beside_ones_own_modules_is_no_run(mine: Project, cache: Path) -> None:
    shutil.copy("run/config.yaml", "config.yaml")
    (mine.folder / "checkpoints").mkdir()
    assert cli.main(f"train --config config.yaml --epochs 1 --allow-code mine:make --out new --cache {cache}".split()) == 0


def test_the_runs_of_a_comparison_may_load_each_others_networks(mine: Project) -> None:
    given: dict[str, Any] = {"variants": {"big": {"method": "baseline", "student": "mine:make"}, "kd": {"method": "kd", "teacher": "big"}}}
    options = CompareOptions(data="digits", seeds=1, allow_code=["other:net"], **given)
    variants, _ = make_variants(options)
    jobs = make_jobs(variants, {}, ComparisonFiles(mine.folder), options)
    assert len(jobs) == 3
    assert {tuple(sorted(TrainOptions.from_plain(job.task.options).allow_code)) for job in jobs} == {("mine:make", "other:net")}


# ---------------------------------------------------------------- processes


def started(folder: Path, *program: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run([sys.executable, *program], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", ["script", "module"])
def test_modules_of_the_working_directory_are_found_and_hide_nothing(project: Project, how: str) -> None:
    script = project.folder.parent / "bin" / "studygroup"  # as an installer makes it
    script.parent.mkdir()
    script.write_text('import sys\nfrom studygroup.cli import main\nif __name__ == "__main__":\n    sys.exit(main())\n')
    (project.folder / "mine.py").write_text(METHOD + "class Wrong: pass\n")
    for name in ("yaml", "torch", "numpy"):
        (project.folder / f"{name}.py").write_text(project.marking())
    program = [script] if how == "script" else ["-m", "studygroup"]
    found = started(project.folder, *program, "train", "digits", "--student", "resnet8", "--method", "mine:Wrong", "--out", "run")
    assert found.returncode == 1
    assert "the method 'mine:Wrong' is the class Wrong; it must be a class derived from studygroup.methods.Method" in found.stderr
    assert not project.marker.exists()


def test_a_working_directory_registers_no_networks(project: Project) -> None:
    """Packages register names by entry points; a folder that holds the files of one is not installed."""
    info = project.folder / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[studygroup.networks]\nevil = evil:make\n")
    (project.folder / "evil.py").write_text(project.marking())
    found = started(project.folder, "-m", "studygroup", "train", "digits", "--student", "evil", "--out", "run")
    assert "unknown network 'evil'" in found.stderr
    assert not project.marker.exists()
