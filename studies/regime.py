"""The planes behind the warning of `studygroup train`: what groups gain over the network alone, by training-set size and updates.

    studygroup study regime --data names.csv --text-columns text --label-column label --out runs/study-regime
    python studies/regime.py runs/study-regime

For each data set and method: the difference of test accuracy to the network alone at equal total compute, in points,

    at + by_size * log2(samples / 2000) + by_updates * log2(updates / 2000),

fitted by least squares to all runs, with the group's own updates, and the standard deviation of what is left.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from studygroup import config
from studygroup.options import TrainOptions

AT = 2000
Run = tuple[int, int, float]
"""Training samples, updates, difference in points."""


def differences(folder: Path) -> dict[tuple[str, str], list[Run]]:
    """Read what each method gains over the network alone in each run of a study, by data set and method."""
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for panel in sorted(folder.glob("panels/*")):
        for path in sorted(panel.glob("runs/*/result.json")):
            method, _, seed = path.parent.name.rpartition("-s")
            alone = path.parent.with_name(f"baseline-s{seed}") / "result.json"
            if method == "baseline" or not alone.exists():
                continue
            options = config.load_group(path.with_name("config.yaml"), TrainOptions)
            assert options.epochs is not None
            assert options.train_size is not None
            samples = int(options.train_size)
            updates = options.epochs * -(-samples // int(options.batch_size))
            own, other = (json.loads(one.read_text())["selected"]["test"] for one in (path, alone))
            found[panel.name.split("-")[0], method].append((samples, updates, 100 * (own - other)))
    return found


def plane(runs: list[Run]) -> tuple[float, float, float, float]:
    """Fit a plane; return its three coefficients and the standard deviation of the residuals."""
    samples, updates, gains = np.array(runs).T
    design = np.column_stack([np.ones(len(runs)), np.log2(samples / AT), np.log2(updates / AT)])
    found, *_ = np.linalg.lstsq(design, gains, rcond=None)
    rest = gains - design @ found
    at, by_size, by_updates = (float(value) for value in found)
    return at, by_size, by_updates, float(np.sqrt(rest @ rest / max(len(runs) - design.shape[1], 1)))


def main() -> None:
    """Print the planes of all studies that are named."""
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for folder in sys.argv[1:]:
        for key, found in differences(Path(folder)).items():
            runs[key] += found
    print("| data | method | runs | at | by size | by updates | left |\n|---|---|---:|---:|---:|---:|---:|")
    for (data, method), found in sorted(runs.items()):
        print(f"| {data} | {method} | {len(found)} | " + " | ".join(f"{value:+.2f}" for value in plane(found)) + " |")


if __name__ == "__main__":
    main()
