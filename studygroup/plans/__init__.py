"""Plans: which stage follows which."""

from studygroup.plans.plan import Stage, run_plan

__all__ = ["Stage", "run_plan"]
