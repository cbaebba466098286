"""Base of the methods with teacher assistants: networks of sizes between teacher and student, each trained by those before it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import require
from studygroup.methods.stage_spec import StageSpec
from studygroup.parameters import option

Teachers = tuple[str, ...]


@dataclass(eq=False, kw_only=True)
class Assisted(ComparesLogits):
    """A student that learns from a teacher and its assistants. An assistant is the student of a shorter chain."""

    needs_teacher = True
    several_teachers = True

    assistants: Sequence[str] | None = option(
        None, help="Networks of the assistants, from the largest to the smallest", default_help="those of sizes between"
    )
    assistant_epochs: int | None = option(None, at_least=1, help="Epochs of each assistant's training", default_help="the student's")

    def __post_init__(self) -> None:
        """Check that the assistants are a list."""
        super().__post_init__()
        listed = self.assistants is None or (isinstance(self.assistants, Sequence) and not isinstance(self.assistants, str))
        require(listed, f"assistants is {self.assistants!r}; it must be a list of networks")

    @abstractmethod
    def choose_teachers(self, earlier: Teachers) -> Teachers:
        """Choose the next stage's teachers from `"teacher"` and the names of the stages so far."""

    def stages(self) -> list[StageSpec]:
        """List a stage for each assistant, then the student's own."""
        name = type(self).__name__.lower()
        assistants = tuple(self.assistants or ())
        require(
            bool(assistants),
            f"{name} has no assistants; give networks from the largest to the smallest, as in "
            "--method.assistants resnet32,resnet20, or use kd",
        )
        stages: list[StageSpec] = []
        earlier: Teachers = ("teacher",)
        for number, network in enumerate(assistants):
            shorter = type(self)(**self.options() | {"assistants": assistants[:number]})
            stages.append(
                StageSpec(f"assistant{number + 1}", shorter, network, self.assistant_epochs, teachers=self.choose_teachers(earlier))
            )
            earlier = (*earlier, stages[-1].name)
        return [*stages, StageSpec("train", self, teachers=self.choose_teachers(earlier))]
