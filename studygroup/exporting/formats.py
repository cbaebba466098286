"""The formats: how a network is written as a file, and how the file is run."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from studygroup.errors import UserError, one_line
from studygroup.exporting.networks import WithPadding
from studygroup.networks.hugging_face import open_pretrained
from studygroup.runs.member import Member
from studygroup.runs.writer import write_weights

INPUT, OUTPUT = "input", "logits"
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Graph:
    """A network with an example of its inputs.

    Attributes:
        network: float32, in eval mode, on the CPU.
        example: inputs of two samples.
        max_length: maximum number of tokens of a text; None for images.
        pad: id of the padding of texts.
        member: with this network.
    """

    network: nn.Module
    example: Tensor
    max_length: int | None = None
    pad: int = 0
    member: Member | None = None

    def dynamic_shapes(self) -> tuple[dict[int, object]]:
        """Return the dimensions of the inputs that may vary: the batch size, and the length of texts."""
        shapes: dict[int, object] = {0: torch.export.Dim("batch", min=1)}
        if self.max_length is not None and self.max_length > 1:
            shapes[1] = torch.export.Dim("length", min=1, max=self.max_length)
        return (shapes,)


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        suffix: of its files; of a folder the usual one.
        write: writes a network to a path.
        open: returns the function of a file; the network is needed where the file has weights only.
        packages: packages that writing and checking need.
        runtime: those that running a file needs.
        library: `library_name` of model cards.
        has_graph: whether the file has the network's operations, not only its weights.
        is_folder: whether it is a folder, which has its tokenizer and its cards in it.
        extra: of this package, which installs `packages`.
    """

    suffix: str
    write: Callable[[Graph, Path], None]
    open: Callable[[Path, nn.Module], Forward]
    packages: tuple[str, ...]
    runtime: tuple[str, ...]
    library: str
    has_graph: bool = True
    is_folder: bool = False
    extra: str = "export"

    @property
    def needs_network(self) -> bool:
        """Whether running a file needs the network's code, as the file holds weights alone."""
        return not self.has_graph and not self.is_folder

    def weights(self, path: Path) -> Path:
        """Return the file whose SHA-256 is in the card: the file itself, or the weights in a folder."""
        return path / "model.safetensors" if self.is_folder else path

    def cards(self, path: Path) -> tuple[Path, Path]:
        """Return the paths of a file's cards, JSON and Markdown."""
        if self.is_folder:
            return path / "studygroup.json", path / "README.md"
        return path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.md")

    def require(self, packages: Iterable[str], purpose: str) -> None:
        """Raise UserError, which names the purpose, if one of the packages is not installed."""
        for package in packages:
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise UserError(f"{purpose} needs the package {package}; pip install 'studygroup[{self.extra}]'") from error


