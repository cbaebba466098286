"""A run folder in Python: its results, and its members as plain networks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from studygroup import config
from studygroup.data import Inputs, Tokens, Transform, inputs_of
from studygroup.data.texts.tokenizers import Hf
from studygroup.errors import UserError, unknown_name
from studygroup.foreign import HUGGING_FACE, check_import_paths
from studygroup.networks.ensemble import Ensemble
from studygroup.networks.external import recorded_network
from studygroup.networks.factory import build_network
from studygroup.networks.hugging_face import SequenceClassifier
from studygroup.options import DataOptions, ExportOptions
from studygroup.regular import open_regular
from studygroup.runs.evaluation import Evaluation, read_evaluations
from studygroup.runs.layout import RunFiles, finished_runs
from studygroup.runs.predict import Classifier
from studygroup.runs.records import again, read_card, read_result

BEST = "best"
ENSEMBLE = "ensemble"
"""Name of the mean of the students' probabilities."""
ENSEMBLE_OF = "ensemble_of"
"""Key in the card of an ensemble: the names of the members that it consists of."""
DIGEST = "sha256"
"""Key in a card: the SHA-256 of the file of the weights."""
CONFIG_FOLDER = "config_folder"
"""Key in the card of a Hugging Face model: the folder in the run folder that holds its `config.json`."""


class Member(Classifier):
    """A trained member as a plain network, with what is needed to use it; for its predictions see `Classifier`.

    Attributes:
        name: of the member in its run.
        network: in eval mode, on the CPU.
        inputs: kind, size and preprocessing of its inputs.
        card: classes, inputs and origin.
        folder: the run folder; None if the member is of no run.

    Example:
        >>> import studygroup as sg
        >>> run = sg.Run("runs/digits")
        >>> run.best
        Member('best': resnet8, 77,754 parameters, 10 classes, images of 1x8x8)
        >>> run.best.predict("digit.png")[0]["path"]
        'digit.png'
        >>> run.best.predict_proba("digit.png").shape
        (1, 10)
    """

    def __init__(self, name: str, network: nn.Module, inputs: Inputs, card: Mapping[str, Any], folder: Path | None = None) -> None:
        self.name = name
        self.network = network.eval()
        self.inputs = inputs
        self.card = dict(card)
        self.folder = folder

    def __repr__(self) -> str:
        """Return name, network, number of parameters, classes and inputs."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return f"Member({self.name!r}: {self.card['network']}, {parameters:,} parameters, {len(self.classes)} classes, {self.inputs})"

    @property
    def classes(self) -> list[str]:
        """Names of the C classes."""
        return list(self.card["classes"])

    def data_options(self) -> DataOptions:
        """Return the options of the run's data.

        Raises:
            UserError: the member is of no run, or its configuration cannot be read.
        """
        if self.folder is None:
            raise UserError("the member is of no run")
        return config.load_group(RunFiles.of(self.folder).config, DataOptions)

    def prepare(self, device: torch.device) -> Transform:
        """Return the transform from stored samples to the network's inputs."""
        return self.inputs.transform(device, torch.channels_last if self.card["channels_last"] else torch.contiguous_format)

    def runner(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return a function from inputs (B, ...) to float32 logits (B, C) on a device, in the precision of the training."""
        layout = torch.channels_last if self.card["channels_last"] else torch.contiguous_format
        network = self.network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        half = self.card["precision"] == "bf16"

        @torch.no_grad()
        def run(inputs: Tensor) -> Tensor:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                logits: Tensor = network(inputs)
            return logits.float()

        return run

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face model for `AutoModelForSequenceClassification` and its tokenizer for `AutoTokenizer`.

        Args:
            folder: new or empty.

        Raises:
            UserError: the network or its tokenizer is not of Hugging Face, or the folder has files.
        """
        path, inputs = Path(folder), self.inputs
        if not isinstance(self.network, SequenceClassifier):
            raise UserError(
                f"{self.name} is a {self.card['network']}; only a member with a network hf:FOLDER can be saved for transformers"
            )
        if not isinstance(inputs, Tokens) or not isinstance(inputs.tokenizer, Hf):
            raise UserError(f"{self.name} does not use a Hugging Face tokenizer, which transformers needs; train with --tokenizer auto")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} is not an empty folder; give a new one")
        self.network.save_pretrained(path, self.classes)
        inputs.tokenizer.save_pretrained(path, inputs.max_length)

    def export(
        self,
        format: Literal["onnx", "pt2", "torchscript", "safetensors", "huggingface"] = "onnx",
        *,
        out: str | Path | None = None,
        with_preprocessing: bool = False,
        int8: bool = False,
        cache: str | Path | None = None,
    ) -> dict[str, Any]:
        """Export the member as a file that runs without studygroup, and check the file; see `studygroup.export`."""
        options = ExportOptions(
            self.folder or "",
            format=format,
            member=self.name,
            out=out,
            with_preprocessing=with_preprocessing,
            int8=int8,
            cache=cache,
        )
        # By name: the package `exporting` opens the run's data, and is above `runs` in the order of imports.
        card: dict[str, Any] = import_module("studygroup.exporting.write").export_member(self, options)
        return card


