"""Training: the trainer, its checkpoints, evaluation, and run folders. It knows the contract of methods only."""

from studygroup.training.evaluate import Scores, score
from studygroup.runs.member import Member, Run
from studygroup.training.settings import Settings
from studygroup.training.fit import Material, fit, load_teacher
from studygroup.training.trainer import Interrupted, Trainer

__all__ = ["Interrupted", "Material", "Member", "Run", "Scores", "Settings", "Trainer", "fit", "load_teacher", "score"]
