"""Options of what a training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from studygroup.errors import UserError
from studygroup.options.base import Options
from studygroup.parameters import option


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(Options):
    """Weights to start from."""

    title = "start"

    weights: str | Path | Mapping[str, str] | None = option(
        None,
        help="Weights to start from: of the first student, or `MEMBER=SOURCE,...` (student0, student1, ..., teacher). A source is the "
        "folder of a finished run (its selected student), a .safetensors, .pt or .pth file with the names of this library, torchvision or "
        "timm, `timm:NAME@pretrained`, or `hf:FOLDER`",
        default_help="fresh initialisations",
    )
    members_start: Literal["own", "same"] = option(
        "own",
        help="Start of students that are given no weights: each its `own` initialisation, or the `same` as the first, if their network is",
    )
    freeze: str = option(
        "none",
        help="Part of networks with trained weights that is not trained: `none`, `all-but-head`, or a stage (stem, stage1, ...) and all "
        "before it",
    )

    def sources(self) -> dict[str, str]:
        """Return the sources of weights by member.

        Raises:
            UserError: the option is of another type.
        """
        if self.weights is None:
            return {}
        if isinstance(self.weights, str | Path):
            return {"student0": str(self.weights)}
        if not isinstance(self.weights, Mapping):
            raise UserError(f"weights is a {type(self.weights).__name__}; give a path, or a mapping of members and paths")
        found = {"student0" if member == "student" else str(member): str(source) for member, source in self.weights.items()}
        if len(found) < len(self.weights):
            raise UserError("weights are given for both student and student0, which are the same; leave one out")
        return found
