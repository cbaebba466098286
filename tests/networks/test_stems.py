"""Stems for larger images: definition, choice by `train`, and loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import studygroup
from studygroup import UserError, config
from studygroup.networks import IMAGE_NETWORKS, create, extract_features, parameter_count
from studygroup.networks.factory import resolve_spec
from studygroup.networks.registry import canonical_name, reads_texts, stems
from studygroup.options import TrainOptions
from studygroup.runs.member import Run


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def on_paper(name: str, size: int, **options: Any) -> list[int]:
    """Return the heights of the maps."""
    with torch.device("meta"):
        return [maps.shape[2] for maps in extract_features(create(name, 10, **options), torch.zeros(2, 3, size, size)).maps]


@pytest.mark.parametrize(
    ("name", "stem", "size", "heights"),
    [
        ("resnet18", "small", 64, [64, 64, 32, 16, 8]),
        ("resnet18", "medium", 64, [32, 32, 16, 8, 4]),
        ("resnet18", "large", 224, [56, 56, 28, 14, 7]),
        ("resnet50", "large", 128, [32, 32, 16, 8, 4]),
        ("resnet8", "medium", 96, [48, 48, 24, 12]),
        ("resnet32x4", "large", 160, [40, 40, 20, 10]),
        ("mobilenetv2", "small", 64, [32, 32, 16, 8, 4]),
        ("mobilenetv2", "large", 64, [32, 16, 8, 4, 2]),
        ("mobilenetv2", "large", 224, [112, 56, 28, 14, 7]),
    ],
)
def test_heights(name: str, stem: str, size: int, heights: list[int]) -> None:
    assert on_paper(name, size, stem=stem) == heights
    assert on_paper(f"{name}@{stem}", size) == heights
    assert heights[1] * stems(name)[stem] == on_paper(name, size)[1]


@pytest.mark.parametrize(("name", "count"), [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)])
def test_with_the_large_stem_resnets_are_those_of_imagenet(name: str, count: int) -> None:
    with torch.device("meta"):
        assert parameter_count(create(name, num_classes=1000, stem="large")) == count


def test_stems_do_not_change_the_other_stages() -> None:
    for name in IMAGE_NETWORKS:
        with torch.device("meta"):
            shapes = [{k: v.shape for k, v in create(name, 10, stem=stem).state_dict().items()} for stem in stems(name)]
        for other in shapes[1:]:
            assert list(other) == list(shapes[0])
            assert all(other[key] == shapes[0][key] for key in other if key != "stem.0.weight")
    with torch.device("meta"):
        assert parameter_count(create("mobilenetv2", 10, stem="large")) == parameter_count(create("mobilenetv2", 10))


def test_the_large_stem_pools_the_activated_map() -> None:
    stem = create("resnet18", 10, stem="large").get_submodule("stem")
    assert isinstance(stem, nn.Sequential)
    x = noise(2, 3, 40, 40)
    expected = nn.functional.max_pool2d(stem[1](stem[0](x)).relu(), 3, stride=2, padding=1)
    torch.testing.assert_close(stem(x), expected)


@pytest.mark.parametrize("name", ["resnet8@", "transformer@"])
def test_nothing_after_the_at(name: str) -> None:
    for use in (lambda: create(name, 10), lambda: reads_texts(name), lambda: canonical_name(name)):
        with pytest.raises(UserError, match=f"{name} has nothing after the @; give a stem or options, as in .*, or {name[:-1]}"):
            use()


@pytest.mark.parametrize("name", ["resnet8@medium", "resnet8@large", "mobilenetv2@large"])
@pytest.mark.parametrize("size", [1, 9, 70])
def test_any_size_works(name: str, size: int) -> None:
    with torch.no_grad():
        assert create(name, 4, in_channels=1).eval()(noise(2, 1, size, size)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "by_size"),
    [
        ("resnet18", {8: "", 32: "", 63: "", 64: "@medium", 127: "@medium", 128: "@large", 224: "@large", 512: "@large"}),
        ("mobilenetv2", {8: "", 63: "", 64: "@large", 224: "@large"}),
        ("vgg8", {32: "", 224: ""}),
        ("wrn_16_2", {224: ""}),
        ("resnet8@small", {224: ""}),
        ("resnet8@large", {8: "@large", 224: "@large"}),
    ],
)
def test_stems_are_chosen_by_image_size(name: str, by_size: dict[int, str]) -> None:
    for size, suffix in by_size.items():
        assert canonical_name(name, "auto", size) == name.partition("@")[0] + suffix
        assert resolve_spec(name, "auto", size) == name.partition("@")[0] + suffix


def test_an_explicit_stem_is_kept() -> None:
    assert canonical_name("resnet18", "medium", 224) == "resnet18@medium"
    assert canonical_name("resnet18", "small", 224) == "resnet18"
    assert canonical_name("resnet18@medium", "large", 224) == "resnet18@medium", "a name is about one network, the option about all"
    assert canonical_name("vgg8", "small", 224) == "vgg8"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create("vgg8", 10, stem="large"), "vgg8 has no stem 'large', only small; leave stem out.*resnet18@large"),
        (lambda: create("mobilenetv2", 10, stem="medium"), "mobilenetv2 has no stem 'medium', only small and large"),
        (lambda: create("resnet18@huge", 10), "resnet18 has no stem 'huge', only small and medium and large"),
        (lambda: canonical_name("wrn_40_2", "medium", 64), "wrn_40_2 has no stem 'medium'"),
        (lambda: canonical_name("resnt18@large", "auto", 64), "unknown network 'resnt18'; did you mean resnet18"),
        (lambda: resolve_spec("timm:resnet18", "large", 224), "timm:resnet18 has no stem 'large', only its own"),
        (lambda: resolve_spec(nn.Linear(2, 2), "small", 224), "Linear has no stem 'small', only its own"),
    ],
)
def test_unknown_stems_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- from photographs to a member that is loaded again


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 24 photographs each, 66 pixels high and wide."""
    folder = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(("meadow", "sea")):
        (folder / name).mkdir()
        for k in range(24):
            pixels = torch.randint(0, 120, (66, 66, 3), generator=generator, dtype=torch.uint8)
            pixels[..., number + 1] += 120
            Image.fromarray(pixels.numpy()).save(folder / name / f"{k}.png")
    return folder


