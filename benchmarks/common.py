"""Shared code of the benchmarks: rows with a target, the machine's description, tables, data, and a trainer in a temporary folder.

Every program is run as `python benchmarks/NAME.py [--repeats N] [--quick] [--json FILE]`. Its `measure(repeats, quick)` returns rows; a
row is a ratio of medians, or a quantity, with quartiles over repetitions that alternate with those of the reference.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from studygroup.data import Dataset, Images, Split, open_dataset
from studygroup.errors import UserError
from studygroup.methods import Method
from studygroup.networks import NetworkFactory
from studygroup.networks.factory import Spec
from studygroup.output import console
from studygroup.runs.environment import environment
from studygroup.training import DataSplits, Settings, Trainer
from studygroup.training.step_runner import StepRunner
from studygroup.training.timing import Quartiles

REPEATS = 7
BOUND = {"at most": "≤", "at least": "≥"}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: what was measured.
        value: the figure, with its quartiles `low` and `high`; both as the value if it has no spread.
        unit: `x` for ratios.
        target: bound that the value should keep; None if there is no target.
        details: more numbers, in words.
        figures: more numbers, for programs.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str = "x"
    bound: Literal["at most", "at least"] = "at most"
    target: float | None = None
    details: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """Return whether the value is the target or better; None without a target."""
        if self.target is None:
            return None
        return self.value <= self.target if self.bound == "at most" else self.value >= self.target


def row(name: str, quartiles: Quartiles, **more: Any) -> Row:
    """Make a row of a value with quartiles."""
    return Row(name, quartiles.value, quartiles.low, quartiles.high, **more)


def exact(name: str, value: float, unit: str, **more: Any) -> Row:
    """Make a row of a value without quartiles."""
    return Row(name, value, value, value, unit=unit, **more)


Measure = Callable[..., list[Row]]


def main(title: str, measure: Measure, *, repeats: int = REPEATS, options: argparse.ArgumentParser | None = None) -> None:
    """Run the command line of a program.

    Args:
        title: the program's docstring.
        measure: function of the number of repetitions, whether to use tiny sizes (a test of the program, not a measurement), and the
            program's own options by name; returns rows.
        repeats: default number of repetitions.
        options: parser of the program's own options, if it has any.
    """
    parents = [options] if options is not None else []
    parser = argparse.ArgumentParser(description=title, formatter_class=argparse.RawDescriptionHelpFormatter, parents=parents)
    parser.add_argument("--repeats", type=int, help=f"repetitions (default: {repeats}; 2 if quick)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether the program works, not how fast anything is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, too")
    given = parser.parse_args()
    wanted = given.repeats if given.repeats is not None else 2 if given.quick else repeats
    if wanted < 1:
        parser.error(f"--repeats is {wanted}; at least 1 is needed")
    started = time.perf_counter()
    more = {name: value for name, value in vars(given).items() if name not in ("repeats", "quick", "json")}
    rows = measure(wanted, given.quick, **more)
    result = {
        "program": Path(sys.argv[0]).stem,
        "about": title.strip(),
        "quick": given.quick,
        "repeats": wanted,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "rows": [asdict(found) | {"reached": None if given.quick else found.reached} for found in rows],
        "machine": machine(),
    }
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show(result)


def machine() -> dict[str, Any]:
    """Describe the machine, and the command line."""
    found: dict[str, Any] = dict(environment(seed=0))
    del found["seed"]
    device, precision, _ = defaults()
    return found | {
        "device": device.type,
        "processor": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "precision": precision,
        "command": shlex.join(["python", *sys.argv]),
    }


def cpu_name() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def show(result: Mapping[str, Any]) -> None:
    """Print a result as a table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for header in ("", "measured", "quartiles", "target", "", "details"):
        table.add_column(header, justify="right" if header in ("measured", "quartiles", "target") else "left", overflow="fold")
    for found in result["rows"]:
        table.add_row(*(escape(cell) for cell in cells(found)))
    screen = console()
    screen.print(table)
    described = f"{describe(result['machine'])}\n{result['repeats']} repetitions, {result['minutes']} minutes"
    screen.print(described + ("; QUICK: sizes of a smoke test, no measurement" if result["quick"] else ""), markup=False, soft_wrap=True)


