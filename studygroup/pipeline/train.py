"""Train a run: all its stages, on all its ranks."""

from __future__ import annotations

import logging
import shlex
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from studygroup import config
from studygroup.data import Flips, Images
from studygroup.distributed import launch
from studygroup.distributed.context import DistContext, init_distributed
from studygroup.errors import TrainingError, UserError
from studygroup.foreign import allow_flag, code_in
from studygroup.methods import method_name
from studygroup.options import OptimizerOptions, TrainOptions
from studygroup.pages import try_to_write_page
from studygroup.pipeline.describe import describe_run
from studygroup.pipeline.planning import plan_epochs
from studygroup.pipeline.regime import warning
from studygroup.pipeline.setup import (
    default_folder,
    given_code,
    import_given_code,
    method_of,
    open_splits,
    plan_stages,
    run_options,
    settings_of,
    uses_gpu,
    with_stems,
)
from studygroup.pipeline.stages import Stage, dry_run, run_stages, weights_of
from studygroup.pipeline.weights import check_apart, with_normalisation
from studygroup.runs.contents import mark
from studygroup.runs.environment import environment
from studygroup.runs.files import write_json
from studygroup.runs.folder import lock_run_dir, remove_empty_run
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Run
from studygroup.training.linear import linear_scores
from studygroup.training.splits import DataSplits

logger = logging.getLogger(__name__)


def train(options: TrainOptions) -> Run:
    """Train a run in as many processes as the options ask for."""
    import_given_code(options, None if options.out is None else Path(options.out))
    if launch.needs_launch(options):
        gpus = torch.cuda.device_count() if uses_gpu(options.device) else options.devices
        if options.devices > gpus:
            raise UserError(f"devices is {options.devices}, but there are {gpus} GPUs; use at most {gpus}, or --device cpu")
        hint = "the same command with --resume, with any number of devices"
        return Run(launch.launch(train_rank, options, options, hint=hint), given_code(options))
    return Run(train_rank(options), given_code(options))


def train_rank(options: TrainOptions) -> str:
    """Train as one of the ranks, or as the only process; return the run folder."""
    gpu = uses_gpu(options.device)
    with init_distributed(options.shard, gpu=gpu) as ranks:
        if ranks.is_distributed and gpu:
            options = replace(options, device=f"cuda:{torch.cuda.current_device()}")
        return str(train_together(options, ranks).folder)


def train_together(options: TrainOptions, ranks: DistContext) -> Run:
    """Train with the given ranks; rank 0 writes."""
    started = time.perf_counter()
    run = run_options(options)
    method = method_of(run)
    settings = settings_of(run)
    stages = plan_stages(run, method, settings)
    splits = open_splits(run)
    splits = replace(splits, dataset=with_normalisation(splits.dataset, weights_of(stages)))
    stages = with_stems(stages, run.stem, splits.dataset)
    untrained = dry_run(stages, splits)
    out = Path(options.out or default_folder(splits.dataset, method, run))
    check_apart(run, out)
    files = RunFiles(out)
    if options.resume and ranks.on_rank_zero(files.config.is_file):
        splits = with_recorded_flips(splits, run.augment, str(config.read(files.config).get("augment")))
    description = ranks.on_rank_zero(lambda: describe_run(run, splits, stages[-1].student, untrained[stages[-1].name]))
    plan = None
    if run.time_limit is not None:

        def stages_of(epochs: int) -> list[Stage]:
            return with_stems(plan_stages(run, method, replace(settings, epochs=epochs)), run.stem, splits.dataset)

        if options.resume and ranks.on_rank_zero(lambda: config.is_given(files.config)):
            epochs = config.load_group(files.config, OptimizerOptions).epochs
        else:
            elapsed = partial(seconds_since, started)
            plan = plan_epochs(stages_of, splits, untrained, run.time_limit, most=options.epochs, elapsed=elapsed, ranks=ranks)
            epochs = plan.epochs
        run = replace(run, epochs=epochs, time_limit=None)
        settings = settings_of(run)
        stages = stages_of(settings.epochs)
    name = method_name(method)
    ranks.on_rank_zero(lambda: warn_of_loss(name, splits, settings.epochs))
    resolved = TrainOptions.of(
        run,
        method=name if importable(name) else method,
        method_options=method.options(),
        precision=settings.precision,
        channels_last=settings.channels_last,
        augment=splits.augment,
        devices=options.devices,
        nodes=options.nodes,
        rendezvous=options.rendezvous,
        shard=options.shard,
        out=str(out),
    )
    flag = allow_flag([*options.allow_code, *code_in(vars(resolved))])
    if options.resume:
        check_not_longer(files, settings.epochs, flag)

    def begin() -> None:
        lock.enter_context(lock_run_dir(out, resume=options.resume, overwrite=options.overwrite))
        try:
            mark(out, "run")
            if not (options.resume and config.is_given(files.config)):
                write_json(files.data, description)
                write_json(files.environment, environment(settings.seed) | ({"plan": asdict(plan)} if plan is not None else {}))
                config.save(files.config, resolved)  # the last one: if it is there, all of them are
        except TrainingError:  # the disk is full
            remove_empty_run(out)
            raise

    hint = f"studygroup train --config {shlex.quote(str(files.config))} --out {shlex.quote(str(out))} --resume{flag}"
    with ExitStack() as lock:
        ranks.on_rank_zero(begin)
        try:
            finished = run_stages(stages, out, splits, resume=options.resume, resume_hint=hint, ranks=ranks)
            ranks.on_rank_zero(lambda: complete(finished, splits, options))
            return finished
        except (UserError, TrainingError):
            if ranks.rank == 0:
                remove_empty_run(out)
            raise


