"""Methods: what one batch teaches a group. One file per paper; a method's file is imported when its class is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from studygroup.methods.registry import METHODS as METHODS
from studygroup.methods.registry import create_method as create_method
from studygroup.methods.registry import method_class as method_class
from studygroup.methods.registry import method_name as method_name
from studygroup.methods.registry import method_options as method_options

if TYPE_CHECKING:
    # generated: methods
    # end
    from studygroup.methods.method import Losses as Losses
    from studygroup.methods.method import Method as Method
    from studygroup.methods.stage_spec import StageSpec as StageSpec

_MODULES = {path.partition(":")[2]: path.partition(":")[0] for path in METHODS.built_in.values()}
_MODULES |= {"Losses": "studygroup.methods.method", "Method": "studygroup.methods.method", "StageSpec": "studygroup.methods.stage_spec"}


def __getattr__(name: str) -> Any:
    """Import a class when it is first used."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the classes of all methods, too."""
    return sorted({*globals(), *_MODULES})