def arguments(photos: Path, tmp_path: Path, **given: Any) -> dict[str, Any]:
    common = {"out": tmp_path / "run", "cache": tmp_path.parent / "cache", "image_size": 64, "epochs": 1, "batch_size": 8, "holdout": 8}
    return {"data": photos, "student": "resnet8", "method": "baseline", "progress": False, "precision": "float32", **common, **given}


@pytest.mark.parametrize("method", ["baseline", "cgl"])
def test_members_are_loaded_with_their_stem(photos: Path, tmp_path: Path, method: str) -> None:
    options = {"students": 2} if method == "cgl" else {}
    run = studygroup.train(**arguments(photos, tmp_path, method=method, method_options=options))
    assert run.result["student"] == run.best.card["network"] == run.member("student0").card["network"] == "resnet8@medium"
    assert run.result["identity"]["student"] == "resnet8@medium"
    assert run.best.network.get_submodule("stem.0").stride == (2, 2)
    assert config.read(tmp_path / "run" / "config.yaml")["stem"] == "auto"
    again = Run(tmp_path / "run")
    answers = studygroup.predict(again.folder, [photos / "sea"])
    scores = studygroup.evaluate(again.folder, progress=False, cache=tmp_path.parent / "cache")["best"]
    assert len(answers) == 24
    assert scores["accuracy"] == run.result["selected"]["test"]


def test_a_run_is_repeated_from_its_configuration_and_resumed_only_with_its_stem(photos: Path, tmp_path: Path) -> None:
    studygroup.train(**arguments(photos, tmp_path, stem="large"))
    read = config.load(tmp_path / "run" / "config.yaml", TrainOptions)
    assert (read["student"], read["stem"]) == ("resnet8", "large")
    again = studygroup.train(**{**read, "out": tmp_path / "again"})  # type: ignore[arg-type]
    assert again.best.card["network"] == "resnet8@large"
    weights = [(tmp_path / name / "members" / "best.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]
    studygroup.train(**{**read, "resume": True})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"student was 'resnet8@large', is 'resnet8'"):
        studygroup.train(**{**read, "stem": "small", "resume": True})  # type: ignore[arg-type]


def test_teachers_and_peers_have_stems_of_their_own(photos: Path, tmp_path: Path) -> None:
    run = studygroup.train(**arguments(photos, tmp_path, method="kd", teacher="resnet14", teacher_epochs=1))
    assert Run(tmp_path / "run" / "stages" / "teacher").best.card["network"] == "resnet14@medium"
    assert run.best.card["network"] == "resnet8@medium"
    peers = ["resnet8@large", "resnet8@medium", "vgg8"]
    run = studygroup.train(**arguments(photos, tmp_path, method="dml", peers=peers, out=tmp_path / "dml"))
    cards = [json.loads((tmp_path / "dml" / "members" / f"student{k}.json").read_text())["network"] for k in range(4)]
    assert cards == ["resnet8@medium", *peers]
    assert run.result["candidates"] == ["student0", "student2"], "the network to deploy is the one with its stem"


def test_an_unknown_stem_is_refused_before_training(photos: Path, tmp_path: Path) -> None:
    for given in ({"student": "wrn_16_1"}, {"method": "dml", "peers": ["vgg8"]}, {"method": "kd", "teacher": "shufflenetv2"}):
        with pytest.raises(UserError, match=r"has no stem 'large', only small"):
            studygroup.train(**arguments(photos, tmp_path, stem="large", **given))
        assert not (tmp_path / "run").exists()
