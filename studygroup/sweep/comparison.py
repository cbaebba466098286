"""What `studygroup.compare` does: variants, their costs, their runs, their leaderboard."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from studygroup import config, reporting, session
from studygroup.data.progress import progress_bar
from studygroup.devices import pick_device
from studygroup.errors import TrainingError, UserError
from studygroup.lock import lock_dir
from studygroup.parameters import Parameter, show
from studygroup.pipeline.stages import Stage, dry_run, network_factory
from studygroup.runs.environment import environment
from studygroup.runs.files import write_json
from studygroup.runs.folder import clear_dir
from studygroup.sweep.budget import affordable, with_epochs
from studygroup.sweep.executors import Executor, ProcessExecutor, RayExecutor
from studygroup.sweep.job import Job
from studygroup.sweep.progress import SweepProgress
from studygroup.sweep.scheduler import run_jobs
from studygroup.sweep.unused import unused
from studygroup.sweep.variants import Variant, make_variants, train_arguments
from studygroup.training.flops import TrainingCost, training_cost
from studygroup.training.signals import StopRequest

MANIFEST = reporting.MANIFEST
RECIPE = "comparison.yaml"
SAME_RESULT = ("cache", "download", "device", "tensorboard", "checkpoint_steps", "compile", "on_error")  # words that change no result
COST = {field.name for field in fields(TrainingCost)}
NOT_TOLD = (*SAME_RESULT, "data", "out", "workers", "ray", "overwrite", "progress")  # by the command


def compare(arguments: dict[str, Any], known: Mapping[str, Parameter]) -> dict[str, object]:
    """`studygroup.compare`.

    Args:
        arguments: by name.
        known: the parameters of `studygroup.train`.
    """
    config.validate(arguments)
    variants, reference = make_variants(arguments, known)
    first = next(variant for variant in variants if variant.name == reference).arguments
    dataset = session.make_material({**first, "progress": arguments["progress"]}).dataset
    if arguments["score_on_unused"]:
        for variant in variants:
            unused(len(dataset.train), variant.arguments, arguments["score_on_unused"])
    out = Path(arguments["out"] or f"runs/compare-{dataset.name}-{session.short_name(first['student'])}")
    before = read_previous(out)
    if arguments["overwrite"]:
        before = {}
    costs = find_costs(variants, before, show=arguments["progress"])
    variants = within_budget(variants, reference, costs, arguments)
    check_same(out, variants, before, known)
    executor = choose_executor(arguments, out, len(variants) * arguments["seeds"])
    manifest = {
        "data": dataset.name,
        "reference": reference,
        "seeds": list(range(arguments["seeds"])),
        **{name: arguments[name] for name in ("budget", "count_teacher", "score_on_unused", "split_by_seed")},
        "command": command(arguments, known),
        "place": executor.description,
        "machine": environment(0),
        "variants": [{**asdict(variant), **(asdict(costs[variant.name]) if variant.name in costs else {})} for variant in variants],
        "failed": {},
    }
    with lock_dir(out):
        if arguments["overwrite"]:
            clear_dir(out)
        write_json(out / MANIFEST, manifest)
        config.save(out / RECIPE, {**arguments, "out": str(out)})
        jobs = make_jobs(variants, costs, out, arguments)
        try:
            ended = run_all(jobs, executor, progress=arguments["progress"])
        finally:
            manifest["failed"] = {job.name: job.failed for job in jobs if job.failed}
            write_json(out / MANIFEST, manifest)
            if any(job.finished() for job in jobs):
                reporting.write_comparison(out)
    if not ended:
        again = f"studygroup compare --config {shlex.quote(str(out / RECIPE))}"
        finished = sum(job.finished() for job in jobs)
        raise KeyboardInterrupt(f"{finished} of {len(jobs)} runs are finished, the others are saved. Go on with: {again}")
    return {**reporting.comparison(out), "out": str(out)}


def run_all(jobs: Sequence[Job], executor: Executor, *, progress: bool) -> bool:
    """Run the jobs; whether that went to the end."""
    told = SweepProgress(jobs, wanted=progress)
    try:
        with StopRequest() as stop:
            return run_jobs(jobs, executor, told, stop)
    except KeyboardInterrupt:  # asked twice: nobody waits for anything
        return False
    finally:
        executor.close()
        told.close()


def read_previous(out: Path) -> dict[str, Any]:
    """The manifest of an earlier comparison in the folder, empty if there was none.

    Raises:
        UserError: the folder holds something else, or cannot be used.
    """
    path = out / MANIFEST
    try:
        content = sorted(item.name for item in out.iterdir()) if out.exists() else []
        if content and MANIFEST not in content:
            raise UserError(f"{out} is not empty and holds no comparison ({', '.join(content[:3])}); take another --out")
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except OSError as error:
        raise UserError(f"cannot use {out}: {error.strerror}; take another --out") from error
    except json.JSONDecodeError:
        raise UserError(f"{path} is damaged; delete that file, and the same command goes on") from None
    return before if isinstance(before, dict) else {}


def check_same(out: Path, variants: Sequence[Variant], before: Mapping[str, Any], known: Mapping[str, Parameter]) -> None:
    """Raise UserError if a variant of an earlier comparison in this folder, or a run of it, was trained in another way.

    A word that the earlier version did not know had its default.
    """
    usual = {name: config.plain(word.default) for name, word in known.items()} | {"split_by_seed": False}
    for old in before.get("variants", ()):
        new = next((variant for variant in variants if variant.name == old["name"]), None)
        if new is None or not any((out / "runs").glob(f"{old['name']}-s*")):
            continue
        was, now = ({**variant, **variant["arguments"], "taught by": variant["teacher"]} for variant in (old, asdict(new)))
        told = ("taught by", "split_by_seed", *new.arguments)
        odd = [key for key in told if key not in SAME_RESULT and was.get(key, usual.get(key)) != now[key]]
        if odd:
            shown = "; ".join(f"{key} was {was.get(key)!r}, is {now[key]!r}" for key in odd[:4])
            raise UserError(f"{old['name']} in {out} was trained otherwise ({shown}); take another --out, or start anew by --overwrite")


def find_costs(variants: Sequence[Variant], before: Mapping[str, Any], *, show: bool) -> dict[str, TrainingCost]:
    """What each variant costs; one that cannot be measured because its loss is not finite has none, and will fail."""
    known = {json.dumps(old["arguments"] | {"epochs": 0}, sort_keys=True): old for old in before.get("variants", ())}
    costs = {}
    with progress_bar("Measuring the cost of a step", len(variants), "samples", show=show) as advance:
        for variant in variants:
            old = known.get(json.dumps({**variant.arguments, "epochs": 0}, sort_keys=True), {})
            if old.keys() >= COST:
                costs[variant.name] = TrainingCost(**{name: old[name] for name in COST})
            else:
                with contextlib.suppress(TrainingError):
                    costs[variant.name] = measure(variant, variants)
            advance(1)
    return costs


def measure(variant: Variant, variants: Sequence[Variant]) -> TrainingCost:
    """Count the operations of the steps of all of a variant's stages; who is still to be trained teaches as it is initialised.

    The training of a teacher is a variant of its own, and none of these stages.

    Raises:
        UserError: the variant cannot be trained.
        TrainingError: a loss is not finite.
    """
    arguments = train_arguments(variant, variants, 0)
    method = session.make_method(arguments)
    settings = replace(session.make_settings(arguments), compile=False, tensorboard=False)
    try:
        stages = session.make_stages(arguments, method, settings)
        splits = session.make_material(arguments)
        stages = session.with_stems(stages, arguments["stem"], splits.dataset)
        fresh = dry_run(stages, splits)
        costs = [training_cost(stage.method, network_factory(stage, splits, fresh), splits, stage.settings) for stage in own_stages(stages)]
        lengths = [stage.settings.epochs for stage in own_stages(stages)]
        twice = own_stages(session.make_stages(arguments, method, replace(settings, epochs=2 * settings.epochs)))
        # What each stage gets of one epoch more: 1 if it lasts as long as the last one, 0 if it has a length of its own.
        growth = [(later.settings.epochs - length) / settings.epochs for later, length in zip(twice, lengths, strict=True)]
        per_epoch, before = 0.0, 0.0
        for cost, length, more in zip(costs, lengths, growth, strict=True):
            per_epoch += cost.flops_per_epoch * more
            before += cost.flops_per_epoch * (length - more * settings.epochs)
        return TrainingCost(per_epoch / costs[-1].samples_per_epoch, costs[-1].samples_per_epoch, before)
    except UserError as error:
        raise UserError(f"{variant.name}: {error}") from error


def own_stages(stages: Sequence[Stage]) -> list[Stage]:
    """The stages of the method that is asked for: those that carry its name, and not the training of its teacher."""
    return [stage for stage in stages if stage.label == stages[-1].label]


def within_budget(
    variants: Sequence[Variant], reference: str, costs: Mapping[str, TrainingCost], arguments: Mapping[str, Any]
) -> list[Variant]:
    """The variants with the epochs that they get; those of the baseline and of teachers stay.

    Raises:
        UserError: a teacher's cost is to be counted and is not known.
    """
    if arguments["budget"] == "equal-epochs":
        return list(variants)
    by_name = {variant.name: variant for variant in variants}

    def spent(variant: Variant) -> float:
        return costs[variant.name].flops(variant.arguments["epochs"]) + (taught(variant) if variant.teacher is not None else 0.0)

    def taught(variant: Variant) -> float:
        """What the training of a variant's teacher cost."""
        if not arguments["count_teacher"] or variant.arguments["teacher"] is None:
            return 0.0
        if variant.teacher is None:
            raise UserError(
                f"count_teacher: what the training of {variant.arguments['teacher']} cost is not known; "
                "give the teacher as a network, which is trained first, or do not count it"
            )
        return spent(by_name[variant.teacher])

    fixed = {reference, *(variant.name for variant in variants if variant.teaches)}
    if reference not in costs:
        raise TrainingError(f"the loss of {reference} is not finite after a few steps; try a lower learning rate")
    budget = spent(by_name[reference])

    def epochs(variant: Variant) -> int:
        cost = costs[variant.name]
        return affordable(max(budget - taught(variant) - cost.flops_before, 0.0), cost.flops_per_epoch)

    return [
        variant
        if variant.name in fixed or variant.name not in costs
        else replace(variant, arguments=with_epochs(variant.arguments, epochs(variant)))
        for variant in variants
    ]


