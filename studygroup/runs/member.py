"""Run folders: what a finished run left, and its members as plain networks.

config.yaml  metrics.jsonl  result.json  environment.json  checkpoints/  members/<name>.safetensors + .json  predictions/
parts/<name>.safetensors (what a later stage starts from beside the members)  stages/<name>/ (runs that came before)
"""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from studygroup.data import Inputs, Transform, inputs_of
from studygroup.devices import pick_device
from studygroup.errors import UserError, unknown_name
from studygroup.networks.factory import build_network


class Member:
    """A trained member as a plain network, with what it takes to use it.

    Attributes:
        name: within its run.
        network: in eval mode, on the CPU.
        inputs: what it takes.
        card: classes, what it takes, and where it comes from.
    """

    def __init__(self, name: str, network: nn.Module, inputs: Inputs, card: Mapping[str, Any]) -> None:
        self.name = name
        self.network = network.eval()
        self.inputs = inputs
        self.card = dict(card)

    @property
    def classes(self) -> list[str]:
        """Names of the C classes."""
        return list(self.card["classes"])

    def prepare(self, device: torch.device) -> Transform:
        """What makes the network's inputs of stored samples."""
        return self.inputs.transform(device, torch.channels_last if self.card["channels_last"] else torch.contiguous_format)

    def runner(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The network on a device, as a function from inputs (B, ...) to float32 logits (B, C), in the precision of its training."""
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


class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        result: what `result.json` says of it.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a run's folder.

        Raises:
            UserError: there is no finished run in it.
        """
        self.folder = Path(folder)
        path = self.folder / "result.json"
        if not path.is_file():
            if not self.folder.is_dir():
                raise UserError(f"there is no run folder {self.folder}; `studygroup train` makes one")
            unfinished = (self.folder / "config.yaml").is_file()
            remedy = "its run is not finished; go on with --resume" if unfinished else "it is no run's folder"
            raise UserError(f"{self.folder} holds no finished run: {remedy}")
        self.result: dict[str, Any] = json.loads(path.read_text())

    @property
    def best(self) -> Member:
        """The student to deploy."""
        return self.member("best")

    @property
    def members(self) -> dict[str, Member]:
        """All members, as they were after the last epoch."""
        return {
            path.stem: self.member(path.stem) for path in sorted((self.folder / "members").glob("*.safetensors")) if path.stem != "best"
        }

    def member(self, name: str, network: nn.Module | None = None) -> Member:
        """A member by name, as a plain network.

        Args:
            name: `best`, or a member's name.
            network: of the right shape, if the member's network cannot be made from its name.

        Raises:
            UserError: there is no such member, its files are damaged, or its network cannot be made.
        """
        known = [path.stem for path in (self.folder / "members").glob("*.safetensors")]
        if name not in known:
            raise unknown_name(f"member of {self.folder}", name, known)
        weights = self.weights(f"members/{name}")
        try:
            card = json.loads((self.folder / "members" / f"{name}.json").read_text())
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
        return Member(name, network, inputs, card)

    def weights(self, name: str) -> dict[str, Tensor]:
        """The weights and buffers in `members/NAME` or `parts/NAME`, on the CPU.

        Raises:
            UserError: the file is not there, or damaged.
        """
        try:
            return safetensors.torch.load_file(self.folder / f"{name}.safetensors")
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise UserError(f"{name} of {self.folder} cannot be read ({error}); its files are damaged") from error
