"""How often the students of two variants of a comparison predict the same class."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from studygroup.errors import UserError
from studygroup.pages.run_samples import share_matrix
from studygroup.pages.tables import Matrix
from studygroup.reporting.comparison import LINEAR
from studygroup.reporting.comparison_tables import name
from studygroup.runs.layout import RunFiles
from studygroup.runs.predictions import read_predicted
from studygroup.runs.reader import RunRecord


def agreement(result: Mapping[str, Any], records: Mapping[str, Mapping[int, RunRecord]], problems: list[str]) -> Matrix | None:
    """Return the share of test samples on which the selected students of two variants differ, mean over the seeds that both have."""
    import numpy as np

    rows = [row for row in result["rows"] if row["role"] != LINEAR]
    codes: dict[str, int] = {}
    found: list[dict[int, Any]] = []
    samples = 0
    for row in rows:
        own = {}
        for seed, record in records.get(row["variant"], {}).items():
            path = RunFiles(record.folder).predictions
            if not path.is_file():
                continue
            try:
                predicted = read_predicted(path)
            except UserError as error:
                problems.append(str(error))
                continue
            own[seed] = np.array([codes.setdefault(label, len(codes)) for label in predicted], dtype=np.int32)
            samples = max(samples, len(predicted))
        found.append(own)
    kept = [place for place, own in enumerate(found) if own]
    if len(kept) < 2 or not samples:
        return None
    shares = {}
    for i, one in enumerate(kept):
        for j, other in enumerate(kept[:i]):
            a, b = found[one], found[other]
            differing = [float((a[seed] != b[seed]).mean()) for seed in a if seed in b and len(a[seed]) == len(b[seed]) and len(a[seed])]
            if differing:
                shares[i, j] = shares[j, i] = statistics.fmean(differing)
    names = [name(rows[place]) for place in kept]
    return share_matrix("Who disagrees with whom", names, shares, f"{samples:,} test samples") if shares else None
