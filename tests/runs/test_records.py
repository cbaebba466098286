"""Results, cards and epochs are checked as they are read: a damaged file is named in one line with the remedy, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import studygroup as sg
from studygroup import UserError, reporting
from studygroup.errors import TrainingError
from studygroup.runs import checkpoint
from studygroup.runs.member import Run
from studygroup.runs.reader import read_run
from studygroup.runs.records import read_card, read_result
from tests.run_folders import MakeRun

REMEDY = r"delete .*result.json and finish the run with --resume, which writes its results anew"
BROKEN: list[bytes] = [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'"text"', b"[" * 100_000, b'{"epoch": ' + b"1" * 5000 + b"}", b"{}"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CARD: dict[str, Any] = {
    "format": 2,
    "network": "resnet8",
    "classes": ["a", "b"],
    "shape": [1, 8, 8],
    "mean": [0.5],
    "std": [0.2],
    "precision": "float32",
    "channels_last": False,
    "epoch": 1,
    "holdout": 0.5,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("records")
    small = {"train_size": 64, "holdout": 16, "batch_size": 32, "precision": "float32", "preset": "none", "progress": False}
    return sg.train("digits", method="baseline", epochs=2, cache=folder / "cache", out=folder / "run", **small)  # type: ignore[arg-type]


@pytest.fixture
def damaged(run: Run) -> Any:
    """Replace files of the run for one test."""
    kept: dict[Path, bytes] = {}

    def replace(path: Path, content: bytes) -> None:
        kept.setdefault(path, path.read_bytes())
        path.write_bytes(content)

    yield replace
    for path, content in kept.items():
        path.write_bytes(content)


Damage = Callable[[Path, bytes], None]


@pytest.mark.parametrize("content", BROKEN)
def test_a_damaged_file_is_named(content: bytes, run: Run, damaged: Damage) -> None:
    for path, use in (
        (run.files.card("best"), lambda: Run(run.folder).best),
        (run.files.result, lambda: Run(run.folder)),
        (run.files.result, lambda: read_run(run.folder)),
    ):
        damaged(path, content)
        with pytest.raises(UserError, match=rf"{path.name} is damaged \(.*\); {REMEDY}$"):
            use()


def test_a_card_that_is_missing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"none.json cannot be read \(No such file or directory\); {REMEDY}"):
        read_card(tmp_path / "none.json", run.files.result)


def test_the_remedy_works(run: Run, damaged: Damage) -> None:
    whole = run.files.card("best").read_bytes()
    damaged(run.files.card("best"), b"{}")
    damaged(run.files.result, b"")
    run.files.result.unlink()
    sg.train(resume=True, **{**read_run(run.folder).settings, "method_options": {}, "progress": False})  # type: ignore[arg-type]
    assert run.files.card("best").read_bytes() == whole
    assert run.files.result.is_file()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"std": [0]}, r"std is \[0\]; it must be a list of numbers above 0"),
        ({"std": [0.1, 0.1]}, "mean and std are not one number per channel"),
        ({"mean": [float("nan")]}, r"mean is \[nan\]; it must be a list of numbers"),
        ({"precision": "fp4"}, "precision is 'fp4'; it must be float32 or bf16"),
        ({"precision": []}, r"precision is \[\]; it must be"),
        ({"shape": [1, 1_000_000, 1_000_000]}, "shape is .*; it must be .* with 1 to 67,108,864 values"),
        ({"shape": [1, 0, 8]}, "shape is"),
        ({"shape": [1, 8, True]}, "shape is"),
        ({"classes": []}, "classes is"),
        ({"classes": "ab"}, "classes is"),
        ({"classes": [1, 2]}, "classes is"),
        ({"channels_last": 1}, "channels_last is 1; it must be true or false"),
        ({"network": None}, "network is None; it must be a text"),
        ({"tokenizer": {}}, "it has no 'max_length'"),
        ({"tokenizer": {}, "max_length": 10**12}, "max_length is"),
        ({"format": "x"}, "format is 'x'"),
        ({"sha256": 5}, "sha256 is 5"),
    ],
)
def test_a_card_of_wrong_values(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text(json.dumps(CARD))
    assert read_card(path, tmp_path / "result.json") == CARD
    path.write_text(json.dumps({**CARD, **changed}))
    with pytest.raises(UserError, match=rf"best.json is damaged \({message}.*\); {REMEDY}"):
        read_card(path, tmp_path / "result.json")


def test_an_inner_entry_is_named(make_run: MakeRun) -> None:
    path = make_run("run") / "result.json"
    content = json.loads(path.read_text())
    del content["selected"]["test"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"result.json is damaged \(in selected, it has no 'test'\); {REMEDY}"):
        read_result(path)


@pytest.mark.parametrize("name", [name for name in CARD if name not in ("format", "epoch", "holdout")])
def test_a_card_without_an_entry(name: str, tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text(json.dumps({key: value for key, value in CARD.items() if key != name}))
    with pytest.raises(UserError, match=rf"it has no '{name}'"):
        read_card(path, tmp_path / "result.json")


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text(json.dumps({**CARD, "format": 99}))
    with pytest.raises(UserError, match="was written by a later version of studygroup; update studygroup"):
        read_card(path, tmp_path / "result.json")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_is_read_or_refused(data: st.DataObject, make_run: MakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if not folder.exists():
        make_run("run")
        (folder / "result.json").rename(folder / "whole.json")
    content = json.loads((folder / "whole.json").read_text())
    for name in data.draw(st.lists(st.sampled_from(sorted(content)), min_size=1, max_size=2)):
        content[name] = data.draw(JSON)
    (folder / "result.json").write_text(json.dumps(content))
    card = {**CARD, data.draw(st.sampled_from(sorted(CARD))): data.draw(JSON)}
    (folder / "best.json").write_text(json.dumps(card))
    with suppress(UserError):  # and nothing else
        read_result(folder / "result.json")
        assert repr(Run(folder))
        assert reporting.leaderboard([folder])
    with suppress(UserError):
        read_card(folder / "best.json", folder / "result.json")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "it has no 'epoch'"),
        ('{"epoch": 1e400}', "epoch is inf; it must be a whole number"),
        ('{"epoch": 1, "losses": [1]}', "losses is .*; it must be an object of numbers"),
        ('{"epoch": 1, "holdout": {"student": "high"}}', "holdout is"),
        ("[1]", "it is no JSON object"),
    ],
)
def test_a_damaged_epoch_is_named(line: str, message: str, make_run: MakeRun) -> None:
    metrics = make_run("a", epochs=2) / "metrics.jsonl"
    metrics.write_text(line + "\n" + metrics.read_text())
    with pytest.raises(UserError, match=rf"metrics.jsonl is damaged at line 1 \({message}"):
        read_run(metrics.parent)


def test_a_flipped_bit_of_the_weights_is_noticed(run: Run, damaged: Damage) -> None:
    path = run.files.weights("best")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    damaged(path, bytes(content))
    with pytest.raises(UserError, match=r"members/best of .* cannot be read \(its checksum is not the one in its card\)"):
        _ = run.best
    card = json.loads(run.files.card("best").read_text())
    assert len(card.pop("sha256")) == 64
    damaged(run.files.card("best"), json.dumps(card).encode())
    assert run.best.name == "best"  # a card of an earlier version has no digest


def test_a_result_without_identity(run: Run, damaged: Any) -> None:
    result = json.loads(run.files.result.read_text())
    del result["identity"]
    damaged(run.files.result, json.dumps(result).encode())
    with pytest.raises(UserError, match=r"result.json is damaged \(it has no 'identity'\); delete .* --resume"):
        _ = Run(run.folder).identity


STATE = {"identity": "{}", "history": "[]", "method": {}, "optimizer": {}, "epoch": 1, "step": 0}


def loader(kept: list[dict[str, Any]]) -> Callable[[dict[str, Any]], None]:
    """Return a function that keeps a state that has the entries of every training."""

    def load(state: dict[str, Any]) -> None:
        checkpoint.check_entries(state)
        kept.append(state)

    return load


@pytest.mark.parametrize("content", ["text", [1], {"x": 1}, {**STATE, "epoch": "1"}, {**STATE, "identity": 1}])
def test_a_foreign_checkpoint_falls_back(content: Any, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, STATE, epoch=1, step=0)
    foreign = checkpoint.save(tmp_path, content, epoch=2, step=0)
    kept: list[dict[str, Any]] = []
    with pytest.warns(UserWarning, match=r"epoch-000002-.* is damaged \(it holds no .*\); falling back to the one before"):
        assert checkpoint.load_newest(tmp_path, loader(kept))
    assert kept == [STATE]
    assert not foreign.exists()


def test_bytes_that_are_no_archive_fall_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("torch.save", lambda state, buffer: buffer.write(b"\x80\x02cos\nabort\n(tR."))
        path = checkpoint.save(tmp_path, {}, epoch=1, step=0)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(TrainingError, match="all checkpoints"):
        checkpoint.load_newest(tmp_path, loader([]))
    assert path.exists()  # nothing is deleted unless another one is intact
