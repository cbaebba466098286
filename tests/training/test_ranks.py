"""Several processes that train together give the numbers of one process.

Only the scenes of selected tests are played: `pytest tests/training/test_ranks.py -k dml` takes seconds.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError
from studygroup.methods import METHODS, create_method
from studygroup.training.trainer import shard_group
from tests.methods.tiny import built_method
from tests.training.ranks import Scene, in_ranks, play, play_all

SEQUENTIAL = {"students": 3, "update": "sequential"}
# Two images of one batch are moved, so that some rank has none.
AT_THE_BOUNDARY = Scene("bss", {"boundary_share": 1.0}, norms=True, settings={"epochs": 6})
# Copies of the steps 0, 2 and 4 teach in the steps 2 to 7, in each of which ranks know their own students only as they are.
STALE = Scene("codistillation", {"students": 3, "exchange_interval": 2, "burn_in": 0.5}, "members", norms=True)
SCENES = [
    # data-parallel: every method, on networks without batch norm
    *(Scene(name) for name in METHODS),
    Scene("cgl", {"students": 3, "detach_targets": False}),
    Scene("cgl", {"students": 3, "batch": "per_student"}, settings={"batch_size": 3, "microbatches": 3}),
    Scene("cgl", {"students": 3, "routing": False, "overlap": 0.2}),
    Scene("dgkd", {"assistants": ("resnet20", "resnet14")}),
    *(Scene(name, first=True) for name in ("ab", "fsp", "ft")),
    Scene("orc", {"mixup_per_sample": True, "temporary_teachers": 2}),
    Scene("orc", {"intensive": "mixup", "recompute": True}),
    Scene("orc", {"intensive": "feedback"}),
    Scene("dml", SEQUENTIAL),
    Scene("baseline", settings={"clip_grad_norm": 0.5, "batch_size": 7, "microbatches": 2}),
    Scene("baseline", settings={"batch_size": 10}, norms=True),  # a last batch of two, which three ranks do not share
    Scene("baseline", settings={"optimizer": "adam", "learning_rate": 0.01}),
    # with the statistics of the whole batch where there is batch norm
    *(Scene(name, norms=True) for name in METHODS),
    Scene("ab", norms=True, first=True),
    Scene("cgl", {"students": 3, "bn": "per_student"}, norms=True),
    Scene("cgl", {"students": 3, "targets": "train"}, norms=True),
    Scene("cgl", {"students": 3, "targets": "recall"}, norms=True),
    Scene("cgl", {"students": 3, "memory": 0.5, "ramp_share": 0.0}, norms=True),
    Scene("cgl", {"students": 3, "memory": 0.5, "ramp_share": 0.0, "division": "none"}, norms=True),
    Scene("cgl", {"students": 4, "memory": 0.5, "ramp_share": 0.0}, "students", norms=True),
    Scene("cgl", {"students": 4, "memory": 0.5, "ramp_share": 0.0, "routing": False}, "members", norms=True),
    AT_THE_BOUNDARY,
    Scene("rkd", {"kd_weight": 0.5}, norms=True, settings={"clip_grad_norm": 0.5}),
    Scene("crd", {"negatives": 20, "student_layers": ("stage1",), "teacher_layers": ("stage2",)}, norms=True),
    # students and their shares on different ranks
    Scene("cgl", {"students": 4}, "students"),
    Scene("cgl", {"students": 5, "probability": 0.6}, "students", norms=True),
    Scene("cgl", {"students": 5, "probability": 0.6, "modules": 3}, "students", norms=True),
    Scene("cgl", {"students": 5, "probability": 0.6, "targets": "recall"}, "students", norms=True),
    Scene("cgl", {"students": 4, "probability": 0.2, "detach_targets": False}, "students", norms=True),
    Scene("cgl", {"students": 4, "bn": "per_student", "head": "per_student"}, "students", norms=True),
    Scene("cgl", {"students": 4, "targets": "eval"}, "students", norms=True, settings={"clip_grad_norm": 0.5}),
    # separate networks on different ranks
    Scene("dml", {"students": 3}, "members", norms=True),
    Scene("dml", {"students": 3, "preset": "okddip"}, "members", norms=True),
    Scene("dml", SEQUENTIAL, "members", norms=True, settings={"clip_grad_norm": 0.5}),
    Scene("dml", {"students": 2}, "members", norms=True, settings={"optimizer": "adam", "learning_rate": 0.01}),
    Scene("cgl", {"students": 4, "routing": False}, "members", norms=True),
    Scene("kdcl", {"students": 3}, "members", norms=True),
    STALE,
    Scene("codistillation", {"students": 3, "exchange_interval": 2, "burn_in": 0.5, "division": "epoch"}, "members", norms=True),
    Scene("codistillation", {"exchange_interval": 3, "burn_in": 2, "burn_in_unit": "steps"}, "members"),
    Scene("codistillation", {"students": 3, "exchange_interval": 2, "burn_in": 0.0}, norms=True),
    Scene("kdcl", {"students": 3, "variant": "general"}, norms=True),
    Scene("orc", {}, "members", norms=True),
    Scene("orc", {"temporary_teachers": 2, "recompute": True}, "members", norms=True, settings={"clip_grad_norm": 0.5}),
    Scene("papa", {"students": 3, "interval": 3, "pull": 0.3}, norms=True),
    Scene("papa", {"students": 3, "interval": 3, "pull": 0.3}, "members", norms=True),
    Scene("pcl", {"decay": 0.5}, norms=True),
    Scene("mcl", {"students": 3}, norms=True),
    Scene("switokd", {"students": 3, "teachers": 2}, norms=True),
    Scene("switokd", {"students": 3, "teachers": 2}, "members", norms=True),
    # losses that relate the samples of all ranks
    Scene("kd", {"preset": "dist", "warmup_share": 0.5}, norms=True),
    Scene("orc", {"logit_loss": "dist", "temporary_teachers": 2}, norms=True),
    Scene("dml", {"students": 3, "logit_loss": "dist", "detach": False}, norms=True),
    Scene("dml", {"students": 3, "logit_loss": "dist"}, "members", norms=True),
    Scene("cgl", {"students": 3, "logit_loss": "dist", "detach_targets": False}, norms=True),
    Scene("cgl", {"students": 4, "logit_loss": "dist"}, "students", norms=True),
    Scene("codistillation", {"logit_loss": "dist", "burn_in": 0.0, "division": "epoch"}, norms=True),
    # several teachers, of which all ranks draw the same
    Scene("kd", {"combine": "random"}, norms=True, teachers=3),
    Scene("kd", {"combine": "holdout"}, norms=True, teachers=3),
    # samples without labels, of which ranks have unequal numbers
    *(Scene(name, norms=True, unlabelled=0.4) for name in ("kd", "dml", "cgl", "codistillation", "mcl", "rdrop")),
    Scene("cgl", {"students": 4}, "students", norms=True, unlabelled=0.4),
    Scene("dml", {"students": 3}, "members", norms=True, unlabelled=0.4),
    Scene("kd", settings={"microbatches": 3}, unlabelled=0.6),
    # texts, whose batch norm is over the positions of all ranks
    *(Scene(name, norms=True, texts=True) for name in ("orc", "at", "fitnet")),
    Scene("sp", {"weight": 30.0}, norms=True, texts=True),
    Scene("cgl", {"students": 5, "probability": 0.6}, "students", norms=True, texts=True),
    Scene("cgl", {"students": 4, "bn": "per_student"}, "students", norms=True, texts=True, settings={"batch_size": 24}),
    Scene("dml", {"students": 3}, "members", norms=True, texts=True),
]
KINDS = ["texts" if scene.texts else "norms" if scene.norms else "plain" for scene in SCENES]
IDS = [f"{scene.method}-{scene.shard}-{kind}-{number}" for number, (scene, kind) in enumerate(zip(SCENES, KINDS, strict=True))]


@pytest.fixture(scope="module", params=[2, 3])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Every rank's outcome of the scenes of all selected tests, by scene number."""
    selected = {number for item in request.session.items if (number := scene_of(item, ranks=request.param)) is not None}
    numbers = [number for number in sorted(selected) if fits(SCENES[number], request.param)]
    folder = tmp_path_factory.mktemp(f"ranks{request.param}")
    found = in_ranks(request.param, play_all, folder, [SCENES[number] for number in numbers], folder / "runs") if numbers else []
    return dict(zip(numbers, map(list, zip(*found, strict=True)), strict=True))


