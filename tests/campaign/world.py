"""What the cases share: a cache, a teacher, finished runs, and how two runs are compared."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import PIL.Image
import torch

from tests.campaign.process import Child, command

SMALL = [
    *("--student", "resnet8", "--preset", "none", "--epochs", "2", "--train-size", "64", "--holdout", "24", "--test-size", "40"),
    *("--batch-size", "32", "--precision", "float32", "--threads", "1", "--no-progress", "--no-linear-model"),
]
TEXTS = [
    *("--student", "transformer@depth=1,heads=2,hidden=8,embedding=8,feedforward=8", "--preset", "none", "--epochs", "1"),
    *("--batch-size", "8", "--precision", "float32", "--threads", "1", "--no-progress", "--no-linear-model"),
]
HEAVY = (
    *("matplotlib.pyplot", "sklearn.metrics", "sklearn.linear_model", "pyarrow.parquet", "sentencepiece", "yaml", "rich.progress"),
    *(f"studygroup.{name}" for name in ("advice.advise", "advice.auto", "exporting.write", "pipeline.train", "sweep.comparison", "output")),
    *(f"studygroup.commands.{name}" for name in ("train", "evaluate", "predict", "export", "report", "compare", "advise", "benchmark")),
)
TIMES = ("seconds", "samples_per_second", "bytes_sent")


@dataclass(frozen=True)
class World:
    """The surroundings of the cases.

    Attributes:
        folder: of everything.
        seed: of all random choices.
        minutes: of the whole campaign.
        commit: what is attacked.
    """

    folder: Path
    seed: int
    minutes: float
    commit: str = "an unknown commit"

    def random(self, *names: object) -> random.Random:
        """Return the random numbers of a case."""
        return random.Random(f"{self.seed} {names}")

    @property
    def cache(self) -> Path:
        """Where data is prepared."""
        return self.folder / "cache"

    @property
    def run(self) -> Path:
        """A finished run on images, which can teach."""
        return self.folder / "base" / "run"

    @property
    def texts(self) -> Path:
        """A finished run on texts."""
        return self.folder / "base" / "texts"

    def prepare(self) -> None:
        """Train the finished runs, one after the other."""
        base = self.folder / "base"
        base.mkdir(parents=True)
        (base / "table.csv").write_text("text,label\n" + "".join(f"word{n % 7} and word{n % 5},{'ab'[n % 2]}\n" for n in range(60)))
        PIL.Image.new("L", (8, 8)).save(base / "pixel.png")
        given = {
            "run": ["train", "digits", *SMALL, "--out", "run"],
            "dml": ["train", "digits", *SMALL, "--method", "dml", "--epochs", "1", "--out", "dml"],
            "texts": ["train", "table.csv", *TEXTS, "--out", "texts"],
            "export": ["export", "run", "--format", "safetensors", "--out", "exported.safetensors"],
        }
        for name, words in given.items():
            child = Child(command([*words, "--cache", str(self.cache)]), base)
            if child.wait(600) != 0:
                raise RuntimeError(f"{name} cannot be made: {child.text()[-500:]}")


def differences(first: Path, second: Path, *, rounded: bool = False) -> list[str]:
    """Compare two run folders: their weights, results, metrics and predictions, byte by byte but for what a clock measured.

    Args:
        first: a run folder.
        second: another one.
        rounded: whether the losses of an epoch may differ in their last digits, as sums over ranks do that were saved in its midst.
    """
    found = []
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) for folder in (first, second)]
    kept = [[name for name in own if _is_compared(name)] for own in names]
    if kept[0] != kept[1]:
        found.append(f"there are other files: {sorted(set(kept[0]) ^ set(kept[1]))[:3]}")
    for name in sorted(set(kept[0]) & set(kept[1])):
        contents = [_content(folder / name, digits=6 if rounded else 17) for folder in (first, second)]
        if contents[0] != contents[1]:
            found.append(f"{name} differs")
    leftovers = [name for name in names[1] if name.endswith(".part")]
    return found + [f"{name} was left behind" for name in leftovers[:2]]


def _is_compared(name: str) -> bool:
    return not name.startswith(("checkpoints/", "logs/")) and "/checkpoints/" not in name and Path(name).name not in (
        "environment.json",
        "config.yaml",
        "data.json",
        "report.html",
    )  # fmt: skip


def _content(path: Path, digits: int) -> Any:
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        return [_without_times(json.loads(line), digits) for line in ([text] if path.suffix == ".json" else text.splitlines())]
    return path.read_bytes()


def _without_times(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item, digits) for key, item in value.items() if key not in TIMES}
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def preload() -> None:
    """Import what the cases need, once, before processes are forked."""
    for name in HEAVY:
        import_module(name)
    torch.set_num_threads(1)
