"""Recipes: what may be in them, error messages, and that what is saved is loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from studygroup import config
from studygroup.errors import UserError
from studygroup.options import RENAMED, CompareOptions, DataOptions, RunOptions, TrainOptions
from studygroup.parameters import parameters_of


def load(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return config.load(path, TrainOptions)


def test_a_method_may_be_a_name_or_a_mapping(tmp_path: Path) -> None:
    assert load(tmp_path, "method: dml") == {"method": "dml"}
    assert load(tmp_path, "method: {name: cgl, students: 8}") == {"method": "cgl", "method_options": {"students": 8}}
    assert load(tmp_path, "method: {name: cgl}") == {"method": "cgl"}


def test_values_get_the_types_of_the_fields(tmp_path: Path) -> None:
    text = "learning_rate: 1e-3\nclip_grad_norm: 1\nschedule: milestones\nmilestones: [1]\npeers: [a]\nlearning_rate_scales: {pivot: 1}\n"
    text += "channels_last: null\nnesterov: false"
    arguments = load(tmp_path, text)
    assert arguments == {
        "learning_rate": 0.001,
        "clip_grad_norm": 1.0,
        "schedule": "milestones",
        "milestones": (1,),
        "peers": ("a",),
        "learning_rate_scales": {"pivot": 1.0},
        "channels_last": None,
        "nesterov": False,
    }
    assert isinstance(arguments["clip_grad_norm"], float)


def test_booleans_of_yaml_1_1_are_text(tmp_path: Path) -> None:
    assert load(tmp_path, "method: {name: orc, intensive: off}")["method_options"] == {"intensive": "off"}
    assert load(tmp_path, "data: no") == {"data": "no"}


def test_an_empty_recipe_gives_no_options(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: many", "epochs is 'many'; it must be a whole number"),
        ("epochs: -1", "epochs is -1; it must be at least 1"),
        ("epochs: 0", "epochs is 0; it must be at least 1"),
        ("epochs: 1.5", "epochs is 1.5; it must be a whole number"),
        ("epochs: true", "epochs is True; it must be a whole number"),
        ("batch_size:", "batch_size is None; it must be a whole number"),
        ("epoch: 4", "unknown option 'epoch'; did you mean epochs"),
        ("qqqq: 4", "unknown option 'qqqq'; known: augment"),
        ("epochs: 4\nepochs: 5", "'epochs' is given twice (line 2)"),
        ("method: {name: cgl, students: 2, students: 3}", "'students' is given twice"),
        ("method: {students: 8}", "method has no name"),
        ("method: [cgl]", "method is ['cgl']; it must be text"),
        ("method: {name: cgl, students: 2}\nmethod_options: {students: 3}", "given twice"),
        ("learning_rate: fast", "learning_rate is 'fast'; it must be a number"),
        ("learning_rate: .nan", "learning_rate is nan; it must be a number"),
        ("learning_rate: 0", "learning_rate is 0; it must be above 0"),
        ("momentum: 1", "momentum is 1; it must be at least 0 and below 1"),
        ("test_size: -1.5", "test_size is -1.5; it must be at least 0"),
        ("test_size: 0", "test_size is 0; it must be above 0"),
        ("optimizer: adm", "optimizer is 'adm'; did you mean adam?"),
        ("optimizer: qq", "optimizer is 'qq'; it must be auto or sgd or adam or adamw"),
        ("milestones: 60", "milestones is 60; it must be a list, each item a whole number"),
        ("milestones: [60, late]", "milestones is 'late'; it must be a whole number"),
        ("milestones: [60, 50]", "milestones are 60, 50; they must increase"),
        ("milestones: [-5, 50]", "milestones is -5"),
        ("learning_rate_scales: {0: 1}", "learning_rate_scales is {0: 1}; it must be a mapping of names"),
        ("learning_rate_scales: {pivot: -1}", "learning_rate_scales is -1"),
        ("nesterov: 1", "nesterov is 1; it must be true or false"),
        ("accumulate: 2", "accumulate is called microbatches now; write microbatches"),
        ("test_share: 0.2", "test_share is called test_size now; write test_size"),
        ("cells: {}", "cells is called variants now; write variants"),
        ("data: 3", "data is 3; it must be text"),
        ("channels: 2", "channels is 2; it must be 1 (grey) or 3 (colour)"),
        ("resume: true\noverwrite: true", "exclude each other"),
        ("student: python object my.Net", "repeated from Python only"),
        ("- a\n- b", "is not a recipe"),
        ("just words", "is not a recipe"),
        ("1: 2", "is not a recipe"),
        ("a: [1, 2", "cannot read"),
        ("a: !!python/object/apply:os.system [echo]", "cannot read"),
        ("epochs: !!int abc", "invalid literal for int() with base 10: 'abc' (line 1)"),
        ("epochs: !!timestamp abc", "has no attribute 'groupdict' (line 1)"),
        ("learning_rate: !!float abc", "could not convert string to float: 'abc' (line 1)"),
        pytest.param("epochs: " + "1" * 5000, "(line 1)", id="5,000 digits"),
        pytest.param("epochs: " + "1" * 400, "it must be a whole number", id="400 digits"),
        pytest.param("learning_rate: " + "1" * 400, "it must be a number", id="400 digits of a float"),
        pytest.param("peers: " + "[" * 5000, "it nests more than 50 levels deep (line 1)", id="5,000 brackets"),
        ("data: &a digits\nstudent: *a", "aliases are not read: write out what *a stands for (line 2)"),
        ("method: &m {name: cgl, students: *m}", "aliases are not read"),
        ("learning_rate: 1e308", "learning_rate is 1e+308; it must be above 0 and at most 1e+30"),
        ("weight_decay: 1e300", "weight_decay is 1e+300; it must be at least 0 and at most 1e+06"),
        ('out: "a\\0b"', "out is 'a\\x00b', which holds a zero byte"),
    ],
)
def test_a_bad_recipe_gives_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no recipe"):
        config.load(tmp_path / "none.yaml", TrainOptions)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="cannot read"):
        config.load(tmp_path / "binary.yaml", TrainOptions)


def test_saved_options_are_loaded_again(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "data": Path("photos"),
        "student": "resnet8",
        "method": "orc",
        "method_options": {"intensive": "off", "alpha": 1e-05, "schedule": "1e-3", "nothing": None, "widths": [1, 2]},
        "peers": ("resnet14",),
        "learning_rate": 1e-05,
        "learning_rate_scales": {"pivot": 0.1},
        "clip_grad_norm": None,
        "nesterov": False,
        "overwrite": True,
        "resume": False,
    }
    path = tmp_path / "config.yaml"
    config.save(path, TrainOptions(**arguments))
    defaults = {name: parameter.default for name, parameter in parameters_of(TrainOptions).items()}
    expected = {key: value for key, value in (defaults | arguments).items() if key not in ("overwrite", "resume", "allow_code")}
    assert config.load(path, TrainOptions) == {**expected, "data": "photos"}


def test_defaults_are_saved_and_loaded_again(tmp_path: Path) -> None:
    defaults = {name: parameter.default for name, parameter in parameters_of(TrainOptions).items() if not parameter.required}
    config.save(tmp_path / "config.yaml", TrainOptions(data="digits"))
    loaded = config.load(tmp_path / "config.yaml", TrainOptions)
    saved = {name: value for name, value in defaults.items() if name not in (*config.NOT_SAVED, "method_options")}
    assert loaded == {"data": "digits", **saved}


def test_objects_without_a_name_are_saved_as_a_note_that_load_refuses(tmp_path: Path) -> None:
    config.save(tmp_path / "config.yaml", TrainOptions(data="digits", student=nn.Identity()))
    assert config.read(tmp_path / "config.yaml")["student"] == f"python object {nn.Identity.__module__}.Identity"
    with pytest.raises(UserError, match="student was a python object"):
        config.load(tmp_path / "config.yaml", TrainOptions)


def test_a_group_is_read_from_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    config.save(path, TrainOptions(data="digits", holdout=0.3, method="dml", schedule="milestones", milestones=(3,), out="x"))
    assert config.load_group(path, DataOptions) == DataOptions(data="digits", holdout=0.3)
    path.write_text("data: digits\nholdout: 0.3\nan_option_of_a_later_version: 3\n")
    assert config.load_group(path, DataOptions) == DataOptions(data="digits", holdout=0.3)
    path.write_text("data: digits\nholdout: -1\n")
    with pytest.raises(UserError, match="holdout is -1; it must be at least 0"):
        config.load_group(path, DataOptions)


def test_the_run_configuration_is_read_with_the_method_and_its_options(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    options = RunOptions(data="digits", method="cgl", method_options={"students": 8})
    config.save(path, options)
    assert config.load_group(path, RunOptions) == options


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_run_folder_of_an_earlier_version_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"data: digits\n{old}: 1\n")
    with pytest.raises(UserError) as caught:
        config.load_group(path, DataOptions)
    assert str(caught.value) == f"{path} was written by an earlier version ({old} is called {new} now); train the run again"


def test_a_recipe_of_variants_is_loaded_for_compare_only(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("data: digits\nseed: 3\nseeds: 2\nvariants: {a: {method: {name: dml, students: 4}}}\n")
    variants = {"a": {"method": {"name": "dml", "students": 4}}}
    assert config.load(path, TrainOptions, CompareOptions) == {"data": "digits", "seed": 3, "seeds": 2, "variants": variants}
    with pytest.raises(UserError, match="unknown option 'seeds'; did you mean seed"):
        config.load(path, TrainOptions)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda key: key != "name"),
        st.text() | st.floats(allow_nan=False) | st.integers() | st.booleans(),
    )
)
def test_any_method_option_survives_a_round_trip(tmp_path_factory: pytest.TempPathFactory, options: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    config.save(path, TrainOptions(data="digits", method="cgl", method_options=options))
    loaded = config.load(path, TrainOptions).get("method_options", {})
    assert loaded == options
    assert isinstance(loaded, dict)
    assert {key: type(value) for key, value in loaded.items()} == {key: type(value) for key, value in options.items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("-.5", -0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("null", None),
        ("off", "off"),
        ("none", "none"),
        ("runs/x", "runs/x"),
        ("[1,2]", [1, 2]),
        ("{a: 1}", {"a": 1}),
        ("'4'", "4"),
        ("*.png", "*.png"),
        ("a: b", "a: b"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("", None),
    ],
)
def test_scalars_of_the_command_line(text: str, value: object) -> None:
    assert config.scalar(text) == value
    assert type(config.scalar(text)) is type(value)


def test_an_open_bracket_is_an_error() -> None:
    with pytest.raises(UserError, match="cannot read"):
        config.scalar("[1,")


def test_a_scalar_of_too_many_digits_is_an_error() -> None:
    with pytest.raises(UserError, match=r"cannot read '1{40}': Exceeds the limit"):
        config.scalar("1" * 5000)


def test_values_that_occur_twice_are_written_twice(tmp_path: Path) -> None:
    path, widths = tmp_path / "config.yaml", [1, 2]
    config.save(path, TrainOptions(data="digits", method="cgl", method_options={"a": widths, "b": widths}))
    assert config.load(path, TrainOptions)["method_options"] == {"a": [1, 2], "b": [1, 2]}
