"""Plans: which stage follows which."""

from studygroup.pipeline.stages import Stage, maker, rehearse, run_plan
from studygroup.plans.registry import PLANS, stages_of

__all__ = ["PLANS", "Stage", "maker", "rehearse", "run_plan", "stages_of"]
