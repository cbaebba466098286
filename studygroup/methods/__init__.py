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
    from studygroup.methods.ab import AB as AB
    from studygroup.methods.at import AT as AT
    from studygroup.methods.baseline import Baseline as Baseline
    from studygroup.methods.born_again import BornAgain as BornAgain
    from studygroup.methods.bss import BSS as BSS
    from studygroup.methods.cc import CC as CC
    from studygroup.methods.cgl import CGL as CGL
    from studygroup.methods.cl_ilr import CLILR as CLILR
    from studygroup.methods.codistillation import Codistillation as Codistillation
    from studygroup.methods.crd import CRD as CRD
    from studygroup.methods.dgkd import DGKD as DGKD
    from studygroup.methods.dml import DML as DML
    from studygroup.methods.fitnet import FitNet as FitNet
    from studygroup.methods.fsp import FSP as FSP
    from studygroup.methods.ft import FT as FT
    from studygroup.methods.kd import KD as KD
    from studygroup.methods.kdcl import KDCL as KDCL
    from studygroup.methods.mcl import MCL as MCL
    from studygroup.methods.method import Losses as Losses
    from studygroup.methods.method import Method as Method
    from studygroup.methods.nst import NST as NST
    from studygroup.methods.okddip import OKDDip as OKDDip
    from studygroup.methods.one import ONE as ONE
    from studygroup.methods.orc import ORC as ORC
    from studygroup.methods.papa import PAPA as PAPA
    from studygroup.methods.pcl import PCL as PCL
    from studygroup.methods.pkt import PKT as PKT
    from studygroup.methods.ps_kd import PSKD as PSKD
    from studygroup.methods.rdrop import RDrop as RDrop
    from studygroup.methods.rkd import RKD as RKD
    from studygroup.methods.sp import SP as SP
    from studygroup.methods.srrl import SRRL as SRRL
    from studygroup.methods.stage_spec import StageSpec as StageSpec
    from studygroup.methods.switokd import SwitOKD as SwitOKD
    from studygroup.methods.takd import TAKD as TAKD
    from studygroup.methods.vid import VID as VID
    # end

CONTRACT = ("studygroup.methods.method:Losses", "studygroup.methods.method:Method", "studygroup.methods.stage_spec:StageSpec")
CLASSES = {path.partition(":")[2]: path.partition(":")[0] for path in (*CONTRACT, *METHODS.built_in.values())}


def __getattr__(name: str) -> Any:
    """Import a class when it is first used."""
    if name in CLASSES:
        return getattr(import_module(CLASSES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the classes of all methods, too."""
    return sorted({*globals(), *CLASSES})
