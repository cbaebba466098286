"""Test a finished training, and write its members, predictions and result."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from studygroup.errors import UserError
from studygroup.networks.ensemble import Ensemble
from studygroup.networks.factory import NetworkFactory, numbered, spec_name
from studygroup.runs.evaluation import Evaluation, write_evaluations
from studygroup.runs.files import write_json
from studygroup.runs.layout import FORMAT
from studygroup.runs.member import BEST, ENSEMBLE_OF, ensemble_name
from studygroup.runs.mistakes import write_mistakes
from studygroup.runs.samples import write_samples
from studygroup.runs.writer import write_member, write_member_predictions, write_module, write_predictions
from studygroup.training.evaluate import Predicted, Scores, collect, in_reading_order
from studygroup.training.hand_over import HandedOver, hand_over
from studygroup.training.splits import DataSplits
from studygroup.training.state import BestCheckpoint
from studygroup.training.trainer import EVALUATION_BATCH, Trainer


def save_results(
    trainer: Trainer, best: BestCheckpoint, factory: NetworkFactory, splits: DataSplits, label: str, starts: Mapping[str, str]
) -> None:
    """Test all members on all ranks; rank 0 writes. Arguments as of `write_results`."""
    dataset, recalibrate = splits.dataset, trainer.settings.recalibrate_bn
    members = trainer.recalibrated() if recalibrate else {name: trainer.members.export(name) for name in trainer.members.names()}
    seen: list[Predicted] = []
    scores = trainer.score(dataset.test, members if recalibrate else None, seen.append) if len(dataset.test) else None
    predicted = in_reading_order(seen, dataset.test, trainer.ranks)
    chosen = hand_over(trainer, best, members)
    trainer.ranks.on_rank_zero(lambda: write_results(trainer, best, chosen, factory, splits, label, starts, members, scores, predicted))


def write_results(
    trainer: Trainer,
    best: BestCheckpoint,
    chosen: HandedOver,
    factory: NetworkFactory,
    splits: DataSplits,
    label: str,
    starts: Mapping[str, str],
    members: Mapping[str, nn.Module],
    scores: Scores | None,
    predicted: Mapping[str, NDArray[np.int64]],
) -> None:
    """Write members, predictions and the result.

    Args:
        trainer: at the end of its training.
        best: the selected member.
        chosen: what is handed over.
        factory: made the networks.
        splits: the data.
        label: name of the method.
        starts: what each member started from, in words.
        members: all members as plain networks.
        scores: of all members on the test set; None if there is none.
        predicted: classes that the members predict on the test set (N,).
    """
    method, dataset, settings, files = trainer.method, splits.dataset, trainer.settings, trainer.files
    record = trainer.log.history[-1]
    origin = {"data": dataset.name, "method": label, "seed": settings.seed}
    taught_by = {"teachers": dict(found)} if (found := method.taught_by()) else {}
    common = {
        "classes": list(dataset.classes),
        **dataset.inputs.to_card(),
        "precision": "bf16" if trainer.updater.autocast is not None else "float32",
        "channels_last": trainer.runner.memory_format == torch.channels_last,
        **origin,
        **taught_by,
    }
    students = method.student_names()
    cards = {}
    for name, network in members.items():
        origin_name = trainer.members.averaged(name) or name
        spec = factory.spec(students.index(origin_name)) if origin_name in students else factory.teacher_spec
        cards[name] = {
            "network": spec_name(spec) if spec is not None else origin_name,
            "parameters": total_parameters(network),
            "epoch": record["epoch"],
            **common,
            "starts_from": starts[origin_name],
            "holdout": record["holdout"].get(name),
        }
        write_member(files, name, network, cards[name])
    modules = {name: write_module(files, name, module) for name, module in method.modules_to_save().items()}
    dataset.inputs.save(files.folder)
    card = {
        "network": spec_name(factory.target),
        "parameters": total_parameters(chosen.network),
        "member": chosen.member,
        "epoch": chosen.epoch,
        **common,
        "starts_from": "; ".join(dict.fromkeys(starts[name] for name in chosen.made_of)),
        "holdout": chosen.holdout,
    }
    if isinstance(chosen.network, Ensemble):
        card |= {"network": ensemble_name(cards[name]["network"] for name in chosen.made_of), ENSEMBLE_OF: list(chosen.made_of)}
    write_member(files, BEST, chosen.network, card)
    result = {
        "format": FORMAT,
        **origin,
        "student": spec_name(factory.target),
        "epochs": trainer.state.epoch,
        "stopped_early": trainer.stopped_early,
        "candidates": list(trainer.members.candidates),
        "seconds": round(sum(past["seconds"] for past in trainer.log.history), 3),
        "parameters": {name: total_parameters(network) for name, network in {**members, chosen.member: chosen.network}.items()},
        "trained_parameters": sum(parameter.numel() for parameter in trainer.updater.parameters),
        "selected": {
            "member": chosen.member,
            "epoch": chosen.epoch,
            "holdout": chosen.holdout,
            "test": test_selected(trainer, chosen.network, factory, splits, predicted),
        },
        "hand_over": {"kind": settings.hand_over, "student": best.member, "epoch": best.epoch, "holdout": best.accuracy},
        "last": {
            "epoch": record["epoch"],
            "member": max(trainer.members.candidates, key=lambda name: record["holdout"].get(name, 0.0)),
            "holdout": record["holdout"],
            "test": scores.accuracy if scores else {},
            "diversity": scores.diversity if scores else None,
            "disagreement": scores.disagreement if scores else None,
        },
        **taught_by,
        "modules": modules,
        "ranks": communication(trainer),
        "holdout_samples": len(splits.holdout),
        "test_samples": len(dataset.test),
        "identity": trainer.identity,
    }
    write_json(files.result, result)


def communication(trainer: Trainer) -> dict[str, object]:
    """Return the number of ranks and the bytes that each sent per step, beside those of data parallelism (2 (R - 1) / R gradients)."""
    ranks = trainer.ranks
    if not ranks.is_distributed:
        return {"number": 1}
    gradients = sum(parameter.nbytes for parameter in trainer.updater.parameters)
    return {
        "number": ranks.world_size,
        "shard": ranks.shard,
        "bytes_per_step": trainer.log.history[-1].get("bytes_sent", 0),  # none if one process trained and several write its results
        "data_parallel_bytes_per_step": round(gradients * 2 * (ranks.world_size - 1) / ranks.world_size),
    }


@torch.no_grad()
def test_selected(
    trainer: Trainer, network: nn.Module, factory: NetworkFactory, splits: DataSplits, predicted: Mapping[str, NDArray[np.int64]]
) -> float | None:
    """Write what the selected student, its teachers and all members predict on the test set: scores, predictions, mistakes.

    Returns:
        The accuracy of the student in [0, 1]; None if there is no test set.
    """
    dataset, files = splits.dataset, trainer.files
    if not len(dataset.test):
        return None
    networks = {BEST: network, **teachers_by_name(factory)}
    for member in networks.values():
        member.to(device=trainer.device, memory_format=trainer.runner.memory_format).eval()  # type: ignore[call-overload]
    found = collect(
        lambda inputs: trainer.updater.forward(lambda: {name: member(inputs) for name, member in networks.items()}) or {},
        (),
        dataset.test,
        trainer.runner.transform,
        EVALUATION_BATCH,
    )
    evaluations = {}
    for name, outcomes in found.items():
        try:
            evaluations[name] = Evaluation.of(outcomes, dataset.classes)
        except UserError as error:  # what was trained is kept
            warnings.warn(f"{name} on the test set: {error}", stacklevel=2)
    if evaluations:
        write_evaluations(files, evaluations)
    names = dataset.test.sample_names()
    write_predictions(files.predictions, found[BEST], names, dataset.classes)
    if predicted:
        write_member_predictions(files.member_predictions, predicted, dataset.test.labels, dataset.classes)
    write_mistakes(files, dataset.test, found[BEST], names, dataset.classes)
    students = [predicted[name] for name in trainer.method.student_names() if name in predicted]
    write_samples(files, dataset.test, found[BEST], students)
    return float((found[BEST].predicted == found[BEST].labels).mean())


def teachers_by_name(factory: NetworkFactory) -> dict[str, nn.Module]:
    """Return the teachers: `teacher`, and further ones as `teacher2`, `teacher3`, ..."""
    return {numbered("teacher", number): teacher for number, teacher in enumerate(factory.teachers, start=1)}


def total_parameters(network: nn.Module) -> int:
    """Return the number of parameters, frozen ones too."""
    return sum(parameter.numel() for parameter in network.parameters())
