"""What the public functions do: from words to a plan, from a run folder to numbers. `api.py` has their signatures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from studygroup import config
from studygroup.data import Dataset, Images, Split, describe_sources, evaluation_batches, hold_out, open_data, open_dataset, reads_texts
from studygroup.devices import pick_device
from studygroup.distributed import launch
from studygroup.distributed.context import DistContext, init_distributed
from studygroup.errors import UserError, unknown_name
from studygroup.methods import METHODS, Baseline, Method, create_method, method_name, method_options
from studygroup.networks import NETWORKS, create, parameter_count
from studygroup.networks.factory import Spec, is_fresh, spec_name, with_stem
from studygroup.networks.registry import SMALLEST_MAP, stems, tokenizer_of
from studygroup.options import DataOptions
from studygroup.pipeline.stages import Stage, dry_run, network_factory, resolve_stages, run_stages
from studygroup.runs.environment import environment
from studygroup.runs.files import write_json
from studygroup.runs.folder import lock_run_dir, remove_empty_run
from studygroup.runs.member import Run
from studygroup.training.evaluate import score
from studygroup.training.fit import DataSplits
from studygroup.training.settings import Settings
from studygroup.training.timed_trainer import TimedTrainer, compare
from studygroup.training.updater import check_cut

RATES: dict[str, dict[str, float]] = {
    "sgd": {"learning_rate": 0.05, "weight_decay": 5e-4},
    "adam": {"learning_rate": 1e-3, "weight_decay": 0.0},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.01},
}
READING = ("image_size", "channels", "text_columns", "label_column", "encoding", "vocabulary", "max_length")  # how data is read
GROUP_SIZES = (2, 4, 8, 16, 32)  # whose costs `benchmark` compares


def train(arguments: dict[str, Any]) -> Run:
    """`studygroup.train` with its arguments by name."""
    arguments = with_defaults({**arguments, "learning_rate_scales": dict(arguments["learning_rate_scales"] or {})})
    config.validate(arguments)
    if launch.wanted(arguments):
        devices, nodes = arguments["devices"], arguments["nodes"]
        gpus = torch.cuda.device_count() if uses_gpu(arguments["device"]) else devices
        if devices > gpus:
            raise UserError(f"devices is {devices}, but there are {gpus} GPUs; take at most {gpus}, or --device cpu")
        hint = "the same command with --resume, with any number of devices"
        folder = launch.launch(train_rank, arguments, devices=devices, nodes=nodes, rendezvous=arguments["rendezvous"], hint=hint)
        return Run(folder)
    return Run(train_rank(arguments))


def train_rank(arguments: dict[str, Any]) -> str:
    """What each of a run's ranks does, a process alone too; returns the run's folder."""
    gpu = uses_gpu(arguments["device"])
    with init_distributed(arguments["shard"], gpu=gpu) as ranks:
        if ranks.is_distributed and gpu:
            arguments = {**arguments, "device": f"cuda:{torch.cuda.current_device()}"}
        return str(train_together(arguments, ranks).folder)


def train_together(arguments: dict[str, Any], ranks: DistContext) -> Run:
    """Train with the ranks that there are; the first one writes."""
    method = make_method(arguments)
    settings = make_settings(arguments)
    stages = make_stages(arguments, method, settings)
    splits = make_material(arguments)
    stages = with_stems(stages, arguments["stem"], splits.dataset)
    dry_run(stages, splits)
    out = Path(arguments["out"] or default_folder(splits.dataset, method, arguments["student"], settings.seed))
    resolved = {
        **arguments,
        "method": method_name(method) if type(method) in METHODS.values() else method,
        "method_options": method.options(),
        "out": str(out),
        "precision": settings.precision,
        "channels_last": settings.channels_last,
        "augment": splits.augment,
    }

    def begin() -> None:
        own.enter_context(lock_run_dir(out, resume=arguments["resume"], overwrite=arguments["overwrite"]))
        if not (arguments["resume"] and (out / "config.yaml").exists()):
            config.save(out / "config.yaml", resolved)
            write_json(out / "environment.json", environment(settings.seed))

    hint = f"studygroup train --config {shlex.quote(str(out / 'config.yaml'))} --out {shlex.quote(str(out))} --resume"
    with ExitStack() as own:
        ranks.on_rank_zero(begin)
        try:
            return run_stages(stages, out, splits, resume=arguments["resume"], resume_hint=hint, ranks=ranks)
        except UserError:
            if ranks.rank == 0:
                remove_empty_run(out)
            raise


def uses_gpu(device: str) -> bool:
    """Whether a run's ranks have a GPU each."""
    return device in ("auto", "cuda") and torch.cuda.is_available()


