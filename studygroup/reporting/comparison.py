"""Comparison folder -> rows: one per variant, with mean and deviation over the seeds, and its differences to the baseline."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from studygroup.errors import UserError
from studygroup.options import as_tuple
from studygroup.reporting.leaderboard import mean_and_std, measures
from studygroup.reporting.student_t import interval
from studygroup.runs.layout import ComparisonFiles, RunFiles, run_name
from studygroup.runs.reader import RunRecord, number, read_manifest, read_run, section
from studygroup.runs.records import read_object, read_unused

LINEAR = "linear"
"""Role, variant and key in `result.json` of the linear model beside the networks."""
COMPARED = ("test", "last_test", "members_test", "ensemble_test")


def comparison(folder: str | Path) -> dict[str, Any]:
    """Read the results of a comparison.

    Args:
        folder: made by `studygroup compare --out`; runs in it may be missing.

    Returns:
        Entries of the manifest, `by_class` (F1 by class of the first method and of the baseline), and
        `rows`: by hold-out accuracy of the selected student, best first (in the given order if nothing is
        held out); variants that are only teachers come last. Accuracies are in [0, 1]; `X_std` beside a mean `X` is the sample
        standard deviation over seeds. Keys as in `leaderboard`, and `variant`, `role` (`baseline`, `control`, `teacher`, `linear` or
        empty), `failed` (seeds), `holdout_by_seed`, `difference` (mean over common seeds of `test` minus the baseline's),
        `difference_low`, `difference_high` (95% interval of Student's t; None with fewer than two seeds), `difference_by_seed`, the same
        as `last_difference` of `last_test`, `flops` of one run's training, `cost` (`flops` relative to the baseline), `teacher_flops` and
        `teacher_cost` of training its teacher.

    Raises:
        UserError: there is no comparison in the folder.
    """
    return comparison_and_runs(folder)[0]


def comparison_and_runs(folder: str | Path) -> tuple[dict[str, Any], dict[str, dict[int, RunRecord]]]:
    """Return what `comparison` does, and the finished runs of each variant by seed.

    Raises:
        UserError: there is no comparison in the folder.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"{folder} holds no comparison; give the folder that `studygroup compare --out` made")
    variants: list[dict[str, Any]] = manifest["variants"]
    found = {variant["name"]: _runs(folder, variant["name"], manifest) for variant in variants}
    reference = str(manifest["reference"])
    flops = {variant["name"]: _flops(variant) for variant in variants}
    rows = [_row(folder, variant, found, flops, manifest) for variant in variants]
    rows += linear_row(folder, found[reference])
    ranked = sorted(rows, key=lambda row: (row["role"] == "teacher", row["holdout"] is None, -(row["holdout"] or 0.0)))
    machine = section(manifest, "machine")
    records = [record for runs in found.values() for record in runs.values()]
    commits = sorted({commit for record in records if (commit := _commit(record)) is not None})
    result = {
        **{key: manifest[key] for key in ("data", "reference", "seeds", "budget", "count_teacher", "score_on_unused", "command", "failed")},
        "split_by_seed": manifest["split_by_seed"],
        "reused": manifest.get("reused", {}),
        "students": sorted({row["student"] for row in rows if row["role"] not in ("teacher", LINEAR)}),
        "commits": commits,
        "machine": f"{machine.get('gpu') or machine.get('processor')}; {manifest['executor']}",
        "test_samples": _test_samples(records, manifest),
        "by_class": _by_class(ranked, found, reference),
        "baseline_epochs": next(row["epochs"] for row in rows if row["variant"] == reference),
        "rows": ranked,
    }
    return result, found


def _runs(folder: Path, variant: str, manifest: Mapping[str, Any]) -> dict[int, RunRecord]:
    """Return the finished runs of a variant by seed, with their scores on unused samples if the comparison asks for these."""
    found: dict[int, RunRecord] = {}
    for seed in manifest["seeds"]:
        files = ComparisonFiles(folder).run(variant, seed)
        if files.result.is_file() and run_name(variant, seed) not in manifest["failed"]:
            record = read_run(files.folder)
            if not manifest["score_on_unused"]:
                found[seed] = record
            elif files.unused_scores.is_file():
                again = f"delete {files.result}, and run the comparison again"
                found[seed] = _on_unused(record, read_unused(files.unused_scores, again))
    return found


def _on_unused(record: RunRecord, scored: Mapping[str, Any]) -> RunRecord:
    """Replace the scores on the test set by those on unused samples."""
    result = record.result or {}
    accuracy = scored["accuracy"]
    selected = {**section(result, "selected"), "test": accuracy["best"]}
    last = {**section(result, "last"), "test": accuracy, "diversity": scored["diversity"], "disagreement": scored.get("disagreement")}
    linear = {LINEAR: {**section(result, LINEAR), "test": scored.get(LINEAR)}} if LINEAR in result else {}
    result = {**result, "selected": selected, "last": last, "test_samples": scored["samples"], **linear}
    return replace(record, result=result, evaluations={})  # which are of the test set


def _flops(variant: Mapping[str, Any]) -> float | None:
    """Return the floating-point operations of one run's training."""
    per_sample, samples = number(variant, "flops_per_sample"), number(variant, "samples_per_epoch")
    before = number(variant, "flops_before") or 0.0
    return None if per_sample is None or samples is None else before + per_sample * samples * variant["options"]["epochs"]


def _teachers(variant: Mapping[str, Any]) -> str | None:
    """Return a variant's teachers in words; None if it has none."""
    given = as_tuple(variant["options"]["teacher"])
    names = as_tuple(variant["teacher"]) or given
    return ", ".join(str(given[place] if name is None else name) for place, name in enumerate(names)) or None


def _row(
    folder: Path,
    variant: Mapping[str, Any],
    found: Mapping[str, Mapping[int, RunRecord]],
    flops: Mapping[str, float | None],
    manifest: Mapping[str, Any],
) -> dict[str, Any]:
    name, reference, control = str(variant["name"]), str(manifest["reference"]), manifest.get("control")
    runs, baseline = found[name], found[reference]
    options = variant["options"]
    own, others = ({seed: measures(record) for seed, record in records.items()} for records in (runs, baseline))
    row: dict[str, Any] = {
        "variant": name,
        "role": "baseline" if name == reference else "teacher" if variant["teaches"] else "control" if name == control else "",
        "method": options["method"],
        "student": next((record.name("student") for record in runs.values()), options["student"]),
        "teacher": _teachers(variant),
        "epochs": options["epochs"],
        "seeds": list(runs),
        "failed": [seed for seed in manifest["seeds"] if run_name(name, seed) in manifest["failed"]],
        "runs": [str(record.folder.relative_to(folder)) for record in runs.values()],
    }
    keys = next(iter(own.values()), dict.fromkeys(measures(RunRecord(folder, {}, [], None))))
    for key in keys:
        row[key], row[f"{key}_std"] = mean_and_std([measured[key] for measured in own.values()])
    del row["parameters_std"]
    row["holdout_by_seed"] = {seed: measured["holdout"] for seed, measured in own.items()}
    row["trained_parameters"] = next((number(record.result or {}, "trained_parameters") for record in runs.values()), None)
    for key, prefix in (("test", ""), ("last_test", "last_")):
        row |= _difference({} if name == reference or row["role"] == "teacher" else own, others, key, prefix)
    own_flops, base_flops = flops[name], flops[reference]
    known = [flops.get(name) for name in as_tuple(variant["teacher"])]
    teacher_flops = sum(filter(None, known)) if known and None not in known else None
    row |= {"flops_per_sample": number(variant, "flops_per_sample"), "flops": own_flops, "cost": _ratio(own_flops, base_flops)}
    return row | {"teacher_flops": teacher_flops, "teacher_cost": _ratio(teacher_flops, base_flops)}


def _by_class(ranked: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[int, RunRecord]], reference: str) -> dict[str, Any] | None:
    """Return the scores by class of the first method beside the baseline's; None without runs of both that have such scores.

    Returns:
        `variant`, `reference`, `seeds` that both have, and `classes`: per class its `name`, the `samples` of all these seeds, and the means
        over them of the variant's `f1` and of the baseline's `reference_f1`; None where it is not defined.
    """
    variant = next((row["variant"] for row in ranked if row["role"] == "" and row["test"] is not None), None)
    if variant is None:
        return None
    scored = {
        name: {seed: record.evaluations["best"] for seed, record in found[name].items() if "best" in record.evaluations}
        for name in (variant, reference)
    }
    seeds = [seed for seed in scored[variant] if seed in scored[reference]]
    if not seeds:
        return None

    def mean(name: str, c: int) -> float | None:
        values = [value for seed in seeds if (value := scored[name][seed].f1[c]) is not None]
        return statistics.fmean(values) if values else None

    classes = [
        {
            "name": label,
            "samples": sum(scored[variant][seed].support[c] for seed in seeds),
            "f1": mean(variant, c),
            "reference_f1": mean(reference, c),
        }
        for c, label in enumerate(scored[variant][seeds[0]].classes)
    ]
    return {"variant": variant, "reference": reference, "seeds": seeds, "classes": classes}


