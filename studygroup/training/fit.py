"""One training stage, from networks and data to a finished run folder."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.data import Dataset, evaluation_batches
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError
from studygroup.methods.method import Method
from studygroup.networks.factory import NetworkFactory, spec_name
from studygroup.networks.starts import Origin, describe_start, is_trained, mark
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Member, Run
from studygroup.training.evaluate import score
from studygroup.training.results import save_results
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.state import check_same_run
from studygroup.training.step_runner import StepRunner
from studygroup.training.trainer import EVALUATION_BATCH, Trainer, shard_group

logger = logging.getLogger(__name__)


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
        folder: run folder.
        method: not built yet.
        factory: makes its networks.
        splits: the data.
        settings: of the training.
        label: name of the method in results, cards and the identity.
        start: finished run of an earlier stage to start from; by default the initialisation is fresh.
        resume: continue from what is in `folder`.
        title: name in progress bars.
        resume_hint: command that continues the run.
        ranks: the processes that train together. All see the folder; rank 0 writes.

    Raises:
        UserError, TrainingError, Interrupted: as `Trainer.run`.
    """
    dataset = splits.dataset
    transform = splits.transform(settings)
    teachers = [weights_digest(teacher) for teacher in factory.teachers]  # before a pivot is trained
    method.build(factory)
    if start is not None:
        load_stage_weights(method, start)
    starts = {name: describe_start(module) for name, module in members_of(method).items()}
    if ranks.rank == 0:
        taught = [f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in own.items())}" for name, own in method.taught_by().items()]
        for line in [*factory.lines.values(), *start_lines(method, starts), *taught]:
            logger.info("%s: %s", title, line)
    identity: dict[str, Any] = {
        "method": label,
        "options": method.options(),
        "group": method.describe(),
        "student": spec_name(factory.target),
        "peers": [spec_name(peer) for peer in factory.peers],
        "teacher": " ".join(teachers) or None,
        "start": " ".join(weights_digest(module) for module in stage_modules(method, start.files).values()) if start is not None else None,
        "weights": {**factory.start.digests(), "members": factory.start.members, "freeze": factory.start.freeze},
        "data": {
            "key": dataset.key,
            "training samples": len(splits.train),
            "hold-out samples": len(splits.holdout),
            "positions": splits.digest(),
            "augment": splits.augment,
        },
        "settings": settings.identity(),
    }
    if splits.unlabelled is not None and method.takes_unlabelled:
        more = splits.unlabelled
        identity["data"] |= {"unlabelled": more.key, "unlabelled samples": len(more.split), "unlabelled share": more.share}
    if ranks.is_distributed and ranks.shard != "samples":
        shard_group(method, ranks, len(dataset.classes))
    scored = splits if settings.score_test else splits.without_test()
    if resume and ranks.on_rank_zero(RunFiles(folder).result.is_file):
        run = Run(folder, factory.code())
        check_same_run(run.identity, json.loads(json.dumps(identity, default=str)))  # as it was written
        if run.result["test_samples"] or not len(scored.dataset.test):
            return run
    loss = splits.label_loss(settings)
    runner = StepRunner(method, splits.train, transform, settings, ranks, loss=loss, unlabelled=splits.unlabelled)
    trainer = Trainer(runner, splits.holdout, folder, identity=identity, title=title, resume_hint=resume_hint)
    best = trainer.run(resume=resume)
    save_results(trainer, best, factory, scored, label, starts)
    return Run(folder, factory.code())


def members_of(method: Method) -> dict[str, nn.Module]:
    """Return the students and further members of a built method by name; students may share modules."""
    return {name: method.group[k] for k, name in enumerate(method.student_names())} | dict(method.extra_members())


def start_lines(method: Method, starts: Mapping[str, str]) -> list[str]:
    """Return a line on what each member starts from; none if nothing starts from a training.

    Args:
        method: built.
        starts: what each member starts from, in words.
    """
    if not any(map(is_trained, method.group.parameters())):
        return []
    names: dict[str, list[str]] = {}
    for name, text in starts.items():
        names.setdefault(text, []).append(name)
    return [f"{', '.join(same)}: {text}" for text, same in names.items()]


def stage_modules(method: Method, files: RunFiles) -> dict[Path, nn.Module]:
    """Return what a built method hands from stage to stage: its members and `modules_to_save`, by their files in a run folder."""
    members = {files.weights(name): network for name, network in members_of(method).items()}
    return members | {files.module(name): module for name, module in method.modules_to_save().items()}


def load_stage_weights(method: Method, start: Run) -> None:
    """Load the last epoch's weights of an earlier stage into a built method.

    Raises:
        UserError: that stage saved no such member or module, or one of another shape.
    """
    for path, module in stage_modules(method, start.files).items():
        try:
            module.load_state_dict(start.weights(path))
        except RuntimeError as error:
            name = path.relative_to(start.folder).with_suffix("")
            raise UserError(
                f"{name} of {start.folder} does not fit the stage that starts from it; train that stage again with --overwrite"
            ) from error
        text = f"the weights of the stage {start.folder.name}"
        for parameter in module.parameters():  # a head that was new in the first stage keeps its learning rate
            mark([parameter], Origin(text, is_trained(parameter)))


def weights_digest(network: nn.Module) -> str:
    """Return a digest of a network's weights."""
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(name.encode())
        if isinstance(value, Tensor):
            content = value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else str(value.item()).encode()
            found.update(content)
    return found.hexdigest()[:16]


def holdout_accuracy(network: nn.Module, splits: DataSplits, settings: Settings, ranks: DistContext | None) -> float:
    """Return the accuracy of a network on the hold-out set, the same on all ranks.

    Args:
        network: not changed.
        splits: the data.
        settings: of the training.
        ranks: the processes that train together; None for 1.0, without a measurement.

    Raises:
        UserError: there is no hold-out set.
    """
    if not len(splits.holdout):
        raise UserError(
            "teachers are to be weighted by their accuracy on the hold-out set, and there is none; give --holdout, or combine mean"
        )
    if ranks is None:
        return 1.0
    transform = splits.transform(settings)
    network = copy.deepcopy(network).to(transform.device).eval()
    batches = islice(evaluation_batches(splits.holdout, transform, EVALUATION_BATCH), ranks.rank, None, ranks.world_size)
    return score(lambda inputs: {"teacher": network(inputs)}, (), batches, ranks).accuracy["teacher"]


def load_teacher(run: Run, dataset: Dataset) -> Member:
    """Load the selected student of another run as a teacher on this data; warn if it may have been trained on test samples.

    Raises:
        UserError: it was trained on other classes, or takes other inputs.
    """
    member = run.best
    theirs, ours = member.card["classes"], list(dataset.classes)
    other = f"its classes are {str(theirs)[:60]}, these are {str(ours)[:60]}" if theirs != ours else dataset.inputs.mismatch(member.card)
    if other:
        raise UserError(f"the teacher in {run.folder} was not trained on data like {dataset.name}: {other}; train a teacher on this data")
    if run.identity["data"]["key"] != dataset.key:
        warnings.warn(
            f"the teacher in {run.folder} was trained on other data than {dataset.name}, or on another split of it (split_seed, "
            "test_size): if it has seen test samples, test accuracies are too high",
            stacklevel=2,
        )
    return member
