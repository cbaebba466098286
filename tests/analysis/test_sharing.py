"""How much students share, against what their exported networks have in common."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from studygroup.analysis import sharing
from studygroup.errors import UserError
from studygroup.runs.member import Run
from tests.analysis.conftest import Train


def shared_by_weights(run: Run) -> float:
    """Return the mean fraction of parameters that are equal in the exported networks of two students: after a training, the same ones."""
    names = [name for name in run.names() if name.startswith(("student", "leader", "peer"))]
    networks = [dict(run.member(name).network.named_parameters()) for name in names]
    found = []
    for a, b in itertools.combinations(networks, 2):
        equal = sum(value.numel() for name, value in a.items() if torch.equal(value, b[name]))
        found.append(equal / sum(value.numel() for value in a.values()))
    return sum(found) / len(found)


@pytest.mark.parametrize(
    ("method", "options", "arguments"),
    [
        ("cgl", {"students": 4}, {}),
        ("cgl", {"students": 5, "modules": 3, "head": "routed", "block_groups": [2, 1]}, {}),
        ("cgl", {"students": 3, "head": "per_student", "route_stem": False}, {}),
        ("cgl", {"students": 2, "routing": False}, {}),
        ("one", {"students": 3}, {}),
        ("one", {"students": 2, "branch_from": "stage2"}, {}),
        ("okddip", {"students": 3, "form": "network"}, {}),
        ("dml", {}, {}),
    ],
)
def test_parameters_against_the_exported_networks(train: Train, method: str, options: dict[str, Any], arguments: dict[str, Any]) -> None:
    run = train(method, options, **arguments)
    assert sharing.sharing_ratio(run, "parameters") == pytest.approx(shared_by_weights(run))
    members = [name for name in run.names() if name != "best"]
    total = sum(sum(value.numel() for value in run.member(name).network.parameters()) for name in members)
    assert sharing.trained_parameters(run) <= total + 2000, "gates are no members"


def test_layers_by_hand(cgl: Run) -> None:
    routes = sharing.routes(cgl)
    assert [len(route) for route in routes] == [5] * 4
    pairs = list(itertools.combinations(routes, 2))
    expected = sum(a[depth] == b[depth] for a, b in pairs for depth in range(4)) / (4 * len(pairs))  # without the head
    assert sharing.sharing_ratio(cgl) == pytest.approx(expected)
    assert sharing.structure(cgl).layers[0].blocks == ("stem",)


def test_a_routed_head_is_a_layer(train: Train) -> None:
    run = train("cgl", {"students": 3, "head": "routed"})
    pairs = list(itertools.combinations(sharing.routes(run), 2))
    assert sharing.sharing_ratio(run) == pytest.approx(sum(a[n] == b[n] for a, b in pairs for n in range(5)) / (5 * len(pairs)))


def test_a_trunk_is_shared_by_all(train: Train) -> None:
    assert sharing.sharing_ratio(train("one", {"students": 3})) == 3 / 4, "stem and two of three blocks"
    assert sharing.sharing_ratio(train("cl_ilr", {"students": 2, "branch_from": "stage1"})) == 1 / 4
    assert sharing.sharing_ratio(train("dml")) == 0.0


def test_random_routes_share_one_part_in_m(train: Train) -> None:
    """The mean over many pairs of 16 routes of 4 layers."""
    run = train("cgl", {"students": 16})
    assert sharing.sharing_ratio(run) == pytest.approx(7 / 15), "all 16 routes of two modules: each pair agrees in 2 of 4, but for itself"


def test_the_embedding_of_texts_is_no_layer(train: Train, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("text,label\n" + "".join(f"{word} {n},{word}\n" for n in range(80) for word in ("good", "bad")))
    run = train("cgl", {"students": 4}, data=str(table), student="transformer@depth=3,hidden=8,heads=2", test_size=40.0, train_size=80)
    routes = sharing.routes(run)
    pairs = list(itertools.combinations(routes, 2))
    layers = range(1, len(routes[0]) - 1)
    expected = sum(a[n] == b[n] for a, b in pairs for n in layers) / (len(layers) * len(pairs))
    assert sharing.sharing_ratio(run) == pytest.approx(expected)
    assert sharing.sharing_ratio(run, "parameters") == pytest.approx(shared_by_weights(run))


def changed(run: Run, folder: Path, **result: Any) -> Run:
    shutil.copytree(run.folder, folder)
    (folder / "result.json").write_text(json.dumps({**run.result, **result}))
    return Run(folder)


def test_runs_without_what_is_asked_for(alone: Run, cgl: Run, train: Train, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has a single student, which shares with nobody"):
        sharing.sharing_ratio(alone)
    with pytest.raises(UserError, match="a run of baseline, have no routes; give a run of cgl with routing"):
        sharing.routes(alone)
    with pytest.raises(UserError, match="have neither routes nor branches"):
        sharing.structure(alone)
    with pytest.raises(UserError, match="by is 'weights'; it must be layers or parameters"):
        sharing.sharing_ratio(cgl, "weights")  # type: ignore[arg-type]
    result = dict(cgl.result)
    with pytest.raises(UserError, match="does not say how many parameters were trained"):
        sharing.trained_parameters(changed(cgl, tmp_path / "a", trained_parameters=None))
    identity = {name: value for name, value in result["identity"].items() if name != "group"}
    with pytest.raises(UserError, match="does not describe the group of students"):
        sharing.sharing_ratio(changed(cgl, tmp_path / "b", identity=identity))