def warn_of_loss(method: str, splits: DataSplits, epochs: int) -> None:
    """Log a warning if a run on images lies where its method has lost to training alone."""
    if isinstance(splits.dataset.inputs, Images) and (note := warning(method, len(splits.train), epochs)) is not None:
        logger.warning("note: %s", note)


def with_recorded_flips(splits: DataSplits, augment: str, recorded: str) -> DataSplits:
    """Return the data of a resumed run with the flips that it was begun with, whatever would be decided now.

    Args:
        splits: the data, with the decision of now.
        augment: augmentation with which the run is resumed.
        recorded: augmentation that the run was begun with, without presets.
    """
    if splits.flips is None or recorded == splits.augment:
        return splits
    flips = Flips(not splits.flips.allowed, "as when the run began")
    begun = splits.dataset.inputs.resolve_augment(augment, flips=flips.allowed) == recorded
    return replace(splits, augment=recorded, flips=flips) if begun else splits


def check_not_longer(files: RunFiles, epochs: int, flag: str) -> None:
    """Check that a finished run is not to be resumed for more epochs: its schedule has ended.

    Args:
        files: of the run.
        epochs: that are asked for.
        flag: that allows the code of the run.

    Raises:
        UserError: it is; the message names the command that trains a new run from its weights.
    """
    if not (files.result.is_file() and config.is_given(files.config)):
        return
    trained = config.load_group(files.config, OptimizerOptions).epochs
    if trained is not None and epochs > trained:
        config_file, folder = shlex.quote(str(files.config)), shlex.quote(str(files.folder))
        command = f"studygroup train --config {config_file} --epochs {epochs} --weights {folder} --out NEW{flag}"
        raise UserError(
            f"the run in {files.folder} is finished with {trained} epochs, and its learning rate has ended its schedule; "
            f"train a new run from its weights: {command}"
        )


def seconds_since(start: float) -> float:
    """Return the seconds since `time.perf_counter()` was `start`."""
    return time.perf_counter() - start


def complete(run: Run, splits: DataSplits, options: TrainOptions) -> None:
    """Add to a finished run what belongs to no stage: the linear model, and the report."""
    if options.linear_model:
        add_linear_model(run, splits, options)
    files = run.files
    if not files.report.is_file() or files.report.stat().st_mtime_ns < files.result.stat().st_mtime_ns:
        try_to_write_page(run.folder)


def add_linear_model(run: Run, splits: DataSplits, options: TrainOptions) -> None:
    """Add the scores of the linear model to the result of a finished run."""
    test = (splits if options.score_test else splits.without_test()).dataset.test
    if "linear" not in run.result:
        run.result["linear"] = linear_scores(splits, {"test": test}, options.cache)
        write_json(run.files.result, run.result)


def importable(name: str) -> bool:
    """Return whether another process can import a method by its name: not a class of the main program or inside a function."""
    return not name.startswith("__main__:") and "<locals>" not in name
