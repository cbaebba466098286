"""Modules that know the arguments they were made with."""

from __future__ import annotations

import inspect
from typing import Any, Self

from torch import nn

from studygroup.parameters import check_values, parameters_of


class Recorded(nn.Module):
    """A module that records its constructor's arguments, for config.yaml, after they were checked."""

    _options: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the constructor's arguments; reject values outside a `Literal` or out of range."""
        made = super().__new__(cls)
        nn.Module.__init__(made)  # before a dataclass sets the first attribute
        given = inspect.signature(cls.__init__).bind_partial(made, *args, **kwargs).arguments
        parameters = parameters_of(cls)
        check_values(parameters, given)
        made.__dict__["_options"] = {name: given.get(name, parameter.default) for name, parameter in parameters.items()}
        return made

    def __init__(self) -> None:
        """Take no options."""

    def options(self) -> dict[str, Any]:
        """Return the constructor's arguments with their values."""
        return dict(self._options)
