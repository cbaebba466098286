"""Recipes: what they may say, what they refuse, and that what is saved is read back."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studygroup import api, config
from studygroup.errors import UserError


def load(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return config.load(path, api.train)


def test_a_method_may_be_a_name_or_a_mapping(tmp_path: Path) -> None:
    assert load(tmp_path, "method: dml") == {"method": "dml"}
    assert load(tmp_path, "method: {name: cgl, students: 8}") == {"method": "cgl", "method_options": {"students": 8}}
    assert load(tmp_path, "method: {name: cgl}") == {"method": "cgl"}


def test_values_get_the_types_of_the_signature(tmp_path: Path) -> None:
    text = "learning_rate: 1e-3\nclip: 1\nmilestones: [1, 2]\npeers: [a]\nlearning_rate_scales: {pivot: 1}\n"
    text += "channels_last: null\nnesterov: false"
    arguments = load(tmp_path, text)
    assert arguments == {
        "learning_rate": 0.001,
        "clip_grad_norm": 1.0,
        "milestones": (1, 2),
        "peers": ("a",),
        "learning_rate_scales": {"pivot": 1.0},
        "channels_last": None,
        "nesterov": False,
    }
    assert isinstance(arguments["clip_grad_norm"], float)


def test_words_that_older_yaml_takes_for_booleans_are_words(tmp_path: Path) -> None:
    assert load(tmp_path, "method: {name: orc, intensive: off}")["method_options"] == {"intensive": "off"}
    assert load(tmp_path, "data: no") == {"data": "no"}


def test_an_empty_recipe_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: many", "epochs is 'many'; it must be a whole number"),
        ("epochs: -1", "epochs is -1; it must be at least 1"),
        ("epochs: 0", "epochs is 0; it must be at least 1"),
        ("epochs: 1.5", "epochs is 1.5; it must be a whole number"),
        ("epochs: true", "epochs is True; it must be a whole number"),
        ("epochs:", "epochs is None; it must be a whole number"),
        ("epoch: 4", "unknown key 'epoch'; did you mean epochs"),
        ("qqqq: 4", "unknown key 'qqqq'; known: accumulate"),
        ("epochs: 4\nepochs: 5", "'epochs' is given twice (line 2)"),
        ("method: {name: cgl, students: 2, students: 3}", "'students' is given twice"),
        ("method: {students: 8}", "method has no name"),
        ("method: [cgl]", "method is ['cgl']; it must be text"),
        ("method: {name: cgl, students: 2}\nmethod_options: {students: 3}", "given twice"),
        ("learning_rate: fast", "learning_rate is 'fast'; it must be a number"),
        ("learning_rate: .nan", "learning_rate is nan; it must be a number"),
        ("learning_rate: 0", "learning_rate is 0; it must be above 0"),
        ("momentum: 1", "momentum is 1; it must be at least 0 and below 1"),
        ("test_size: -1.5", "test_size is -1.5; it must be above 0"),
        ("optimizer: adm", "optimizer is 'adm'; did you mean adam?"),
        ("optimizer: qq", "optimizer is 'qq'; it must be auto or sgd or adam or adamw"),
        ("milestones: 60", "milestones is 60; it must be a list, each item a whole number"),
        ("milestones: [60, late]", "milestones is 'late'; it must be a whole number"),
        ("milestones: [60, 50]", "milestones are 60, 50; they must rise"),
        ("milestones: [-5, 50]", "milestones is -5"),
        ("learning_rate_scales: {0: 1}", "learning_rate_scales is {0: 1}; it must be a mapping of names"),
        ("learning_rate_scales: {pivot: -1}", "learning_rate_scales is -1"),
        ("nesterov: 1", "nesterov is 1; it must be true or false"),
        ("data: 3", "data is 3; it must be text"),
        ("channels: 2", "channels is 2; it must be 1 (grey) or 3 (colour)"),
        ("resume: true\noverwrite: true", "exclude each other"),
        ("student: python object my.Net", "repeated from Python only"),
        ("- a\n- b", "is not a recipe"),
        ("just words", "is not a recipe"),
        ("1: 2", "is not a recipe"),
        ("a: [1, 2", "cannot read"),
        ("a: !!python/object/apply:os.system [echo]", "cannot read"),
    ],
)
def test_a_bad_recipe_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no recipe"):
        config.load(tmp_path / "none.yaml", api.train)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="cannot read"):
        config.load(tmp_path / "binary.yaml", api.train)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    arguments = {
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
    config.save(path, arguments)
    expected = {key: value for key, value in arguments.items() if key not in ("overwrite", "resume")}
    assert config.load(path, api.train) == {**expected, "data": "photos"}


def test_the_defaults_are_saved_and_read_back(tmp_path: Path) -> None:
    defaults = {name: p.default for name, p in inspect.signature(api.train).parameters.items() if p.default is not p.empty}
    config.save(tmp_path / "config.yaml", {"data": "digits", **defaults})
    loaded = config.load(tmp_path / "config.yaml", api.train)
    saved = {name: value for name, value in defaults.items() if name not in ("resume", "overwrite", "method_options")}
    assert loaded == {"data": "digits", **saved}


def test_what_exists_in_python_only_is_saved_by_name_and_refused(tmp_path: Path) -> None:
    config.save(tmp_path / "config.yaml", {"data": "digits", "student": object()})
    assert config.read(tmp_path / "config.yaml")["student"] == "python object builtins.object"
    with pytest.raises(UserError, match="student was a python object"):
        config.load(tmp_path / "config.yaml", api.train)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda key: key != "name"),
        st.text() | st.floats(allow_nan=False) | st.integers() | st.booleans(),
    )
)
def test_any_option_survives_a_round_trip(tmp_path_factory: pytest.TempPathFactory, options: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    config.save(path, {"method": "cgl", "method_options": options})
    loaded = config.load(path, api.train).get("method_options", {})
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
def test_text_typed_by_hand(text: str, value: object) -> None:
    assert config.scalar(text) == value
    assert type(config.scalar(text)) is type(value)


def test_an_open_bracket_is_an_error() -> None:
    with pytest.raises(UserError, match="cannot read"):
        config.scalar("[1,")
