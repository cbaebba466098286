"""A run folder in Python: its results, and its members as plain networks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from studygroup.data import Inputs, Transform, inputs_of
from studygroup.devices import pick_device
from studygroup.errors import UserError, unknown_name
from studygroup.networks.factory import build_network
from studygroup.options import ExportOptions
from studygroup.runs.layout import RunFiles

BEST = "best"
ENSEMBLE = "ensemble"
"""Name of the mean of the students' probabilities."""


class Member:
    """A trained member as a plain network, with what is needed to use it.

    Attributes:
        name: of the member in its run.
        network: in eval mode, on the CPU.
        inputs: kind, size and preprocessing of its inputs.
        card: classes, inputs and origin.
        folder: the run folder; None if the member is of no run.
    """

    def __init__(self, name: str, network: nn.Module, inputs: Inputs, card: Mapping[str, Any], folder: Path | None = None) -> None:
        self.name = name
        self.network = network.eval()
        self.inputs = inputs
        self.card = dict(card)
        self.folder = folder

    @property
    def classes(self) -> list[str]:
        """Names of the C classes."""
        return list(self.card["classes"])

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

    def predict(
        self,
        inputs: str | Path | Sequence[str | Path],
        *,
        top: int = 1,
        batch_size: int = 500,
        on_error: str = "stop",
        device: str = "auto",
    ) -> list[dict[str, Any]]:
        """Classify image files and all images in folders, or texts; see `studygroup.predict`."""
        if top < 1 or batch_size < 1:
            raise UserError(f"top is {top}, batch_size {batch_size}; both must be at least 1")
        asked = [found for given in ([inputs] if isinstance(inputs, str | Path) else inputs) for found in self.inputs.find_samples(given)]
        target = pick_device(device)
        run, prepare = self.runner(target), self.prepare(target)
        predictions: list[dict[str, Any]] = []
        for start in range(0, len(asked), batch_size):
            read: list[tuple[str | Path, Tensor]] = []
            for question in asked[start : start + batch_size]:
                try:
                    read.append((question, self.inputs.read_sample(question)))
                except UserError as error:
                    if on_error == "stop":
                        raise
                    print(f"skipped: {error}", file=sys.stderr)
            if not read:
                continue
            probabilities = run(prepare(self.inputs.stack([stored for _, stored in read]))).softmax(-1)
            values, indices = probabilities.topk(min(top, len(self.classes)))
            for (question, _), row, chosen in zip(read, values.tolist(), indices.tolist(), strict=True):
                ranking = [(self.classes[index], value) for index, value in zip(chosen, row, strict=True)]
                predictions.append(
                    {self.inputs.sample_key: str(question), "label": ranking[0][0], "probability": ranking[0][1], "top": ranking}
                )
        return predictions

    def export(
        self,
        format: Literal["onnx", "pt2", "torchscript", "safetensors"] = "onnx",
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
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a run folder.

        Raises:
            UserError: it holds no finished run.
        """
        self.folder = Path(folder)
        self.files = RunFiles(self.folder)
        if not self.files.result.is_file():
            if not self.folder.is_dir():
                raise UserError(f"there is no run folder {self.folder}; `studygroup train` makes one")
            remedy = "its run is not finished; continue it with --resume" if self.files.config.is_file() else "it is not a run folder"
            raise UserError(f"{self.folder} holds no finished run: {remedy}")
        self.result: dict[str, Any] = json.loads(self.files.result.read_text())

    def __repr__(self) -> str:
        """Return folder, method, student, data and accuracies."""
        selected = self.result["selected"]
        words = ["{method} of {student} on {data}".format(**self.result)]
        for key, name in (("holdout", "hold-out"), ("test", "test")):
            words += [f"{name} {selected[key]:.2%}"] if selected[key] is not None else []
        return f"Run({str(self.folder)!r}: {', '.join(words)})"

    @property
    def best(self) -> Member:
        """The student to deploy."""
        return self.member(BEST)

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
            name: `best`, or a member's name.
            network: a module of the right shape, for a member whose network cannot be made from its name.

        Raises:
            UserError: there is no such member, its files are damaged, or its network cannot be made.
        """
        if name not in self.names():
            raise unknown_name(f"member of {self.folder}", name, self.names())
        weights = self.weights(self.files.weights(name))
        try:
            card = json.loads(self.files.card(name).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"member {name} of {self.folder} cannot be read ({error}); its files are damaged") from error
        inputs = inputs_of(card, self.folder)
        if network is None:
            spec = inputs.spec()
            network = build_network(
                card["network"], num_classes=len(card["classes"]), in_channels=spec.in_channels, vocabulary=spec.vocabulary
            )
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"the weights of {name} do not fit {card['network']}; give the network that they belong to") from error
        return Member(name, network, inputs, card, self.folder)

    def weights(self, path: Path) -> dict[str, Tensor]:
        """Load a state dict of this run to the CPU.

        Args:
            path: of a member or a module (`RunFiles.weights`, `RunFiles.module`).

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            return safetensors.torch.load_file(path)
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            name = path.relative_to(self.folder).with_suffix("")
            raise UserError(f"{name} of {self.folder} cannot be read ({error}); its files are damaged") from error
