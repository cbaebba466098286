"""The command line: what it accepts, its error messages, its output, and that `--help` imports nothing heavy."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from studygroup import api, cli, output
from studygroup.errors import TrainingError, UserError
from studygroup.options import RENAMED
from studygroup.parameters import parameters_of


class Calls(list[tuple[tuple[object, ...], dict[str, object]]]):
    """The recorded calls of a fake public function."""

    @property
    def kwargs(self) -> dict[str, object]:
        assert len(self) == 1
        return self[0][1]


def fake(monkeypatch: pytest.MonkeyPatch, name: str, result: object = None, error: BaseException | None = None) -> Calls:
    """Replace `api.NAME` by a function that checks its options, records the call, and returns `result` or raises `error`."""
    calls = Calls()
    original = getattr(api, name)

    def function(*args: object, **kwargs: object) -> object:
        original.options(*args, **kwargs)
        calls.append((args, kwargs))
        if error is not None:
            raise error
        return result

    function.__doc__ = original.__doc__
    monkeypatch.setattr(api, name, function)
    return calls


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Calls:
    monkeypatch.setattr(output, "print_table", lambda *_: None)
    return fake(monkeypatch, "train")


def error_of(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """Run a command that must fail with `code`; return its single line on standard error."""
    assert cli.main(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("studygroup: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_flags_become_arguments(train: Calls) -> None:
    words = (
        "digits --student resnet20 --batch-size 32 --learning_rate=1e-2 --no-nesterov --compile --optimizer adam --clip-grad-norm none "
        "--out a_b/c_d"
    )
    assert cli.main(["train", *words.split()]) == 0
    assert train[0][0] == ("digits",)
    assert train.kwargs == {
        "student": "resnet20",
        "batch_size": 32,
        "learning_rate": 0.01,
        "nesterov": False,
        "compile": True,
        "optimizer": "adam",
        "clip_grad_norm": None,
        "out": "a_b/c_d",
    }


def test_only_what_was_given_is_passed_on(train: Calls) -> None:
    assert cli.main(["train", "digits"]) == 0
    assert train == [(("digits",), {})]


@pytest.mark.parametrize(
    "words", ["--milestones 60,120 --peers a,b", "--milestones 60 120 --peers a b", "--milestones 60 --milestones 120 --peers a --peers=b"]
)
def test_lists_are_given_by_commas_words_or_repetition(train: Calls, words: str) -> None:
    assert cli.main(["train", "digits", *words.split()]) == 0
    assert train.kwargs == {"milestones": (60, 120), "peers": ("a", "b")}


def test_mappings_are_given_as_pairs(train: Calls) -> None:
    assert cli.main(["train", "digits", "--learning-rate-scales", "pivot=0.1,student0=1", "student1=2"]) == 0
    assert train.kwargs == {"learning_rate_scales": {"pivot": 0.1, "student0": 1.0, "student1": 2.0}}


def test_method_options_may_be_anywhere_on_the_line(train: Calls) -> None:
    words = (
        "--method.students 8 digits --method cgl --method.probability=.25 --no-method.t2-scale --method.division none --method.widths [1,2]"
    )
    assert cli.main(["train", *words.split(), "--method.shift", "-1", "--method.detach"]) == 0
    options = {"students": 8, "probability": 0.25, "t2_scale": False, "division": "none", "widths": [1, 2], "shift": -1, "detach": True}
    assert train[0][0] == ("digits",)
    assert train.kwargs == {"method": "cgl", "method_options": options}


def test_flags_win_over_the_recipe(train: Calls, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: cifar10\nepochs: 200\nmethod: {name: cgl, students: 8, modules: 2}\n")
    assert cli.main(["train", "--config", str(recipe), "--epochs", "3", "--method.students", "4"]) == 0
    assert train == [(("cifar10",), {"epochs": 3, "method": "cgl", "method_options": {"students": 4, "modules": 2}})]


def test_data_on_the_command_line_wins_over_the_recipe(train: Calls, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("data: cifar10\n")
    assert cli.main(["train", "digits", f"--config={tmp_path / 'recipe.yaml'}"]) == 0
    assert train[0][0] == ("digits",)


def test_another_method_does_not_inherit_the_recipes_options(train: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("data: digits\nmethod: {name: cgl, modules: 2}\n")
    assert cli.main(["train", "--config", str(tmp_path / "recipe.yaml"), "--method", "dml", "--method.students=3"]) == 0
    assert train.kwargs == {"method": "dml", "method_options": {"students": 3}}
    assert "options of cgl are ignored for dml" in capsys.readouterr().err


def test_benchmark_takes_the_options_of_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake(monkeypatch, "benchmark", {"rows": []})
    words = "benchmark digits --student resnet20 --method.students 4 --batch-size 32 --group-sizes 2,4 --no-method.t2-scale --format json"
    assert cli.main(words.split()) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": []}
    assert calls[0][0] == ("digits",)
    assert calls.kwargs == {
        "student": "resnet20",
        "batch_size": 32,
        "group_sizes": (2, 4),
        "method_options": {"students": 4, "t2_scale": False},
    }


def test_a_recipe_for_training_can_be_benchmarked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = fake(monkeypatch, "benchmark", {"rows": []})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: cifar10\nepochs: 200\nwarmup: 5.0\nout: runs/x\nmethod: {name: cgl, students: 8, modules: 2}\n")
    words = ["benchmark", "--config", str(recipe), "--steps", "3", "--method.students", "4", "--format", "json"]
    assert cli.main(words) == 0
    assert calls == [(("cifar10",), {"epochs": 200, "steps": 3, "method": "cgl", "method_options": {"students": 4, "modules": 2}})]


def test_benchmark_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "resnet8 [alone]", "seconds_per_step": 0.0123, "seconds_per_epoch": 1.5, "parameters": 77754, "ratio": 1.0}
    rows = [
        row | {"ratio_quartiles": [1.0, 1.0], "memory": 3 * 2**20},
        row | {"name": "cgl, 8 students", "seconds_per_epoch": 90.0, "ratio": 1.614, "ratio_quartiles": [1.5, 1.7], "memory": None},
    ]
    facts = {"data": "digits", "training_samples": 1294, "batch_size": 64, "epochs": 100, "device": "cpu", "precision": "bf16"}
    machine = {"processor": "A processor", "threads": 2, "gpu": None}
    left_out = {"cgl, 32 students": "too many [of them]"}
    result = {"rows": rows, "left_out": left_out, "machine": machine, "steps": 10, "repeats": 7, **facts}
    calls = fake(monkeypatch, "benchmark", result)
    assert cli.main(["benchmark", "digits"]) == 0
    table = capsys.readouterr().out
    for expected in (
        "resnet8 [alone]",
        "12.3 ms",
        "1.5 s",
        "2.5 min",  # 100 epochs
        "2.5 h",
        "1.61 x",
        "1.50 – 1.70",
        "77,754",
        "3.0 MiB",
        "100 epochs",
        "1,294 training samples, 64 per step; A processor, 2 threads, bf16",
        "7 repetitions of 10 steps",
        "left out: cgl, 32 students: too many [of them]",
    ):
        assert expected in table
    assert calls == [(("digits",), {})]


@pytest.mark.parametrize("options", ["cgl.students=8 dml.students=4", "cgl.students=8,dml.students=4"])
def test_compare_takes_methods_variants_and_their_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: str) -> None:
    calls = fake(monkeypatch, "compare", {"failed": {"a-s0": "bad"}})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "data: cifar10\nbatch_size: 32\nseed: 3\nmethod: {name: cgl, modules: 2}\nvariants: {a: {method: {name: dml, students: 3}}}\n"
    )
    words = ["compare", "--config", str(recipe), "--methods", "cgl,dml", "--seeds", "2", "--options", options, "--format", "json"]
    assert cli.main(words) == 1, "a variant failed"
    assert calls == [
        (
            ("cifar10",),
            {
                "batch_size": 32,
                "method": "cgl",
                "method_options": {"modules": 2},
                "variants": {"a": {"method": {"name": "dml", "students": 3}}},
                "methods": ("cgl", "dml"),
                "seeds": 2,
                "options": {"cgl.students": "8", "dml.students": "4"},
            },
        )
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian digits", "unknown command 'trian'; did you mean train"),
        ("train digits --epoch 3", "unknown flag --epoch; did you mean --epochs"),
        ("train digits --qqqqqq 3", "unknown flag --qqqqqq; --help shows the flags"),
        ("train digits --epochs many", "--epochs: 'many' is not a whole number"),
        ("train digits --epochs", "expected one argument"),
        ("train digits --optimizer sdg", "--optimizer: 'sdg'; did you mean sgd?"),
        ("train digits --learning-rate nan", "not a finite number"),
        ("train digits --milestones 60,late", "--milestones: 'late' is not a whole number"),
        ("train digits --learning-rate-scales pivot", "'pivot' is not NAME=VALUE"),
        ("train digits mnist", "unrecognized arguments: mnist"),
        ("train digits -q", "unrecognized arguments: -q"),
        ("train", "no data: name a data set or a folder"),
        ("train --method.detach digits", "no data: name a data set or a folder; --method.detach digits was read as the method's"),
        ("train digits --method.", "write --method.OPTION VALUE"),
        ("train digits --no-method.x=3", "write --method.OPTION VALUE"),
        ("predict runs/x", "the following arguments are required: INPUT"),
        ("predict runs/x a.png --top x", "--top: 'x' is not a whole number"),
        ("predict runs/x a.png --format xml", "invalid choice: 'xml'"),
        ("predict runs/x a.png --method.x 3", "go with `studygroup train` or `studygroup benchmark`"),
        ("benchmark", "no data: name a data set or a folder"),
        ("benchmark --method.detach digits", "no data: name a data set or a folder; --method.detach digits was read as the method's"),
        ("benchmark digits --epoch 3", "unknown flag --epoch; did you mean --epochs"),
        ("benchmark digits --repeat 3", "unknown flag --repeat; did you mean --repeats"),
        ("benchmark digits --group-sizes 2,many", "--group-sizes: 'many' is not a whole number"),
        ("benchmark digits --method.", "see studygroup benchmark --help"),
        ("compare", "no data: name a data set or a folder"),
        ("compare digits --method.students 3", "`studygroup compare` takes --options METHOD.OPTION=VALUE"),
        ("compare digits --method dml", "unknown flag --method; did you mean --methods"),
        ("compare digits --seed 3", "unknown flag --seed; did you mean --seeds"),
        ("compare digits --seeds many", "--seeds: 'many' is not a whole number"),
        ("compare digits --budget equal", "--budget: 'equal'; it must be equal-epochs or equal-compute"),
        ("compare digits --options cgl.students", "'cgl.students' is not NAME=VALUE"),
        ("evaluate", "the following arguments are required: RUN"),
        ("list planets", "kind: 'planets'; it must be all or methods or networks or data"),
        ("--tracebak", "unknown flag --tracebak; did you mean --traceback"),
    ],
)
def test_usage_errors(train: Calls, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert message in error_of(capsys, *words.split())
    assert train == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--epochs -1", "epochs is -1; it must be at least 1"),
        ("--resume --overwrite", "exclude each other"),
        ("--config none.yaml", "there is no recipe none.yaml"),
        ("--method.widths [1,", "cannot read '[1,'"),
    ],
)
def test_invalid_values(train: Calls, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert message in error_of(capsys, "train", "digits", *words.split(), code=1)
    assert train == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("method is 'x';\n use cgl"), 1, "studygroup: error: method is 'x'; use cgl\n"),
        (TrainingError("the loss is nan"), 1, "studygroup: error: the loss is nan\n"),
        (OSError(28, "No space left on device", "runs/x"), 1, "studygroup: error: No space left on device: runs/x\n"),
        (OSError("odd"), 1, "studygroup: error: odd\n"),
        (KeyboardInterrupt(), 130, "studygroup: interrupted\n"),
        (KeyboardInterrupt("go on with --resume"), 130, "studygroup: interrupted: go on with --resume\n"),
        (ZeroDivisionError("division"), 1, "studygroup: error: ZeroDivisionError: division; run again with --traceback to see where\n"),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    fake(monkeypatch, "train", error=error)
    assert error_of(capsys, "train", "digits", code=code) == line


@pytest.mark.parametrize("words", [["--traceback", "train", "digits"], ["train", "digits", "--traceback"]])
@pytest.mark.parametrize("error", [UserError("wrong"), ZeroDivisionError("wrong")])
def test_traceback_is_printed_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], error: Exception
) -> None:
    fake(monkeypatch, "train", error=error)
    assert cli.main(words) == 1
    written = capsys.readouterr().err
    assert "Traceback" in written
    assert written.splitlines()[-1].startswith("studygroup: error: ")
    assert "run again" not in written


def test_predictions_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"path": "a,b [1].png", "label": "cat", "probability": 0.9, "top": [["cat", 0.9], ["dog", 0.1]]}]
    calls = fake(monkeypatch, "predict", rows)
    assert cli.main(["predict", "runs/x", "a,b [1].png", "photos", "--top", "2"]) == 0
    table = capsys.readouterr().out
    assert "a,b [1].png" in table
    assert "90.00%" in table
    assert "dog 10.00%" in table
    assert calls == [(("runs/x", ("a,b [1].png", "photos")), {"top": 2})]
    assert cli.main(["predict", "runs/x", "a.png", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows


def test_evaluation_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    result = {"best": {"accuracy": 0.5, "cross_entropy": float("nan"), "samples": 2000.0}}
    fake(monkeypatch, "evaluate", result)
    assert cli.main(["evaluate", "runs/x", "--members", "all"]) == 0
    table = capsys.readouterr().out
    assert "50.00%" in table
    assert "2,000" in table
    assert cli.main(["evaluate", "runs/x", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"best": {"accuracy": 0.5, "cross_entropy": None, "samples": 2000.0}}


def test_names_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"methods": {"cgl": "a group [sic]"}, "networks": {"resnet8": "small"}}
    calls = fake(monkeypatch, "list_names", names)
    assert cli.main(["list"]) == 0
    table = capsys.readouterr().out
    assert "a group [sic]" in table
    assert "resnet8" in table
    assert cli.main(["list", "methods", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == names
    assert calls == [((), {}), (("methods",), {})]


def test_report_prints_the_leaderboard_and_its_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = {"data": "digits", "method": "cgl", "student": "resnet8", "finished": True, "seeds": [0], "test": 0.9, "epochs": 3}
    calls = fake(monkeypatch, "report", [row])
    assert cli.main(["report", "runs/a", "runs/b", "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "90.00" in table
    assert str(tmp_path / "curves.png") in table
    assert calls == [((("runs/a", "runs/b"),), {"out": str(tmp_path)})]
    assert cli.main(["report", "runs/a", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row]


def test_train_prints_the_members_and_the_path_of_the_student(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    last = {"epoch": 4, "member": "student0", "holdout": {"student0": 0.9}, "test": {"student0": 0.8, "ensemble": 0.85}}
    selected = {"member": "student0", "epoch": 2, "holdout": 0.95, "test": 0.81}
    (folder / "result.json").write_text(json.dumps({"selected": selected, "last": last, "parameters": {"student0": 78042}}))
    fake(monkeypatch, "train", SimpleNamespace(folder=folder))
    assert cli.main(["train", "digits"]) == 0
    written = capsys.readouterr().out
    for expected in (
        "best (student0)",
        "81.00",
        "85.00",
        "78,042",
        f"{folder}/members/best.safetensors",
        f"studygroup predict '{folder}' IMAGE",
    ):
        assert expected in written


def test_log_messages_and_warnings_go_to_standard_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def list_names() -> dict[str, dict[str, str]]:
        """Talk."""
        logging.getLogger("studygroup.data").info("preparing")
        warnings.warn("no\nhold-out", stacklevel=1)
        return {}

    monkeypatch.setattr(api, "list_names", list_names)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["list", "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "{}\n"
    assert captured.err == "preparing\nstudygroup: note: no hold-out\n"


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for command in cli.COMMANDS:
        assert command in captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("studygroup ")


HEAVY = ("torch", "numpy", "sklearn", "matplotlib", "rich", "docstring_parser", "yaml")


def help_of(*words: str) -> tuple[list[str], str]:
    """Print help in a fresh process; return the names of the imported modules, and what was printed."""
    code = "import sys, studygroup.cli\ntry: studygroup.cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.split(), done.stdout


@pytest.mark.parametrize("words", [[], ["train"], ["predict"], ["benchmark"], ["compare"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    modules, written = help_of(*words)
    assert "usage: studygroup" in written
    assert {module.partition(".")[0] for module in modules}.isdisjoint(HEAVY)
    assert len([module for module in modules if module.startswith("studygroup")]) <= 15
    assert len(modules) < 200  # 119 with Python 3.12


@pytest.mark.parametrize("command", ["train", "benchmark"])
def test_help_explains_the_options_of_methods(command: str) -> None:
    _, written = help_of(command)
    assert f"usage: studygroup {command} [DATA]" in written
    assert "--method.OPTION VALUE" in written
    assert "studygroup list methods" in written
    assert "--config RECIPE" in written
    assert "--batch-size N" in written
    assert "Batch size (default: 64)" in written


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_lists_every_option_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    written = capsys.readouterr().out
    for name, parameter in parameters_of(cli.COMMANDS[command][1]).items():
        hidden = name in cli.NOT_A_FLAG or (name == "method" and command == "compare")
        flag = name.upper().removesuffix("S") if parameter.positional else f"--{name.replace('_', '-')} "
        assert hidden or flag in written.replace("\n", " ").replace(",", " ")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("--lr 0.1 --batch 8 --imgsz 64", {"learning_rate": 0.1, "batch_size": 8, "image_size": 64}),
        ("--learning-rate 0.1 --batch-size 8 --image-size 64", {"learning_rate": 0.1, "batch_size": 8, "image_size": 64}),
        ("--lr 0.1 --learning-rate 0.2", {"learning_rate": 0.2}),
    ],
)
def test_aliases_of_flags(train: Calls, words: str, given: dict[str, object]) -> None:
    assert cli.main(["train", "digits", *words.split()]) == 0
    assert train.kwargs == given


FORMER = [("train", old) for old in RENAMED if old not in ("cells", "validation")] + [("compare", "validation"), ("compare", "test_share")]


@pytest.mark.parametrize(("command", "old"), FORMER)
def test_former_flags_are_refused_with_their_new_name(capsys: pytest.CaptureFixture[str], command: str, old: str) -> None:
    name, new = old.replace("_", "-"), RENAMED[old].replace("_", "-")
    for words in ([f"--{name}", "3"], [f"--{name}=3"], [f"--{old}=3"]):
        assert error_of(capsys, command, "digits", *words) == f"studygroup: error: --{name} is called --{new} now\n"
    assert f"--no-{name} is called --{new} now" in error_of(capsys, command, "digits", f"--no-{name}")


def test_former_flags_of_other_commands_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --validation; " in error_of(capsys, "train", "digits", "--validation", "3")
    assert "unknown flag --clip; " in error_of(capsys, "list", "--clip", "3")


def test_former_keys_of_recipes_are_refused_with_their_new_name(train: Calls, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: digits\ntest_share: 0.2\n")
    assert "recipe.yaml: test_share is called test_size now" in error_of(capsys, "train", "--config", str(recipe), code=1)
    assert train == []


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("train digits --model resnet20", "--student"),
        ("train digits --output x", "--out"),
        ("train digits --gpus 2", "--devices"),
        ("train digits --wd 0", "--weight-decay"),
        ("train digits --grad-accum 2", "--microbatches"),
        ("train digits --val-split 0.1", "--holdout"),
        ("train digits --amp", "--precision"),
        ("train digits --scheduler cosine", "--schedule"),
        ("train digits --force", "--overwrite"),
        ("train --recipe x.yaml", "--config"),
        ("train digits --learning-rates 0.1", "--learning-rate"),
        ("compare digits --arch resnet20", "--student"),
    ],
)
def test_flags_of_other_tools_and_typos_are_refused_with_ours(capsys: pytest.CaptureFixture[str], words: str, flag: str) -> None:
    assert error_of(capsys, *words.split()).endswith(f"; did you mean {flag}?\n")


@pytest.mark.parametrize("words", ["train digits --temperature 3", "predict runs/x a.png --model x", "report runs/x --gpus 2"])
def test_unrelated_flags_are_not_suggested(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert "; --help shows the flags" in error_of(capsys, *words.split())


def test_the_flags_of_synonyms_exist() -> None:
    flags = {f"--{name.replace('_', '-')}" for _, options in cli.COMMANDS.values() for name in parameters_of(options)} | {"--config"}
    assert set(cli.SYNONYMS.values()) <= flags
    assert flags.isdisjoint(cli.SYNONYMS)
    assert {new for _, options in cli.COMMANDS.values() for new in parameters_of(options)} >= set(RENAMED.values())


def test_a_reader_that_leaves_early_is_no_error() -> None:
    names = "lambda: {'a': {str(i): 'x' * 99 for i in range(9999)}}"
    code = f"import sys; from studygroup import cli, api\napi.list_names = {names}\nsys.exit(cli.main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "list", "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()