def scene_of(item: pytest.Item, ranks: int) -> int | None:
    """Return the number of the scene that a test of this file needs with so many ranks, if any."""
    values: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return values["number"] if item.path == Path(__file__) and values.get("together") == ranks else None


def with_scene(scene: Scene) -> pytest.MarkDecorator:
    """Return the mark of a test that needs one scene."""
    number = SCENES.index(scene)
    return pytest.mark.parametrize("number", [number], ids=[IDS[number]])


def fits(scene: Scene, ranks: int) -> bool:
    return scene.shard == "samples" or create_method(scene.method, dict(scene.options)).options()["students"] >= ranks


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """Outcomes of scenes in one process, by scene number; filled by the tests."""
    return {}


@pytest.mark.parametrize("number", range(len(SCENES)), ids=IDS)
def test_ranks_give_the_numbers_of_one_process(
    number: int, together: dict[int, list[dict[str, Any]]], alone: dict[int, dict[str, Any]], tmp_path: Path
) -> None:
    if number not in together:
        pytest.skip("fewer students than ranks")
    if number not in alone:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            alone[number] = play(SCENES[number], SINGLE_PROCESS, tmp_path)
    for found in together[number]:
        assert_same(found, alone[number])


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-7, atol=1e-9, msg=name)
    assert found["best"] == expected["best"]
    for own, whole in zip(found["history"], expected["history"], strict=True):
        assert own["losses"].keys() == whole["losses"].keys()
        assert own["losses"] == pytest.approx(whole["losses"], rel=1e-5)
        assert own["metrics"] == pytest.approx(whole["metrics"], rel=1e-5)
        assert own["holdout"] == pytest.approx(whole["holdout"])
        assert own["holdout_cross_entropy"] == pytest.approx(whole["holdout_cross_entropy"], rel=1e-5)
        assert own["diversity"] == (whole["diversity"] and pytest.approx(whole["diversity"], rel=1e-5))
    for mine, theirs in zip(found["momentum"], expected["momentum"], strict=True):
        for key, value in theirs.items():
            torch.testing.assert_close(mine[key], value, rtol=1e-6, atol=1e-9)


