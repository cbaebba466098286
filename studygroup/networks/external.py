"""Networks of other packages: `timm:NAME`, `hf:FOLDER` and `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from torch import nn

from studygroup.errors import UserError, one_line, unknown_name
from studygroup.foreign import HUGGING_FACE, check_allowed, import_code, is_import_path
from studygroup.foreign import TIMM as TIMM
from studygroup.networks.hugging_face import from_hugging_face
from studygroup.networks.registry import NETWORKS


def import_factory(name: str, *, outside: Path | None = None) -> Callable[..., nn.Module]:
    """Return the function or class that makes the network called `timm:NAME`, `hf:FOLDER` or `package.module:function`.

    Args:
        name: of the network.
        outside: run folder in which its code must not lie.

    Raises:
        UserError: it cannot be imported, or is no function or class that can make a network.
    """
    if name.startswith(TIMM):
        return partial(from_timm, name.removeprefix(TIMM))
    if name.startswith(HUGGING_FACE):
        return partial(from_hugging_face, name.removeprefix(HUGGING_FACE))
    factory = import_code(name, "network", outside=outside)
    if not _can_make_network(factory):
        kind = f"the class {factory.__name__}" if isinstance(factory, type) else f"a {type(factory).__name__}"
        raise UserError(f"{name!r} is {kind}; it must be a function, or a class derived from torch.nn.Module, that makes a network")
    return factory


def pretrained_timm(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Load a model of timm with its pretrained weights, which timm downloads if it does not have them.

    Args:
        name: `NAME@pretrained`.

    Returns:
        The network, and the mean and standard deviation that its images are normalised with, as arguments of `Weights`.

    Raises:
        UserError: another name, timm is not installed, does not know the model, or cannot get its weights.
    """
    model, _, suffix = name.partition("@")
    if suffix != "pretrained":
        raise UserError(f"the weights timm:{name} are no pretrained ones; write timm:{model}@pretrained")
    timm = _import_timm(name)
    if not timm.is_model(model):
        raise unknown_name("model of timm", model, timm.list_models())
    try:
        network: nn.Module = timm.create_model(model, pretrained=True)
    except Exception as error:  # of the network, of the hub, or of a damaged download
        raise UserError(
            f"timm cannot load the pretrained weights of {model} ({one_line(error)}); download them elsewhere, and give the file"
        ) from error
    known = getattr(network, "default_cfg", None) or {}
    return network, {key: tuple(map(float, known[key])) for key in ("mean", "std") if key in known}


def _import_timm(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit the torch
        raise UserError(f"timm:{name} needs timm, which cannot be imported ({one_line(error)}); pip install 'studygroup[timm]'") from error


def recorded_network(name: str, allowed: Collection[str], folder: Path, source: str) -> str | Callable[..., nn.Module]:
    """Return what the network that a file of a run folder names is made from, as `build_network` takes it.

    Args:
        name: of the network.
        allowed: import paths of the code that the caller allows.
        folder: the run folder, in which the code must not lie.
        source: the file, for messages.

    Raises:
        UserError: the network is code that is not allowed, or lies in the run folder, or cannot be imported.
    """
    if not is_import_path(name):
        return name
    registered = next((known for known, path in NETWORKS.entries.items() if path == name), None)
    if registered is not None:  # a function of this library was given in Python
        return registered
    check_allowed([name], allowed, source)
    return import_factory(name, outside=folder)


def _can_make_network(factory: object) -> TypeGuard[Callable[..., nn.Module]]:
    """Return whether an object may make networks: a subclass of `nn.Module`, or a function of Python."""
    if isinstance(factory, type):
        return issubclass(factory, nn.Module)
    if not callable(factory) or inspect.isbuiltin(factory):
        return False
    try:
        inspect.signature(factory)
    except (TypeError, ValueError):  # one of C without a signature
        return False
    return True


def from_timm(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Make a freshly initialised model of timm (PyTorch Image Models).

    Args:
        name: one of `timm.list_models()`.
        num_classes: C.
        in_channels: channels of the images.

    Raises:
        UserError: timm is not installed, does not know the model (the nearest are offered), or cannot make it with these arguments.
    """
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise unknown_name("model of timm", name, timm.list_models())
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(
            f"timm cannot make {name} for {in_channels} channels and {num_classes} classes ({one_line(error)}); use another model"
        ) from error
    return network
