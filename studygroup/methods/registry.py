"""Methods by name. To add one: its file, its line here, its page in docs/methods, then `make docs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from studygroup.errors import UserError, unknown_name
from studygroup.parameters import Parameter, parameters_of
from studygroup.registry import Registry

if TYPE_CHECKING:
    from studygroup.methods.method import Method

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "baseline": "studygroup.methods.baseline:Baseline",
        "kd": "studygroup.methods.kd:KD",
        "takd": "studygroup.methods.takd:TAKD",
        "dgkd": "studygroup.methods.dgkd:DGKD",
        "fitnet": "studygroup.methods.fitnet:FitNet",
        "at": "studygroup.methods.at:AT",
        "ab": "studygroup.methods.ab:AB",
        "ft": "studygroup.methods.ft:FT",
        "fsp": "studygroup.methods.fsp:FSP",
        "sp": "studygroup.methods.sp:SP",
        "cc": "studygroup.methods.cc:CC",
        "vid": "studygroup.methods.vid:VID",
        "rkd": "studygroup.methods.rkd:RKD",
        "pkt": "studygroup.methods.pkt:PKT",
        "nst": "studygroup.methods.nst:NST",
        "crd": "studygroup.methods.crd:CRD",
        "srrl": "studygroup.methods.srrl:SRRL",
        "bss": "studygroup.methods.bss:BSS",
        "ps_kd": "studygroup.methods.ps_kd:PSKD",
        "born_again": "studygroup.methods.born_again:BornAgain",
        "papa": "studygroup.methods.papa:PAPA",
        "rdrop": "studygroup.methods.rdrop:RDrop",
        "dml": "studygroup.methods.dml:DML",
        "cl_ilr": "studygroup.methods.cl_ilr:CLILR",
        "one": "studygroup.methods.one:ONE",
        "okddip": "studygroup.methods.okddip:OKDDip",
        "kdcl": "studygroup.methods.kdcl:KDCL",
        "codistillation": "studygroup.methods.codistillation:Codistillation",
        "pcl": "studygroup.methods.pcl:PCL",
        "mcl": "studygroup.methods.mcl:MCL",
        "switokd": "studygroup.methods.switokd:SwitOKD",
        "cgl": "studygroup.methods.cgl:CGL",
        "orc": "studygroup.methods.orc:ORC",
    },
    group="studygroup.methods",
)


def method_class(name: str) -> type[Method]:
    """Return the class of a method.

    Args:
        name: one of `METHODS`, or `package.module:Class`.

    Raises:
        UserError: the name is unknown (the nearest names are offered), cannot be imported, or is not a method.
    """
    from studygroup.methods.method import Method

    found: object = METHODS.load(name)
    if not (isinstance(found, type) and issubclass(found, Method)):
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise UserError(f"the method {name!r} is {kind}; it must be a class derived from studygroup.methods.Method")
    return found


def method_name(method: Method) -> str:
    """Return the registered name of a method, or `package.module:Class` if it is not registered."""
    return METHODS.name_of(type(method))


def method_options(name: str) -> Mapping[str, Parameter]:
    """Return a method's options by name, those of a group that several methods share last.

    Raises:
        UserError: as `method_class`.
    """
    return dict(sorted(parameters_of(method_class(name)).items(), key=lambda item: item[1].group != ""))


def create_method(name: str, options: Mapping[str, object] | None = None) -> Method:
    """Create a method.

    Args:
        name: one of `METHODS`, or `package.module:Class`.
        options: option -> value.

    Raises:
        UserError: an unknown method or option (the nearest names are offered), or an invalid value.
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
    return method_class(name)(**checked)
