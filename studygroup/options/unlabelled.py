"""Options of samples without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studygroup.errors import UserError
from studygroup.options.base import Options
from studygroup.parameters import option


@dataclass(frozen=True, kw_only=True)
class UnlabelledOptions(Options):
    """Samples without labels beside the training samples."""

    title = "data"

    unlabelled: str | Path | None = option(
        None,
        help="Samples without labels that join the batches, for methods whose students imitate predictions: a folder of images, or a "
        "table or folder of texts",
    )
    unlabelled_share: float = option(
        0.5, above=0.0, below=1.0, help="Fraction of each batch that has no labels; an epoch is still one pass over those that have"
    )

    def __post_init__(self) -> None:
        """Check that a share has samples."""
        super().__post_init__()
        if self.unlabelled is None and self.unlabelled_share != type(self).unlabelled_share:
            raise UserError(
                f"unlabelled_share is {self.unlabelled_share:g}, but there are no such samples; give --unlabelled, or leave it out"
            )
