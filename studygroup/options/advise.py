"""The options of `studygroup advise`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studygroup.errors import UserError
from studygroup.options.base import MOST_SEEDS
from studygroup.options.groups import DataOptions, NetworkOptions, WorkerOptions
from studygroup.options.run import TrainerOptions
from studygroup.parameters import option


@dataclass(frozen=True, kw_only=True)
class AdviseOptions(WorkerOptions, TrainerOptions, DataOptions, NetworkOptions):
    """Options of `studygroup advise`."""

    title = "advice"

    time_limit: str | None = option("1h", help="Time for everything together, such as `30m`, `2h` or `1h30m`", affects="nothing")
    seeds: int = option(3, at_least=1, at_most=MOST_SEEDS, help="Number of seeds of each candidate; each seed holds out other samples")
    candidates: Sequence[str] = option(
        (), help="Candidates to consider beside the student alone", default_help="all that apply, see docs/advise.md"
    )
    out: str | Path | None = option(
        None, help="Folder of the advice and of all its runs", default_help="runs/advice-DATA-STUDENT", affects="nothing"
    )
    overwrite: bool = option(False, help="Delete the advice in --out first", affects="nothing")

    def __post_init__(self) -> None:
        """Refuse what an advice decides itself."""
        super().__post_init__()
        if self.time_limit is None:
            raise UserError("time_limit is missing; say how long the advice may take, such as 30m or 2h")
        given = next((name for name in ("teacher", "teacher_epochs", "peers") if getattr(self, name) not in (None, ())), None)
        if given is not None:
            raise UserError(f"{given} is {getattr(self, given)}, but an advice trains its own; leave it out, or take `studygroup compare`")
        if self.holdout == 0:
            raise UserError(
                "holdout is 0, but candidates are compared on the hold-out set; leave holdout out, or give a fraction such as 0.1"
            )