INTERRUPTED = [
    Scene("orc", norms=True, settings={"checkpoint_steps": 1}),
    Scene("cgl", {"students": 3, "bn": "per_student"}, "students", norms=True, settings={"checkpoint_steps": 1}),
    Scene("cgl", {"students": 3}, norms=True, settings={"checkpoint_steps": 1}),
    Scene("dml", {"students": 3}, "members", norms=True, settings={"checkpoint_steps": 1, "optimizer": "adam", "learning_rate": 0.01}),
    Scene(
        "codistillation", {"students": 3, "exchange_interval": 2, "burn_in": 0.0}, "members", norms=True, settings={"checkpoint_steps": 1}
    ),
]


def test_a_run_resumes_with_another_number_of_ranks(tmp_path: Path) -> None:
    """Interrupted in the middle of an epoch on two ranks, again on three, and finished by one process."""
    runs = tmp_path / "runs"
    in_ranks(2, play_all, tmp_path / "two", INTERRUPTED, runs, False, 3)
    in_ranks(3, play_all, tmp_path / "three", INTERRUPTED, runs, True, 2)
    for number, scene in enumerate(INTERRUPTED):
        found = play(scene, SINGLE_PROCESS, runs / f"scene{number}", resume=True)
        assert_same(found, play(scene, SINGLE_PROCESS, tmp_path / f"alone{number}"))


