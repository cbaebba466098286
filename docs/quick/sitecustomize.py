"""Makes trainings short where the blocks of reference pages are run: `docs/run.py` puts this folder on `PYTHONPATH`.

Readers see the commands as they would type them. Here the same commands train for a few epochs, on few samples and seeds, so that all pages
run in minutes. Tutorials are not shortened: what they show are the results of what they say.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import studygroup
from studygroup import api
from studygroup.parameters import Parameter, parameters_of

ALWAYS = {"epochs": 2, "seeds": 1}
IF_GIVEN = {"teacher_epochs": 1, "hand_over_epochs": 1, "warmup": 1, "time_limit": "40s"}
DIGITS = {"train_size": 160}


def shortened(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a public function so that its training is short."""
    known = parameters_of(function.options)  # type: ignore[attr-defined]

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        return function(*args, **options | short_options(known, "digits" in args or options.get("data") == "digits", options))

    return call


def short_options(known: Mapping[str, Parameter], digits: bool, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that take the place of the given ones."""
    most: dict[str, Any] = {**ALWAYS, **(DIGITS if digits else {}), **{name: limit for name, limit in IF_GIVEN.items() if given.get(name)}}
    return {
        name: limit if isinstance(limit, str) else min(given.get(name) or limit, limit) for name, limit in most.items() if name in known
    }


if os.environ.get("STUDYGROUP_DOCS") == "quick":
    for name in ("train", "compare", "advise"):
        short = shortened(getattr(api, name))
        setattr(api, name, short)
        setattr(studygroup, name, short)
