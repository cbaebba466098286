"""What the trainer offers: optimisers, schedules, precision, selection, files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import studygroup
from studygroup import UserError, config
from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.methods import CGL, DML, Baseline
from studygroup.networks import Chain, NetworkFactory, create, parameter_count
from studygroup.options import TrainOptions
from studygroup.runs.member import Run
from studygroup.training import Settings, score
from studygroup.training.evaluate import diversity
from studygroup.training.meter import LossMeter
from studygroup.training.updater import Updater


def updater(method: Any, **settings: Any) -> Updater:
    """Build a method on 8x8 images, and its updater."""
    method.build(NetworkFactory("resnet8", num_classes=4, in_channels=1))
    method.train()
    return Updater(method, Settings(**{"precision": "float32", "schedule": "constant", **settings}), torch.device("cpu"))


def batch(size: int, sizes: tuple[int, ...] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(size)
    return Batch(torch.randn(size, 1, 8, 8, generator=generator), torch.arange(size) % 4, torch.arange(size), sizes)


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_run_folder_and_metrics(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="cgl", method_options={"students": 3}, epochs=3)
    folder = tmp_path / "run"
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    students = ["student0", "student1", "student2"]
    for record in records:
        assert set(record["holdout"]) == {*students, "ensemble"}
        assert all(0 <= value <= 1 for value in record["holdout"].values())
        assert {name.partition("/")[0] for name in record["losses"]} == set(students)
        assert record["seconds"] > 0
        assert record["samples_per_second"] > 0
        assert 0 <= record["diversity"] <= 2**0.5
    assert records[0]["learning_rate"] > records[-1]["learning_rate"] == 0.0
    # selection: the best hold-out accuracy of any member and epoch, ties by cross-entropy
    candidates = [(-r["holdout"][s], r["holdout_cross_entropy"][s], r["epoch"], s) for r in records for s in students]
    accuracy, _, epoch, member = min(candidates, key=lambda row: row[:2])
    assert run.result["selected"]["epoch"] == epoch
    assert run.result["selected"]["member"] == member
    assert run.result["selected"]["holdout"] == -accuracy
    assert sorted(path.name for path in (folder / "members").glob("*.safetensors")) == ["best.safetensors"] + [
        f"{s}.safetensors" for s in students
    ]
    assert {"config.yaml", "environment.json", "result.json", "checkpoints", "predictions"} <= {path.name for path in folder.iterdir()}


def test_members_are_plain_networks(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="cgl", method_options={"students": 2, "bn": "per_student"})
    network = create("resnet8", 10, 1)
    for name in ("best", "student0", "student1"):
        network.load_state_dict(safetensors.torch.load_file(tmp_path / "run" / "members" / f"{name}.safetensors"))
    assert run.result["parameters"]["student0"] == parameter_count(network)
    assert set(run.members) == {"student0", "student1"}
    # a stranger to the package reads the same accuracy from the files
    scores = studygroup.evaluate(tmp_path / "run", members=["all"], cache=None, progress=False)
    for name, accuracy in run.result["last"]["test"].items():
        assert scores[name]["accuracy"] == pytest.approx(accuracy, abs=1e-9)
    best = studygroup.evaluate(tmp_path / "run", progress=False)["best"]
    assert best["accuracy"] == run.result["selected"]["test"]
    with (tmp_path / "run" / "predictions" / "test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["label"] == row["predicted"] for row in rows) / len(rows) == run.result["selected"]["test"]


@pytest.fixture(autouse=True)
def shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYGROUP_CACHE", str(cache))


def test_the_saved_configuration_reruns_the_run(train: Callable[..., Run], tmp_path: Path) -> None:
    train(method=CGL(students=2, probability=0.5, ramp_share=0.5), learning_rate=0.02, warmup=1.0)
    again = config.load(tmp_path / "run" / "config.yaml", TrainOptions)
    data = str(again.pop("data"))
    studygroup.train(data, **{**again, "out": tmp_path / "again"})  # type: ignore[arg-type]
    for name in ("best", "student0", "student1"):
        assert (tmp_path / "run" / "members" / f"{name}.safetensors").read_bytes() == (
            tmp_path / "again" / "members" / f"{name}.safetensors"
        ).read_bytes()


def test_seeds_differ_and_repeat(train: Callable[..., Run], tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(method="baseline", seed=seed, out=tmp_path / name, epochs=1)
    a, b, c = ((tmp_path / name / "members" / "student0.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_cgl_with_one_student_is_plain_training(train: Callable[..., Run], tmp_path: Path) -> None:
    train(method="baseline", out=tmp_path / "alone")
    train(method="cgl", method_options={"students": 1}, out=tmp_path / "group")
    assert (tmp_path / "alone" / "members" / "student0.safetensors").read_bytes() == (
        tmp_path / "group" / "members" / "student0.safetensors"
    ).read_bytes()


def test_peers_and_selection_among_the_targets(train: Callable[..., Run]) -> None:
    run = train(method="dml", student="resnet8", peers=["resnet14"])
    assert run.result["candidates"] == ["student0"]
    assert run.member("student1").card["network"] == "resnet14"
    assert run.result["selected"]["member"] == "student0"
    with pytest.raises(UserError, match="students is 4, but 1 peers make 2"):
        train(method="dml", peers=["resnet14"], method_options={"students": 4}, overwrite=True)
    with pytest.raises(UserError, match="2 students, but 2 peers; give 1"):
        train(method=DML(students=2), peers=["resnet14", "resnet20"], overwrite=True)
    with pytest.raises(UserError, match="takes no peers"):
        train(method="baseline", peers=["resnet14"], overwrite=True)


def test_orc_trains_its_pivot_first(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="orc", teacher="resnet14", teacher_epochs=1, method_options={"students": 2})
    assert set(run.members) == {"student0", "student1", "pivot"}
    assert run.member("pivot").card["network"] == "resnet14"
    assert "pivot" not in run.result["candidates"]
    stage = Run(tmp_path / "run" / "stages" / "teacher")
    assert stage.result["epochs"] == 1
    assert stage.result["student"] == "resnet14"


def test_teachers_from_a_run_and_from_python(
    train: Callable[..., Run], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(method="kd", teacher=teacher, out=tmp_path / "run")
    module = Run(teacher).best.network
    train(method="kd", teacher=module, out=tmp_path / "python")
    monkeypatch.setattr("studygroup.networks.registry.shelf", lambda num_classes: module if num_classes == 10 else None, raising=False)
    train(method="kd", teacher="studygroup.networks.registry:shelf", out=tmp_path / "imported")
    found = {(tmp_path / name / "members" / "best.safetensors").read_bytes() for name in ("run", "python", "imported")}
    assert len(found) == 1


class Linear(nn.Module):
    """A student of the user's own."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(64 * in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out


