"""A command's options from a recipe and from the command line.

A recipe is data, whoever wrote it: the code that it names runs only if the command line names it, too, or allows it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import cast

from studygroup import config
from studygroup.foreign import check_allowed, code_in, import_code
from studygroup.options import Options
from studygroup.parameters import parameters_of
from studygroup.runs.layout import ComparisonFiles, RunFiles

logger = logging.getLogger(__name__)


def with_recipe(
    recipe: str | None,
    groups: Sequence[type[Options]],
    command: type[Options],
    given: Mapping[str, object],
    method_options: Mapping[str, object],
) -> dict[str, object]:
    """Merge the options of a recipe and those of the command line, which win. Another method does not inherit the recipe's options.

    Args:
        recipe: its path; None if there is none.
        groups: options that it may hold, as of `config.load`.
        command: options of the command; others are ignored.
        given: options on the command line.
        method_options: those of the method.

    Raises:
        UserError: the recipe cannot be read, or names code that the command line does not allow.
    """
    known = parameters_of(command)
    base = {name: value for name, value in config.load(recipe, *groups).items() if name in known} if recipe else {}
    inherited = base.pop("method_options", None) or {}
    if "method" in given and given["method"] != base.get("method") and inherited:
        logger.info("the recipe's options of %s are ignored for %s", base.get("method"), given["method"])
        inherited = {}
    merged = {**base, **given}
    options = {**(inherited if isinstance(inherited, Mapping) else {}), **method_options}
    if options:
        merged["method_options"] = options
    if recipe:
        allowed = cast("Collection[str]", given.get("allow_code", ()))
        check_code(Path(recipe), merged, {*allowed, *code_in({**given, "method_options": method_options})})
    return merged


def check_code(recipe: Path, options: Mapping[str, object], allowed: Collection[str]) -> None:
    """Check the code that options name.

    Args:
        recipe: where they come from.
        options: of a training or a comparison.
        allowed: import paths that the command line names or allows.

    Raises:
        UserError: some of it is not allowed, or lies in the run folder that the recipe is of.
    """
    paths = code_in(options)
    check_allowed(paths, allowed, str(recipe))
    if (folder := folder_of(recipe.resolve())) is not None:
        for path in paths:
            import_code(path, "code", outside=folder)


def folder_of(recipe: Path) -> Path | None:
    """Return the folder of the run or comparison whose configuration a recipe is; None for a recipe that somebody wrote."""
    run, comparison = RunFiles(recipe.parent), ComparisonFiles(recipe.parent)
    is_run = recipe == run.config and (run.environment.exists() or run.result.exists())
    is_comparison = recipe == comparison.recipe and comparison.manifest.exists()
    return recipe.parent if is_run or is_comparison else None
