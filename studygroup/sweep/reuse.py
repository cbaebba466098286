"""Find runs that another comparison has trained already, with the same options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studygroup.errors import UserError
from studygroup.methods import METHODS, method_options
from studygroup.options import RunOptions, as_tuple, plain
from studygroup.parameters import parameters_of
from studygroup.runs.layout import ComparisonFiles, run_name
from studygroup.runs.reader import read_manifest
from studygroup.sweep.variants import Variant

DEPTHS = 4
"""Levels of folders that are searched, so that a folder of studies can be given: STUDY/panels/NAME."""


def finished_elsewhere(variants: Sequence[Variant], seeds: int, folders: Sequence[str | Path], *, score_on_unused: int) -> dict[str, Path]:
    """Return the folders of finished runs of the same options in other comparisons, by the name of the run here.

    Options are compared after presets and budgets are resolved, so that a variant may have another name there. A student of a trained
    teacher is the same run only if the teacher's options are the same, too.

    Args:
        variants: with their final number of epochs.
        seeds: number of seeds.
        folders: of comparisons and studies, or folders that hold some.
        score_on_unused: number of unused samples that runs are scored on.

    Raises:
        UserError: a folder does not exist, or holds no comparison.
    """
    wanted = identities([variant.plain() for variant in variants])
    found: dict[str, Path] = {}
    for files in (one for folder in folders for one in comparisons_in(Path(folder))):
        manifest = read_manifest(files.folder)
        if manifest is None or manifest.get("score_on_unused", 0) != score_on_unused:
            continue
        theirs = {identity: name for name, identity in identities(manifest["variants"]).items()}
        for name, identity in wanted.items():
            for seed in range(seeds) if identity in theirs else ():
                run = files.run(theirs[identity], seed)
                if (run.unused_scores if score_on_unused else run.result).is_file():
                    found.setdefault(run_name(name, seed), run.folder)
    return found


def comparisons_in(folder: Path) -> list[ComparisonFiles]:
    """Return the comparisons in a folder, at most `DEPTHS` levels down.

    Raises:
        UserError: there is none.
    """
    name = ComparisonFiles(folder).manifest.name
    found = sorted(path.parent for depth in range(DEPTHS) for path in folder.glob("*/" * depth + name))
    if not found:
        why = "holds no comparison or study" if folder.is_dir() else "does not exist"
        raise UserError(f"reuse: {folder} {why}; give the folder of one, or a folder that holds some, or leave it out")
    return [ComparisonFiles(one) for one in found]


def identities(variants: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what determines the results of each variant's runs, as text, by name; variants as `Variant.plain` returns them."""
    by_name = {variant["name"]: variant for variant in variants}
    return {name: json.dumps(_identity(variant, by_name), sort_keys=True, default=str) for name, variant in by_name.items()}


def deciding_options(variant: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a variant that decide its results, and how it splits the data; an option that it does not have has its default.

    Args:
        variant: as `Variant.plain` returns it, perhaps of an earlier version.
    """
    known = parameters_of(RunOptions)
    given = {name: plain(parameter.default) for name, parameter in known.items()} | variant["options"]
    splits = {name: variant.get(name, False) for name in ("split_by_seed", "holdout_by_seed")}
    return {name: value for name, value in given.items() if name not in known or known[name].affects == "result"} | splits


def _identity(variant: Mapping[str, Any], by_name: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    deciding = deciding_options(variant)
    if deciding["method"] in METHODS:
        defaults = {name: plain(parameter.default) for name, parameter in method_options(deciding["method"]).items()}
        deciding["method_options"] = defaults | (deciding["method_options"] or {})
    teachers = as_tuple(variant["teacher"])
    if any(teachers):
        named = zip(teachers, as_tuple(deciding["teacher"]), strict=True)
        deciding["teacher"] = [given if name is None else _identity(by_name[name], by_name) for name, given in named]
    return deciding