def test_any_module_can_be_a_student(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="dml", student=Linear(10, 1))
    assert run.member("best", Linear(10, 1)).predict.__self__.card["parameters"] == 650  # type: ignore[attr-defined]
    run = train(method="baseline", student=f"{__name__}:Linear" if "." in __name__ else Linear, out=tmp_path / "by-class")
    assert run.result["parameters"]["student0"] == 650
    with pytest.raises(UserError, match="chain of blocks; Linear is none"):
        train(method="cgl", student=Linear(10, 1), out=tmp_path / "cgl")
    assert not (tmp_path / "cgl").exists()


@pytest.mark.parametrize(("method", "sizes"), [(lambda: DML(students=2), None), (lambda: CGL(students=2, probability=0.0), (6, 6))])
def test_accumulation_is_the_same_update(method: Callable[[], Any], sizes: tuple[int, ...] | None) -> None:
    """Without batch norm's dependence on the batch, parts add up to the whole."""
    found = []
    for parts in (1, 3):
        own = updater(method(), microbatches=parts, batch_size=12, clip_grad_norm=1.0)
        for module in own.method.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        own.step(batch(12, sizes), Clock(), LossMeter())
        found.append(weights(own.method))
    for whole, summed in zip(*found, strict=True):
        torch.testing.assert_close(whole, summed, atol=1e-6, rtol=1e-4)


def test_learning_rates_by_member() -> None:
    own = updater(DML(students=2), learning_rate_scales={"student1": 0.0}, weight_decay=0.0)
    before = [weights(own.method.group[k]) for k in (0, 1)]
    own.step(batch(8), Clock(), LossMeter())
    assert not any(torch.equal(a, b) for a, b in zip(before[0], weights(own.method.group[0]), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before[1], weights(own.method.group[1]), strict=True))
    with pytest.raises(UserError, match="'studnt1'; did you mean student1"):
        updater(DML(students=2), learning_rate_scales={"studnt1": 0.5})


def test_clipping_bounds_the_joint_norm() -> None:
    own = updater(Baseline(), clip_grad_norm=1e-3, learning_rate=1.0, momentum=0.0, nesterov=False, weight_decay=0.0)
    before = weights(own.method)
    own.step(batch(8), Clock(), LossMeter())
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, weights(own.method), strict=True)])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimisers_learn(optimizer: Any) -> None:
    own = updater(Baseline(), optimizer=optimizer, learning_rate=0.05 if optimizer == "sgd" else 1e-3)
    meters = []
    for _ in range(12):
        meters.append(LossMeter())
        own.step(batch(16), Clock(), meters[-1])
    assert meters[-1].losses.means()["student0/cross_entropy"] < meters[0].losses.means()["student0/cross_entropy"] / 2