def with_defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with what suits the kind of data and the optimiser in place of what was left open."""
    texts = reads_texts(arguments["data"])
    optimizer = arguments["optimizer"] if arguments["optimizer"] != "auto" else "adam" if texts else "sgd"
    if optimizer not in RATES:
        raise unknown_name("optimizer", optimizer, ["auto", *RATES])
    usual = {"student": "transformer" if texts else "resnet8", **RATES[optimizer]}
    return {**arguments, "optimizer": optimizer, **{name: value for name, value in usual.items() if arguments[name] is None}}


def make_method(arguments: Mapping[str, Any]) -> Method:
    """The method that was asked for, by name and options or as an object; peers say how many students there are."""
    method, options, peers = arguments["method"], dict(arguments["method_options"] or {}), arguments["peers"]
    if isinstance(method, Method):
        if options:
            raise UserError(f"the options {', '.join(options)} came with a method object; give them to its constructor")
        return method
    if peers and "students" in method_options(method):
        options.setdefault("students", len(peers) + 1)
        if options["students"] != len(peers) + 1:
            raise UserError(
                f"students is {options['students']}, but {len(peers)} peers make {len(peers) + 1} with the student; "
                "leave one of the two out"
            )
    elif peers:
        raise UserError(f"{method} trains one student; it takes no peers")
    return create_method(method, options)


def make_settings(arguments: Mapping[str, Any]) -> Settings:
    """The trainer's settings, with everything automatic resolved for this machine; what is not among the arguments has its default."""
    own: dict[str, Any] = {field.name: arguments[field.name] for field in fields(Settings) if field.name in arguments}
    settings = Settings(**own | {"milestones": tuple(own.get("milestones", ()))})
    device = settings.torch_device()
    settings = replace(settings, precision="bf16" if settings.autocast(device) is not None else "float32")
    if settings.channels_last is None:
        settings = replace(settings, channels_last=settings.memory_format(device) == torch.channels_last)
    return settings


def make_material(arguments: Mapping[str, Any]) -> DataSplits:
    """The data, prepared and divided."""
    names = (*READING, "test_size", "split_seed", "on_error", "download", "cache", "progress")
    tokenizer = arguments["tokenizer"] if arguments["tokenizer"] != "auto" else tokenizer_of(arguments["student"])
    dataset = open_dataset(arguments["data"], tokenizer=tokenizer, **{name: arguments[name] for name in names})
    learned, held = hold_out(
        len(dataset.train), holdout=arguments["holdout"], train_size=arguments["train_size"], seed=arguments["split_seed"]
    )
    augment = dataset.augment if arguments["augment"] == "auto" else arguments["augment"]
    return DataSplits(dataset, dataset.train.take(learned), dataset.train.take(held), augment)


def make_stages(arguments: Mapping[str, Any], method: Method, settings: Settings) -> list[Stage]:
    """What is trained, in order, as far as it is known before data is prepared: all that makes no plan is refused here.

    Raises:
        UserError: an unknown network, or a teacher or options that make no plan.
    """
    check_cut(method, settings)
    teacher = find_teacher(arguments["teacher"], method)
    stages = []
    if isinstance(teacher, str) and is_fresh(teacher):
        epochs = arguments.get("teacher_epochs") or settings.epochs
        own = replace(settings, epochs=epochs, microbatches=1, learning_rate_scales={})
        stages.append(Stage("teacher", Baseline(), "baseline", teacher, own))
        teacher = "teacher"
    teachers = () if teacher is None else (teacher,)
    stages += resolve_stages(
        Stage("train", method, method_name(method), arguments["student"], settings, tuple(arguments["peers"]), teachers)
    )
    with_stems(stages, arguments["stem"])
    return stages


def with_stems(stages: Sequence[Stage], stem: Any, dataset: Dataset | None = None) -> list[Stage]:
    """The stages with networks whose stems suit the data's images.

    Raises:
        UserError: a network is unknown, or does not have the stem that was asked for.
    """
    size = min(dataset.inputs.shape[1:]) if dataset is not None and isinstance(dataset.inputs, Images) else SMALLEST_MAP
    return [
        replace(stage, student=with_stem(stage.student, stem, size), peers=tuple(with_stem(peer, stem, size) for peer in stage.peers))
        for stage in stages
    ]


