"""Methods: what one batch teaches. One file per paper."""

from studygroup.methods.ab import AB
from studygroup.methods.at import AT
from studygroup.methods.baseline import Baseline
from studygroup.methods.cgl import CGL
from studygroup.methods.cl_ilr import CLILR
from studygroup.methods.codistillation import Codistillation
from studygroup.methods.dgkd import DGKD
from studygroup.methods.dml import DML
from studygroup.methods.fitnet import FitNet
from studygroup.methods.fsp import FSP
from studygroup.methods.ft import FT
from studygroup.methods.kd import KD
from studygroup.methods.kdcl import KDCL
from studygroup.methods.method import Losses, Method
from studygroup.methods.okddip import OKDDip
from studygroup.methods.one import ONE
from studygroup.methods.orc import ORC
from studygroup.methods.registry import METHODS, create_method, method_name, method_options
from studygroup.methods.takd import TAKD

__all__ = [
    "AB",
    "AT",
    "CGL",
    "CLILR",
    "DGKD",
    "DML",
    "FSP",
    "FT",
    "KD",
    "KDCL",
    "METHODS",
    "ONE",
    "ORC",
    "TAKD",
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
