"""`studygroup benchmark`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace

from studygroup.data.given import stored
from studygroup.errors import UserError
from studygroup.methods import Method, create_method, method_name
from studygroup.networks.factory import Spec, spec_name
from studygroup.options import BenchmarkOptions
from studygroup.pipeline.setup import method_of, open_splits, plan_stages, run_options, settings_of, with_stems
from studygroup.pipeline.stages import Stage, dry_run, network_factory
from studygroup.runs.environment import environment
from studygroup.training.timed_trainer import TimedTrainer, compare

GROUP_SIZES = (2, 4, 8, 16, 32)  # whose costs are compared by default


def run(options: BenchmarkOptions) -> dict[str, object]:
    """Measure the cost of a group's training steps beside those of the student alone."""
    requested = run_options(stored(options))
    method = method_of(requested)
    settings = settings_of(requested)
    stages = plan_stages(requested, method, settings)
    others = group_sizes(options.group_sizes, method, requested.peers)
    splits = open_splits(requested)
    dataset = splits.dataset
    stages = with_stems(stages, requested.stem, dataset)
    untrained = dry_run(stages, splits)  # the cost of a network does not depend on its weights
    last = stages[-1]
    student = last.student

    def timed(name: str, stage: Stage) -> TimedTrainer:
        return TimedTrainer(name, stage.method, network_factory(stage, splits, untrained), splits, settings)

    alone = Stage("alone", create_method("baseline"), "baseline", student, settings)
    trainers = [timed(f"{spec_name(student)} alone", alone), timed(group_name(method), last)]
    left_out: dict[str, str] = {}
    for size in others:
        resized = with_students(method, size)
        try:
            with warnings.catch_warnings(record=True) as notes:
                warnings.simplefilter("always")
                trainer = timed(group_name(resized), replace(last, method=resized))
        except UserError as error:  # too many for the batch, say; other sizes may work
            left_out[group_name(resized)] = str(error)
            continue
        if len(trainer.runner.method.group) < size:  # the network has fewer routes
            left_out[group_name(resized)] = str(notes[0].message)
        else:
            trainers.append(trainer)
    costs, steps = compare(trainers, steps=options.steps, repeats=options.repeats, progress=options.progress)
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
        "repeats": options.repeats,
        "rows": [
            {
                **asdict(cost),
                "ratio": cost.ratio.value,
                "ratio_quartiles": [cost.ratio.low, cost.ratio.high],
                "memory": cost.memory and cost.memory.peak,
                "options": trainer.runner.method.options(),
            }
            for trainer, cost in zip(trainers, costs, strict=True)
        ],
        "left_out": left_out,
        "machine": environment(settings.seed),
    }


def group_name(method: Method) -> str:
    """Return the name of a method with the options that `with_students` changes."""
    options = method.options()
    students = f", {options['students']} students" if "students" in options else ""
    probability = f", p = {options['probability']:.3g}" if "probability" in options else ""
    return method_name(method) + students + probability


def group_sizes(wanted: Sequence[int] | None, method: Method, peers: Sequence[Spec]) -> list[int]:
    """Return the other numbers of students to measure: the wanted ones, or `GROUP_SIZES` if their cost should be the same.

    Raises:
        UserError: sizes are given, and the method has no number of students, or the peers determine it.
    """
    options = method.options()
    if wanted is not None and ("students" not in options or peers):
        reason = "the peers determine the number of students" if peers else f"{method_name(method)} has no number of students"
        raise UserError(f"group_sizes are {', '.join(map(str, wanted))}, but {reason}; leave group_sizes out")
    if wanted is None:
        wanted = GROUP_SIZES if {"students", "probability"} <= options.keys() else ()
    return sorted(set(wanted) - {options.get("students")})


def with_students(method: Method, students: int) -> Method:
    """Return the method with another number of students.

    Where students imitate each other with probability p, p (K - 1) stays the same as far as p <= 1 allows: as many are imitated.
    """
    options = method.options()
    if "probability" in options:
        imitated = options["probability"] * (options["students"] - 1)
        options["probability"] = min(imitated / (students - 1), 1.0) if students > 1 else 0.0
    return type(method)(**options | {"students": students})
