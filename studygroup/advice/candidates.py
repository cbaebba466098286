"""Candidates beside the student alone: what might be better at the same total compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from studygroup.errors import unknown_name
from studygroup.options import AdviseOptions, RunOptions
from studygroup.options.base import plain
from studygroup.pipeline.choose import larger_network

ALONE = "alone"
REGULARISED = "regularisation"
SAME: Mapping[object, tuple[str, ...]] = {"light": ("light", "auto")}
"""Values of an option that mean the same as one of a candidate's."""


@dataclass(frozen=True)
class Candidate:
    """A way to train that might beat the student alone.

    Attributes:
        name: of the candidate and its runs.
        about: what it is, in a few words.
        kind: `regularisation`, `larger`, `group` or `teacher`.
        options: of `studygroup train`, in which it differs from the student alone.
        needs_teacher: whether it learns from the larger network, which is trained first.
        costs_as_alone: whether its steps cost what those of the student alone do.
    """

    name: str
    about: str
    kind: str
    options: Mapping[str, object]
    needs_teacher: bool = False
    costs_as_alone: bool = False


def candidates_for(base: RunOptions, options: AdviseOptions, *, texts: bool) -> list[Candidate]:
    """List the candidates for a kind of data, the most promising first; those that the options ask for, if they do.

    Args:
        base: options of the student alone, resolved.
        options: of the advice.
        texts: whether the data are texts; otherwise images.

    Raises:
        UserError: the options name an unknown candidate.
    """
    larger = larger_network(base.student)
    decay = {"weight_decay": 4 * base.weight_decay} if base.weight_decay else {"optimizer": "adamw", "weight_decay": 0.05}
    decayed = f"weight decay of {decay['weight_decay']:g}" + (" (AdamW)" if "optimizer" in decay else "")
    first = (
        Candidate("token-dropout", "token dropout of 0.1", REGULARISED, {"token_dropout": 0.1}, costs_as_alone=True)
        if texts
        else Candidate("augment-medium", "medium augmentation", REGULARISED, {"augment": "medium"})
    )
    second = (
        Candidate("dropout", "dropout of 0.3", REGULARISED, {"dropout": 0.3})
        if texts
        else Candidate("augment-strong", "strong augmentation", REGULARISED, {"augment": "strong"})
    )
    known = [
        first,
        Candidate("dml", "two students that teach each other (dml)", "group", {"method": "dml"}),
        Candidate(
            "dml-distilled", "a student of two that teach each other (dml, distilled)", "group", {"method": "dml", "hand_over": "distilled"}
        ),
        Candidate("larger", f"the larger network {larger}", "larger", {"student": larger}),
        Candidate("smoothing", "label smoothing of 0.1", REGULARISED, {"label_smoothing": 0.1}, costs_as_alone=True),
        Candidate("kd", f"a trained {larger} as its teacher (kd)", "teacher", {"method": "kd"}, needs_teacher=True),
        Candidate("rdrop", f"two views of each {'text' if texts else 'image'} that agree (rdrop)", REGULARISED, {"method": "rdrop"}),
        second,
        *([] if texts else [Candidate("augment-light", "light augmentation", REGULARISED, {"augment": "light"})]),
        Candidate("one", "branches that learn from their ensemble (one)", "group", {"method": "one"}),
        Candidate("weight-decay", decayed, REGULARISED, decay, costs_as_alone=True),
        Candidate("cgl", "routes through one network that teach each other (cgl)", "group", {"method": "cgl"}),
        Candidate("orc", f"a group and a trained {larger} as its pivot (orc)", "teacher", {"method": "orc"}, needs_teacher=True),
    ]
    known = [
        candidate
        for candidate in known
        if (larger is not None or not (candidate.needs_teacher or candidate.kind == "larger"))
        and any(plain(getattr(base, name)) not in SAME.get(value, (plain(value),)) for name, value in candidate.options.items())
    ]
    names = [candidate.name for candidate in known]
    for name in options.candidates:
        if name not in names:
            raise unknown_name("candidate", name, names)
    return [candidate for candidate in known if not options.candidates or candidate.name in options.candidates]
