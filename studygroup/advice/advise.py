"""The steps of an advice in order: the student alone, the rungs, the winner."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from studygroup import config, reporting
from studygroup.advice.answer import Entry, Findings, answer, failure
from studygroup.advice.candidates import ALONE, Candidate, candidates_for
from studygroup.advice.journal import Journal
from studygroup.advice.judgement import Scored, better_half, gains, read_curves
from studygroup.advice.plan import Pace, largest, rung_sizes
from studygroup.advice.rungs import TEACHER, Comparisons
from studygroup.data import reads_texts
from studygroup.errors import TrainingError, UserError
from studygroup.lock import lock_dir
from studygroup.options import AdviseOptions, CompareOptions, RunOptions, duration
from studygroup.options.recipe import show_duration
from studygroup.parameters import parameters_of
from studygroup.pipeline.choose import larger_network
from studygroup.pipeline.describe import describe_run
from studygroup.pipeline.setup import epochs_of, open_splits, run_options, short_name, student_of
from studygroup.runs.contents import kind_of_folder, mark, names_in
from studygroup.runs.folder import clear_dir
from studygroup.runs.layout import AdviceFiles
from studygroup.runs.reader import read_run
from studygroup.sweep.comparison import processes
from studygroup.sweep.measure import Measured, measure
from studygroup.sweep.variants import BASELINE, Variant
from studygroup.training.splits import DataSplits

LENGTH_SHARE = 0.3
"""Part of the time in which the student alone is trained for longer and longer."""
MARGIN = 0.95
"""Part of the time that is planned: no run is stopped early, and machines differ from minute to minute."""
MEASURE = 0.002
MEASURE_SHARE = 0.1
"""Parts of the time for the timed steps of one candidate, and for measuring all of them."""
MOST_RUNGS, LONGEST, STEP = 3, 4, 1.5
"""Number of rungs that are planned, the longest budget over what the student alone needs, and the least growth of a rung's compute."""

logger = logging.getLogger(__name__)


def advise(options: AdviseOptions) -> dict[str, Any]:
    """Find the best way to train on some data within a time limit; return the answer (see `studygroup.advise`)."""
    base = run_options(RunOptions.of(options, method=BASELINE, time_limit=None, progress=False, score_test=False))
    candidates = candidates_for(base, options, texts=reads_texts(base.data))
    splits = open_splits(base)
    check_holdout(splits)
    files = AdviceFiles(Path(options.out or f"runs/advice-{splits.dataset.name}-{short_name(student_of(base))}"))
    check_folder(files)
    with lock_dir(files.folder):
        check_folder(files)  # another process may have been first
        if options.overwrite:
            clear_dir(files.folder)
        mark(files.folder, "advice")
        journal = Journal(files.journal, identity(options), limit=duration(str(options.time_limit)))
        describe_run(base, splits)
        config.save(files.recipe, replace(options, out=str(files.folder)))
        try:
            return Advice(options, base, splits, files, journal).run(candidates)
        except KeyboardInterrupt as stop:
            again = f"studygroup advise --config {shlex.quote(str(files.recipe))}"
            raise KeyboardInterrupt(f"everything is saved. Continue with: {again}") from stop


