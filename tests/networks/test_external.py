"""Networks of timm and other packages, and errors for networks that do not fit the data."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import studygroup
from studygroup import UserError
from studygroup.networks import NetworkFactory, create, extract_features
from studygroup.networks.chain import Pool
from studygroup.networks.factory import build_network, check_network, spec_name
from studygroup.runs.member import Run

SMALL: dict[str, Any] = {"epochs": 1, "train_size": 96, "holdout": 24, "batch_size": 32, "progress": False, "precision": "float32"}


class Net(nn.Module):
    """A model of the fake timm."""

    def __init__(self, num_classes: int, in_chans: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_chans, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.pool = Pool()
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.pool(self.body(x)))
        return out


class Timm(ModuleType):
    """A fake timm."""

    models = {"tiny_net": 4, "wide_net.tag": 8}  # noqa: RUF012

    def is_model(self, name: str) -> bool:
        return name in self.models

    def list_models(self) -> list[str]:
        return list(self.models)

    def create_model(self, name: str, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        assert pretrained is False
        if in_chans == 2:
            raise RuntimeError("two channels\nare not for me")
        return Net(num_classes, in_chans, self.models[name])


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", Timm("timm"))


@pytest.mark.usefixtures("timm")
def test_a_model_of_timm_by_name() -> None:
    network = build_network("timm:wide_net.tag", num_classes=6, in_channels=1)
    assert isinstance(network, Net)
    assert network(torch.zeros(2, 1, 5, 5)).shape == (2, 6)
    assert spec_name("timm:tiny_net") == "timm:tiny_net"
    students = NetworkFactory("timm:tiny_net", num_classes=6, in_channels=1).students(2)
    assert not torch.equal(students[0].state_dict()["fc.weight"], students[1].state_dict()["fc.weight"])


@pytest.mark.usefixtures("timm")
def test_models_of_timm_are_trained_saved_and_loaded(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run = studygroup.train(
        "digits", student="timm:tiny_net", method="orc", method_options={"students": 2}, teacher="timm:wide_net.tag", peers=["resnet8"],
        out=tmp_path / "run", cache=cache, **SMALL,
    )  # fmt: skip
    assert [run.member(name).card["network"] for name in ("best", "student1", "pivot")] == ["timm:tiny_net", "resnet8", "timm:wide_net.tag"]
    teacher = Run(tmp_path / "run" / "stages" / "teacher")
    assert teacher.result["student"] == "timm:wide_net.tag", "a model of timm is not trained yet, so it is trained first"
    assert studygroup.evaluate(run.folder, progress=False, cache=cache)["best"]["accuracy"] == run.result["selected"]["test"]
    with pytest.raises(UserError, match=r"routes need a network that is a chain of blocks; Net is none: use one of"):
        studygroup.train("digits", student="timm:tiny_net", method="cgl", out=tmp_path / "cgl", cache=cache, **SMALL)
    assert not (tmp_path / "cgl").exists()


@pytest.mark.usefixtures("timm")
def test_features_of_a_timm_model() -> None:
    network = build_network("timm:tiny_net", num_classes=6, in_channels=1)
    found = extract_features(network, torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(0)), ["body"])
    assert torch.equal(found.pre[0].relu(), found.maps[0])
    assert found.pooled.shape == (2, 4)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("timm:tiny_nett", 1, "unknown model of timm 'tiny_nett'; did you mean tiny_net?"),
        ("timm:", 1, "unknown model of timm ''; known: tiny_net, wide_net.tag"),
        ("timm:tiny_net", 2, "timm cannot make tiny_net for 2 channels and 6 classes (two channels are not for me); use another model"),
    ],
)
def test_models_that_timm_cannot_make_are_refused(name: str, channels: int, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build_network(name, num_classes=6, in_channels=channels)


def test_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm:resnet18 needs timm, which cannot be imported .*pip install 'studygroup\[timm\]'"):
        studygroup.train("digits", student="timm:resnet18", method="baseline", out=tmp_path / "run", cache=tmp_path / "cache", **SMALL)
    assert not (tmp_path / "run").exists()


def test_built_in_networks_do_not_import_timm() -> None:
    assert "timm" not in sys.modules
    build_network("resnet8", num_classes=6, in_channels=1)
    assert "timm" not in sys.modules


# ---------------------------------------------------------------- check_network


class Fixed(nn.Module):
    """Accepts 3x3 grey images only, and has 5 classes whatever is requested."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out


