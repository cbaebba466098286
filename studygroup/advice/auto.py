"""`studygroup train --method auto`: the run that an advice hands over, in a run folder of its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from studygroup import config
from studygroup.advice.advise import advise
from studygroup.errors import UserError
from studygroup.options import AdviseOptions, RunOptions, TrainOptions
from studygroup.pipeline.setup import open_splits, run_options, short_name, student_of
from studygroup.runs.contents import mark
from studygroup.runs.folder import lock_run_dir, remove_empty_run
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Run
from studygroup.sweep.variants import BASELINE

AUTO = "auto"
"""The method that an advice chooses."""


def train_auto(options: TrainOptions) -> Run:
    """Advise, and leave the winner's run at `out`, with the advice in its folder `advice`.

    Raises:
        UserError: an option that an advice decides itself, a folder that holds something else, or as `advise`.
    """
    check_options(options)
    files = RunFiles(Path(options.out or default_out(options)))
    with lock_run_dir(files.folder, resume=options.resume, overwrite=options.overwrite):
        mark(files.folder, "run")
    if not files.result.is_file():
        limit = options.time_limit or AdviseOptions(options.data).time_limit
        try:
            found = advise(AdviseOptions.of(options, out=files.advice.folder, time_limit=limit, overwrite=False))
        except UserError:
            remove_empty_run(files.folder)
            raise
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(f"everything is saved in {files.folder}. Continue with: the same command with --resume") from stop
        copy_run(RunFiles.of(str(found["run"])), files)
    return Run(files.folder)


def check_options(options: TrainOptions) -> None:
    """Raise UserError if options are given that an advice decides itself."""
    decided = {"method_options": options.method_options, "seed": options.seed, "weights": options.weights}
    for name, value in decided.items():
        if value:
            raise UserError(f"{name} is {value}, but method {AUTO} decides it; leave it out, or name a method")
    if options.devices > 1 or options.nodes > 1:
        raise UserError(f"method {AUTO} trains several runs side by side, each in one process; leave out --devices and --nodes")


def default_out(options: TrainOptions) -> str:
    """Return `runs/DATA-auto-STUDENT-s0`."""
    run = run_options(RunOptions.of(options, method=BASELINE, time_limit=None, progress=False))
    return f"runs/{open_splits(run).dataset.name}-{AUTO}-{short_name(student_of(run))}-s0"


def copy_run(source: RunFiles, target: RunFiles) -> None:
    """Copy a finished run; its result, which says that it is finished, comes last."""
    shutil.copytree(source.folder, target.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(source.result.name))
    config.save(target.config, replace(config.load_group(target.config, TrainOptions), out=str(target.folder)))
    shutil.copy2(source.result, target.result)
