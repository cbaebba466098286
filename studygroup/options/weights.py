"""Options of what a training starts from."""

from __future__ import annotations

from dataclasses import dataclass

from studygroup.options.base import Options
from studygroup.parameters import option


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(Options):
    """Weights to start from."""

    title = "start"

    weights: str | None = option(
        None,
        help="Weights that the first student starts from: the folder of a finished run (its selected student), or a .safetensors, .pt or "
        ".pth file with the names of this library, torchvision or timm",
        default_help="a fresh initialisation",
    )