class Choosy(nn.Module):
    """Asserts its size, as vision transformers do."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] != 224:
            raise AssertionError(f"input height ({x.shape[2]}) is not 224")
        return x


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("vgg8", (3, 4, 4), r"vgg8 fails on inputs of 3x4x4 \(.*too small.*\); use another image_size, or another network"),
        (Fixed, (1, 4, 4), r":Fixed fails on inputs of 1x4x4 \(.*shapes cannot be multiplied"),
        (Fixed(), (1, 3, 3), r":Fixed returns \(2, 5\) for 2 inputs and 10 classes; it must return \(2, 10\)"),
        (Choosy(), (1, 8, 8), r":Choosy fails on inputs of 1x8x8 \(input height \(8\) is not 224\)"),
        (nn.Identity(), (1, 8, 8), r":Identity returns \(2, 1, 8, 8\) for 2 inputs"),
        (nn.LSTM(8, 2), (1, 8), r":LSTM returns tuple for 2 inputs"),
    ],
)
def test_networks_that_do_not_fit_the_data_are_refused(spec: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_network(spec, torch.zeros(2, *shape), num_classes=10)
    assert "\n" not in str(caught.value)


def test_check_network_has_no_side_effects() -> None:
    shelf = create("resnet8", num_classes=4, in_channels=1)
    shelf.get_submodule("stem").eval()
    modes = [module.training for module in shelf.modules()]
    before = {name: value.clone() for name, value in shelf.state_dict().items()}
    random = torch.get_rng_state()
    for spec in (shelf, lambda: shelf, "resnet14"):
        check_network(spec, torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), num_classes=4)
    assert [module.training for module in shelf.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in shelf.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"student": "vgg8", "method": "baseline", "image_size": 4}, "vgg8 fails on inputs of 1x4x4"),
        ({"student": "resnet8", "method": "dml", "peers": ["vgg11"], "image_size": 7}, "vgg11 fails on inputs of 1x7x7"),
        ({"student": "resnet8", "method": "kd", "teacher": "vgg8", "image_size": 4}, "vgg8 fails on inputs of 1x4x4"),
        ({"student": "resnet8", "method": "kd", "teacher": Fixed()}, "Fixed fails on inputs of 1x8x8"),
        ({"student": create("resnet8", 7, 1), "method": "baseline"}, r"returns \(2, 7\) for 2 inputs and 10 classes"),
        ({"student": create("resnet8", 10, 3), "method": "baseline"}, r"fails on inputs of 1x8x8 \(.*to have 3 channels"),
    ],
)
def test_an_impossible_run_does_not_start(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        studygroup.train("digits", out=tmp_path / "run", cache=tmp_path.parent / "external-cache", **SMALL, **given)
    assert not (tmp_path / "run").exists()


def test_a_function_from_a_package_as_every_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []

    def own(num_classes: int, in_channels: int) -> nn.Module:
        made.append((num_classes, in_channels))
        return Net(num_classes, in_channels, 4)

    text = "studygroup.networks.registry:own"
    monkeypatch.setattr("studygroup.networks.registry.own", own, raising=False)
    run = studygroup.train(
        "digits", student=text, peers=["resnet8", text], method="orc", teacher=text, out=tmp_path / "run", cache=tmp_path / "cache", **SMALL
    )
    assert set(made) == {(10, 1)}
    assert run.result["candidates"] == ["student0", "student2"]
    found = studygroup.evaluate(run.folder, members=["all"], progress=False, cache=tmp_path / "cache", allow_code=[text])
    assert {name: row["accuracy"] for name, row in found.items()} == run.result["last"]["test"]


def test_an_error_in_a_function_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> str:
        return "no network"

    nothings: Callable[[], object] = nothing
    monkeypatch.setattr("studygroup.networks.registry.nothing", nothings, raising=False)
    with pytest.raises(UserError, match=r"studygroup\.networks\.registry:nothing returned a str"):
        build_network("studygroup.networks.registry:nothing", num_classes=2, in_channels=1)


class Lazy(nn.Sequential):
    """A network whose input width is known once it has run."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.LazyBatchNorm1d(affine=False), nn.LazyLinear(num_classes))


def test_lazy_modules_are_refused_until_they_have_run() -> None:
    message = r"Lazy has lazy modules: the shape of 2.weight is known only once it has run; give its modules their sizes"
    for spec in (Lazy, Lazy(4)):
        with pytest.raises(UserError, match=message):
            build_network(spec, num_classes=4, in_channels=1)
    known = Lazy(4)
    known(torch.zeros(2, 1, 5, 5))
    assert build_network(known, num_classes=4, in_channels=1)(torch.zeros(3, 1, 5, 5)).shape == (3, 4)
    with pytest.raises(UserError, match=r"Lazy has lazy modules"):
        studygroup.train("digits", student=Lazy(10), method="baseline", **SMALL)
