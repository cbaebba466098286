"""Methods by name: the command line, recipes, `studygroup.CLASS` and the tests know a method by its lines here."""

from __future__ import annotations

from collections.abc import Mapping

from studygroup.errors import UserError, unknown_name
from studygroup.methods.ab import AB
from studygroup.methods.at import AT
from studygroup.methods.baseline import Baseline
from studygroup.methods.bss import BSS
from studygroup.methods.cc import CC
from studygroup.methods.cgl import CGL
from studygroup.methods.cl_ilr import CLILR
from studygroup.methods.codistillation import Codistillation
from studygroup.methods.crd import CRD
from studygroup.methods.dgkd import DGKD
from studygroup.methods.dml import DML
from studygroup.methods.fitnet import FitNet
from studygroup.methods.fsp import FSP
from studygroup.methods.ft import FT
from studygroup.methods.kd import KD
from studygroup.methods.kdcl import KDCL
from studygroup.methods.method import Method
from studygroup.methods.nst import NST
from studygroup.methods.okddip import OKDDip
from studygroup.methods.one import ONE
from studygroup.methods.orc import ORC
from studygroup.methods.pkt import PKT
from studygroup.methods.rkd import RKD
from studygroup.methods.sp import SP
from studygroup.methods.srrl import SRRL
from studygroup.methods.takd import TAKD
from studygroup.methods.vid import VID
from studygroup.parameters import Parameter, parameters_of

__all__ = [
    "AB",
    "AT",
    "BSS",
    "CC",
    "CGL",
    "CLILR",
    "CRD",
    "DGKD",
    "DML",
    "FSP",
    "FT",
    "KD",
    "KDCL",
    "METHODS",
    "NST",
    "ONE",
    "ORC",
    "PKT",
    "RKD",
    "SP",
    "SRRL",
    "TAKD",
    "VID",
    "Baseline",
    "Codistillation",
    "FitNet",
    "OKDDip",
    "create_method",
    "method_class",
    "method_name",
    "method_options",
]

METHODS: dict[str, type[Method]] = {
    "baseline": Baseline,
    "kd": KD,
    "takd": TAKD,
    "dgkd": DGKD,
    "fitnet": FitNet,
    "at": AT,
    "ab": AB,
    "ft": FT,
    "fsp": FSP,
    "sp": SP,
    "cc": CC,
    "vid": VID,
    "rkd": RKD,
    "pkt": PKT,
    "nst": NST,
    "crd": CRD,
    "srrl": SRRL,
    "bss": BSS,
    "dml": DML,
    "cl_ilr": CLILR,
    "one": ONE,
    "okddip": OKDDip,
    "kdcl": KDCL,
    "codistillation": Codistillation,
    "cgl": CGL,
    "orc": ORC,
}


def method_name(method: Method) -> str:
    """The registered name of a method, or its class's name."""
    return next((name for name, kind in METHODS.items() if kind is type(method)), type(method).__name__)


def method_class(name: str) -> type[Method]:
    """Return the class of a method."""
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]


def method_options(name: str) -> dict[str, Parameter]:
    """A method's options by name.

    Raises:
        UserError: an unknown method; the nearest names are offered.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    constructor = METHODS[name].__init__
    if constructor is Method.__init__:
        return {}
    return {option: parameter for option, parameter in parameters_of(constructor).items() if option != "self"}


def create_method(name: str, options: Mapping[str, object] | None = None) -> Method:
    """A method by name.

    Args:
        name: one of `METHODS`.
        options: option -> value.

    Raises:
        UserError: an unknown method or option (the nearest names are offered), or a value that cannot be.
    """
    known = method_options(name)
    checked = {}
    for option, value in (options or {}).items():
        if option not in known:
            raise unknown_name(f"option of {name}", option, known) if known else UserError(f"{name} has no options; {option!r} was given")
        kind = known[option].kind
        try:  # a list may be typed without brackets
            checked[option] = kind.parse(value) if kind.base == "list" and isinstance(value, str) else kind.check(value)
        except ValueError as error:
            raise UserError(f"{name}'s {option} is {error}") from None
    return METHODS[name](**checked)
