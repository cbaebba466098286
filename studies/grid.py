"""Runs a grid of recipes over seeds, in parallel processes, and tables what came out.

    python studies/grid.py studies/cgl-defaults.yaml --seeds 3 --workers 2

A grid file has `base` (arguments of `studygroup.train`) or `recipe` (a recipe's path), and `cells` (name -> the arguments that
differ). Runs lie in `runs/<grid>/<cell>-s<seed>`; what is finished is not run again, a failed cell is reported and the rest
goes on.

Choices are made on validation images: training images of the data set that are neither learnt from nor used to select a
student (`--validation` of them). What runs say of the test set, `studygroup report` shows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml

import studygroup
from studygroup import config

VALIDATION = "validation.json"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=max(os.cpu_count() or 1, 1))
    parser.add_argument("--threads", type=int, default=1, help="per worker")
    parser.add_argument("--validation", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="folder of the runs; by default runs/GRID")
    parser.add_argument("--only", nargs="*", help="names of cells")
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = parser.parse_args()
    grid = yaml.safe_load(given.grid.read_text())
    base = config.load(given.grid.parent / grid["recipe"], studygroup.train) if "recipe" in grid else grid["base"]
    out = given.out or Path("runs") / given.grid.stem
    cells = {name: cell or {} for name, cell in grid["cells"].items() if not given.only or name in given.only}
    if not given.table:
        work = [
            (base | cell | {"seed": seed, "out": str(out / f"{name}-s{seed}")})
            for seed in range(given.seeds)
            for name, cell in cells.items()
        ]
        run_all(work, given)
    print(table(cells, out, given.seeds))


def run_all(work: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """Run every cell that has no result yet."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
        jobs = {pool.submit(run_one, arguments, given.threads, given.validation): arguments for arguments in work}
        for done, job in enumerate(as_completed(jobs), start=1):
            error = job.exception()
            status = f"failed: {error}" if error else job.result()
            print(f"[{done}/{len(jobs)}] {time.strftime('%H:%M:%S')} {Path(jobs[job]['out']).name}: {status}", file=sys.stderr, flush=True)


def run_one(arguments: dict[str, Any], threads: int, validation: int) -> str:
    """Train one cell and score it on validation images."""
    import torch

    torch.set_num_threads(threads)
    folder = Path(arguments["out"])
    if (folder / VALIDATION).exists():
        return "was there"
    arguments = dict(arguments)
    teacher = arguments.get("teacher")
    if isinstance(teacher, str):
        arguments["teacher"] = teacher.format(seed=arguments["seed"], runs=folder.parent)
    try:
        run = studygroup.train(arguments.pop("data"), **arguments, progress=False, resume=(folder / "config.yaml").exists())
        found = validate(run, validation)
    except Exception:
        traceback.print_exc()
        raise
    (folder / VALIDATION).write_text(json.dumps(found))
    return f"{found['best']:.2%}"


def validate(run: Any, samples: int) -> dict[str, Any]:
    """Accuracy of the selected student, of all members and of the ensemble on images that were not used."""
    import numpy as np
    import torch

    from studygroup.data import evaluation_batches, hold_out, open_dataset
    from studygroup.training import score

    asked: dict[str, Any] = config.read(run.folder / "config.yaml")
    dataset = open_dataset(str(asked["data"]), image_size=asked["image_size"], progress=False)
    everything = len(dataset.train)
    used = hold_out(everything, holdout=asked["holdout"], train_size=asked["train_size"], seed=asked["split_seed"])
    rest = np.setdiff1d(np.arange(everything), np.concatenate(used))[:samples]
    device = torch.device("cpu")
    members = {**run.members, "best": run.best}
    runners = {name: member.runner(device) for name, member in members.items()}
    students = [name for name in members if name.startswith("student")]
    scores = score(
        lambda inputs: {name: runner(inputs) for name, runner in runners.items()},
        students,
        evaluation_batches(dataset.train.take(rest), run.best.preprocess(device), 500),
    )
    return scores.accuracy | {
        "diversity": scores.diversity,
        "mean student": statistics.fmean(scores.accuracy[name] for name in students),
        "seconds": run.result["seconds"],
    }


def table(cells: dict[str, Any], out: Path, seeds: int) -> str:
    """Mean ± sample standard deviation over seeds, in percent, as Markdown."""
    rows = ["| cell | seeds | selected | mean student | ensemble | diversity | seconds |", "|---|---|---|---|---|---|---|"]
    for name in cells:
        found = [json.loads(path.read_text()) for seed in range(seeds) if (path := out / f"{name}-s{seed}" / VALIDATION).exists()]
        if found:
            columns = [spread([run[key] for run in found], 100.0) for key in ("best", "mean student", "ensemble")]
            apart = [run["diversity"] for run in found if run["diversity"] is not None]
            seconds = statistics.fmean(run["seconds"] for run in found)
            rows.append(f"| {name} | {len(found)} | {' | '.join(columns)} | {spread(apart, 1.0) if apart else '–'} | {seconds:.0f} |")
    return "\n".join(rows)


def spread(values: list[float], factor: float) -> str:
    """`mean ± std`, the latter if there are two values."""
    digits = 2 if factor > 1 else 3
    scaled = [value * factor for value in values]
    mean = f"{statistics.fmean(scaled):.{digits}f}"
    return f"{mean} ± {statistics.stdev(scaled):.{digits}f}" if len(scaled) > 1 else mean


if __name__ == "__main__":
    main()
