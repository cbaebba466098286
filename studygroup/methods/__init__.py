"""Methods: what one batch teaches. One file per paper."""

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
from studygroup.methods.method import Losses, Method
from studygroup.methods.nst import NST
from studygroup.methods.okddip import OKDDip
from studygroup.methods.one import ONE
from studygroup.methods.orc import ORC
from studygroup.methods.pkt import PKT
from studygroup.methods.registry import METHODS, create_method, method_name, method_options
from studygroup.methods.rkd import RKD
from studygroup.methods.sp import SP
from studygroup.methods.srrl import SRRL
from studygroup.methods.takd import TAKD
from studygroup.methods.vid import VID

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
    "Losses",
    "Method",
    "OKDDip",
    "create_method",
    "method_name",
    "method_options",
]
