"""The command line: what it accepts, and its error messages."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from studygroup import api, cli
from studygroup.errors import TrainingError, UserError
from tests.fake_api import Calls, error_of, fake, fake_train


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return fake_train(monkeypatch)


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
    assert cli.main(["train", "digits", "--schedule", "milestones", *words.split()]) == 0
    assert train.kwargs == {"schedule": "milestones", "milestones": (60, 120), "peers": ("a", "b")}


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
        ("predict", "the following arguments are required: RUN"),
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


OUT_OF_MEMORY = "studygroup: error: out of memory; take a smaller --batch-size, network or image size, or more memory\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("method is 'x';\n use cgl"), 1, "studygroup: error: method is 'x'; use cgl\n"),
        (TrainingError("the loss is nan"), 1, "studygroup: error: the loss is nan\n"),
        (OSError(28, "No space left on device", "runs/x"), 1, "studygroup: error: No space left on device: runs/x\n"),
        (OSError("odd"), 1, "studygroup: error: odd\n"),
        (KeyboardInterrupt(), 130, "studygroup: interrupted\n"),
        (KeyboardInterrupt("go on with --resume"), 130, "studygroup: interrupted: go on with --resume\n"),
        (MemoryError(), 1, OUT_OF_MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), 1, OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory."), 1, OUT_OF_MEMORY),
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


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("list_names = lambda: {'a': {str(i): 'x' * 99 for i in range(9999)}}", "list --format json"),
        (
            "stream_predictions = lambda *_: ({'path': 'x' * 99, 'label': 'a', 'probability': 1.0} for _ in range(9999))",
            "predict x y --format jsonl",
        ),
        (
            "stream_predictions = lambda *_: ({'path': 'x' * 99, 'label': 'a', 'probability': 1.0} for _ in range(9999))",
            "predict x y --format csv",
        ),
    ],
)
def test_a_reader_that_leaves_early_is_no_error(function: str, words: str) -> None:
    code = f"import sys; from studygroup import cli, api\napi.{function}\nsys.exit(cli.main())"
    process = subprocess.Popen([sys.executable, "-c", code, *words.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()
