"""Folders of runs, comparisons and studies with everything that their pages show, from drawn numbers."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studygroup.runs.evaluation import Evaluation, Outcomes, write_evaluations
from studygroup.runs.layout import RunFiles
from studygroup.runs.writer import write_member_predictions, write_predictions
from tests.run_folders import write_run

GROUPS: Mapping[str, dict[str, object]] = {
    "cgl": {"group": "modular", "students": 4, "bn": "pooled", "routes": [[0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]]},
    "one": {"group": "branched", "students": 4, "branch_from": "stage3", "rescale": False},
    "orc": {"group": "independent", "students": 4},
}


def picture(seed: int) -> str:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def outcomes(labels: np.ndarray, classes: int, accuracy: float, seed: int) -> Outcomes:
    """Predictions of about this accuracy."""
    draw = np.random.default_rng(seed)
    wrong = draw.random(len(labels)) > accuracy
    predicted = np.where(wrong, draw.integers(0, classes, len(labels)), labels)
    probability = np.clip(draw.beta(8, 1.5, len(labels)), 1 / classes, 1.0)
    right = predicted == labels
    true = np.where(right, probability, (1 - probability) / max(classes - 1, 1))
    return Outcomes(labels, predicted, probability, np.log(np.maximum(true, 1e-12)), (~right).astype(np.int64))


def write_full_run(
    folder: Path,
    *,
    method: str = "cgl",
    seed: int = 0,
    epochs: int = 30,
    test: float = 0.9,
    students: int = 4,
    classes: Sequence[str] = tuple("0123456789"),
    samples: int = 300,
    texts: bool = False,
    **more: Any,
) -> Path:
    """Write a finished run on images or texts, with predictions, samples and an evaluation."""
    write_run(folder, method=method, seed=seed, epochs=epochs, test=test, students=students, **more)
    files = RunFiles(folder)
    labels = np.arange(samples) % len(classes)
    found = outcomes(labels, len(classes), test, seed)
    write_evaluations(files, {"best": Evaluation.of(found, classes)})
    names = [f"row {place}" if texts else f"image-{place}.png" for place in range(samples)]
    write_predictions(files.predictions, found, names, classes)
    members = {f"student{k}": outcomes(labels, len(classes), test - 0.02 * k, 100 * seed + k).predicted for k in range(students)}
    write_member_predictions(files.member_predictions, members, labels, classes)
    mistakes = np.flatnonzero(found.predicted != found.labels)[:20].tolist()
    disputed = [place for place in range(samples) if len({int(votes[place]) for votes in members.values()}) > 1][:10]
    shown = {str(p): {"text": f"a text, number {p}. " * 12} if texts else {"png": picture(p)} for p in {*mistakes, *disputed}}
    files.samples.write_text(json.dumps({"mistakes": mistakes, "disputed": disputed, "samples": shown}))
    description = {
        "data": "digits",
        "kind": "texts" if texts else "images",
        "classes": dict.fromkeys(classes, 130),
        "samples": {"training": 1294, "hold-out": 144, "test": samples},
        "network": {"name": "resnet8", "parameters": 77_754, "operations": 5.2e6},
    }
    files.data.write_text(json.dumps(description))
    result = json.loads(files.result.read_text())
    result["identity"] = {"data": {"key": "k"}, "settings": {}, "group": GROUPS.get(method, {"group": "independent", "students": students})}
    result["linear"] = {"model": "pixels + logistic regression", "test": 0.8, "holdout": 0.8, "parameters": 650}
    files.result.write_text(json.dumps(result))
    return folder


def with_roles(folder: Path, students: int = 4) -> Path:
    """Add metrics of the steps to a run's epochs."""
    path = RunFiles(folder).metrics
    lines = []
    for number, line in enumerate(path.read_text().splitlines()):
        shares = [1 + math.sin(number / 5 + k) for k in range(students)]
        metrics = {f"student{k}/promoted": share / sum(shares) for k, share in enumerate(shares)}
        lines.append(json.dumps(json.loads(line) | {"metrics": {**metrics, "feedback/distinct": 0.5}}))
    path.write_text("\n".join(lines) + "\n")
    return folder


