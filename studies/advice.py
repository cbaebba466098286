"""Measure whether an advice is right: several advices on one data set, and every candidate trained in full.

    python studies/advice.py studies/advice/words.yaml runs/advice-words --full 40 --unused 10000

Each advice has a split of its own and chooses by its hold-out sets, within the time limit. Beside them all its candidates are trained in
full, at the total compute of `--full` epochs of the student alone, and the student alone for that long, for half of it, and so on; all
with `--runs` seeds, each with its own split and initialisation, and scored on samples that nothing was chosen by. The recipe
is one of `studygroup advise`.

A candidate is worth its mean over these runs: a single run says less than the 0.3 points that are asked for. Printed are the table of the
candidates, and for each advice its winner and how far that is behind the best of them. A winner that is the student alone counts as the
trained length that is nearest by ratio.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from studygroup import config
from studygroup.advice.advise import Advice, advise
from studygroup.advice.candidates import ALONE, candidates_for
from studygroup.advice.journal import Journal
from studygroup.data import reads_texts
from studygroup.options import AdviseOptions, RunOptions
from studygroup.pipeline.setup import open_splits, run_options
from studygroup.runs.layout import AdviceFiles
from studygroup.sweep.variants import BASELINE

ENOUGH = 0.3
"""Points behind the best that are no mistake."""
PATIENCE = 600.0
"""Seconds for measuring all candidates; a fiftieth of them for each."""


def trained_in_full(options: AdviseOptions, epochs: int, runs: int, unused: int) -> dict[str, list[float]]:
    """Train all candidates at the compute of so many epochs of the student alone, and that for 1, 1/2, 1/4, ... of the epochs.

    Args:
        options: of the advice; the runs are in its folder.
        epochs: of the student alone.
        runs: number of seeds and splits.
        unused: number of samples to score on.

    Returns:
        Accuracies in % on the unused samples by seed, by the name of the candidate, `alone-EPOCHS` for the student alone.
    """
    base = run_options(RunOptions.of(options, method=BASELINE, time_limit=None, progress=False, score_test=False))
    files = AdviceFiles(Path(str(options.out)))
    files.folder.mkdir(parents=True, exist_ok=True)
    study = Advice(options, base, open_splits(base), files, Journal(files.journal, {}, limit=PATIENCE))
    study.comparisons.measured[ALONE] = study.measure(None)
    known = study.measured_candidates(candidates_for(base, options, texts=reads_texts(base.data)))
    own = replace(study.comparisons.options, seeds=runs, split_by_seed=True, holdout_by_seed=False, score_on_unused=unused)
    study.comparisons.options = own
    full, *shorter = [length for power in range(5) if (length := epochs >> power)]
    trained = {"full": study.comparisons.train_rung("full", known, full), ALONE: study.comparisons.train_alone(shorter)}
    trained["full"][f"{ALONE}-{full}"] = trained["full"].pop(BASELINE)
    found = {}
    for comparison, rows in trained.items():
        folder = files.comparison(comparison).folder
        for name, row in rows.items():
            if row["role"] != "teacher" and name != "linear":
                found[name] = [100 * json.loads((folder / run / "unused.json").read_text())["accuracy"]["best"] for run in row["runs"]]
    return found


def behind(winner: str, accuracies: Mapping[str, Sequence[float]]) -> float:
    """Return how many points a winner is behind the best candidate, both by their means."""
    means = {name: statistics.fmean(values) for name, values in accuracies.items()}
    if winner.startswith(ALONE):
        epochs = int(winner.partition("-")[2])
        lengths = {int(name.partition("-")[2]): name for name in means if name.startswith(ALONE)}
        winner = lengths[min(lengths, key=lambda length: abs(math.log(length / epochs)))]
    return max(means.values()) - means[winner]


def main() -> None:
    """Run the study, or what is left of it, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--advices", type=int, default=10)
    parser.add_argument("--full", type=int, required=True, help="epochs of the student alone whose compute the full trainings have")
    parser.add_argument("--runs", type=int, default=10, help="seeds of each full training")
    parser.add_argument("--unused", type=int, required=True, help="samples to score the full trainings on")
    given = parser.parse_args()
    options = config.load_group(given.recipe, AdviseOptions)
    winners = []
    for seed in range(given.advices):
        found = advise(replace(options, split_seed=seed, out=str(given.out / f"advice-{seed}"), score_test=False))
        winners.append(str(found["winner"]["name"]))
    accuracies = trained_in_full(replace(options, out=str(given.out / "full")), given.full, given.runs, given.unused)
    print("\n| candidate | accuracy in % |\n|---|---:|")
    for name, values in sorted(accuracies.items(), key=lambda item: -statistics.fmean(item[1])):
        print(f"| {name} | {statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f} |")
    print("\n| advice | winner | behind the best, in points |\n|---:|---|---:|")
    for seed, winner in enumerate(winners):
        print(f"| {seed} | {winner} | {behind(winner, accuracies):.2f} |")
    good = sum(behind(winner, accuracies) <= ENOUGH for winner in winners)
    print(f"\n{good} of {len(winners)} winners are at most {ENOUGH} points behind the best candidate.")


if __name__ == "__main__":
    main()