def make_jobs(variants: Sequence[Variant], costs: Mapping[str, TrainingCost], out: Path, arguments: Mapping[str, Any]) -> list[Job]:
    """Every variant with every seed; all variants of a seed first, so that there is something to compare early."""
    jobs = []
    lengths = {variant.name: all_epochs(train_arguments(variant, variants, 0)) for variant in variants}
    for seed in range(arguments["seeds"]):
        for variant in variants:
            folder = out / "runs" / f"{variant.name}-s{seed}"
            words = {**train_arguments(variant, variants, seed), "out": str(folder), "progress": arguments["ray"] is None}
            if variant.teacher is not None:
                words["teacher"] = str(out / "runs" / f"{variant.teacher}-s{seed}")
            jobs.append(
                Job(
                    folder.name,
                    folder,
                    {"arguments": words, "score_on_unused": arguments["score_on_unused"], "cwd": os.getcwd()},
                    f"{variant.teacher}-s{seed}" if variant.teacher is not None else None,
                    lengths[variant.name],
                    costs[variant.name].flops(variant.arguments["epochs"]) if variant.name in costs else 0.0,
                )
            )
    return jobs


def all_epochs(arguments: Mapping[str, Any]) -> int:
    """How many epochs all of a method's stages have together, given the words of `studygroup.train`."""
    stages = session.make_stages(arguments, session.make_method(arguments), session.make_settings(arguments))
    return sum(stage.settings.epochs for stage in own_stages(stages))


