"""From a member to a checked file with its cards."""

from __future__ import annotations

import copy
import filecmp
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from studygroup.atomic import write_atomically
from studygroup.data import Images, Tokens
from studygroup.errors import UserError
from studygroup.exporting.card import make_card, model_card
from studygroup.exporting.check import TOLERANCE, Check, check
from studygroup.exporting.formats import FORMATS, Graph, export_error, quiet
from studygroup.exporting.int8 import quantise
from studygroup.exporting.networks import Normalised, float32_copy
from studygroup.exporting.samples import Samples, calibration_inputs, check_samples, random_inputs
from studygroup.networks.ensemble import Ensemble
from studygroup.options import ExportOptions
from studygroup.runs.files import write_json
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Member


def export_member(member: Member, options: ExportOptions) -> dict[str, Any]:
    """Write a member as a file, check it, and put the cards beside it.

    Returns:
        The card, with `path` and the paths of the `cards`.

    Raises:
        UserError: the exporter cannot take the network, a package is missing, or the path cannot be written to.
        TrainingError: the file does not do what the network does. Nothing is left of it.
    """
    chosen = FORMATS[options.format]
    check_options(member, options)
    chosen.require(chosen.packages, f"the format {options.format}")
    path = output_path(member, options)
    samples = check_samples(member, with_preprocessing=options.with_preprocessing, cache=options.cache)
    calibration = calibration_inputs(member, with_preprocessing=options.with_preprocessing, cache=options.cache) if options.int8 else []
    network = float32_copy(member.network)
    graph = make_graph(member, network, with_preprocessing=options.with_preprocessing)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            with quiet():
                try:
                    chosen.write(graph, draft)
                except (OSError, UserError):
                    raise
                except Exception as error:  # exporters raise nearly anything
                    raise export_error(str(member.card["network"]), options.format, error) from error
                checked = check_file(network, draft, samples, options)
                if options.int8:
                    float32 = draft.rename(draft.with_name("float32.onnx"))
                    try:
                        quantise(float32, draft, calibration)
                    except Exception as error:  # as above
                        raise export_error(str(member.card["network"]), "int8", error, "leave out --int8") from error
                    float32.unlink()
                    checked = check_file(network, draft, samples, options, tolerance=sys.float_info.max)
            card = make_card(member, options, draft, checked)
            card_file, model_card_file = chosen.cards(draft)
            write_json(card_file, card)
            kind = "image" if isinstance(member.inputs, Images) else "text"
            write_atomically(model_card_file, model_card(card, kind).encode())
            if isinstance(member.inputs, Tokens) and not chosen.is_folder:
                member.inputs.save(Path(folder))
            move_into(Path(folder), path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); give another --out") from error
    return {**card, "path": str(path), "cards": list(map(str, chosen.cards(path)))}


def check_file(network: nn.Module, path: Path, samples: Samples, options: ExportOptions, tolerance: float = TOLERANCE) -> Check:
    """Compare a file, in a folder of its own, with the network; see `check`."""
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    forward = FORMATS[options.format].open(path, copy.deepcopy(network))
    return check(network, forward, samples, weight_bytes(network), size, tolerance)


def check_options(member: Member, options: ExportOptions) -> None:
    """Check that the options suit the member.

    Raises:
        UserError: they do not.
    """
    has_graph = FORMATS[options.format].has_graph
    if options.with_preprocessing and not isinstance(member.inputs, Images):
        raise UserError("with_preprocessing is for images; a tokenizer cannot be part of the graph: leave it out")
    if options.with_preprocessing and not has_graph:
        raise UserError(f"{options.format} holds weights and no graph; leave with_preprocessing out, or take another --format")
    if options.int8 and options.format != "onnx":
        raise UserError(f"int8 is for the format onnx, not {options.format}; leave one of them out")
    if isinstance(member.network, Ensemble) and not has_graph:
        raise UserError(f"{options.format} holds the weights of one network, not of an ensemble; take another --format or --member")


def output_path(member: Member, options: ExportOptions) -> Path:
    """Return the path of the file.

    Raises:
        UserError: it is not given and the member is of no run, its suffix is not the format's, or it is a folder with other files.
    """
    chosen = FORMATS[options.format]
    suffix = chosen.suffix
    if options.out is None and member.folder is None:
        raise UserError("the member is of no run; give `out`, the path of the file")
    default = RunFiles.of(member.folder or ".").exported(member.name + (".int8" if options.int8 else "") + suffix)
    path = default if options.out is None else Path(options.out).expanduser()
    if chosen.is_folder:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} is not an empty folder; delete it, or give another --out")
        return path
    if path.is_dir():
        path = path / default.name
    if path.suffix != suffix:
        raise UserError(f"out is {path}; the name of a file of the format {options.format} must end in {suffix}")
    return path


def make_graph(member: Member, network: nn.Module, *, with_preprocessing: bool) -> Graph:
    """Return the network with an example of its inputs."""
    raw = random_inputs(member, 2)
    copied = Member(member.name, network, member.inputs, member.card, member.folder)
    if isinstance(member.inputs, Tokens):
        return Graph(network, raw, member.inputs.max_length, member.inputs.tokenizer.pad, copied)
    assert isinstance(member.inputs, Images)
    if with_preprocessing:
        return Graph(Normalised(network, member.inputs).eval(), raw, member=copied)
    return Graph(network, member.inputs.transform("cpu")(raw), member=copied)


def weight_bytes(network: nn.Module) -> int:
    """Return the size of a network's state dict."""
    return sum(value.nbytes for value in network.state_dict().values())


def move_into(source: Path, target: Path) -> None:
    """Move all files of a folder into another one.

    Raises:
        UserError: the target has the tokenizer of another run.
    """
    entries = sorted(source.iterdir(), key=lambda entry: entry.is_file())  # folders first: they may be refused
    for entry in entries:
        if entry.is_file():
            os.replace(entry, target / entry.name)
            continue
        for file in entry.iterdir():
            other = target / entry.name / file.name
            if other.exists() and not filecmp.cmp(file, other, shallow=False):
                raise UserError(f"{other.parent} is of another run; give another --out")
        try:
            os.replace(entry, target / entry.name)  # if there is no such folder, or an empty one
        except OSError:
            shutil.copytree(entry, target / entry.name, dirs_exist_ok=True)
