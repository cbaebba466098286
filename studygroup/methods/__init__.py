"""Methods: what one batch teaches. One file per paper."""

from studygroup.methods.baseline import Baseline
from studygroup.methods.cgl import CGL
from studygroup.methods.dml import DML
from studygroup.methods.kd import KD
from studygroup.methods.method import Losses, Method
from studygroup.methods.orc import ORC
from studygroup.methods.registry import METHODS, create_method, method_name, method_options

__all__ = ["CGL", "DML", "KD", "METHODS", "ORC", "Baseline", "Losses", "Method", "create_method", "method_name", "method_options"]
