"""One stage from data to a run folder: assemble, train, test, write the members."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.data import Augment, Dataset, Split, evaluation_batches, reading_order
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError
from studygroup.methods.method import Method
from studygroup.networks.factory import NetworkFactory, spec_name
from studygroup.networks.registry import parameter_count
from studygroup.runs.files import write_json
from studygroup.runs.member import Member, Run
from studygroup.runs.writer import write_member, write_predictions, write_weights
from studygroup.training.evaluate import Scores
from studygroup.training.settings import Settings
from studygroup.training.trainer import EVALUATION_BATCH, BestCheckpoint, Trainer, check_same_run, shard_group


@dataclass(frozen=True, eq=False)
class DataSplits:
    """What a run learns from: a prepared data set, divided.

    Attributes:
        dataset: classes, kind of inputs and the test split.
        train: what is learnt from.
        holdout: what members are selected by; may be empty.
        augment: of training batches.
    """

    dataset: Dataset
    train: Split
    holdout: Split
    augment: Augment


def fit(
    folder: Path,
    method: Method,
    factory: NetworkFactory,
    splits: DataSplits,
    settings: Settings,
    *,
    label: str,
    start: Run | None = None,
    resume: bool = False,
    title: str = "train",
    resume_hint: str = "--resume",
    ranks: DistContext = SINGLE_PROCESS,
) -> Run:
    """Train a method and leave a finished run in `folder`; a run that is finished already is only opened.

    Args:
        folder: of the run.
        method: not assembled yet.
        factory: makes its networks.
        splits: what to learn from.
        settings: how.
        label: what result, cards and identity call the method.
        start: the finished run of an earlier stage whose weights this one starts from; by default it starts from fresh ones.
        resume: go on from what is in `folder`.
        title: what the progress bar calls it.
        resume_hint: the command that goes on with the run.
        ranks: the processes that train together. All see the folder; the first one writes.

    Raises:
        UserError, TrainingError, Interrupted: as `Trainer.run`.
    """
    dataset = splits.dataset
    device = settings.torch_device()
    preprocess = dataset.inputs.prepare(device, settings.memory_format(device), splits.augment)
    teachers = [weights_digest(teacher) for teacher in factory.teachers]  # before a pivot learns
    method.build(factory)
    if start is not None:
        load_stage_weights(method, start)
    identity: dict[str, Any] = {
        "method": label,
        "options": method.options(),
        "group": method.describe(),
        "student": spec_name(factory.target),
        "peers": [spec_name(peer) for peer in factory.peers],
        "teacher": " ".join(teachers) or None,
        "start": " ".join(weights_digest(module) for module in stage_modules(method).values()) if start is not None else None,
        "data": {
            "key": dataset.key,
            "training samples": len(splits.train),
            "hold-out samples": len(splits.holdout),
            "positions": split_digest(splits),
            "augment": splits.augment,
        },
        "settings": settings.identity(),
    }
    if ranks.is_distributed and ranks.shard != "samples":
        shard_group(method, ranks, len(dataset.classes))
    if resume and ranks.on_rank_zero((folder / "result.json").is_file):
        run = Run(folder)
        check_same_run(run.result["identity"], json.loads(json.dumps(identity, default=str)))  # as it was written
        return run
    trainer = Trainer(
        method,
        splits.train,
        splits.holdout,
        preprocess,
        settings,
        folder,
        identity=identity,
        title=title,
        resume_hint=resume_hint,
        ranks=ranks,
    )
    best = trainer.run(resume=resume)
    finish(trainer, best, factory, splits, label)
    return Run(folder)


def stage_modules(method: Method) -> dict[str, nn.Module]:
    """What of an assembled method goes from stage to stage: by file name, its members, and what it keeps beside them."""
    students = {name: method.group[k] for k, name in enumerate(method.student_names())}
    members = {f"members/{name}": network for name, network in (*students.items(), *method.others().items())}
    return members | {f"parts/{name}": module for name, module in method.modules_to_save().items()}


def load_stage_weights(method: Method, start: Run) -> None:
    """Give an assembled method the weights that an earlier stage left, after its last epoch.

    Raises:
        UserError: that stage left no such member or part, or one of another shape.
    """
    for name, module in stage_modules(method).items():
        try:
            module.load_state_dict(start.weights(name))
        except RuntimeError as error:
            raise UserError(f"{name} of {start.folder} does not fit what starts from it; train that stage again, by --overwrite") from error


def finish(trainer: Trainer, best: BestCheckpoint, factory: NetworkFactory, splits: DataSplits, label: str) -> None:
    """Test, and write members, predictions and the result."""
    method, dataset, settings = trainer.method, splits.dataset, trainer.settings
    networks = trainer.recalibrated() if settings.recalibrate_bn else {name: method.export(name) for name in method.members()}
    scores = trainer.score(dataset.test, networks if settings.recalibrate_bn else None) if len(dataset.test) else None
    trainer.ranks.on_rank_zero(lambda: write(trainer, best, factory, splits, label, networks, scores))


def write(
    trainer: Trainer,
    best: BestCheckpoint,
    factory: NetworkFactory,
    splits: DataSplits,
    label: str,
    networks: Mapping[str, nn.Module],
    scores: Scores | None,
) -> None:
    """Write members, predictions and the result."""
    method, dataset, settings = trainer.method, splits.dataset, trainer.settings
    record = trainer.log.history[-1]
    common = {
        "classes": list(dataset.classes),
        **dataset.inputs.card(),
        "precision": "bf16" if trainer.updater.autocast is not None else "float32",
        "channels_last": trainer.format == torch.channels_last,
        "data": dataset.name,
        "method": label,
        "seed": settings.seed,
    }
    students = method.student_names()
    for name, network in networks.items():
        spec = factory.spec(students.index(name)) if name in students else factory.teacher_spec
        card = {
            "network": spec_name(spec) if spec is not None else name,
            "parameters": total_parameters(network),
            "epoch": settings.epochs - 1,
        }
        write_member(trainer.folder, name, network.state_dict(), {**card, **common, "holdout": record["holdout"].get(name)})
    for name, part in method.modules_to_save().items():
        write_weights(trainer.folder / "parts" / f"{name}.safetensors", part.state_dict())
    dataset.inputs.save(trainer.folder)
    selected = networks[best.member]
    selected.load_state_dict(best.weights)
    card = {"network": spec_name(factory.target), "parameters": total_parameters(selected), "member": best.member, "epoch": best.epoch}
    write_member(trainer.folder, "best", selected.state_dict(), {**card, **common, "holdout": best.accuracy})
    write_json(
        trainer.folder / "result.json",
        {
            "data": dataset.name,
            "method": label,
            "student": spec_name(factory.target),
            "seed": settings.seed,
            "epochs": settings.epochs,
            "candidates": list(method.candidates),
            "seconds": round(sum(past["seconds"] for past in trainer.log.history), 3),
            "parameters": {name: total_parameters(network) for name, network in networks.items()},
            "trained_parameters": parameter_count(method),
            "selected": {
                "member": best.member,
                "epoch": best.epoch,
                "holdout": best.accuracy,
                "test": test_selected(trainer, selected, dataset),
            },
            "last": {
                "epoch": settings.epochs - 1,
                "member": max(method.candidates, key=lambda name: record["holdout"].get(name, 0.0)),
                "holdout": record["holdout"],
                "test": scores.accuracy if scores else {},
                "diversity": scores.diversity if scores else None,
            },
            "ranks": communication(trainer),
            "holdout_samples": len(splits.holdout),
            "test_samples": len(dataset.test),
            "identity": trainer.identity,
        },
    )


def communication(trainer: Trainer) -> dict[str, object]:
    """How many ranks there were, and what each sent per step beside what summing all gradients would take (2 (R - 1) / R of them)."""
    ranks = trainer.ranks
    if not ranks.is_distributed:
        return {"number": 1}
    gradients = sum(parameter.nbytes for parameter in trainer.updater.parameters)
    return {
        "number": ranks.size,
        "shard": ranks.shard,
        "bytes_per_step": trainer.log.history[-1]["bytes_sent"],
        "data_parallel_bytes_per_step": round(gradients * 2 * (ranks.size - 1) / ranks.size),
    }


def test_selected(trainer: Trainer, network: nn.Module, dataset: Dataset) -> float | None:
    """Test accuracy in [0, 1] of the selected student, whose predictions are written down; None if there is no test set."""
    if not len(dataset.test):
        return None
    network.to(device=trainer.device, memory_format=trainer.format).eval()  # type: ignore[call-overload]
    batches = evaluation_batches(dataset.test, trainer.preprocess, EVALUATION_BATCH)
    probabilities, labels = predictions(lambda x: trainer.updater.forward(lambda: {"logits": network(x)}), batches)
    values, predicted = probabilities.max(-1)
    rows = sorted(zip(reading_order(dataset.test).tolist(), labels.tolist(), predicted.tolist(), values.tolist(), strict=True))
    classes = dataset.classes
    write_predictions(trainer.folder / "predictions" / "test.csv", ((i, classes[y], classes[p], v) for i, y, p, v in rows))
    return float((predicted == labels).double().mean())


def total_parameters(network: nn.Module) -> int:
    """Number of parameters, frozen ones too."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def predictions(run: Callable[[Tensor], dict[str, Tensor] | None], batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Predicted distributions (N, C) float32 and labels (N,), on the CPU."""
    found, truth = [], []
    for inputs, labels in batches:
        found.append((run(inputs) or {})["logits"].float().softmax(-1).cpu())
        truth.append(labels.cpu())
    return torch.cat(found), torch.cat(truth)