def cells(found: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    """Format a row: name, value, quartiles, target, whether it was reached, and details."""
    unit = found["unit"]
    quartiles = f"{number(found['low'])} – {number(found['high'])}" if found["low"] != found["high"] else ""
    target = f"{BOUND[found['bound']]} {number(found['target'])} {unit}" if found["target"] is not None else ""
    verdict = {True: "reached", False: "not reached", None: ""}[found["reached"]]
    return found["name"], f"{number(found['value'])} {unit}", quartiles, target, verdict, found["details"]


def number(value: float) -> str:
    """Format a number with about three digits."""
    if value == int(value) and abs(value) >= 10:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"


def describe(found: Mapping[str, Any]) -> str:
    """Format a machine's description in one or two lines."""
    gpu = f"{found['gpu']}, " if found["device"] == "cuda" else ""
    return (
        f"{gpu}{found['processor']}, {found['cores']} cores, {found['threads']} threads; torch {found['versions']['torch']}, "
        f"{found['precision']}; commit {found['commit']}\n{found['command']}"
    )


# ---------------------------------------------------------------- what is measured


def defaults() -> tuple[torch.device, Literal["bf16", "float32"], torch.memory_format]:
    """Return the default device, precision and memory format of this machine."""
    settings = Settings()
    device = settings.torch_device()
    return device, "bf16" if settings.autocast(device) is not None else "float32", settings.memory_format(device)


def random_split(samples: int, shape: tuple[int, int, int], classes: int = 10, seed: int = 0) -> Split:
    """Make a data set of noise: (samples, *shape) uint8."""
    random = np.random.default_rng(seed)
    return Split(random.integers(0, 256, (samples, *shape), dtype=np.uint8), random.integers(0, classes, samples))


def random_material(train: int, holdout: int, shape: tuple[int, int, int]) -> DataSplits:
    """Make noise, split into training and hold-out set."""
    everything = random_split(train + holdout, shape)
    learned, held = everything.take(np.arange(train)), everything.take(np.arange(train, train + holdout))
    channels = shape[0]
    classes = tuple("0123456789")
    inputs = Images(shape, (0.5,) * channels, (0.25,) * channels)
    dataset = Dataset("noise", classes, learned, held, held.take(np.arange(0)), held, frozenset(), inputs, True, "")
    return DataSplits(dataset, learned, held, "crop" if channels == 1 else "crop+flip")


def clothes(train: int, holdout: int, *, quick: bool) -> DataSplits:
    """Images of Fashion-MNIST, 1 x 28 x 28, if they are on this machine; noise of that size otherwise, and if it must be quick."""
    if quick:
        return random_material(train, holdout, (1, 28, 28))
    try:
        dataset = open_dataset("fashion-mnist", progress=False)
    except UserError as error:
        print(f"noise instead of Fashion-MNIST: {error}", file=sys.stderr)
        return random_material(train, holdout, (1, 28, 28))
    learned, held = dataset.train.take(np.arange(train)), dataset.train.take(np.arange(train, train + holdout))
    return DataSplits(dataset, learned, held, "crop+flip")


def maker(student: Spec, splits: DataSplits, *, teacher: Spec | None = None) -> NetworkFactory:
    """Make a network factory; the teacher has its initial weights."""
    spec = splits.dataset.inputs.spec()
    known: dict[str, Any] = {
        "num_classes": len(splits.dataset.classes),
        "in_channels": spec.in_channels,
        "image_size": spec.image_size,
        "vocabulary": spec.vocabulary,
    }
    trained = NetworkFactory(teacher, **known, seed=1).student(0) if teacher is not None else None
    return NetworkFactory(student, **known, teacher=trained, labels=torch.tensor(splits.train.labels))


@contextmanager
def trainer_for(method: Method, make: NetworkFactory, splits: DataSplits, settings: Settings) -> Iterator[Trainer]:
    """Make a trainer in a temporary run folder."""
    runner = StepRunner.build(method, make, splits, settings)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "there is no hold-out set")
        yield Trainer(runner, splits.holdout, Path(folder), identity={})


def training_seconds(run: Trainer) -> float:
    """Return the seconds of training of a finished run, without evaluation."""
    return sum(float(record["seconds"]) for record in run.log.history)
