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

from studygroup.data import Inputs, Prepare, inputs_of
from studygroup.errors import UserError, unknown
from studygroup.lock import held
from studygroup.networks.factory import build
from studygroup.runs.checkpoint import write_atomically
from studygroup.training.settings import pick_device

MARKS = ("config.yaml", "metrics.jsonl", "checkpoints", "result.json")  # a folder with one of these is a run's


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

    def prepare(self, device: torch.device) -> Prepare:
        """What makes the network's inputs of stored samples."""
        return self.inputs.prepare(device, torch.channels_last if self.card["channels_last"] else torch.contiguous_format)

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
        broken: str = "stop",
        device: str = "auto",
    ) -> list[dict[str, Any]]:
        """Classify image files and all images in folders, or texts; see `studygroup.predict`."""
        if top < 1 or batch_size < 1:
            raise UserError(f"top is {top}, batch_size {batch_size}; both must be at least 1")
        asked = [found for given in ([inputs] if isinstance(inputs, str | Path) else inputs) for found in self.inputs.find(given)]
        target = pick_device(device)
        run, prepare = self.runner(target), self.prepare(target)
        answers: list[dict[str, Any]] = []
        for start in range(0, len(asked), batch_size):
            read: list[tuple[str | Path, Tensor]] = []
            for question in asked[start : start + batch_size]:
                try:
                    read.append((question, self.inputs.read(question)))
                except UserError as error:
                    if broken == "stop":
                        raise
                    print(f"skipped: {error}", file=sys.stderr)
            if not read:
                continue
            probabilities = run(prepare(self.inputs.stack([stored for _, stored in read]))).softmax(-1)
            values, indices = probabilities.topk(min(top, len(self.classes)))
            for (question, _), row, chosen in zip(read, values.tolist(), indices.tolist(), strict=True):
                ranking = [(self.classes[index], value) for index, value in zip(chosen, row, strict=True)]
                answers.append({self.inputs.asked_by: str(question), "label": ranking[0][0], "probability": ranking[0][1], "top": ranking})
        return answers


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
            raise unknown(f"member of {self.folder}", name, known)
        weights = self.weights(f"members/{name}")
        try:
            card = json.loads((self.folder / "members" / f"{name}.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"member {name} of {self.folder} cannot be read ({error}); its files are damaged") from error
        inputs = inputs_of(card, self.folder)
        if network is None:
            network = build(card["network"], num_classes=len(card["classes"]), **inputs.network())
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


def write_member(folder: Path, name: str, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write a plain network's weights and its card."""
    write_weights(folder / "members" / f"{name}.safetensors", weights)
    write_json(folder / "members" / f"{name}.json", {"name": name, **card})


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights and buffers."""
    write_atomically(path, safetensors.torch.save({key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}))


def write_json(path: Path, content: object) -> None:
    """Write JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_predictions(path: Path, rows: Iterable[tuple[int, str, str, float]]) -> None:
    """Write predictions as CSV: position in the set, label, predicted label, its probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "label", "predicted", "probability"])
    writer.writerows((sample, label, predicted, f"{probability:.6f}") for sample, label, predicted, probability in rows)
    write_atomically(path, text.getvalue().encode())


@contextmanager
def claimed(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Have a folder for a run, and for oneself; nothing in it is ever overwritten silently.

    Raises:
        UserError: it is not empty and neither `resume` nor `overwrite` is asked for, it is no run's folder, or another process has it.
    """
    with ExitStack() as stack:
        try:
            look_into(folder, resume=resume, overwrite=overwrite)
            stack.enter_context(held(folder))
            look_into(folder, resume=resume, overwrite=overwrite)  # what another process had it for
            if overwrite:
                clear(folder)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; take another --out") from error
        yield


def look_into(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise UserError if what is in a folder, which need not be there, must stay as it is."""
    content = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if content and not any(mark in content for mark in MARKS):
        raise UserError(f"{folder} is not empty and holds no run ({', '.join(content[:3])}); take another --out")
    if content and not overwrite and not resume:
        raise UserError(f"{folder} holds a run already; take another --out, go on with it by --resume, or delete it by --overwrite")


def clear(folder: Path) -> None:
    """Delete what is in a folder, but not the folder itself, on which a lock may lie."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def release(folder: Path) -> None:
    """Give a claimed folder back if nothing was learnt in it: a first try that could not work must not stand in the way of the second."""
    if any(folder.rglob("*.ckpt")) or (folder / "result.json").exists():
        return
    for name in ("config.yaml", "environment.json", "metrics.jsonl"):
        (folder / name).unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()


def environment(seed: int) -> dict[str, object]:
    """Versions, hardware, commit and seed."""
    versions = {}
    for package in ("studygroup", "torch", "numpy", "pillow", "safetensors"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor())
        if hasattr(torch.cpu, "get_capabilities")
        else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
    }


def _commit() -> str | None:
    """The commit that the package's source is at, if it lies in its repository."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
