"""One comparison of an advice: its variants at equal total compute, the time that it will take, and its runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from studygroup.advice.candidates import ALONE, Candidate
from studygroup.advice.journal import Journal
from studygroup.advice.plan import Pace, PlannedRun, makespan, seconds_by_run
from studygroup.errors import UserError
from studygroup.options import CompareOptions
from studygroup.runs.layout import AdviceFiles, run_name
from studygroup.sweep.comparison import train_variants
from studygroup.sweep.measure import Measured
from studygroup.sweep.variants import BASELINE, make_variants

TEACHER = "teacher"
SHARE = 0.5
"""Part of the compute that a teacher's training gets."""

logger = logging.getLogger(__name__)


@dataclass
class Comparisons:
    """The comparisons of an advice.

    Attributes:
        options: of all of them, but for variants, epochs and folder.
        files: of the advice.
        journal: of the advice.
        dataset: name of the data.
        larger: name of the larger network; None if there is none.
        workers: number of parallel processes.
        measured: costs by candidate, of `alone`, and of the `teacher`.
        pace: how long runs really take.
    """

    options: CompareOptions
    files: AdviceFiles
    journal: Journal
    dataset: str
    larger: str | None
    workers: int
    measured: dict[str, Measured]
    pace: Pace

    # ---------------------------------------------------------------- planning

    def budget(self, epochs: int) -> float:
        """Return the operations of the student alone in so many epochs."""
        return self.measured[ALONE].cost.flops(epochs)

    def teacher_epochs(self, epochs: int) -> int:
        """Return the epochs of a teacher that gets its share of the compute of so many epochs of the student alone."""
        return self.measured[TEACHER].epochs_for(SHARE * self.budget(epochs))

    def own_epochs(self, candidate: Candidate, epochs: int) -> int:
        """Return a candidate's epochs at the compute of so many epochs of the student alone; 0 if it cannot be trained."""
        budget = self.budget(epochs)
        if candidate.needs_teacher:
            if not (taught := self.teacher_epochs(epochs)):
                return 0
            budget -= self.measured[TEACHER].cost.flops(taught)
        return max(self.measured[candidate.name].epochs_for(budget), 0)

    def planned(self, candidates: Sequence[Candidate], epochs: int) -> list[PlannedRun]:
        """List the runs of a rung."""
        taught = any(candidate.needs_teacher for candidate in candidates)
        runs = []
        for seed in range(self.options.seeds):
            if taught:
                runs.append(PlannedRun(run_name(TEACHER, seed), self.measured[TEACHER].seconds(self.teacher_epochs(epochs))))
            runs.append(PlannedRun(run_name(BASELINE, seed), self.measured[ALONE].seconds(epochs)))
            for candidate in candidates:
                seconds = self.measured[candidate.name].seconds(self.own_epochs(candidate, epochs))
                runs.append(
                    PlannedRun(run_name(candidate.name, seed), seconds, run_name(TEACHER, seed) if candidate.needs_teacher else None)
                )
        return runs

    def planned_alone(self, lengths: Sequence[int]) -> list[PlannedRun]:
        """List the runs of the student alone."""
        alone = self.measured[ALONE]
        return [PlannedRun(run_name(f"{ALONE}-{n}", seed), alone.seconds(n)) for seed in range(self.options.seeds) for n in lengths]

    def wall(self, runs: Sequence[PlannedRun]) -> float:
        """Return the seconds that a comparison will take."""
        return self.pace.wall(runs, self.workers)

    # ---------------------------------------------------------------- training

    def train_alone(self, lengths: Sequence[int]) -> dict[str, dict[str, Any]]:
        """Train the student alone for several numbers of epochs; return the rows by variant."""
        variants = {f"{ALONE}-{length}": {"method": BASELINE, "epochs": length} for length in lengths}
        options = replace(self.options, variants=variants, epochs=lengths[0], out=str(self.files.comparison(ALONE).folder))
        costs = dict.fromkeys(variants, ALONE)
        return self._train(ALONE, options, costs, self.planned_alone(lengths))

    def train_rung(self, name: str, candidates: Sequence[Candidate], epochs: int) -> dict[str, dict[str, Any]]:
        """Train candidates and the student alone at the compute of so many of its epochs; return the rows by variant."""
        variants: dict[str, dict[str, object]] = {BASELINE: {"method": BASELINE}}
        costs = {BASELINE: ALONE}
        if any(candidate.needs_teacher for candidate in candidates):
            variants[TEACHER] = {"method": BASELINE, "student": self.larger, "epochs": self.teacher_epochs(epochs)}
            costs[TEACHER] = TEACHER
        for candidate in candidates:
            taught = {"teacher": TEACHER} if candidate.needs_teacher else {}
            variants[candidate.name] = {"method": BASELINE, **candidate.options, **taught}
            costs[candidate.name] = candidate.name
        options = replace(
            self.options,
            variants=variants,
            epochs=epochs,
            budget="equal-compute",
            count_teacher=True,
            out=str(self.files.comparison(name).folder),
        )
        return self._train(name, options, costs, self.planned(candidates, epochs), self.known_runs(epochs))

    def known_runs(self, epochs: int) -> dict[str, Path]:
        """Return the finished runs of the student alone with as many epochs: they need not be trained again."""
        runs = {seed: self.files.comparison(ALONE).run(f"{ALONE}-{epochs}", seed) for seed in range(self.options.seeds)}
        return {run_name(BASELINE, seed): run.folder for seed, run in runs.items() if run.result.is_file()}

    def _train(
        self,
        name: str,
        options: CompareOptions,
        costs: Mapping[str, str],
        planned: Sequence[PlannedRun],
        finished: Mapping[str, Path] = MappingProxyType({}),
    ) -> dict[str, dict[str, Any]]:
        """Train a comparison and learn from it how long runs take.

        Args:
            name: of the comparison.
            options: of it.
            costs: the candidate that a variant costs as much as, by variant.
            planned: its runs.
            finished: folders of runs that are finished elsewhere, by name.
        """
        variants, reference = make_variants(options)
        started = time.monotonic()
        known = {variant: self.measured[candidate].cost for variant, candidate in costs.items()}
        try:
            found = train_variants(
                variants, reference, self.files.comparison(name), options, dataset=self.dataset, known=known, finished=finished
            )
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        finally:
            self.journal.save()
        elapsed = time.monotonic() - started
        wall: dict[str, float] = found["wall"]
        real = [replace(run, seconds=wall[run.name]) for run in planned if run.name in wall]
        self.pace = self.pace.adjusted(seconds_by_run(wall, planned), elapsed - makespan(real, self.workers))
        self.journal.note("pace", asdict(self.pace))
        for run, reason in found["failed"].items():
            logger.warning("note: %s failed: %s", run, reason)
        return {row["variant"]: {**row, "reasons": found["failed"]} for row in found["rows"]}