def linear_row(folder: Path, baseline: Mapping[int, RunRecord]) -> list[dict[str, Any]]:
    """Return the row of the linear model beside the baseline's runs, if they have one."""
    scores = {seed: section(record.result or {}, LINEAR) for seed, record in baseline.items()}
    scores = {seed: found for seed, found in scores.items() if any(number(found, key) is not None for key in ("test", "holdout"))}
    if not scores:
        return []
    first = next(iter(scores.values()))
    own = {seed: {"test": number(found, "test"), "last_test": None} for seed, found in scores.items()}
    row: dict[str, Any] = {"variant": LINEAR, "role": LINEAR, "method": first["model"], "student": LINEAR, "teacher": None, "epochs": None}
    row |= {"seeds": list(scores), "failed": [], "runs": [str(baseline[seed].folder.relative_to(folder)) for seed in scores]}
    others = {seed: measures(record) for seed, record in baseline.items()}
    for key in next(iter(others.values())):
        row[key], row[f"{key}_std"] = None, None
    for key in ("test", "holdout"):
        row[key], row[f"{key}_std"] = mean_and_std([number(found, key) for found in scores.values()])
    row["holdout_by_seed"] = {seed: number(found, "holdout") for seed, found in scores.items()}
    row |= {"parameters": number(first, "parameters"), "trained_parameters": number(first, "parameters")}
    del row["parameters_std"]
    for key, prefix in (("test", ""), ("last_test", "last_")):
        row |= _difference(own, others, key, prefix)
    return [row | dict.fromkeys(("flops_per_sample", "flops", "cost", "teacher_flops", "teacher_cost"))]


