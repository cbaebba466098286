"""Routes of cgl from a file: a run with them, and files that hold none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import studygroup
from studygroup import UserError, config
from studygroup.analysis import sharing
from studygroup.options import RunOptions
from studygroup.pipeline.setup import method_of
from studygroup.runs.member import Run

ROUTES = [[0, 0, 1, 1, 0], [1, 0, 0, 1, 0], [1, 1, 1, 0, 0]]
Train = Callable[..., Run]


def test_a_structure_is_carried_to_another_run(train: Train, tmp_path: Path) -> None:
    """The routes of one run in a file, for a run with another seed and split; its configuration holds the routes themselves."""
    first = train(method="cgl", method_options={"students": 3}, epochs=1, seed=1, out=tmp_path / "first")
    file = tmp_path / "routes.yaml"
    file.write_text(json.dumps(sharing.routes(first)))
    options = {"students": 3, "routes": str(file)}
    second = train(method="cgl", method_options=options, epochs=1, seed=2, split_seed=5, out=tmp_path / "second")
    assert sharing.routes(second) == sharing.routes(first)
    file.unlink()
    written = config.read(second.files.config)["method"]
    assert isinstance(written, dict)
    assert written["routes"] == sharing.routes(first)
    given = config.load(second.files.config, studygroup.options.TrainOptions)
    again = studygroup.train(**{**given, "resume": True})  # type: ignore[arg-type]
    assert sharing.routes(again) == sharing.routes(first)


def test_a_seed_of_the_routes(train: Train, tmp_path: Path) -> None:
    """It gives the same structure to runs of all seeds."""
    runs = [
        train(method="cgl", method_options={"students": 3, "route_seed": own}, epochs=1, seed=seed, out=tmp_path / f"{own}{seed}")
        for own, seed in ((7, 0), (7, 1), (8, 0))
    ]
    first, second, other = map(sharing.routes, runs)
    assert first == second != other


def routes_in(path: object) -> object:
    return method_of(RunOptions("digits", method="cgl", method_options={"students": 3, "routes": path})).options()["routes"]


@pytest.mark.parametrize("text", ["- [0, 0, 1, 1, 0]\n- [1, 0, 0, 1, 0]\n- [1, 1, 1, 0, 0]\n", json.dumps(ROUTES)])
def test_files_with_routes(tmp_path: Path, text: str) -> None:
    (tmp_path / "routes").write_text(text)
    assert routes_in(str(tmp_path / "routes")) == tuple(map(tuple, ROUTES)) == routes_in(ROUTES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no list; write one"),
        (b"5", "holds no list"),
        (b"a: [[0]]", "holds no list"),
        (b"- 0\n- 1\n", "cgl's routes in .* is 0; it must be a list, each item a whole number"),
        (b"- [0, x]\n", "cgl's routes in .* is 'x'; it must be a whole number"),
        (b"- [0, 1.5]\n", "is 1.5; it must be a whole number"),
        (b"- [0, true]\n", "is True; it must be a whole number"),
        (b"- &x [1, 1]\n- *x\n", "aliases are not read"),
        (b"- !!python/object/apply:os.system ['exit 1']\n", "could not determine a constructor"),
        (b"\xff\xfe", "cannot read .* can't decode byte"),
        (b"\x00", "cannot read .* special characters are not allowed"),
        (b"[" * 5000, "nests more than 50 levels deep"),
        (b"- [0, 1\n", "cannot read"),
        (b" " * 1_000_001, "has 1,000,001 bytes; a file with a list may have 1,000,000"),
        (b"- [" + b"9" * 6000 + b"]\n", "cannot read"),
    ],
)
def test_files_without(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        routes_in(str(path))
    assert len(str(raised.value)) < 600
    assert "\n" not in str(raised.value)


def test_paths_without_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nothing.yaml", tmp_path, tmp_path / "pipe", Path("/dev/zero"), Path("")):
        with pytest.raises(UserError, match="there is no file"):
            routes_in(str(path))
    with pytest.raises(UserError, match=r"cannot read|there is no file"):
        routes_in("\0")
