"""Read run folders and comparison folders, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studygroup import config
from studygroup.errors import UserError
from studygroup.options import TrainOptions
from studygroup.parameters import parameters_of
from studygroup.regular import read_regular, read_regular_text
from studygroup.runs.evaluation import Evaluation, read_evaluations
from studygroup.runs.layout import ComparisonFiles, RunFiles
from studygroup.runs.records import EPOCH, problem, read_result

INCIDENTAL = {"seed", *(name for name, parameter in parameters_of(TrainOptions).items() if parameter.affects == "nothing")}
"""Options in which runs of one experiment may differ."""


@dataclass(frozen=True)
class RunRecord:
    """The content of a run folder.

    Attributes:
        folder: the run folder.
        settings: the options of `config.yaml`, flat: those of the method as `method.OPTION`.
        epochs: one record per finished epoch, in order.
        result: content of `result.json`; None while the run is unfinished.
        stages: content of `result.json` of each finished earlier stage, in any order.
        evaluations: of the selected student (`best`) and of its teachers on the test set, as far as the run has them.
    """

    folder: Path
    settings: Mapping[str, object]
    epochs: list[dict[str, object]]
    result: Mapping[str, object] | None
    stages: Sequence[Mapping[str, object]] = ()
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Measured seconds of training, earlier stages of the method included, the teacher's training not."""
        result = self.result or {}
        last = number(result, "seconds")
        earlier = [number(stage, "seconds") or 0.0 for stage in self.stages if stage.get("method") == result.get("method")]
        return None if last is None else last + sum(earlier)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        seed = (self.result or {}).get("seed", self.settings.get("seed", 0))
        return seed if isinstance(seed, int) else 0

    def name(self, key: str) -> str:
        """Return the name of the run's `data`, `method` or `student`; empty if it is not known."""
        return str((self.result or {}).get(key) or self.settings.get(key) or "")

    @property
    def identity(self) -> dict[str, object]:
        """The settings that distinguish experiments: without the seed, paths and the like.

        A path that ends in the run's own seed (a teacher trained with the same seed) counts as the same in runs of other seeds.
        """
        kept = {key: value for key, value in self.settings.items() if key not in INCIDENTAL}
        ending = f"s{self.seed}"

        def of_any_seed(value: object) -> object:
            if isinstance(value, list):
                return [of_any_seed(item) for item in value]
            return value.removesuffix(ending) + "s*" if isinstance(value, str) and value.endswith(ending) and "/" in value else value

        return {key: of_any_seed(value) for key, value in kept.items()}

    @property
    def candidates(self) -> list[str]:
        """The members that may be deployed."""
        named = (self.result or {}).get("candidates")
        if isinstance(named, list) and named:
            return [str(name) for name in named]
        seen = [name for epoch in self.epochs[:1] for name in values(epoch, "holdout") if name != "ensemble"]
        return [name for name in seen if name.startswith("student")] or seen


def read_run(folder: str | Path) -> RunRecord:
    """Read a run's folder.

    Raises:
        UserError: the folder holds no run, or one of its files is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no run folder {folder}; give the folder that `studygroup train --out` made")
    files = RunFiles(folder)
    if not files.exists():
        inside = sorted(child.name for child in folder.iterdir() if RunFiles(child).exists())
        hint = f"did you mean {folder / inside[0]}?" if inside else "give the folder that `studygroup train --out` made"
        raise UserError(f"{folder} holds no run; {hint}")
    settings = _flat(config.read(files.config)) if files.config.exists() else {}
    results = [read_result(stage.result) if stage.result.exists() else None for stage in (files, *files.stages())]
    stages = [stage for stage in results[1:] if stage is not None]
    return RunRecord(folder, settings, _read_epochs(files.metrics), results[0], stages, read_evaluations(folder))


def read_runs(folders: Iterable[str | Path]) -> list[RunRecord]:
    """Read several run folders, each once.

    Raises:
        UserError: no folder is given, or one holds no run.
    """
    unique = {Path(folder).resolve(): Path(folder) for folder in folders}
    if not unique:
        raise UserError("no run is given; name run folders, e.g. `studygroup report runs/*`")
    return [read_run(folder) for folder in unique.values()]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a comparison folder; None if there is none.

    Raises:
        UserError: the manifest is damaged or cannot be read.
    """
    path = ComparisonFiles(folder).manifest
    if not path.is_file():
        return None
    try:
        manifest = json.loads(read_regular_text(path))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise UserError(f"{path} is damaged; delete that file and run the same `studygroup compare` again")
    if "variants" not in manifest:
        raise UserError(f"{folder} holds a comparison of an earlier version; take another folder, or run it again with --overwrite")
    return manifest


def values(record: Mapping[str, object], key: str) -> dict[str, float]:
    """Return the numbers of the mapping under `key` by name; empty if there is none."""
    found = record.get(key)
    if not isinstance(found, Mapping):
        return {}
    return {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}


def number(record: Mapping[str, object], key: str) -> float | None:
    """Return the number under `key`; None if there is none."""
    found = record.get(key)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def section(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return the mapping under `key`; empty if there is none."""
    found = record.get(key)
    return found if isinstance(found, Mapping) else {}


def _flat(content: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in content.items():
        if key == "method" and isinstance(value, Mapping):
            flat["method"] = value.get("name", "")
            flat.update({f"method.{option}": setting for option, setting in value.items() if option != "name"})
        else:
            flat[key] = value
    return flat


def _read_epochs(path: Path) -> list[dict[str, object]]:
    """Read the records in the order of epochs, counted from 1; skip a last line that a killed process left incomplete."""
    if not path.exists():
        return []
    try:
        lines = read_regular(path).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); train the run again") from error
    by_epoch: dict[int, dict[str, object]] = {}
    for count, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if count == len(lines):
                break
            record = None
        wrong = problem(record, EPOCH) if isinstance(record, dict) else "it is no JSON object"
        if wrong is not None:
            raise UserError(f"{path} is damaged at line {count} ({wrong}); remove that line, or train the run again")
        by_epoch[record["epoch"]] = record
    shift = 1 if 0 in by_epoch else 0  # earlier versions counted from 0
    return [{**by_epoch[epoch], "epoch": epoch + shift} for epoch in sorted(by_epoch)]
