"""Run a study: its comparisons one after the other, then its numbers, verdicts and figure."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from studygroup import config, reporting
from studygroup.data import reads_texts
from studygroup.errors import UserError, unknown_name
from studygroup.lock import lock_dir
from studygroup.options import CompareOptions, StudyOptions, TableOptions
from studygroup.pages import try_to_write_page
from studygroup.parameters import parameters_of
from studygroup.runs.contents import kind_of_folder, mark, names_in
from studygroup.runs.folder import check_own, clear_dir
from studygroup.runs.layout import StudyFiles
from studygroup.studies.collect import collect
from studygroup.studies.costs import Prepared, check_limit, estimate, measure_panel
from studygroup.studies.registry import STUDIES
from studygroup.studies.study import Kind, Panel, Plan, Setting, Study
from studygroup.studies.texts import write_docstrings
from studygroup.sweep.comparison import prepare, train_variants

SEEDS = {"tiny": 2, "small": 3, "paper": 3}
SHARED = ("progress", "device", "cache", "on_error", "download", "workers", "ray", "reuse", "precision")
"""Options that all comparisons of a study have."""

logger = logging.getLogger(__name__)


def study(options: StudyOptions) -> dict[str, Any]:
    """Run a study, or what is left of it; return its numbers and verdicts."""
    chosen = STUDIES.load(options.name)
    files = StudyFiles(Path(options.out or f"runs/study-{options.name}-{options.scale}"))
    setting = setting_of(options, chosen, files)
    plan = chosen.plan(setting)
    check_places(plan, setting)
    plan = only(plan, options.panels)
    check_folder(files, overwrite=options.overwrite)
    with lock_dir(files.folder), removed_if_refused(files.folder):
        if options.overwrite:
            clear_dir(files.folder)
        check_same(files, options)
        mark(files.folder, "study")
        config.save(files.recipe, replace(options, out=str(files.folder)))
        if setting.texts == str(files.docstrings):
            write_docstrings(files.docstrings)
        for note in plan.notes:
            logger.info("note: %s", note)
        panels = prepare_panels(plan, options, files)
        expected = estimate(panels, files)
        logger.info("%s, scale %s: %s", options.name, options.scale, expected)
        check_limit(expected, accepted=options.yes)
        try:
            for one in panels:
                logger.info("%s: %s", one.panel.name, one.panel.title)
                train_variants(one.variants, one.reference, files.panel(one.panel.name), one.options, dataset=one.dataset, known=one.costs)
        except KeyboardInterrupt:
            left = estimate(panels, files)
            if left.finished:
                reporting.write_study(files.folder, collect(chosen, plan, options, files, command(options, files), complete=False))
                try_to_write_page(files.folder)
            again = command(options, files)
            raise KeyboardInterrupt(f"{left.finished} runs are finished, the others are saved. Continue with: {again}") from None
        result = collect(chosen, plan, options, files, command(options, files))
        reporting.write_study(files.folder, result)
        try_to_write_page(files.folder)
        return {**result, "out": str(files.folder)}


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Remove the folder of a study that is refused before anything was measured or trained, if it is new."""
    new = not names_in(folder)
    try:
        yield
    except UserError:
        if new and not StudyFiles(folder).costs.exists():
            clear_dir(folder)
            folder.rmdir()
        raise


def setting_of(options: StudyOptions, chosen: Study, files: StudyFiles) -> Setting:
    """Return what a study is planned for.

    Raises:
        UserError: data or a network is given that the study does not take, or texts that it needs are missing.
    """
    given = {} if options.scale == "paper" else kinds_of(options, chosen)
    if options.student is not None and (chosen.fixed_networks or options.scale == "paper"):
        why = "its networks are what it studies" if chosen.fixed_networks else "scale paper has the published ones"
        raise UserError(f"student is {options.student}, but {chosen.name} takes none: {why}; leave it out")
    if options.scale == "tiny" and "texts" not in given and "texts" in (*chosen.needs, *chosen.takes):
        given["texts"] = str(files.docstrings)
    if options.scale == "small" and "texts" in chosen.needs and "texts" not in given:
        raise UserError(
            f"{chosen.name} is about texts, and scale small has none of its own; give a table of texts and labels, such as --data mails.csv"
        )
    places = {str(data).partition(":")[0]: str(data) for data in options.data} if options.scale == "paper" else {}
    return Setting(options.scale, given.get("images"), given.get("texts"), options.student, places)


