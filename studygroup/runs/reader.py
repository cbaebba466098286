"""A run's folder as training leaves it, read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studygroup import config
from studygroup.errors import UserError

MARKS = ("result.json", "metrics.jsonl", "config.yaml")  # any of them makes a folder a run
INCIDENTAL = ("seed", "out", "cache", "device", "download", "progress", "tensorboard", "checkpoint_steps", "resume", "overwrite", "broken")


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says.

    Attributes:
        folder: where it lies.
        settings: its configuration, flat: the method's options as `method.OPTION`.
        epochs: one record per finished epoch, in order.
        result: what `result.json` says; None while the run is unfinished.
        stages: what that of each finished earlier stage says, in any order.
    """

    folder: Path
    settings: Mapping[str, object]
    epochs: list[dict[str, object]]
    result: Mapping[str, object] | None
    stages: Sequence[Mapping[str, object]] = ()

    @property
    def seconds(self) -> float | None:
        """Measured seconds of training, the method's own earlier stages included (they carry its name), and not that of its teacher."""
        result = self.result or {}
        last = number(result, "seconds")
        earlier = [number(stage, "seconds") or 0.0 for stage in self.stages if stage.get("method") == result.get("method")]
        return None if last is None else last + sum(earlier)

    @property
    def seed(self) -> int:
        """The seed that the run was started with."""
        seed = (self.result or {}).get("seed", self.settings.get("seed", 0))
        return seed if isinstance(seed, int) else 0

    def name(self, key: str) -> str:
        """The run's `data`, `method` or `student` by name; empty if the folder does not say."""
        return str((self.result or {}).get(key) or self.settings.get(key) or "")

    @property
    def identity(self) -> dict[str, object]:
        """The settings that make it another experiment: without the seed, places and the like.

        A path in them that ends in the run's own seed (a teacher trained with the same seed) counts as the same in runs of other seeds.
        """
        kept = {key: value for key, value in self.settings.items() if key not in INCIDENTAL}
        ending = f"s{self.seed}"
        return {
            key: value.removesuffix(ending) + "s*" if isinstance(value, str) and value.endswith(ending) and "/" in value else value
            for key, value in kept.items()
        }

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
    if not any((folder / mark).exists() for mark in MARKS):
        inside = sorted(child.name for child in folder.iterdir() if any((child / mark).exists() for mark in MARKS))
        hint = f"did you mean {folder / inside[0]}?" if inside else "give the folder that `studygroup train --out` made"
        raise UserError(f"{folder} holds no run; {hint}")
    settings = _flat(config.read(folder / "config.yaml")) if (folder / "config.yaml").exists() else {}
    results = [_read_result(path / "result.json") for path in (folder, *sorted(folder.glob("stages/*")))]
    stages = [stage for stage in results[1:] if stage is not None]
    return RunRecord(folder, settings, _read_epochs(folder / "metrics.jsonl"), results[0], stages)


def read_runs(folders: Iterable[str | Path]) -> list[RunRecord]:
    """Read several folders; one that is named twice is read once.

    Raises:
        UserError: no folder is given, or one holds no run.
    """
    unique = {Path(folder).resolve(): Path(folder) for folder in folders}
    if not unique:
        raise UserError("no run is given; name the folders of runs, e.g. `studygroup report runs/*`")
    return [read_run(folder) for folder in unique.values()]


def values(record: Mapping[str, object], key: str) -> dict[str, float]:
    """The mapping of names to numbers under `key`, without what is no number; empty if there is none."""
    found = record.get(key)
    if not isinstance(found, Mapping):
        return {}
    return {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}


def number(record: Mapping[str, object], key: str) -> float | None:
    """The number under `key`; None if there is none."""
    found = record.get(key)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def part(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The mapping under `key`; empty if there is none."""
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


def _read_result(path: Path) -> Mapping[str, object] | None:
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is damaged; finish the run again with --resume") from None
    if not isinstance(result, dict):
        raise UserError(f"{path} is damaged; finish the run again with --resume")
    return result


def _read_epochs(path: Path) -> list[dict[str, object]]:
    """The records by epoch; a last line that a killed process left half written is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    by_epoch: dict[int, dict[str, object]] = {}
    for count, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            by_epoch[int(record["epoch"])] = record
        except (ValueError, KeyError, TypeError):
            if count == len(lines):
                break
            raise UserError(f"{path} is damaged at line {count}; remove that line, or train the run again") from None
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]