def export_error(
    name: str, label: str, error: BaseException, remedy: str = "change its forward function, or take another --format"
) -> UserError:
    """Make the error for a network that an exporter cannot take, with the reason of the first error in the chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = one_line(Exception(str(error).strip().partition("\n")[0])) or type(error).__name__
    return UserError(f"{name} cannot be exported as {label} ({reason}); {remedy}")


# ---------------------------------------------------------------- ONNX


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the ONNX operators of operations that torch's exporter does not know.

    A stable descending sort is TopK of all values, which takes the lower index of equal values.
    """
    from onnxscript import opset18 as op

    def sort_stable(values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        size = op.Shape(values, start=dim, end=dim + 1 if dim != -1 else None)
        return op.TopK(values, size, axis=dim, largest=descending, sorted=True)

    return {torch.ops.aten.sort.stable: sort_stable}


def write_onnx(graph: Graph, path: Path) -> None:
    """Write an ONNX file."""
    program = torch.onnx.export(
        graph.network,
        (graph.example,),
        dynamo=True,
        dynamic_shapes=graph.dynamic_shapes(),
        input_names=[INPUT],
        output_names=[OUTPUT],
        custom_translation_table=translations(),
        verbose=False,
    )
    assert program is not None
    program.save(str(path))


def open_onnx(path: Path, network: nn.Module) -> Forward:
    """Return the function of an ONNX file, with as many threads as torch has."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {INPUT: inputs.numpy()})[0])


# ---------------------------------------------------------------- torch


def write_pt2(graph: Graph, path: Path) -> None:
    """Write an exported program. If its operations fail on short texts, padding is appended in the graph."""

    def program(network: nn.Module) -> torch.export.ExportedProgram:
        return torch.export.export(
            network, (graph.example,), dynamic_shapes=graph.dynamic_shapes(), prefer_deferred_runtime_asserts_over_guards=True
        )

    try:
        exported = program(graph.network)
    except Exception:  # the exporter raises nearly anything
        if graph.max_length is None:
            raise
        exported = program(WithPadding(graph.network, graph.pad).eval())
    torch.export.save(exported, path)


def open_pt2(path: Path, network: nn.Module) -> Forward:
    """Return the function of an exported program; nothing in it is unpickled but tensors.

    Raises:
        UserError: the file holds Python objects.
    """
    with zipfile.ZipFile(path) as archive:
        constants = [name.partition("/constants/")[2] for name in archive.namelist()]
    if strange := next((name for name in constants if name and not name.startswith(("tensor_", "model_constants"))), None):
        raise UserError(f"{path} holds the Python object {strange}, which is not loaded; export the network again")
    try:
        with only_weights():
            module: nn.Module = torch.export.load(path).module()
    except pickle.UnpicklingError as error:  # torch's message tells how to load it nevertheless
        raise UserError(f"{path} holds Python objects, which are not loaded; export the network again") from error
    return module


@contextlib.contextmanager
def only_weights() -> Iterator[None]:
    """Make `torch.load` refuse all but tensors, where torch's loader of programs would unpickle anything else, too."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def write_torchscript(graph: Graph, path: Path) -> None:
    """Write a traced TorchScript module."""
    with torch.no_grad():
        traced = torch.jit.trace(graph.network, (graph.example,), check_trace=False)  # `check` compares far more
    torch.jit.save(traced, str(path))


def open_torchscript(path: Path, network: nn.Module) -> Forward:
    """Return the function of a TorchScript module."""
    module: nn.Module = torch.jit.load(str(path))
    return module


def write_safetensors(graph: Graph, path: Path) -> None:
    """Write the weights."""
    write_weights(path, graph.network.state_dict())


def open_safetensors(path: Path, network: nn.Module) -> Forward:
    """Return the function of a network with the weights of a file.

    Raises:
        UserError: they are not the network's.
    """
    weights = safetensors.torch.load_file(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = one_line(Exception(str(error).partition("\n")[2]))  # after the title
        raise UserError(
            f"{path} holds the weights of another network ({reason}); give the network that they are of, or export the member again"
        ) from error
    return network.eval()


def write_huggingface(graph: Graph, path: Path) -> None:
    """Write a folder for transformers.

    Raises:
        UserError: the member or its tokenizer is not of Hugging Face.
    """
    assert graph.member is not None
    graph.member.save_pretrained(path)


def open_huggingface(path: Path, network: nn.Module) -> Forward:
    """Return the function of a folder as transformers opens it."""
    return open_pretrained(path)


FORMATS = {
    "onnx": Format(".onnx", write_onnx, open_onnx, ("onnx", "onnxscript", "onnxruntime"), ("onnxruntime",), "onnx"),
    "pt2": Format(".pt2", write_pt2, open_pt2, (), (), "pytorch"),
    "torchscript": Format(".pt", write_torchscript, open_torchscript, (), (), "pytorch"),
    "safetensors": Format(".safetensors", write_safetensors, open_safetensors, (), (), "pytorch", has_graph=False),
    "huggingface": Format(
        ".hf",
        write_huggingface,
        open_huggingface,
        ("transformers",),
        ("transformers",),
        "transformers",
        has_graph=False,
        is_folder=True,
        extra="transformers",
    ),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters; a deprecated format becomes one warning of this package."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logging.disable(disabled)
    if any("torch.jit" in str(item.message) and issubclass(item.category, DeprecationWarning) for item in caught):
        warnings.warn("torch calls TorchScript deprecated; take --format pt2 or onnx if you can", stacklevel=2)