def test_the_comparison_notices_another_learning_rate(tmp_path: Path) -> None:
    first = play(SCENES[0], SINGLE_PROCESS, tmp_path / "a")
    other = play(Scene(SCENES[0].method, settings={"learning_rate": 0.04}), SINGLE_PROCESS, tmp_path / "b")
    assert any(not torch.allclose(first["weights"][name], value) for name, value in other["weights"].items())


@with_scene(Scene("dml", {"students": 3}, "members", norms=True))
def test_members_send_logits_only(number: int, together: dict[int, list[dict[str, Any]]]) -> None:
    for found in together[number]:
        ranks = len(together[number])
        classes, students = 4, 3
        steps = [16, 16, 16, 4]
        logits = students * classes * 8 * sum(steps) / len(steps) * (ranks - 1) / ranks
        assert found["history"][0]["bytes_sent"] == pytest.approx(logits, abs=1)


@with_scene(STALE)
def test_stale_copies_are_exchanged_between_ranks(number: int, together: dict[int, list[dict[str, Any]]]) -> None:
    """Beside the logits, weights and buffers of all students are sent in two of the four steps of an epoch, and in no other."""
    for found in together[number]:
        ranks = len(together[number])
        logits = 3 * 4 * 8 * 52 / 4
        students = {name: value for name, value in found["weights"].items() if name.startswith("group.networks.")}
        weights = sum(value.nbytes for value in students.values())
        for epoch in found["history"]:
            assert epoch["bytes_sent"] == pytest.approx((logits + weights * 2 / 4) * (ranks - 1) / ranks, abs=1)
            assert {f"student{k}/imitation" for k in range(3)} <= epoch["losses"].keys()
        for name, value in students.items():
            student, _, parameter = name.removeprefix("group.networks.").partition(".")
            held = found["weights"][f"sources.copies.{student}.network.{parameter}"]
            assert not torch.equal(held, value), "the students went on for two steps"


@with_scene(AT_THE_BOUNDARY)
def test_boundary_images_are_moved_on_ranks(number: int, together: dict[int, list[dict[str, Any]]]) -> None:
    for found in together[number]:
        assert sum("student0/boundary" in epoch["losses"] for epoch in found["history"]) == 1


# ---------------------------------------------------------------- shards


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("sizes", [(16,), (5, 6, 7), (3, 0, 9), (2, 1, 1), (1,)])
@pytest.mark.parametrize("shard", ["samples", "students", "members"])
def test_the_shards_of_a_batch_make_up_the_batch(size: int, sizes: tuple[int, ...], shard: Any) -> None:
    spans = [DistContext(rank, size, shard).spans(sizes) for rank in range(size)]
    if any(part is None for part in spans):
        assert all(part is None for part in spans), "a batch is sharded over all ranks, or not at all"
        return
    for share, count in enumerate(sizes):
        covered = [position for part in spans if part for position in range(*part[share])]
        assert covered == list(range(count))
    assert all(sum(high - low for low, high in part) for part in spans if part), "every rank has samples"


def test_students_are_sharded_evenly() -> None:
    for size in (1, 2, 3, 4):
        owners = [DistContext(0, size).owner(k, 9) for k in range(9)]
        counts = [owners.count(rank) for rank in range(size)]
        assert owners == sorted(owners)
        assert max(counts) - min(counts) <= 1


def test_groups_that_cannot_be_sharded_are_refused() -> None:
    refused: list[tuple[str, dict[str, Any], Any, str]] = [
        ("cgl", {"students": 1}, "students", "1 students on 2 ranks"),
        ("cgl", {"division": "none"}, "students", "trains all students on the same samples"),
        ("cgl", {"targets": "train"}, "students", "targets='train'"),
        ("cgl", {}, "members", "share modules"),
        ("cgl", {"routing": False}, "students", "separate networks"),
        ("dml", {}, "students", "trains all students on the same samples"),
        ("baseline", {}, "members", "1 students on 2 ranks"),
        ("one", {}, "members", "branched group cannot be on different ranks"),
    ]
    for name, options, shard, words in refused:
        with pytest.raises(UserError, match=words):
            shard_group(built_method(name, options), DistContext(0, 2, shard), 4)
