"""What a study will cost, from measured steps, before it starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from studygroup.data.progress import progress_bar
from studygroup.errors import TrainingError, UserError
from studygroup.options import CompareOptions
from studygroup.options.recipe import show_duration
from studygroup.pipeline.setup import epochs_of
from studygroup.reporting.comparison_tables import operations
from studygroup.runs.files import write_json
from studygroup.runs.layout import StudyFiles, run_name
from studygroup.studies.study import Panel
from studygroup.sweep.budget import within_budget
from studygroup.sweep.comparison import processes
from studygroup.sweep.measure import Measured, measure
from studygroup.sweep.reuse import finished_elsewhere
from studygroup.sweep.variants import Variant
from studygroup.training.flops import TrainingCost

LIMIT = 24 * 3600.0
"""Seconds from which on an estimate must be accepted."""
STARTING = 6.0
"""Seconds of a run beside its training: a new process, and its evaluation."""
TIMED = 0.2
"""Seconds of timed steps of each variant, at least."""


@dataclass(frozen=True)
class Prepared:
    """A panel whose data is there and whose variants are measured.

    Attributes:
        panel: of the study.
        options: of its comparison.
        variants: of its comparison.
        reference: name of the baseline.
        dataset: name of the data.
        measured: costs by variant; one whose loss is not finite has none, and will fail.
    """

    panel: Panel
    options: CompareOptions
    variants: Sequence[Variant]
    reference: str
    dataset: str
    measured: Mapping[str, Measured]

    @property
    def costs(self) -> dict[str, TrainingCost]:
        """Operations by variant."""
        return {name: found.cost for name, found in self.measured.items()}


@dataclass(frozen=True)
class Estimate:
    """What is left of a study.

    Attributes:
        runs: number of runs that are not finished.
        finished: number of runs that are.
        flops: operations of those that are not.
        seconds: until the last one ends, on this machine.
        workers: number of parallel processes.
    """

    runs: int
    finished: int
    flops: float
    seconds: float
    workers: int

    def __str__(self) -> str:
        """Return the estimate in one line."""
        before = f"; {self.finished} more are finished" if self.finished else ""
        where = f"with {self.workers} process{'' if self.workers == 1 else 'es'} of this machine"
        return f"{self.runs} runs{before}; {operations(self.flops)}, about {show_duration(self.seconds)} {where}"


def measure_panel(variants: Sequence[Variant], name: str, files: StudyFiles, *, show: bool) -> dict[str, Measured]:
    """Measure the variants of a panel; those that were measured with the same options before are not measured again."""
    before = json.loads(files.costs.read_text()) if files.costs.is_file() else {}
    found: dict[str, Measured] = {}
    with progress_bar(f"Measuring a step of each method, {name}", len(variants), "samples", show=show) as advance:
        for variant in variants:
            key, options = f"{name}/{variant.name}", variant.options.plain()
            old = before.get(key)
            if old is not None and old["options"] == json.loads(json.dumps(options)):
                found[variant.name] = Measured.from_plain(old["measured"])
            else:
                try:
                    found[variant.name] = measure(variant, variants, seconds=TIMED)
                except TrainingError:
                    continue
                before[key] = {"options": options, "measured": found[variant.name].plain()}
                write_json(files.costs, before)
            advance(1)
    return found


def estimate(panels: Sequence[Prepared], files: StudyFiles) -> Estimate:
    """Estimate what is left of a study."""
    runs, finished, flops, seconds, workers = 0, 0, 0.0, 0.0, 1
    for one in panels:
        variants = within_budget(one.variants, one.reference, one.costs, one.options)
        workers, _ = processes(one.options, len(variants) * one.options.seeds)
        elsewhere = finished_elsewhere(variants, one.options.seeds, one.options.reuse, score_on_unused=one.options.score_on_unused)
        total = 0.0
        for variant in variants:
            for seed in range(one.options.seeds):
                run = files.panel(one.panel.name).run(variant.name, seed)
                if run.result.is_file() or run_name(variant.name, seed) in elsewhere:
                    finished += 1
                    continue
                runs += 1
                if variant.name in one.measured:
                    epochs = epochs_of(variant.options)
                    flops += one.measured[variant.name].cost.flops(epochs)
                    total += one.measured[variant.name].seconds(epochs)
                total += STARTING
        seconds += total / workers
    return Estimate(runs, finished, flops, seconds, workers)


def check_limit(found: Estimate, *, accepted: bool) -> None:
    """Raise UserError if a study takes longer than a day, and nobody has said that it may."""
    if found.seconds > LIMIT and not accepted:
        raise UserError(
            f"this study takes {found}; give --yes to start it all the same (it can be stopped and continued at any time), "
            "or take a smaller --scale, fewer --seeds or some of the --panels"
        )


def on_ray(found: Estimate, workers: int | None) -> Estimate:
    """Return the estimate with the number of processes that a cluster runs at once, if it is given; speeds are this machine's."""
    return found if workers is None else replace(found, seconds=found.seconds * found.workers / workers, workers=workers)
