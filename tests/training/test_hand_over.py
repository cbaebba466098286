"""What a finished training hands over: routes, soups, ensembles, and students that learn from ensembles."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import studygroup
from studygroup.errors import UserError
from studygroup.groups import average
from studygroup.networks.ensemble import Ensemble
from studygroup.runs.member import Run
from studygroup.training import hand_over
from studygroup.training.hand_over import best_route
from studygroup.training.trainer import Trainer
from tests.methods.tiny import built_method, inputs_for, optimizer_of, tiny
from tests.methods.tiny import train as train_method
from tests.training.test_resume import Killed, kill

Train = Callable[..., Run]
CGL = {"method": "cgl", "method_options": {"students": 3}}
DML = {"method": "dml", "threads": 1}


def test_an_average_is_the_mean_of_weights_and_buffers() -> None:
    networks = [tiny() for _ in range(3)]
    for number, network in enumerate(networks):
        for value in network.state_dict().values():
            value.copy_(torch.randn(value.shape) if value.is_floating_point() else torch.tensor(number + 5))
    states = [copy.deepcopy(network.state_dict()) for network in networks]
    found = average(networks).state_dict()
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (states[0][name] + states[1][name] + states[2][name]) / 3)
        else:
            assert value == 5
    for network, before in zip(networks, states, strict=True):
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_any_route_can_be_exported() -> None:
    method = built_method("cgl", {"students": 3, "require_coverage": True})
    train_method(method, optimizer_of(method), range(2))
    group: Any = method.group.eval()
    inputs = inputs_for(method, 5, seed=1)
    for route in itertools.product(*group.used_modules):
        expected = inputs
        for layer, module in zip(group.layers, route, strict=True):
            expected = layer[module](expected)
        torch.testing.assert_close(group.export_route(route)(inputs), expected)


class Scored:
    """A trainer whose hold-out cross-entropies are given."""

    def __init__(self, group: Any, cross_entropy: Callable[[tuple[int, ...]], float]) -> None:
        self.method = type("M", (), {"group": group})
        self.state = type("S", (), {"epoch": 4})
        self.holdout = object()
        self.cross_entropy = cross_entropy
        self.tried: list[tuple[int, ...]] = []
        group.export_route = lambda route: route

    def recalibrate(self, network: Any) -> Any:
        return network

    def score(self, split: object, networks: dict[str, Any]) -> Any:
        (name, route), *_ = networks.items()
        self.tried.append(route)
        value = self.cross_entropy(route)
        return type("Scores", (), {"cross_entropy": {name: value}, "accuracy": {name: 1 - value}})


def test_the_search_of_routes_is_greedy_by_layer() -> None:
    """Where the cross-entropy is a sum over layers, the best of all routes is found; no route is scored twice."""
    method = built_method("cgl", {"students": 4, "modules": 3, "require_coverage": True})
    costs = torch.rand(5, 3, generator=torch.Generator().manual_seed(1)).tolist()
    group: Any = method.group
    scored = Scored(group, lambda route: sum(costs[depth][module] for depth, module in enumerate(route)))
    found = best_route(scored)  # type: ignore[arg-type]
    best = min(itertools.product(*group.used_modules), key=scored.cross_entropy)
    assert found.member == f"route {'-'.join(map(str, best))}"
    assert found.holdout == 1 - scored.cross_entropy(best)
    assert len(scored.tried) == len(set(scored.tried)) < 3**4
    assert found.made_of == [
        f"student{k}" for k, route in enumerate(group.routes.tolist()) if any(a == b for a, b in zip(route, best, strict=True))
    ]


def test_the_search_ends_and_stays_at_the_best_trained_route_of_a_plateau() -> None:
    group: Any = built_method("cgl", {"students": 3}).group
    found = best_route(Scored(group, lambda route: 0.5))  # type: ignore[arg-type]
    assert found.member == f"route {'-'.join(map(str, group.routes[0].tolist()))}"


def test_a_route_is_handed_over(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    def recorded(trainer: Trainer) -> Any:
        found.append(best_route(trainer))
        return found[-1]

    monkeypatch.setattr(hand_over, "best_route", recorded)
    run = train(**CGL, hand_over="route", epochs=3)
    (chosen,) = found
    assert run.result["selected"]["member"] == chosen.member == run.best.card["member"]
    assert run.best.card["network"] == "resnet8"
    assert run.result["selected"]["epoch"] == 3
    for name, value in chosen.network.state_dict().items():
        assert torch.equal(run.best.network.state_dict()[name], value)
    assert run.result["hand_over"]["kind"] == "route"
    assert run.result["parameters"][chosen.member] == sum(p.numel() for p in run.best.network.parameters())


def test_a_soup_of_students_with_one_origin(train: Train) -> None:
    run = train(**DML, hand_over="soup", members_start="same", epochs=1)
    assert run.result["selected"]["member"] == "soup"
    members = [run.member(name).network for name in ("student0", "student1")]
    mean = average(members).state_dict()
    for name, value in run.best.network.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, mean[name])
    assert any(not torch.equal(value, mean[name]) for name, value in run.best.network.state_dict().items() if "running" in name)


def test_a_method_says_what_is_handed_over_by_default(train: Train) -> None:
    papa = {"method": "papa", "method_options": {"students": 2, "interval": 1, "pull": 0.5}}
    run = train(**papa, epochs=1)
    assert run.result["selected"]["member"] == "soup"
    assert run.result["hand_over"]["kind"] == "soup"


def test_the_run_says_otherwise(train: Train) -> None:
    run = train(method="papa", method_options={"students": 2, "interval": 1}, epochs=1, hand_over="selected")
    assert run.result["selected"]["member"] in ("student0", "student1")


def test_a_worthless_soup_is_not_handed_over(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(networks: Any) -> torch.nn.Module:
        network = average(networks)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(5 * torch.randn(parameter.shape))
        return network

    monkeypatch.setattr(hand_over, "average", noise)
    with pytest.warns(UserWarning, match=r"worse than each of them: .* selected student is handed over.*--members-start same"):
        run = train(**DML, hand_over="soup")
    assert run.result["selected"]["member"] in ("student0", "student1")
    assert run.result["hand_over"]["kind"] == "soup"


def test_a_soup_without_a_hold_out_set(train: Train) -> None:
    with pytest.warns(UserWarning, match="no hold-out set"):
        run = train(**DML, hand_over="soup", members_start="same", holdout=0, epochs=1)
    assert run.result["selected"]["member"] == "soup"
    assert run.result["selected"]["holdout"] is None


def test_an_ensemble_is_handed_over(train: Train) -> None:
    run = train(**DML, hand_over="ensemble")
    assert run.result["selected"]["member"] == "ensemble"
    assert run.result["selected"]["holdout"] == run.result["last"]["holdout"]["ensemble"]
    assert run.result["selected"]["test"] == pytest.approx(run.result["last"]["test"]["ensemble"], abs=1 / 359 + 1e-9)
    assert run.best.card["network"] == "ensemble of resnet8, resnet8"
    assert isinstance(run.best.network, Ensemble)
    inputs = torch.randn(4, 1, 8, 8)
    probabilities = [run.member(name).network(inputs).softmax(-1) for name in ("student0", "student1")]
    torch.testing.assert_close(run.best.network(inputs).exp(), (probabilities[0] + probabilities[1]) / 2)
    assert torch.equal(run.member("ensemble").network(inputs), run.best.network(inputs))
    assert run.result["parameters"]["ensemble"] == 2 * run.result["parameters"]["student0"]


def test_a_handed_over_ensemble_teaches_and_is_exported(train: Train, tmp_path: Path) -> None:
    run = train(**DML, hand_over="ensemble")
    taught = train(method="kd", teacher=run.folder, out=tmp_path / "kd", threads=1)
    assert taught.evaluations["teacher"].accuracy == pytest.approx(run.result["selected"]["test"], abs=1 / 359 + 1e-9)
    card = studygroup.export(run.folder, format="pt2", out=tmp_path / "best.pt2")
    assert card["check"]["file"]["accuracy"] == pytest.approx(run.result["selected"]["holdout"], abs=1 / 48 + 1e-9)
    with pytest.raises(UserError, match="weights of one network, not of an ensemble"):
        studygroup.export(run.folder, format="safetensors")
    with pytest.raises(UserError):
        train(method="fitnet", teacher=run.folder, out=tmp_path / "fitnet")
    with pytest.raises(UserError, match="ensemble"):
        train(method="baseline", weights=str(run.folder), out=tmp_path / "from-weights")


def test_a_student_learns_from_the_ensemble(train: Train, tmp_path: Path) -> None:
    run = train(**DML, hand_over="distilled", hand_over_epochs=3)
    group = Run(run.folder / "stages" / "group")
    assert group.result["selected"]["member"] == "ensemble"
    assert (group.result["epochs"], run.result["epochs"]) == (2, 3)
    assert (run.result["method"], run.names()) == ("dml", ["best", "student0"])
    by_hand = train(method="kd", teacher=group.folder, epochs=3, out=tmp_path / "kd", threads=1)
    assert by_hand.files.weights("best").read_bytes() == run.files.weights("best").read_bytes()


def test_killed_before_the_last_stage_and_resumed(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(**DML, hand_over="distilled", out=tmp_path / "whole")
    run_epochs, stages = Trainer.run_epochs, []

    def mortal(self: Trainer) -> Any:
        stages.append(self.title)
        return run_epochs(self) if len(stages) == 1 else kill()

    monkeypatch.setattr(Trainer, "run_epochs", mortal)
    with pytest.raises(Killed):
        train(**DML, hand_over="distilled", out=tmp_path / "parts")
    assert stages == ["group", "train"]
    monkeypatch.undo()
    parts = train(**DML, hand_over="distilled", out=tmp_path / "parts", resume=True)
    assert parts.files.weights("best").read_bytes() == whole.files.weights("best").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "dml", "hand_over": "route"}, "only the students of cgl with routing are routes"),
        ({"method": "cgl", "method_options": {"routing": False}, "hand_over": "route"}, "only the students of cgl with routing are routes"),
        ({"method": "cgl", "hand_over": "route", "holdout": 0}, "holdout is 0; give a --holdout above 0"),
        ({"method": "baseline", "hand_over": "soup"}, "only one student, so no soup can be handed over"),
        ({"method": "baseline", "hand_over": "ensemble"}, "only one student, so no ensemble can be handed over"),
        ({"method": "baseline", "hand_over": "distilled"}, "only one student, so no ensemble can be handed over or distilled"),
        ({"method": "dml", "hand_over": "best"}, "hand_over is 'best'"),
        ({"method": "dml", "hand_over_epochs": 3}, "hand_over_epochs is 3, but hand_over is auto"),
    ],
)
def test_what_cannot_be_handed_over(arguments: dict[str, Any], message: str, train: Train, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        train(**arguments)
    assert not (tmp_path / "run").exists()
