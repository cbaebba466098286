"""Options of foreign code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studygroup.foreign import check_import_paths
from studygroup.options.base import Options
from studygroup.parameters import option


@dataclass(frozen=True, kw_only=True)
class CodeOptions(Options):
    """Code that files may name."""

    title = "code of your own"

    allow_code: Sequence[str] = option(
        (),
        help="Import paths, as `package.module:function`, of networks and methods that a run folder or a recipe names: files run no code "
        "without it",
        affects="nothing",
    )

    def __post_init__(self) -> None:
        """Check that they are import paths."""
        super().__post_init__()
        check_import_paths(self.allow_code)