def split_digest(splits: DataSplits) -> str:
    """A digest of which samples are for training and which for selection."""
    return hashlib.sha256(
        b"".join(part.rows.tobytes() if part.rows is not None else b"all" for part in (splits.train, splits.holdout))
    ).hexdigest()[:16]


def weights_digest(network: nn.Module) -> str:
    """A digest of a network's weights."""
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(name.encode())
        if isinstance(value, Tensor):
            found.update(
                value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else str(value.item()).encode()
            )
    return found.hexdigest()[:16]


def load_teacher(run: Run, dataset: Dataset) -> Member:
    """The selected student of another run as a teacher on this data.

    It warns of one that may have learnt from what is tested here.

    Raises:
        UserError: it was trained on other classes, or takes other inputs.
    """
    member = run.best
    theirs, ours = member.card["classes"], list(dataset.classes)
    other = f"its classes are {str(theirs)[:60]}, these are {str(ours)[:60]}" if theirs != ours else dataset.inputs.differs(member.card)
    if other:
        raise UserError(f"the teacher in {run.folder} was not trained on data like {dataset.name}: {other}; train a teacher on this data")
    if run.result["identity"]["data"]["key"] != dataset.key:
        warnings.warn(
            f"the teacher in {run.folder} was trained on other data than {dataset.name}, or on it divided otherwise (split_seed, "
            "test_size): if it has learnt from what is tested here, test accuracies are too good",
            stacklevel=2,
        )
    return member
