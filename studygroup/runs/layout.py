"""The files of the folders of runs, comparisons, studies and advice. Their names are spelled here and nowhere else.

RUN/         config.yaml  data.json  environment.json  metrics.jsonl  result.json  evaluation.json  checkpoints/
             predictions/test.csv, members.csv, samples.json, mistakes.png (of images) or mistakes.md (of texts)   report.html
             members/<name>.safetensors + .json (plain networks), members/best.*   tokenizer/ (of texts)
             members/<name>.hf/config.json (from which a Hugging Face network is made again)
             exported/<name>.onnx, .pt2, .pt, .safetensors, each with .json and .md; <name>.hf/ (`studygroup export`)
             modules/<name>.safetensors (what a later stage starts from beside the members)   stages/<name>/ (earlier stages, run folders)
COMPARISON/  comparison.json  comparison.yaml  leaderboard.*  curves.png  report.html  runs/VARIANT-sSEED/ (run folders)  logs/
STUDY/       study.json  study.md  study.csv  study.yaml  figure.png  figure.svg  report.html  costs.json  values.json
             docstrings.csv (texts of the scale tiny)  panels/NAME/ (comparison folders)
ADVICE/      advice.json  advice.md  advice.png  advice.yaml  journal.json  alone/  rung1/  rung2/  ... (comparison folders)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORT = "report.html"  # in the folders of runs, comparisons and studies
STAGES = "stages"  # folder of the run folders of earlier stages
FORMAT = 2
"""Number in results, cards and checkpoints; it changes when they mean something else. From 2 on, epochs are counted from 1."""


@dataclass(frozen=True)
class RunFiles:
    """Paths in a run folder."""

    folder: Path

    @classmethod
    def of(cls, folder: str | Path) -> RunFiles:
        """Return the paths in a folder."""
        return cls(Path(folder))

    @property
    def config(self) -> Path:
        """The resolved options; a recipe that repeats the run."""
        return self.folder / "config.yaml"

    @property
    def data(self) -> Path:
        """The description of the data."""
        return self.folder / "data.json"

    @property
    def environment(self) -> Path:
        """Versions, hardware, commit, seed."""
        return self.folder / "environment.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """Results; the file exists once the run is finished."""
        return self.folder / "result.json"

    @property
    def evaluation(self) -> Path:
        """Scores by class, confusions and calibration of the selected student, and of its teacher, on the test set."""
        return self.folder / "evaluation.json"

    @property
    def unused_scores(self) -> Path:
        """Scores on samples that the run has not used, of a comparison that asks for them."""
        return self.folder / "unused.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def members(self) -> Path:
        """The folder of the members' weights and cards."""
        return self.folder / "members"

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer of a run on texts."""
        return self.folder / "tokenizer"

    @property
    def predictions(self) -> Path:
        """The selected student's predictions on the test set."""
        return self.folder / "predictions" / "test.csv"

    @property
    def member_predictions(self) -> Path:
        """The predicted classes of all members on the test set, at the last epoch."""
        return self.predictions.with_name("members.csv")

    @property
    def samples(self) -> Path:
        """Samples of the test set to look at: small pictures or texts."""
        return self.predictions.with_name("samples.json")

    @property
    def mistakes_picture(self) -> Path:
        """The selected student's most confident mistakes on the images of the test set."""
        return self.predictions.with_name("mistakes.png")

    @property
    def mistakes_table(self) -> Path:
        """The selected student's most confident mistakes on the texts of the test set."""
        return self.predictions.with_name("mistakes.md")

    @property
    def report(self) -> Path:
        """The report, for people."""
        return self.folder / REPORT

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.folder / "tensorboard"

    def weights(self, name: str) -> Path:
        """Return the weights of a member."""
        return self.members / f"{name}.safetensors"

    def card(self, name: str) -> Path:
        """Return the card of a member."""
        return self.members / f"{name}.json"

    def hugging_face(self, name: str) -> Path:
        """Return the folder with the configuration of a member that is a Hugging Face model."""
        return self.members / f"{name}.hf"

    def exported(self, name: str) -> Path:
        """Return the path of an exported file."""
        return self.folder / "exported" / name

    def module(self, name: str) -> Path:
        """Return the weights of a module that a later stage starts from."""
        return self.folder / "modules" / f"{name}.safetensors"

    def stage(self, name: str) -> Path:
        """Return the run folder of an earlier stage."""
        return self.folder / STAGES / name

    def stages(self) -> list[RunFiles]:
        """List the run folders of earlier stages."""
        return [RunFiles(path) for path in sorted((self.folder / STAGES).glob("*"))]

    @property
    def advice(self) -> AdviceFiles:
        """The advice that chose the method of the run, if one did."""
        return AdviceFiles(self.folder / "advice")

    def exists(self) -> bool:
        """Return whether the folder holds a run, finished or not."""
        return any(path.exists() for path in (self.config, self.metrics, self.checkpoints, self.result))