def choose_executor(arguments: Mapping[str, Any], out: Path, jobs: int) -> Executor:
    """Where the jobs run."""
    if arguments["ray"] is not None:
        return RayExecutor(arguments["ray"], workers=arguments["workers"], gpu=arguments["device"] != "cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    gpus = visible.split(",") if session.uses_gpu(arguments["device"]) else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = cores if pick_device(arguments["device"]).type == "cpu" else max(len(gpus), 1)
    workers = arguments["workers"] or min(most, jobs)
    return ProcessExecutor(workers, out / "logs", cores=cores, gpus=gpus if len(gpus) > 1 else ())


def command(arguments: Mapping[str, Any], known: Mapping[str, Parameter]) -> str:
    """The command line of a comparison, without places and the like; one of a recipe names the recipe that is written beside the table."""
    if arguments["variants"] or arguments["method"]:
        return f"studygroup compare --config {RECIPE}"
    words = ["studygroup", "compare", str(arguments["data"])]
    own = {"seeds": None, "budget": "equal-epochs", "score_on_unused": 0, "count_teacher": False, "split_by_seed": False}
    defaults = {name: word.default for name, word in known.items()} | own
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        if name in NOT_TOLD or value is None or value in ((), [], {}) or config.plain(value) == config.plain(defaults.get(name)):
            continue
        if isinstance(value, bool):
            words += [flag if value else flag.replace("--", "--no-", 1)]
        elif name == "options":
            pairs = {f"{key}.{inner}": item[inner] for key, item in value.items() if isinstance(item, Mapping) for inner in item}
            pairs |= {key: item for key, item in value.items() if not isinstance(item, Mapping)}
            words += [flag, *(f"{key}={item if isinstance(item, str) else json.dumps(item)}" for key, item in pairs.items())]
        else:
            words += [flag, show(value)]
    return shlex.join(words)