class Advice:
    """An advice in the making.

    Args:
        options: of the advice.
        base: options of the student alone, resolved.
        splits: its data.
        files: of the advice.
        journal: of the advice.
    """

    def __init__(self, options: AdviseOptions, base: RunOptions, splits: DataSplits, files: AdviceFiles, journal: Journal) -> None:
        shared = CompareOptions.of(
            options, time_limit=None, score_test=False, holdout_by_seed=True, overwrite=False, progress=options.progress
        )
        workers, threads = processes(shared, 2 * options.seeds)
        self.options = options
        self.base = replace(base, threads=threads)
        self.samples = len(splits.holdout)
        self.splits = splits
        self.files = files
        self.journal = journal
        pace = Pace(**journal.get("pace") or {})
        larger = larger_network(base.student)
        shared = replace(shared, threads=threads, workers=workers)
        self.comparisons = Comparisons(shared, files, journal, splits.dataset.name, larger, workers, {}, pace)
        self.lengths: dict[int, Entry] = {}
        self.left_out: dict[str, str] = {}

    def run(self, candidates: Sequence[Candidate]) -> dict[str, Any]:
        """Take all steps, or those that are left of an advice that was stopped."""
        self.comparisons.measured[ALONE] = Measured.from_plain(self.journal.once(f"measured {ALONE}", lambda: self.measure(None).plain()))
        self.check_time()
        finished = self.find_length()
        needed = self.needed(finished)
        known = self.measured_candidates(candidates)
        if not known:
            raise UserError(
                f"none of the candidates can be trained here: {'; '.join(f'{name}: {why}' for name, why in self.left_out.items())}"
            )
        entries = self.climb(known, needed)
        found = Findings(self.lengths, entries, finished, needed, self.left_out)
        return answer(self.options, self.base, self.splits, self.comparisons, found, candidates)

    # ---------------------------------------------------------------- costs

    def measure(self, candidate: Candidate | None) -> Measured:
        """Measure a candidate, or the student alone."""
        seconds = MEASURE * self.journal.limit
        larger = self.comparisons.larger
        own = {} if candidate is None else dict(candidate.options)
        options = RunOptions.from_plain({**self.base.plain(), "teacher": None, "method_options": None, **own})
        variant = Variant(BASELINE if candidate is None else candidate.name, options)
        teacher = Variant(TEACHER, replace(self.base, student=larger), teaches=True)
        if candidate is not None and candidate.needs_teacher:
            variant = replace(variant, options=replace(options, teacher=larger), taught_by=(TEACHER,))
        return measure(variant, [teacher, variant], seconds=seconds)

    def measured_candidates(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Measure the candidates as long as there is time; return those that can be trained here."""
        self.until = self.journal.spent + MEASURE_SHARE * self.journal.limit
        kept = []
        for candidate in candidates:
            teacher = [Candidate(TEACHER, "", "larger", {"student": self.comparisons.larger})]
            reasons = [self.look(one) for one in (*(teacher if candidate.needs_teacher else []), candidate)]
            if any(reasons):
                self.left_out[candidate.name] = next(filter(None, reasons))
            else:
                kept.append(candidate)
        return kept

    def look(self, candidate: Candidate) -> str:
        """Measure a candidate unless that was done; return why it is left out, or nothing."""
        measured, name = self.comparisons.measured, candidate.name
        if candidate.costs_as_alone:
            measured[name] = measured[ALONE]
            return ""
        key = TEACHER if candidate.kind == "larger" else name  # the same network, trained in the same way
        found = self.journal.get(f"measured {key}")
        if found is None:
            if self.journal.spent > self.until:
                return "there was no time to measure it"
            try:
                found = self.measure(candidate).plain()
            except (UserError, TrainingError) as error:
                found = {"left out": str(error).removeprefix(f"{name}: ")}
            self.journal.note(f"measured {key}", found)
        if "left out" in found:
            return str(found["left out"])
        measured[name] = Measured.from_plain(found)
        return ""

    # ---------------------------------------------------------------- the student alone

    def check_time(self) -> None:
        """Raise UserError if the time will not do for one candidate beside the student alone."""
        runs = self.comparisons.planned_alone([1, 1])
        needs = self.journal.spent + self.comparisons.wall(runs)
        if needs > self.journal.limit and not self.journal.get("first length"):
            raise UserError(
                f"time_limit is {self.options.time_limit}, but the student alone and one candidate, with {self.options.seeds} seeds and "
                f"one epoch each, take about {show_duration(needs)} here; give more, or fewer --seeds"
            )

    def find_length(self) -> bool:
        """Train the student alone for longer and longer; return whether the last doubling gained no more than noise."""
        comparisons, journal = self.comparisons, self.journal
        room = LENGTH_SHARE * journal.limit
        wanted = self.options.epochs or max(epochs_of(self.base) // 4, 1)
        first = journal.get("first length") or largest(
            lambda n: comparisons.wall(comparisons.planned_alone([n, 2 * n])) + journal.spent <= room, wanted
        )
        if not first:
            return False
        lengths = [journal.once("first length", lambda: first), 2 * first]
        while True:
            rows = comparisons.train_alone(lengths)
            self.lengths = {n: self.entry(f"the student alone, {epochs_text(n)}", ALONE, ALONE, rows[f"{ALONE}-{n}"]) for n in lengths}
            last, before = (self.lengths[n].scored for n in (lengths[-1], lengths[-2]))
            if last is None or before is None:
                raise TrainingError(f"the student alone failed: {failure(rows[f'{ALONE}-{lengths[0]}'])}")
            if not gains(last, before) and self.has_learned(self.lengths[lengths[-1]], rows):
                return True
            following = 2 * lengths[-1]
            seconds = comparisons.wall(comparisons.planned_alone([following]))
            if not journal.get(f"length {following}"):
                if journal.spent + seconds > room + 0.1 * journal.limit:
                    return False
                journal.note(f"length {following}", True)
            lengths.append(following)

    def has_learned(self, entry: Entry, rows: Mapping[str, Mapping[str, Any]]) -> bool:
        """Return whether a student that gains no more has learned what it can: it over-fits, or is as good as the linear model."""
        linear = rows.get(reporting.LINEAR)
        if linear is None or linear["holdout"] is None or entry.row["holdout"] >= linear["holdout"]:
            return True
        runs = [read_run(self.files.folder / entry.comparison / path) for path in entry.row["runs"]]
        return read_curves(runs, finished=True).verdict == "over-fitting"

    def needed(self, finished: bool) -> int:
        """Return the epochs that the student alone needs, as far as they are known."""
        lengths = list(self.lengths)
        return lengths[-2] if finished else lengths[-1] if lengths else epochs_of(self.base)

    # ---------------------------------------------------------------- rungs

    def climb(self, candidates: Sequence[Candidate], needed: int) -> list[Entry]:
        """Train the candidates rung by rung, as long as there is time; return all entries, those of the last rung last."""
        alive = list(candidates)
        entries: list[Entry] = []
        epochs, number = 0, 1
        while alive and (planned := self.plan_rung(number, alive, epochs, needed)) is not None:
            epochs, name = planned["epochs"], f"rung{number}"
            if not entries:
                self.left_out |= {one.name: "there was no time for it" for one in alive if one.name not in planned["candidates"]}
            alive = [candidate for candidate in alive if candidate.name in planned["candidates"]]
            logger.info("%s: %s at the compute of %s of the student alone", name, ", ".join(c.name for c in alive), epochs_text(epochs))
            rows = self.comparisons.train_rung(name, alive, epochs)
            own = [self.entry(f"the student alone, {epochs_text(epochs)}", ALONE, name, rows[BASELINE])]
            own += [self.entry(candidate.about, candidate.kind, name, rows[candidate.name]) for candidate in alive]
            if own[0].scored is None:
                raise TrainingError(f"the student alone failed: {failure(rows[BASELINE])}")
            entries += own
            best = better_half([entry.scored for entry in own[1:] if entry.scored is not None], rung_sizes(len(alive), 2)[1])
            alive = [candidate for candidate in alive if candidate.name in best]
            number += 1
        if not entries:
            raise UserError(
                f"time_limit is {self.options.time_limit}, which leaves no epoch to any candidate beside the student alone with "
                f"{self.options.seeds} seeds; give more, or fewer --seeds"
            )
        return entries

    def plan_rung(self, number: int, alive: Sequence[Candidate], previous: int, needed: int) -> dict[str, Any] | None:
        """Return the epochs of the student alone whose compute a rung has, and its candidates; None if there is no time for a rung.

        The first rung has as many candidates as leave the last one the compute that the student alone needs.
        """
        if (known := self.journal.get(f"rung {number}")) is not None:
            return dict(known)
        best: tuple[int, int, list[str]] = 0, 0, []
        for count in range(len(alive), 0, -1) if number == 1 else [len(alive)]:
            for rungs in range(MOST_RUNGS, 0, -1):
                epochs = self.rung_epochs(alive[:count], rungs, needed)
                names = [candidate.name for candidate in alive[:count] if self.comparisons.own_epochs(candidate, epochs)]
                if names and epochs >= STEP * previous and epochs << (rungs - 1) > best[0]:
                    best = epochs << (rungs - 1), epochs, names
            if best[0] >= needed:
                break
        return self.journal.once(f"rung {number}", lambda: {"epochs": best[1], "candidates": best[2]}) if best[1] else None

    def rung_epochs(self, candidates: Sequence[Candidate], rungs: int, needed: int) -> int:
        """Return the epochs of the student alone whose compute the first of some rungs can have; 0 if there is no time."""
        comparisons = self.comparisons
        sizes = rung_sizes(len(candidates), rungs)
        left = MARGIN * self.journal.left - comparisons.pace.overhead

        def slowest(size: int, epochs: int) -> list[Candidate]:
            def seconds(candidate: Candidate) -> float:
                return comparisons.measured[candidate.name].seconds(comparisons.own_epochs(candidate, epochs))

            return sorted(candidates, key=seconds, reverse=True)[:size]

        def fits(epochs: int) -> bool:
            total = 0.0
            for number, size in enumerate(sizes):
                total += comparisons.wall(comparisons.planned(slowest(size, epochs << number), epochs << number))
            return total <= left

        return largest(fits, max(LONGEST * needed >> (rungs - 1), 1))

    def entry(self, about: str, kind: str, comparison: str, row: Mapping[str, Any]) -> Entry:
        """Make the entry of a row; it has scores if all its seeds are finished."""
        if len(row["seeds"]) < self.options.seeds:
            return Entry(about, kind, comparison, row, None)
        candidate = ALONE if kind == ALONE else str(row["variant"])
        cost = float(row["flops"]) + float(row["teacher_flops"] or 0.0)
        inference = self.comparisons.measured[candidate].inference
        found = Scored(str(row["variant"]), row["holdout_by_seed"], self.samples, inference, cost, alone=kind == ALONE)
        return Entry(about, kind, comparison, row, found)


def epochs_text(count: int) -> str:
    """Return `1 epoch` or `N epochs`."""
    return "1 epoch" if count == 1 else f"{count:,} epochs"


def identity(options: AdviseOptions) -> dict[str, object]:
    """Return the options that an advice must have in common with the one that it continues."""
    known = parameters_of(AdviseOptions)
    return {name: value for name, value in options.plain().items() if known[name].affects == "result"}


def check_holdout(splits: DataSplits) -> None:
    """Raise UserError if the hold-out cannot tell candidates apart; warn of classes that it does not have."""
    if len(splits.holdout) < 2:
        raise UserError(
            f"{splits.dataset.name} has {len(splits.holdout)} hold-out samples beside {len(splits.train)} to learn from, and candidates "
            "are compared on them; give a larger --holdout, or more data"
        )
    counts = np.bincount(splits.holdout.labels, minlength=len(splits.dataset.classes))
    absent = [name for name, count in zip(splits.dataset.classes, counts, strict=True) if not count]
    if absent:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        logger.warning(
            "note: no sample of %s is held out: the choice says nothing about it; give more samples or a larger --holdout", shown
        )


def check_folder(files: AdviceFiles) -> None:
    """Raise UserError if a folder holds something else than an advice, or cannot be used."""
    try:
        content = names_in(files.folder)
    except OSError as error:
        raise UserError(f"cannot use {files.folder}: {error.strerror}; take another --out") from error
    if content and kind_of_folder(files.folder) != "advice":
        raise UserError(f"{files.folder} is not empty and holds no advice ({', '.join(content[:3])}); take another --out")