@dataclass(frozen=True)
class ComparisonFiles:
    """Paths in a comparison folder."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """The variants, their costs, and what failed."""
        return self.folder / "comparison.json"

    @property
    def recipe(self) -> Path:
        """The options of the comparison; the recipe that continues it."""
        return self.folder / "comparison.yaml"

    @property
    def logs(self) -> Path:
        """The folder of what each process printed."""
        return self.folder / "logs"

    @property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return self.folder / "runs"

    def run(self, variant: str, seed: int) -> RunFiles:
        """Return the run folder of a variant and a seed."""
        return RunFiles(self.runs / run_name(variant, seed))


@dataclass(frozen=True)
class AdviceFiles:
    """Paths in the folder of an advice."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """The options of the advice; the recipe that continues it."""
        return self.folder / "advice.yaml"

    @property
    def journal(self) -> Path:
        """Its decisions, and the time that it has spent."""
        return self.folder / "journal.json"

    @property
    def result(self) -> Path:
        """The answer, for programs; the file exists once the advice is finished."""
        return self.folder / "advice.json"

    @property
    def page(self) -> Path:
        """The answer, for people."""
        return self.folder / "advice.md"

    @property
    def picture(self) -> Path:
        """Accuracy against the costs of training and of a prediction."""
        return self.folder / "advice.png"

    def comparison(self, name: str) -> ComparisonFiles:
        """Return the paths of a comparison: `alone`, `rung1`, `rung2`, ..."""
        return ComparisonFiles(self.folder / name)


@dataclass(frozen=True)
class StudyFiles:
    """Paths in the folder of a study."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """The options of the study."""
        return self.folder / "study.yaml"

    @property
    def costs(self) -> Path:
        """What its variants cost on the machine where it was started."""
        return self.folder / "costs.json"

    @property
    def values(self) -> Path:
        """Numbers that are computed from the networks of its runs."""
        return self.folder / "values.json"

    @property
    def result(self) -> Path:
        """Its numbers and verdicts, for programs."""
        return self.folder / "study.json"

    @property
    def page(self) -> Path:
        """Its table and verdicts, for people."""
        return self.folder / "study.md"

    @property
    def table(self) -> Path:
        """Its numbers, a row per cell."""
        return self.folder / "study.csv"

    @property
    def docstrings(self) -> Path:
        """The texts of the scale `tiny`."""
        return self.folder / "docstrings.csv"

    def figure(self, suffix: str) -> Path:
        """Return the figure as PNG or SVG."""
        return self.folder / f"figure.{suffix}"

    def panel(self, name: str) -> ComparisonFiles:
        """Return the paths of a comparison of the study."""
        return ComparisonFiles(self.folder / "panels" / name)


def finished_runs(folder: Path) -> list[RunFiles]:
    """Find the finished runs in a folder, at any depth, without earlier stages, sorted by the time of their results."""
    found = [RunFiles(path.parent) for path in folder.rglob(RunFiles(folder).result.name) if STAGES not in path.relative_to(folder).parts]
    return sorted((files for files in found if files.members.is_dir()), key=lambda files: (files.result.stat().st_mtime, files.folder))


def from_epoch_one(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result or a card with epochs counted from 1; formats before 2 counted them from 0."""
    if content.get("format", 1) >= FORMAT:
        return dict(content)
    found: dict[str, Any] = {key: from_epoch_one(value) if key in ("selected", "last") else value for key, value in content.items()}
    return found | ({"epoch": found["epoch"] + 1} if isinstance(found.get("epoch"), int) else {})


def run_name(variant: str, seed: int) -> str:
    """Return the name of a run of a comparison: `VARIANT-sSEED`."""
    return f"{variant}-s{seed}"
