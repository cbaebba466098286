"""Finished runs -> the numbers and verdicts of a study."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from studygroup.options import StudyOptions
from studygroup.reporting.student_t import interval
from studygroup.reporting.verdicts import joint
from studygroup.runs.files import write_json
from studygroup.runs.layout import StudyFiles, run_name
from studygroup.runs.reader import RunRecord, read_manifest, read_run
from studygroup.studies.contrasts import Claim, Key
from studygroup.studies.measures import analyse, is_analysis, read, unit_of
from studygroup.studies.study import Cell, Plan, Study

Runs = Mapping[tuple[str, str], Mapping[int, RunRecord]]
"""(panel, variant) -> seed -> finished run."""


def collect(chosen: Study, plan: Plan, options: StudyOptions, files: StudyFiles, command: str, *, complete: bool = True) -> dict[str, Any]:
    """Return the numbers and verdicts of a study.

    Args:
        chosen: the study.
        plan: what was run.
        options: of the study.
        files: of the study.
        command: that repeats or continues it.
        complete: whether it was not interrupted; otherwise nothing is computed from networks.
    """
    manifests = {panel.name: read_manifest(files.panel(panel.name).folder) or {} for panel in plan.panels}
    failed = {f"{panel}/{run}": reason for panel, found in manifests.items() for run, reason in found.get("failed", {}).items()}
    runs = {(cell.panel, cell.variant): finished(files, cell, manifests[cell.panel]) for cell in plan.cells}
    stored = networks_values(plan, runs, files, options) if complete else {}
    cells, values, published = [], {}, {}
    for cell in plan.cells:
        by_seed = values_of(cell, runs[cell.panel, cell.variant], stored)
        values[cell.key] = by_seed
        if cell.published is not None:
            published[cell.key] = cell.published
        lost = [seed for seed in manifests[cell.panel].get("seeds", []) if f"{cell.panel}/{run_name(cell.variant, seed)}" in failed]
        cells.append({**asdict(cell), **summary(cell, by_seed), "failed": lost})
    return {
        "name": chosen.name,
        "title": chosen.title,
        "source": chosen.source,
        "scale": options.scale,
        "complete": complete,
        "seeds": max((len(found.get("seeds", [])) for found in manifests.values()), default=0),
        "panels": [
            {
                "name": panel.name,
                "title": panel.title,
                "data": str(panel.options["data"]),
                "student": panel.options["student"],
                "folder": str(files.panel(panel.name).folder.relative_to(files.folder)),
            }
            for panel in plan.panels
        ],
        "cells": cells,
        "figure": asdict(plan.figure),
        "claims": [judged(claim, values, published) for claim in plan.claims],
        "notes": list(plan.notes),
        "failed": failed,
        "command": command,
    }


def finished(files: StudyFiles, cell: Cell, manifest: Mapping[str, Any]) -> dict[int, RunRecord]:
    """Return the finished runs of a cell by seed."""
    runs = {seed: files.panel(cell.panel).run(cell.variant, seed) for seed in manifest.get("seeds", [])}
    lost = manifest.get("failed", {})
    return {seed: read_run(run.folder) for seed, run in runs.items() if run.result.is_file() and run_name(cell.variant, seed) not in lost}


def values_of(cell: Cell, runs: Mapping[int, RunRecord], stored: Mapping[str, float]) -> dict[int, float]:
    """Return the values of a cell by seed, as they are shown; runs that do not have it are left out."""
    factor = unit_of(cell.measure).factor
    found = {
        seed: stored.get(stored_key(cell, seed)) if is_analysis(cell.measure) else read(record, cell.measure)
        for seed, record in runs.items()
    }
    return {seed: factor * value for seed, value in found.items() if value is not None}


def stored_key(cell: Cell, seed: int) -> str:
    """Return the name of a number that is computed from a run's networks."""
    return f"{cell.panel}/{run_name(cell.variant, seed)}/{cell.measure}"


def networks_values(plan: Plan, runs: Runs, files: StudyFiles, options: StudyOptions) -> dict[str, float]:
    """Compute what is computed from networks, unless it was, and save it run by run."""
    stored: dict[str, float] = json.loads(files.values.read_text()) if files.values.is_file() else {}
    wanted: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in plan.cells:
        if is_analysis(cell.measure):
            for seed in runs[cell.panel, cell.variant]:
                if stored_key(cell, seed) not in stored:
                    wanted.setdefault((cell.panel, cell.variant, seed), []).append(cell)
    for (panel, variant, seed), cells in wanted.items():
        found = analyse(runs[panel, variant][seed].folder, [cell.measure for cell in cells], cache=options.cache, device=options.device)
        stored |= {stored_key(cell, seed): found[cell.measure] for cell in cells}
        write_json(files.values, stored)
    return stored


def summary(cell: Cell, by_seed: Mapping[int, float]) -> dict[str, Any]:
    """Return mean, standard deviation and interval of a cell."""
    numbers = list(by_seed.values())
    low, high = interval(numbers) or (None, None)
    unit = unit_of(cell.measure)
    return {
        "unit": asdict(unit),
        "mean": statistics.fmean(numbers) if numbers else None,
        "std": statistics.stdev(numbers) if len(numbers) > 1 else None,
        "low": low,
        "high": high,
        "by_seed": dict(by_seed),
    }


def judged(claim: Claim, values: Mapping[Key, Mapping[int, float]], published: Mapping[Key, float]) -> dict[str, Any]:
    """Return a claim with its evidence and the verdict; parts about panels that are not run are left out."""
    tested = [part.test(values, published) for part in planned(claim.parts, values)]
    verdict, reason = joint(tested)
    return {
        **{name: getattr(claim, name) for name in ("text", "where", "how", "unit")},
        "parts": [part.plain() for part in tested],
        "verdict": verdict,
        "reason": reason,
    }


def planned(parts: Iterable[Any], values: Mapping[Key, object]) -> list[Any]:
    """Return the parts all of whose cells are planned."""
    return [part for part in parts if all(key in values for key in part.cells())]