def write_comparison(folder: Path, variants: int = 6, seeds: int = 3, *, epochs: int = 12, samples: int = 200) -> Path:
    """Write a comparison of a baseline, its control, a teacher, and methods."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    names = ["baseline", "teacher", *(f"method-{number}" for number in range(variants - 2))]
    listed = []
    for number, name in enumerate(names):
        alone = name in ("baseline", "teacher")
        method = "baseline" if alone else "dml"
        for seed in range(seeds):
            if (name, seed) != ("method-1", 1):
                test = 0.85 + 0.004 * number + float(draw.normal(0, 0.008))
                run = folder / "runs" / f"{name}-s{seed}"
                write_full_run(run, method=method, seed=seed, epochs=epochs, test=test, students=1 if alone else 2, samples=samples)
        options = {"method": method, "student": "resnet8", "teacher": None, "epochs": epochs}
        cost = {"flops_per_sample": 1e6 * (1 + 0.4 * number), "samples_per_epoch": 1294}
        teacher = "teacher" if number % 3 == 2 else None
        listed.append({"name": name, "options": options, "teacher": teacher, "teaches": name == "teacher", **cost})
    manifest = {
        "data": "digits",
        "reference": "baseline",
        "control": None,
        "seeds": list(range(seeds)),
        "budget": "equal-epochs",
        "count_teacher": False,
        "score_on_unused": 0,
        "split_by_seed": False,
        "command": "studygroup compare digits --methods dml",
        "executor": "2 processes",
        "machine": {"processor": "A processor", "gpu": None},
        "variants": listed,
        "failed": {"method-1-s1": "the loss is nan in epoch 3"},
    }
    (folder / "comparison.json").write_text(json.dumps(manifest))
    return folder


def study_cell(row: str, column: str, mean: float, published: float | None, x: float | None = None, block: str = "") -> dict[str, Any]:
    by_seed = {str(seed): mean + 0.3 * (seed - 1) for seed in range(3)}
    return {
        "row": row,
        "column": column,
        "panel": "digits-resnet8",
        "variant": row,
        "measure": "test",
        "block": block,
        "x": x,
        "y": None,
        "published": published,
        "published_std": None if published is None else 0.1,
        "stands_for": "CIFAR-100, resnet18",
        "unit": {"factor": 100.0, "name": "accuracy (%)", "digits": 2, "points": "points"},
        "mean": mean,
        "std": 0.3,
        "low": mean - 0.75,
        "high": mean + 0.75,
        "by_seed": by_seed,
        "failed": [],
    }


def write_study(folder: Path, kind: str = "gains") -> Path:
    """Write the results of a study, with a figure of some kind."""
    folder.mkdir(parents=True)
    rows = ["Baseline", "DML", "CGL"]
    columns = ["2 students", "4 students", "8 students"]
    cells = [
        study_cell(row, column, 80 + 2 * r + c, 74.0 + r if kind != "bars" or r else None, float(2 ** (c + 1)))
        for r, row in enumerate(rows)
        for c, column in enumerate(columns)
    ]

    def statement(text: str, mean: float, verdict: str) -> dict[str, Any]:
        reach = {"low": mean - 0.5, "high": mean + 0.5, "by_seed": {"0": mean - 0.1, "1": mean, "2": mean + 0.1}}
        return {"text": text, "mean": mean, **reach, "published": 1.5, "verdict": verdict, "reason": ""}

    claims = [
        {
            "text": f"Claim that is {verdict}",
            "where": "Table 2",
            "how": "each row above the baseline, by seed",
            "unit": "points",
            "parts": [statement(f"{row} above Baseline", mean, verdict) for row in rows[1:]],
            "verdict": verdict,
            "reason": "",
        }
        for verdict, mean in (("holds", 2.0), ("opposite", -2.0), ("undecided", 0.1))
    ]
    study = {
        "name": "cgl-table2",
        "title": "CGL and its comparators on images",
        "source": "Feng et al., AAAI 2021, Table 2",
        "scale": "small",
        "complete": True,
        "seeds": 3,
        "panels": [
            {
                "name": "digits-resnet8",
                "title": "digits, resnet8",
                "data": "digits",
                "student": "resnet8",
                "folder": "panels/digits-resnet8",
            }
        ],
        "cells": cells,
        "figure": {"kind": kind, "reference": "Baseline", "x_label": "number of students", "blocks": [], "log": True},
        "claims": claims,
        "notes": ["Other data than in the paper."],
        "failed": {"digits-resnet8/dml-s1": "the loss is nan"},
        "command": "studygroup study cgl-table2 --scale small",
    }
    (folder / "study.json").write_text(json.dumps(study))
    (folder / "figure.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><rect width="300" height="200" fill="#eee"/></svg>'
    )
    return folder