class Run:
    """A finished run.

    Attributes:
        folder: the run folder.
        files: the paths in it.
        result: the content of `result.json`.
        allow_code: import paths of networks that its files may name.

    Example:
        >>> import studygroup as sg
        >>> run = sg.Run("runs/digits")
        >>> run.names()
        ['best', 'student0', 'student1']
        >>> run.result["method"], run.evaluation.samples
        ('cgl', 359)
    """

    def __init__(self, folder: str | Path, allow_code: Collection[str] = ()) -> None:
        """Open a run folder.

        Args:
            folder: of a finished run.
            allow_code: import paths of networks that its files may name, as in `allow_code=["mine:make"]`; without, no code is run but
                that of the registered networks.

        Raises:
            UserError: it holds no finished run.
        """
        check_import_paths(allow_code)
        self.allow_code = frozenset(allow_code)
        self.folder = Path(folder)
        self.files = RunFiles(self.folder)
        if not self.files.result.is_file():
            if self.folder.is_file():
                raise UserError(f"{self.folder} is a file, not a run folder; `ExportedModel` opens exported files")
            if not self.folder.is_dir():
                raise UserError(f"there is no run folder {self.folder}; `studygroup train` makes one")
            remedy = "its run is not finished; continue it with --resume" if self.files.config.is_file() else "it is not a run folder"
            raise UserError(f"{self.folder} holds no finished run: {remedy}")
        self.result: dict[str, Any] = read_result(self.files.result)

    def __repr__(self) -> str:
        """Return folder, method, student, data and accuracies."""
        selected = self.result["selected"]
        words = ["{method} of {student} on {data}".format(**self.result)]
        for key, name in (("holdout", "hold-out"), ("test", "test")):
            words += [f"{name} {selected[key]:.2%}"] if selected[key] is not None else []
        return f"Run({str(self.folder)!r}: {', '.join(words)})"

    @property
    def identity(self) -> dict[str, Any]:
        """What a run must have in common with this one to be the same.

        Raises:
            UserError: the result does not say it.
        """
        found: dict[str, Any] | None = self.result.get("identity")
        if found is None:
            raise UserError(f"{self.files.result} is damaged (it has no 'identity'); {again(self.files.result)}")
        return found

    @property
    def best(self) -> Member:
        """The student to deploy."""
        return self.member(BEST)

    @property
    def evaluation(self) -> Evaluation:
        """Scores of the student to deploy on the test set: by class, confusions, calibration.

        Raises:
            UserError: the run has none: it had no test set, or an earlier version of studygroup trained it.
        """
        found = self.evaluations
        if BEST not in found:
            raise UserError(
                f"{self.folder} has no evaluation: it has no test set, its predictions are no numbers, or an earlier version of studygroup "
                f"trained it; `studygroup evaluate {self.folder}` evaluates it now"
            )
        return found[BEST]

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """Scores on the test set of the student to deploy (`best`), and of teachers, by name; empty if there are none."""
        return read_evaluations(self.folder)

    @property
    def members(self) -> dict[str, Member]:
        """All members, as they were after the last epoch."""
        return {name: self.member(name) for name in self.names() if name != BEST}

    def names(self) -> list[str]:
        """List the names of the members, `best` among them."""
        return sorted(path.stem for path in self.files.members.glob("*.safetensors"))

    def member(self, name: str, network: nn.Module | None = None) -> Member:
        """Load a member as a plain network.

        Args:
            name: `best`, a member's name, or `ensemble` for all students as one network.
            network: a module of the right shape, for a member whose network cannot be made from its name.

        Raises:
            UserError: there is no such member, its files are damaged, or its network cannot be made or is code that is not allowed.
        """
        if name == ENSEMBLE:
            return self._ensemble()
        if name not in self.names():
            raise unknown_name(f"member of {self.folder}", name, self.names())
        card = read_card(self.files.card(name), self.files.result)
        weights = self.weights(self.files.weights(name))
        inputs = inputs_of(card, self.folder)
        if network is None:
            network = self._network(name, card, inputs)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"the weights of {name} do not fit {card['network']}; give the network that they belong to") from error
        return Member(name, network, inputs, card, self.folder)

    def _network(self, name: str, card: Mapping[str, Any], inputs: Inputs) -> nn.Module:
        """Make the network of a member as its card says."""
        if ENSEMBLE_OF in card:
            return Ensemble([self.member(part).network for part in card[ENSEMBLE_OF]])
        spec = inputs.spec()
        classes = card["classes"]
        return build_network(
            f"{HUGGING_FACE}{self.files.hugging_face(name)}"
            if CONFIG_FOLDER in card
            else recorded_network(card["network"], self.allow_code, self.folder, str(self.files.card(name))),
            num_classes=len(classes),
            in_channels=spec.in_channels,
            vocabulary=spec.vocabulary,
            classes=classes if CONFIG_FOLDER in card else None,
        )

    def _ensemble(self) -> Member:
        """Return the students as one network that predicts the mean of their probabilities."""
        students = [self.member(student) for student in self.names() if student.startswith("student")]
        if not students:
            raise UserError(f"{self.folder} has no students to make an ensemble of; its members are {', '.join(self.names())}")
        card = {
            **students[0].card,
            "name": ENSEMBLE,
            "network": ensemble_name(student.card["network"] for student in students),
            "holdout": self.result["last"]["holdout"].get(ENSEMBLE),
        }
        return Member(ENSEMBLE, Ensemble([student.network for student in students]), students[0].inputs, card, self.folder)

    def weights(self, path: Path) -> dict[str, Tensor]:
        """Load a state dict of this run to the CPU, and check its digest: a member's is in its card, a module's in the result.

        Runs of earlier versions have none.

        Args:
            path: of a member or a module (`RunFiles.weights`, `RunFiles.module`).

        Raises:
            UserError: the file is missing or damaged.
        """
        if path.parent == self.files.members:
            digest, where = read_card(self.files.card(path.stem), self.files.result).get(DIGEST), "its card"
        else:
            digest, where = self.result.get("modules", {}).get(path.stem), self.files.result.name
        try:
            if digest is not None and file_digest(path) != digest:
                raise ValueError(f"its checksum is not the one in {where}")
            open_regular(path).close()
            return safetensors.torch.load_file(path)
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            name = path.relative_to(self.folder).with_suffix("")
            raise UserError(f"{name} of {self.folder} cannot be read ({error}); its files are damaged") from error


def ensemble_name(networks: Iterable[str]) -> str:
    """Return the name of an ensemble in cards. Args: networks: the names of its networks."""
    return f"ensemble of {', '.join(networks)}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_runs(folder: str | Path = "runs", allow_code: Collection[str] = ()) -> list[Run]:
    """Open the finished runs in a folder, at any depth, in the order in which they finished.

    Args:
        folder: with run folders in it.
        allow_code: as of `Run`.

    Raises:
        UserError: there is no such folder, or a result is damaged.
    """
    if not Path(folder).is_dir():
        raise UserError(f"there is no folder {folder}; give the folder that holds your runs")
    return [Run(files.folder, allow_code) for files in finished_runs(Path(folder))]