def test_rates() -> None:
    cosine = Settings(epochs=10, warmup=2.0)
    assert cosine.rate(0, 0.5) == pytest.approx(0.25 * 0.99384417, rel=1e-6)
    assert cosine.rate(9, 10.0) == pytest.approx(0.0)
    steps = Settings(epochs=200, schedule="milestones", milestones=(60, 120, 160), gamma=0.5)
    assert [steps.rate(epoch, epoch + 1) for epoch in (59, 60, 119, 120, 160, 199)] == [1, 0.5, 0.5, 0.25, 0.125, 0.125]


def test_precision_and_layout() -> None:
    cpu = torch.device("cpu")
    assert Settings(precision="bf16").autocast(cpu) is torch.bfloat16
    assert Settings(precision="float32").autocast(cpu) is None
    assert Settings(precision="float32").memory_format(cpu) is torch.contiguous_format
    assert Settings(precision="bf16").memory_format(cpu) is torch.channels_last
    assert Settings(precision="bf16", channels_last=False).memory_format(cpu) is torch.contiguous_format


def test_diversity_and_ensemble_by_hand() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    second = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1])
    found = score(lambda _: {"a": first, "b": second}, ["a", "b"], [(torch.zeros(2, 1), labels)])
    p, q = first.softmax(-1), second.softmax(-1)
    assert found.accuracy == {"a": 1.0, "b": 0.5, "ensemble": 1.0}
    assert found.diversity == pytest.approx(float((p - q).pow(2).sum(-1).sqrt().mean()))
    assert found.disagreement == 0.5, "they predict different classes for the first sample"
    assert found.cross_entropy["ensemble"] == pytest.approx(float(-((p + q) / 2)[range(2), labels].log().mean()))
    three = torch.stack([p, q, p])
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = torch.stack([(three[i] - three[j]).pow(2).sum(-1).sqrt() for i, j in pairs]).mean(0)
    torch.testing.assert_close(diversity(three), expected)


def test_recalibration_gives_members_statistics_of_their_own(train: Callable[..., Run]) -> None:
    run = train(method="cgl", method_options={"students": 2, "modules": 1, "distinct": False}, recalibrate_bn=True)
    # one route for both students: the same network, so the same statistics, but not the moving averages of training
    first, second = (run.member(name).network.state_dict() for name in ("student0", "student1"))
    for key in first:
        torch.testing.assert_close(first[key], second[key])
    plain = (
        train(method="cgl", method_options={"students": 2, "modules": 1, "distinct": False}, overwrite=True)
        .member("student0")
        .network.state_dict()
    )
    assert torch.equal(plain["classifier.weight"], first["classifier.weight"])
    assert not torch.equal(plain["stem.1.running_mean"], first["stem.1.running_mean"])


def test_selection_may_be_from_the_last_epoch_only(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="dml", method_options={"students": 3}, epochs=4, select_from="last", learning_rate=0.2)
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    rank = {f"student{k}": (-record["holdout"][f"student{k}"], record["holdout_cross_entropy"][f"student{k}"]) for k in range(3)}
    member = min(rank, key=rank.__getitem__)
    assert run.result["selected"] == {**run.result["selected"], "member": member, "epoch": 4, "holdout": -rank[member][0]}
    assert run.result["selected"]["test"] == run.result["last"]["test"][member]


def test_without_hold_out_the_last_epoch_is_taken(train: Callable[..., Run]) -> None:
    with pytest.warns(UserWarning, match="no hold-out set"):
        run = train(method="dml", holdout=0)
    assert run.result["selected"] == {**run.result["selected"], "member": "student0", "epoch": 2, "holdout": None}


def test_tensorboard(train: Callable[..., Run], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(method="baseline", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("holdout/student0")) == 2
    assert "losses/student0/cross_entropy" in events.Tags()["scalars"]


def eight_by_eight(num_classes: int, in_channels: int) -> Chain:
    """A chain that takes images of 8x8 only."""
    return Chain(
        {
            "stem": {"stem": nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())},
            "fold": {"fold": nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.ReLU())},
            "head": {"classifier": nn.Linear(6, num_classes)},
        }
    )


def test_what_a_group_says_together_is_reported_and_not_saved(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="one", method_options={"students": 2}, student=eight_by_eight)
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(record["holdout"]) == {"student0", "student1", "gated", "ensemble"}
    assert "group/gated" in record["losses"]
    assert set(run.result["last"]["test"]) == {"student0", "student1", "gated", "ensemble"}
    assert run.result["candidates"] == ["student0", "student1"]
    assert {path.stem for path in (tmp_path / "run" / "members").glob("*.safetensors")} == {"student0", "student1", "best"}


