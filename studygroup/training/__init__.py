"""Training: the trainer, its checkpoints, evaluation, and run folders. It knows the contract of methods only."""

from studygroup.runs.member import Member, Run
from studygroup.training.evaluate import Scores, score
from studygroup.training.fit import DataSplits, fit, load_teacher
from studygroup.training.settings import Settings
from studygroup.training.trainer import Interrupted, Trainer

__all__ = ["DataSplits", "Interrupted", "Member", "Run", "Scores", "Settings", "Trainer", "fit", "load_teacher", "score"]