def _difference(own: Mapping[int, Mapping[str, Any]], others: Mapping[int, Mapping[str, Any]], key: str, prefix: str) -> dict[str, Any]:
    """Return a variant's mean difference to the baseline over common seeds, its interval, and the difference of each seed."""
    by_seed = {
        seed: measured[key] - others[seed][key]
        for seed, measured in own.items()
        if seed in others and measured[key] is not None and others[seed][key] is not None
    }
    differences = list(by_seed.values())
    low, high = interval(differences) or (None, None)
    mean = statistics.fmean(differences) if differences else None
    name = f"{prefix}difference"
    return {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_by_seed": by_seed}


def _ratio(own: float | None, base: float | None) -> float | None:
    return None if own is None or not base else own / base


def _commit(record: RunRecord) -> str | None:
    path = RunFiles(record.folder).environment
    commit = read_object(path, "delete it").get("commit") if path.is_file() else None
    return commit if isinstance(commit, str) else None


def _test_samples(records: Sequence[RunRecord], manifest: Mapping[str, Any]) -> int | None:
    counts = {number(record.result or {}, "test_samples") for record in records} | {float(manifest["score_on_unused"]) or None}
    return int(max((count for count in counts if count), default=0)) or None


def seeds_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the seeds of all rows in words, such as `seeds 0 to 2`."""
    seeds = sorted({seed for row in rows for seed in row["seeds"]})
    if not seeds:
        return "no seed yet"
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"seeds {seeds[0]} to {seeds[-1]}" if seeds == list(range(seeds[0], seeds[-1] + 1)) else f"seeds {', '.join(map(str, seeds))}"
