"""Networks from elsewhere, by text: `timm:NAME`, and `package.module:function` for whatever can be imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from studygroup.errors import UserError, in_short, unknown

TIMM = "timm:"


def function(text: str) -> Callable[..., nn.Module]:
    """What makes the network that a text with a colon names: a function or class, to be called with what it has arguments for.

    Raises:
        UserError: it cannot be imported, or is nothing that can be called.
    """
    if text.startswith(TIMM):
        return partial(from_timm, text.removeprefix(TIMM))
    package, _, name = text.partition(":")
    try:
        found: Any = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"cannot import the network {text!r} ({error}); write package.module:function of something importable") from error
    if not callable(found):
        raise UserError(f"{text!r} is a {type(found).__name__}; it must be a function or class that makes a torch.nn.Module")
    made: Callable[..., nn.Module] = found
    return made


def from_timm(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """A freshly initialised model of timm (PyTorch Image Models), which is an optional extra of this package.

    Args:
        name: one of `timm.list_models()`.
        num_classes: C.
        in_channels: channels of the images.

    Raises:
        UserError: timm is not there, does not know the model (the nearest are offered), or cannot make it like this.
    """
    try:
        timm = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit the torch
        raise UserError(f"timm:{name} needs timm, which cannot be imported ({in_short(error)}); pip install timm") from error
    if not timm.is_model(name):
        raise unknown("model of timm", name, timm.list_models())
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(
            f"timm cannot make {name} for {in_channels} channels and {num_classes} classes ({in_short(error)}); take another"
        ) from error
    return network