def find_teacher(teacher: str | Path | nn.Module | None, method: Method) -> nn.Module | Run | str | None:
    """A trained network or what makes one, a finished run, or the name of a network that is trained first.

    Raises:
        UserError: the method needs a teacher and has none, or has one and takes none, or it is neither of these.
    """
    name = method_name(method)
    if teacher is None:
        if method.needs_teacher:
            raise UserError(
                f"{name} learns from a teacher; give --teacher RUN (a trained run's folder) or --teacher NETWORK (trained first)"
            )
        return None
    if not method.needs_teacher:
        takers = " or ".join(other for other, kind in METHODS.items() if kind.needs_teacher)
        raise UserError(f"{name} takes no teacher; leave --teacher out, or take {takers}")
    if isinstance(teacher, nn.Module):
        return teacher
    if Path(teacher).is_dir():
        return Run(teacher)
    text = str(teacher)
    if text.partition("@")[0] in NETWORKS or ":" in text:
        return text
    raise UserError(f"the teacher {text!r} is neither a run's folder nor a network: {unknown_name('network', text, NETWORKS)}")


def default_folder(dataset: Dataset, method: Method, student: Spec, seed: int) -> str:
    """`runs/DATA-METHOD-STUDENT-sSEED`."""
    return f"runs/{dataset.name}-{method_name(method)}-{short_name(student)}-s{seed}"


def short_name(student: Spec) -> str:
    """What folders call a network: its name alone, without the module or the folder that it is in."""
    return re.split(r"[:/\\]", spec_name(student).rstrip("/"))[-1]


def benchmark(arguments: dict[str, Any]) -> dict[str, object]:
    """`studygroup.benchmark` with its arguments by name."""
    arguments = with_defaults(arguments)
    config.validate(arguments)
    method = make_method(arguments)
    settings = make_settings(arguments)
    stages = make_stages(arguments, method, settings)
    others = group_sizes(arguments["group_sizes"], method, arguments["peers"])
    splits = make_material(arguments)
    dataset = splits.dataset
    stages = with_stems(stages, arguments["stem"], dataset)
    fresh = dry_run(stages, splits)  # what a network costs does not depend on its weights
    asked = stages[-1]
    student = asked.student

    def timed(name: str, stage: Stage) -> TimedTrainer:
        return TimedTrainer(name, stage.method, network_factory(stage, splits, fresh), splits, settings)

    alone = Stage("alone", Baseline(), "baseline", student, settings)
    trainers = [timed(f"{spec_name(student)} alone", alone), timed(group_name(method), asked)]
    left_out: dict[str, str] = {}
    for size in others:
        resized = with_students(method, size)
        try:
            trainers.append(timed(group_name(resized), replace(asked, method=resized)))
        except UserError as error:  # too many for the network's routes or for the batch, say; the others may work
            left_out[group_name(resized)] = str(error)
    costs, steps = compare(trainers, steps=arguments["steps"], repeats=arguments["repeats"], progress=settings.progress)
    return {
        "data": dataset.name,
        "training_samples": len(splits.train),
        "student": spec_name(student),
        "method": method_name(method),
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "device": settings.torch_device().type,
        "precision": settings.precision,
        "steps": steps,
        "repeats": arguments["repeats"],
        "rows": [
            {
                **asdict(cost),
                "ratio": cost.ratio.value,
                "ratio_quartiles": [cost.ratio.low, cost.ratio.high],
                "memory": cost.memory and cost.memory.peak,
                "options": own.trainer.method.options(),
            }
            for own, cost in zip(trainers, costs, strict=True)
        ],
        "left_out": left_out,
        "machine": environment(settings.seed),
    }


def group_name(method: Method) -> str:
    """The method with what `with_students` changes of it."""
    options = method.options()
    students = f", {options['students']} students" if "students" in options else ""
    probability = f", p = {options['probability']:.3g}" if "probability" in options else ""
    return method_name(method) + students + probability