def kinds_of(options: StudyOptions, chosen: Study) -> dict[str, str]:
    """Return the given data by kind, `images` and `texts`."""
    given: dict[str, str] = {}
    for data in options.data:
        kind: Kind = "texts" if reads_texts(data) else "images"
        if kind in given:
            raise UserError(f"{given[kind]} and {data} are both {kind}, and a study takes one of each; run them with different --out")
        if kind not in (*chosen.needs, *chosen.takes):
            raise UserError(f"{data} is {kind}, but {chosen.name} is about {' and '.join(chosen.needs)}; give data of that kind")
        given[kind] = str(data)
    return given


def check_places(plan: Plan, setting: Setting) -> None:
    """Raise UserError if a place is given of data that the paper does not have."""
    known = {str(panel.options["data"]).partition(":")[0] for panel in plan.panels}
    for name, place in setting.places.items():
        if name not in known or ":" not in place:
            raise UserError(
                f"data is {place}, but scale paper has the published data, {', '.join(sorted(known))}; give the place of one, such as "
                f"{min(known)}:/path/to/archive, or take --scale small"
            )


def only(plan: Plan, names: Sequence[str]) -> Plan:
    """Return a plan with some of its panels.

    Raises:
        UserError: there is no panel of a name.
    """
    known = [panel.name for panel in plan.panels]
    for name in names:
        if name not in known:
            raise unknown_name("panel", name, known)
    if not names:
        return plan
    return replace(
        plan,
        panels=[panel for panel in plan.panels if panel.name in names],
        cells=[cell for cell in plan.cells if cell.panel in names],
    )


def prepare_panels(plan: Plan, options: StudyOptions, files: StudyFiles) -> list[Prepared]:
    """Open the data of all panels, describe each once, and measure their variants."""
    described: set[str] = set()
    found = []
    for panel in plan.panels:
        comparison = compare_options(panel, options, files)
        data = str(comparison.data)
        try:
            variants, reference, dataset = prepare(comparison, describe=data not in described)
        except UserError as error:
            raise UserError(f"{panel.name}: {error}") from error
        described.add(data)
        measured = measure_panel(variants, panel.name, files, show=options.progress)
        found.append(Prepared(panel, comparison, variants, reference, dataset, measured))
    return found


def compare_options(panel: Panel, options: StudyOptions, files: StudyFiles) -> CompareOptions:
    """Return the options of a panel's comparison."""
    own = options.plain()
    shared = {name: own[name] for name in SHARED}
    given = {} if options.train_size is None else {"train_size": options.train_size}
    tables = {name: own[name] for name in parameters_of(TableOptions)} if reads_texts(str(panel.options["data"])) else {}
    content = config.split_method({**panel.options, **given, **tables, **shared, "variants": panel.variants}, f"{panel.name}: ")
    seeds = options.seeds or SEEDS[options.scale]
    return CompareOptions.from_plain({"split_by_seed": True, **content, "seeds": seeds, "out": str(files.panel(panel.name).folder)})


def check_folder(files: StudyFiles, *, overwrite: bool) -> None:
    """Raise UserError if a folder holds something else than a study, or cannot be used."""
    folder = files.folder
    try:
        content = names_in(folder)
        if content and kind_of_folder(folder) != "study":
            raise UserError(f"{folder} is not empty and holds no study ({', '.join(content[:3])}); take another --out")
        if content and overwrite:
            check_own(folder)
    except OSError as error:
        raise UserError(f"cannot use {folder}: {error.strerror}; take another --out") from error


def check_same(files: StudyFiles, options: StudyOptions) -> None:
    """Raise UserError if the folder holds another study, or the same at another scale; the comparisons check the rest."""
    if not config.is_given(files.recipe):
        return
    before = config.read(files.recipe)
    for name in ("name", "scale"):
        if before.get(name) != getattr(options, name):
            raise UserError(
                f"the study in {files.folder} is {before.get('name')} at scale {before.get('scale')}; take another --out, or start again "
                "with --overwrite"
            )


def command(options: StudyOptions, files: StudyFiles) -> str:
    """Return the command line that continues a study."""
    words = ["studygroup", "study", options.name, "--scale", options.scale]
    for name in ("data", "panels", "text_columns", "reuse"):
        words += [f"--{name.replace('_', '-')}", *map(str, getattr(options, name))] if getattr(options, name) else []
    for name in ("train_size", "student", "seeds", "label_column", "encoding", "delimiter", "workers", "ray", "cache"):
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))] if getattr(options, name) is not None else []
    words += [flag for flag, given in (("--yes", options.yes), ("--download", options.download)) if given]
    return shlex.join([*words, "--out", str(files.folder)])