def test_a_leader_is_selected_whoever_is_better(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="okddip", method_options={"students": 3}, student=eight_by_eight)
    assert run.result["candidates"] == ["leader"]
    assert run.result["selected"]["member"] == run.result["last"]["member"] == "leader"
    assert {path.stem for path in (tmp_path / "run" / "members").glob("*.safetensors")} == {"peer0", "peer1", "leader", "best"}
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(record["holdout"]) == {"peer0", "peer1", "leader", "ensemble"}


def test_a_network_that_cannot_be_cut_is_refused_before_training(train: Callable[..., Run], tmp_path: Path) -> None:
    for options, message in ((("one", {"branch_from": "stage9"}), "stage9"), (("cl_ilr", {"branch_from": "stem"}), "nothing to share")):
        with pytest.raises(UserError, match=message):
            train(method=options[0], method_options=options[1])
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
def test_compiled_networks_learn_the_same(train: Callable[..., Run], tmp_path: Path) -> None:
    for name in ("baseline", "cgl"):
        options = {"method_options": {"students": 2}} if name == "cgl" else {}
        plain = train(method=name, epochs=1, out=tmp_path / f"{name}-eager", **options)
        compiled = train(method=name, epochs=1, compile=True, out=tmp_path / f"{name}-compiled", **options)
        first, second = (Run(run.folder).best.network.state_dict() for run in (plain, compiled))
        for key, value in first.items():
            torch.testing.assert_close(value, second[key], atol=2e-2, rtol=2e-2)


def test_predict(train: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    run = train(method="baseline", epochs=6, train_size=None)
    digits = load_digits()
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for number in range(20):
        Image.fromarray((digits.images[number] * 255 / 16).round().astype("uint8")).save(tmp_path / "images" / "deep" / f"{number:02d}.png")
    predictions = run.best.predict(tmp_path / "images", top=3, batch_size=7)
    assert [Path(answer["path"]).name for answer in predictions] == [f"{number:02d}.png" for number in range(20)]
    assert sum(answer["label"] == str(digits.target[number]) for number, answer in enumerate(predictions)) >= 15
    assert all(len(answer["top"]) == 3 and answer["top"][0] == (answer["label"], answer["probability"]) for answer in predictions)
    assert predictions == studygroup.predict(run.folder, [tmp_path / "images"], top=3)
    (tmp_path / "images" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"broken\.png"):
        run.best.predict(tmp_path / "images")
    assert len(run.best.predict(tmp_path / "images", on_error="skip")) == 20
    assert "broken.png" in capsys.readouterr().err
    with pytest.raises(UserError, match="did you mean student0"):
        studygroup.predict(run.folder, [tmp_path / "images"], member="student1")


def test_evaluate_other_data(train: Callable[..., Run], tmp_path: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    run = train(method="baseline", epochs=6, train_size=None)
    digits = load_digits()
    for number in range(60):
        label = int(digits.target[number])
        if label in (3, 5):  # some of the classes, as one tree: all of its images are for the test
            (tmp_path / "photos" / str(label)).mkdir(parents=True, exist_ok=True)
            pixels = (digits.images[number] * 255 / 16).round().astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "photos" / str(label) / f"{number}.png")
    images = len(list((tmp_path / "photos").rglob("*.png")))
    found = studygroup.evaluate(run.folder, data=tmp_path / "photos", progress=False)["best"]
    assert found["samples"] == images
    right = [Path(answer["path"]).parent.name == answer["label"] for answer in run.best.predict(tmp_path / "photos")]
    assert found["accuracy"] == pytest.approx(sum(right) / images)
    (tmp_path / "photos" / "3").rename(tmp_path / "photos" / "cat")
    with pytest.raises(UserError, match="classes that the run does not know: cat"):
        studygroup.evaluate(run.folder, data=tmp_path / "photos", progress=False)


def test_a_broken_image_is_skipped_as_asked(train: Callable[..., Run], tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (9, 7), number * 10 if name == "cat" else 255 - number).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "photos" / "cat" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    wanted: dict[str, Any] = {"data": tmp_path / "photos", "method": "baseline", "image_size": 8, "train_size": None, "holdout": 4}
    with pytest.raises(UserError, match=r"cat/torn\.jpg.*--on-error skip"):
        train(**wanted)
    run = train(**wanted, on_error="skip")
    assert run.result["test_samples"] == 8
    # a run's own data is read as it was for training
    assert studygroup.evaluate(run.folder, progress=False)["best"]["accuracy"] == run.result["selected"]["test"]
    with pytest.raises(UserError, match=r"torn\.jpg"):
        studygroup.evaluate(run.folder, data=tmp_path / "photos", progress=False)
    assert studygroup.evaluate(run.folder, data=tmp_path / "photos", on_error="skip", progress=False)["best"]["samples"] == 40


def test_a_run_shows_itself(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="baseline", epochs=1)
    assert re.fullmatch(rf"Run\('{tmp_path}/run': baseline of resnet8 on digits, hold-out \d+\.\d\d%, test \d+\.\d\d%\)", repr(run))
