"""A comparison: variants, their costs, their runs, their leaderboard."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from studygroup import config, reporting
from studygroup.data import asks_for_flips
from studygroup.devices import pick_device
from studygroup.errors import UserError
from studygroup.foreign import allow_flag, code_in
from studygroup.lock import lock_dir
from studygroup.options import CompareOptions, RunOptions, TrainOptions, plain
from studygroup.pages import try_to_write_page
from studygroup.parameters import parameters_of, show
from studygroup.pipeline.describe import describe_run
from studygroup.pipeline.setup import epochs_of, given_code, open_splits, short_name, student_of, uses_gpu
from studygroup.runs.contents import kind_of_folder, mark, names_in
from studygroup.runs.environment import environment
from studygroup.runs.files import write_json
from studygroup.runs.folder import check_own, clear_dir
from studygroup.runs.layout import ComparisonFiles, run_name
from studygroup.runs.reader import read_manifest
from studygroup.sweep.budget import control_of, within_budget
from studygroup.sweep.cost import find_costs, total_epochs
from studygroup.sweep.executors import Executor, ProcessExecutor, RayExecutor
from studygroup.sweep.job import Job
from studygroup.sweep.progress import SweepProgress
from studygroup.sweep.reuse import comparisons_in, deciding_options, finished_elsewhere
from studygroup.sweep.scheduler import run_jobs
from studygroup.sweep.unused import unused
from studygroup.sweep.variants import Variant, make_variants, seeded
from studygroup.sweep.worker import Task
from studygroup.threads import available_cpus, given_threads
from studygroup.training.flops import TrainingCost
from studygroup.training.signals import StopRequest
from studygroup.training.splits import DataSplits


def compare(options: CompareOptions) -> dict[str, object]:
    """Train every variant with every seed, and write the leaderboard."""
    variants, reference, dataset = prepare(options)
    first = next(variant for variant in variants if variant.name == reference).options
    files = ComparisonFiles(Path(options.out or f"runs/compare-{dataset}-{short_name(student_of(first))}"))
    return train_variants(variants, reference, files, options, dataset=dataset)


def prepare(options: CompareOptions, *, describe: bool = True) -> tuple[list[Variant], str, str]:
    """Return the variants of a comparison, the baseline's name, and the name of the data, which is opened, and prepared if need be.

    Args:
        options: of the comparison.
        describe: log a description of the data.

    Raises:
        UserError: a variant cannot be trained, as far as its options and the data tell.
    """
    for folder in options.reuse:
        comparisons_in(Path(folder))  # before anything is read or measured
    variants, reference = make_variants(options)
    first = next(variant for variant in variants if variant.name == reference).options
    splits = open_splits(RunOptions.of(first, progress=options.progress))
    if describe:
        describe_run(first, splits)
    variants = [with_flips(variant, splits) for variant in variants]
    if options.score_on_unused:
        for variant in variants:
            unused(open_splits(replace(variant.options, progress=False)).dataset, options.score_on_unused)
    return variants, reference, splits.dataset.name


def train_variants(
    variants: Sequence[Variant],
    reference: str,
    files: ComparisonFiles,
    options: CompareOptions,
    *,
    dataset: str,
    known: Mapping[str, TrainingCost] = MappingProxyType({}),
    finished: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, Any]:
    """Train every variant with every seed within the budget, and write the leaderboard.

    Args:
        variants: from `make_variants`.
        reference: the variant that the others are compared with.
        files: of the comparison.
        options: of the comparison.
        dataset: its name.
        known: costs that are measured already, by variant.
        finished: folders of runs of the same options that are finished elsewhere, by run; they are copied.

    Returns:
        As `studygroup.compare`, and `wall`: the seconds of each run that was trained now, from the start of its process to its end.
    """
    before = read_previous(files, overwrite=options.overwrite)
    costs = {**find_costs([one for one in variants if one.name not in known], before, variants=variants, show=options.progress), **known}
    variants = within_budget(variants, reference, costs, options)
    control = control_of(variants, reference, costs, options)
    if control is not None:
        variants.append(control)
        costs[control.name] = costs[reference]
    check_same(files, variants, before)
    elsewhere = {**finished_elsewhere(variants, options.seeds, options.reuse, score_on_unused=options.score_on_unused), **finished}
    executor = choose_executor(options, files, len(variants) * options.seeds)
    manifest = {
        "data": dataset,
        "reference": reference,
        "control": control.name if control is not None else None,
        "seeds": list(range(options.seeds)),
        **{name: getattr(options, name) for name in ("budget", "count_teacher", "score_on_unused", "split_by_seed")},
        "command": command(options),
        "executor": executor.description,
        "machine": environment(0),
        "variants": [{**variant.plain(), **(asdict(costs[variant.name]) if variant.name in costs else {})} for variant in variants],
        "failed": {},
        "reused": {} if options.overwrite else before.get("reused", {}),
    }
    with lock_dir(files.folder):
        if options.overwrite:
            clear_dir(files.folder)
        mark(files.folder, "comparison")
        write_json(files.manifest, manifest)
        config.save(files.recipe, CompareOptions.of(options, out=str(files.folder)))
        jobs = make_jobs(variants, costs, files, options)
        for job in jobs:
            if job.name in elsewhere and not job.files.folder.exists():
                copy_folder(elsewhere[job.name], job.files.folder)
                manifest["reused"][job.name] = str(elsewhere[job.name])
        try:
            ended = run_all(jobs, executor, progress=options.progress)
        finally:
            manifest["failed"] = {job.name: job.failed for job in jobs if job.failed}
            write_json(files.manifest, manifest)
            if any(job.finished() for job in jobs):
                reporting.write_comparison(files.folder)
                try_to_write_page(files.folder)
    if not ended:
        flag = allow_flag([*options.allow_code, *code_in(vars(options))])
        again = f"studygroup compare --config {shlex.quote(str(files.recipe))}{flag}"
        done = sum(job.finished() for job in jobs)
        raise KeyboardInterrupt(f"{done} of {len(jobs)} runs are finished, the others are saved. Continue with: {again}")
    wall = {job.name: job.wall for job in jobs if job.wall}
    return {**reporting.comparison(files.folder), "out": str(files.folder), "wall": wall}


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder; the target is complete as soon as it exists."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    part.rename(target)


def with_flips(variant: Variant, splits: DataSplits) -> Variant:
    """Return a variant without presets that the data decides on, so that all its seeds are augmented alike, whatever their splits."""
    if splits.flips is None or not asks_for_flips(variant.options.augment):
        return variant
    augment = splits.dataset.inputs.resolve_augment(variant.options.augment, flips=splits.flips.allowed)
    return replace(variant, options=replace(variant.options, augment=augment))


def run_all(jobs: Sequence[Job], executor: Executor, *, progress: bool) -> bool:
    """Run the jobs; return False if they were stopped."""
    bars = SweepProgress(jobs, wanted=progress)
    try:
        with StopRequest() as stop:
            return run_jobs(jobs, executor, bars, stop)
    except KeyboardInterrupt:  # the second one: wait for nothing
        return False
    finally:
        executor.close()
        bars.close()


def read_previous(files: ComparisonFiles, *, overwrite: bool) -> dict[str, Any]:
    """Return the manifest of the comparison to continue; empty if there is none or it will be overwritten.

    Raises:
        UserError: the folder holds something else, or cannot be used.
    """
    folder = files.folder
    try:
        content = names_in(folder)
        if content and kind_of_folder(folder) != "comparison" and (overwrite or files.manifest.name not in content):
            raise UserError(f"{folder} is not empty and holds no comparison ({', '.join(content[:3])}); take another --out")
        if content and overwrite:
            check_own(folder)
        return {} if overwrite else read_manifest(folder) or {}
    except OSError as error:
        raise UserError(f"cannot use {folder}: {error.strerror}; take another --out") from error


def check_same(files: ComparisonFiles, variants: Sequence[Variant], before: Mapping[str, Any]) -> None:
    """Raise UserError if a variant of an earlier comparison in this folder, or a run of it, was trained with other options.

    An option that the earlier version did not know had its default.
    """
    for old in before.get("variants", ()):
        new = next((variant for variant in variants if variant.name == old["name"]), None)
        if new is None or not any(files.runs.glob(run_name(old["name"], 0)[:-1] + "*")):
            continue
        was, now = ({**deciding_options(one), "taught by": one["teacher"]} for one in (old, new.plain()))
        odd = [key for key in now if was[key] != now[key]]
        if odd:
            shown = "; ".join(f"{key} was {was[key]!r}, is {now[key]!r}" for key in odd[:4])
            raise UserError(
                f"{old['name']} in {files.folder} had other options ({shown}); take another --out, or start again with --overwrite"
            )


def make_jobs(variants: Sequence[Variant], costs: Mapping[str, TrainingCost], files: ComparisonFiles, options: CompareOptions) -> list[Job]:
    """Return a job for every variant and seed; all variants of a seed first, so that there is something to compare early."""
    jobs = []
    code = list(dict.fromkeys(path for variant in variants for path in given_code(variant.options)))  # one may teach another
    epochs = {variant.name: total_epochs(seeded(variant, variants, 0)) for variant in variants}
    for seed in range(options.seeds):
        for variant in variants:
            run, own = files.run(variant.name, seed), seeded(variant, variants, seed)
            teachers = [
                given if name is None else str(files.run(name, seed).folder)
                for given, name in zip(own.teachers, variant.taught_by, strict=True)
            ]
            train = TrainOptions.of(own, teacher=teachers, out=str(run.folder), progress=options.ray is None, allow_code=code)
            jobs.append(
                Job(
                    run_name(variant.name, seed),
                    run,
                    Task(train.plain(), options.score_on_unused, os.getcwd()),
                    [run_name(name, seed) for name in variant.teachers],
                    epochs[variant.name],
                    costs[variant.name].flops(epochs_of(own)) if variant.name in costs else 0.0,
                )
            )
    return jobs


def choose_executor(options: CompareOptions, files: ComparisonFiles, jobs: int) -> Executor:
    """Return what runs the jobs."""
    if options.ray is not None:
        return RayExecutor(options.ray, workers=options.workers, gpu=options.device != "cpu")
    gpus = visible_gpus(options.device)
    workers, threads = processes(options, jobs)
    return ProcessExecutor(workers, files.logs, threads=threads, gpus=gpus if len(gpus) > 1 else ())


def processes(options: CompareOptions, jobs: int) -> tuple[int, int]:
    """Return the number of parallel processes, and the threads of each."""
    cores, threads = available_cpus(), options.threads or given_threads()
    most = max(cores // (threads or 1), 1) if pick_device(options.device).type == "cpu" else max(len(visible_gpus(options.device)), 1)
    workers = options.workers or min(most, jobs)
    return workers, threads or max(cores // workers, 1)


def visible_gpus(device: str) -> list[str]:
    """Return the GPUs that runs may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    return visible.split(",") if uses_gpu(device) else []


def command(options: CompareOptions) -> str:
    """Return the command line of a comparison, without options that change no result; with variants, that of its recipe."""
    if options.variants or options.method:
        return f"studygroup compare --config {ComparisonFiles(Path()).recipe.name}"
    words = ["studygroup", "compare", str(options.data)]
    known = sorted(parameters_of(CompareOptions).items(), key=lambda item: item[1].group != CompareOptions.title)  # its own options first
    for name, parameter in known:
        value = getattr(options, name)
        if name == "data" or parameter.affects != "result":
            continue
        if name != "seeds" and plain(value) in (plain(parameter.default), None, [], {}):
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words += [flag if value else flag.replace("--", "--no-", 1)]
        elif name == "options":
            pairs = {f"{key}.{inner}": item[inner] for key, item in value.items() if isinstance(item, Mapping) for inner in item}
            pairs |= {key: item for key, item in value.items() if not isinstance(item, Mapping)}
            words += [flag, *(f"{key}={item if isinstance(item, str) else json.dumps(item)}" for key, item in pairs.items())]
        else:
            words += [flag, show(value)]
    return shlex.join(words)