def group_sizes(wanted: Sequence[int] | None, method: Method, peers: Sequence[Spec]) -> list[int]:
    """The other numbers of students to measure: those asked for, or `GROUP_SIZES` if their cost is expected to be the same.

    Raises:
        UserError: sizes are asked for, and the method has no number of students, or the peers say what it is.
    """
    options = method.options()
    if wanted is not None and ("students" not in options or peers):
        reason = "peers say how many students there are" if peers else f"{method_name(method)} has no number of students"
        raise UserError(f"group_sizes are {', '.join(map(str, wanted))}, but {reason}; leave group_sizes out")
    if wanted is None:
        wanted = GROUP_SIZES if {"students", "probability"} <= options.keys() else ()
    return sorted(set(wanted) - {options.get("students")})


def with_students(method: Method, students: int) -> Method:
    """The same method for another number of students.

    One that imitates others with a probability p gets the p at which as many are imitated: p (K - 1) stays, as far as p <= 1 allows.
    """
    options = method.options()
    if "probability" in options:
        imitated = options["probability"] * (options["students"] - 1)
        options["probability"] = min(imitated / (students - 1), 1.0) if students > 1 else 0.0
    return type(method)(**options | {"students": students})


def evaluate(
    run: str | Path,
    *,
    data: str | Path | None,
    members: Sequence[str],
    batch_size: int,
    columns: Mapping[str, Any],
    on_error: Literal["stop", "skip"],
    cache: str | Path | None,
    device: str,
    progress: bool,
) -> dict[str, dict[str, float]]:
    """`studygroup.evaluate`."""
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    opened = Run(run)
    every = "all" in members
    names = list(opened.members) if every else list(members)
    chosen = {name: opened.member(name) for name in names}
    first = next(iter(chosen.values()))
    trained: dict[str, Any] = config.read(opened.folder / "config.yaml")
    # The run's own data is read and divided as it was for training; of other data without a test set everything is for the test.
    asked: dict[str, Any] = {"test_size": 0.0, "on_error": on_error}
    asked |= {name: value or trained[name] for name, value in columns.items() if name in trained}
    if data is None:
        asked |= {name: trained[name] for name in ("test_size", "split_seed", "on_error") if name in trained}
    options = DataOptions(data if data is not None else str(trained["data"]), cache=cache, progress=progress, **asked)
    options, tokenizer = first.inputs.like_training(options)
    dataset = open_data(options, tokenizer=tokenizer)
    split = relabelled(dataset.test if len(dataset.test) else dataset.train, dataset.classes, first.classes)
    target = pick_device(device)
    runners = {name: member.runner(target) for name, member in chosen.items()}
    scores = score(
        lambda inputs: {name: runner(inputs) for name, runner in runners.items()},
        [name for name in names if name.startswith("student")] or names,
        evaluation_batches(split, first.prepare(target), batch_size),
    )
    shown = [*names, "ensemble"] if every else names
    return {
        name: {"accuracy": scores.accuracy[name], "cross_entropy": scores.cross_entropy[name], "samples": scores.samples} for name in shown
    }


def relabelled(split: Split, classes: Sequence[str], known: Sequence[str]) -> Split:
    """A split whose labels count in a run's classes, which may be more than the data's and in another order.

    Raises:
        UserError: the data has a class that the run does not know.
    """
    strange = [name for name in classes if name not in known]
    if strange:
        raise UserError(f"the data has classes that the run does not know: {', '.join(strange)[:80]}; it knows {', '.join(known)[:80]}")
    return replace(split, labels=np.array([known.index(name) for name in classes], dtype=np.int64)[split.labels])


def list_names(kind: str) -> dict[str, dict[str, str]]:
    """`studygroup.list_names`."""
    every = {
        "methods": {name: _line(method) for name, method in METHODS.items()},
        "networks": {name: _size(name) for name in NETWORKS},
        "data": describe_sources(),
    }
    if kind != "all" and kind not in every:
        raise unknown_name("kind", kind, ["all", *every])
    return every if kind == "all" else {kind: every[kind]}


def _size(name: str) -> str:
    """A network's number of parameters, and its stems if it has several."""
    with torch.device("meta"):  # without memory for its weights
        count = parameter_count(create(name, num_classes=10))
    offered = stems(name)
    return f"{count:,} parameters for 10 classes" + (f"; stems {', '.join(offered)}" if len(offered) > 1 else "")


def _line(method: type[Method]) -> str:
    """The first line of a method's docstring, and its options."""
    name = next(name for name, kind in METHODS.items() if kind is method)
    options = ", ".join(method_options(name))
    line = (method.__doc__ or "").strip().splitlines()[0]
    return f"{line} Options: {options}." if options else line
