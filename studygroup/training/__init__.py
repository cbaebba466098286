"""Training: steps, the trainer, evaluation and results. It knows the contract of methods only."""

from studygroup.training.evaluate import Scores, score
from studygroup.training.fit import fit, load_teacher
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.step_runner import StepRunner
from studygroup.training.trainer import Interrupted, Trainer

__all__ = ["DataSplits", "Interrupted", "Scores", "Settings", "StepRunner", "Trainer", "fit", "load_teacher", "score"]
