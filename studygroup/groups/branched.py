"""One trunk, K branches: students that have the lower part of a network in common.

The form of CL-ILR (Song and Chai, NeurIPS 2018), ONE (Lan et al., NeurIPS 2018) and OKDDip (Chen et al., AAAI 2020): everything up to
and including the second-last feature stage is shared; a branch is the last one and a head of its own. `branch_from` cuts elsewhere.
On one batch for all, the trunk runs once.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.errors import UserError, unknown_name
from studygroup.groups.group import Group, batched_call
from studygroup.groups.target import TargetMode, target_mode
from studygroup.networks.chain import Chain
from studygroup.networks.padded import Activation, Padded


class ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor (Song and Chai's I(.))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        """Args: x: anything. factor: on the gradient."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Args: gradient: with respect to the output."""
        return gradient * ctx.factor, None


def scaled_gradient(activation: Activation, factor: float) -> Activation:
    """The same, whose gradient is multiplied by a factor."""
    if isinstance(activation, Padded):
        return Padded(ScaledGradient.apply(activation.values, factor), activation.mask)  # type: ignore[no-untyped-call]
    scaled: Tensor = ScaledGradient.apply(activation, factor)  # type: ignore[no-untyped-call]
    return scaled


class Branch(nn.Module):
    """What one student has of its own, from the trunk's output to its logits.

    Attributes:
        body: all blocks but the last.
        classifier: the last block: features -> logits (B, C).
    """

    def __init__(self, body: nn.Sequential, classifier: nn.Module, gradient: float) -> None:
        """Args: body, classifier: see above. gradient: factor on the gradient that the branch sends into the trunk."""
        super().__init__()
        self.body = body
        self.classifier = classifier
        self.gradient = gradient

    def features(self, shared: Activation) -> Tensor:
        """What the classifier takes: pooled features (B, d) in the library's networks.

        Args:
            shared: the trunk's output.
        """
        if self.gradient != 1.0:
            shared = scaled_gradient(shared, self.gradient)
        out: Tensor = self.body(shared)
        return out

    def forward(self, shared: Activation) -> Tensor:
        """Args: shared: the trunk's output. Returns: logits (B, C)."""
        out: Tensor = self.classifier(self.features(shared))
        return out


class Branched(Group):
    """K branches on one trunk.

    Attributes:
        trunk: the shared blocks; none, and so the identity, if the students are whole networks.
        branches: K of `Branch`.
    """

    def __init__(
        self,
        make_copy: Callable[[int], nn.Module],
        students: int,
        *,
        branch_from: str | None = None,
        whole: bool = False,
        rescale: bool = False,
        targets: TargetMode = "batch_stats",
    ) -> None:
        """Cut copies of a network: branch k comes from copy k, the trunk from copy 0.

        So the first student starts from the same weights as that network alone.

        Args:
            make_copy: copy number -> a freshly initialised `Chain`.
            students: K >= 1.
            branch_from: the stage with which branches begin; the last one before the head by default.
            whole: share nothing: every branch is a whole network. It excludes `branch_from`.
            rescale: divide the gradient that enters the trunk by K.
            targets: how trunk and branches behave while they only make targets (`target_mode`).

        Raises:
            UserError: the network is no chain, or cannot be cut there.
        """
        super().__init__()
        if students < 1:
            raise UserError(f"students is {students}; at least 1 is needed")
        if whole and branch_from is not None:
            raise UserError(f"branch_from is {branch_from!r}, but whole networks have no branches; leave one of the two out")
        first = make_copy(0)
        if not isinstance(first, Chain):
            raise UserError(
                f"branches need a network that is a chain of blocks; {type(first).__name__} is none: "
                "take one of `studygroup list networks`, or a method that leaves networks whole"
            )
        self.branch_from = None if whole else _stage(first, branch_from)
        self.rescale = rescale
        self.targets: TargetMode = targets
        self._stages = first.stages
        names = [name for blocks in first.stages.values() for name in blocks]
        cut = 0 if self.branch_from is None else names.index(first.stages[self.branch_from][0])
        self.trunk = _blocks(first, names[:cut])
        gradient = 1 / students if rescale else 1.0
        chains = (make_copy(k) if k else first for k in range(students))
        self._branches = [Branch(_blocks(chain, names[cut:-1]), getattr(chain, names[-1]), gradient) for chain in chains]
        self.branches = nn.ModuleList(self._branches)

    def __len__(self) -> int:
        """K."""
        return len(self.branches)

    def __getitem__(self, student: int) -> nn.Module:
        """Trunk and branch of student `student`, shared with the group."""
        path = nn.Sequential(self.trunk, self.branches[student])
        path.training = self.training  # not path.train(), which would reach into the parts
        return path

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """K x (B, C); the trunk runs once."""
        return self.branch_outputs(self.trunk(inputs))

    def branch_outputs(self, shared: Activation) -> list[Tensor]:
        """Every student's logits, K x (B, C), from the trunk's output."""
        return [branch(shared) for branch in self.branches]

    def features(self, shared: Activation) -> list[Tensor]:
        """What every student's classifier takes, K x (B, d), from the trunk's output."""
        return [branch.features(shared) for branch in self._branches]

    def classify(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Every student's logits, K x (B, C), from its own features."""
        return [branch.classifier(x) for branch, x in zip(self._branches, features, strict=True)]

    def widths(self, example: Tensor) -> tuple[int, int]:
        """Channels c of the trunk's output, and length d of the (pooled) features, on inputs like `example` (1, ...)."""
        weights = next(self.parameters(), example)
        with torch.no_grad(), target_mode(self, "eval"):
            shared = self.trunk(example.to(weights.device, weights.dtype if example.is_floating_point() else example.dtype))
            return pooled(shared).shape[1], pooled(self._branches[0].features(shared)).shape[1]

    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """One pass for the own samples, and one for those on which a student is imitated that has not met them itself."""
        present = [k for k, x in enumerate(inputs) if len(x)]
        shared = batched_call(self.trunk, {k: inputs[k] for k in present}) if present else {}
        own = [self.branches[k](shared[k]) if k in shared else x.new_zeros(0) for k, x in enumerate(inputs)]
        wanted = [(k, teacher) for k in present for teacher in imitated[k]]
        taught = {(k, j): own[j].detach() if detach else own[j] for k, j in wanted if inputs[k] is inputs[j]}
        fresh = [pair for pair in wanted if pair not in taught]
        if fresh:
            with torch.set_grad_enabled(not detach), target_mode(self, self.targets):
                shared = batched_call(self.trunk, {k: inputs[k] for k, _ in fresh})
                for teacher in sorted({j for _, j in fresh}):
                    answers = batched_call(self.branches[teacher], {k: shared[k] for k, j in fresh if j == teacher})
                    taught.update(((k, teacher), logits) for k, logits in answers.items())
        return own, [[taught[k, j] for j in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]

    def export(self, student: int) -> Chain:
        """A copy of trunk and branch as the plain network that they are."""
        branch = self._branches[student]
        blocks = iter([*self.trunk, *branch.body, branch.classifier])
        stages = {stage: {name: copy.deepcopy(next(blocks)) for name in names} for stage, names in self._stages.items()}
        return Chain(stages).train(self.training)

    def compiled_modules(self) -> list[nn.Module]:
        """Trunk, bodies and classifiers."""
        sequences = [self.trunk, *(branch.body for branch in self._branches)]
        return [*(blocks for blocks in sequences if len(blocks)), *(branch.classifier for branch in self._branches)]

    def describe(self) -> dict[str, object]:
        """Kind, size, and where it is cut."""
        return {"group": "branched", "students": len(self), "branch_from": self.branch_from, "rescale": self.rescale}


def pooled(features: Activation) -> Tensor:
    """Mean over the positions of maps, (B, c, ...) -> (B, c), or of each text; of an empty one it is 0. Vectors (B, d) stay as they are."""
    if isinstance(features, Padded):
        return features.values.sum(1) / features.mask.sum(1, keepdim=True).clamp_min(1)
    return features.flatten(2).mean(-1) if features.dim() > 2 else features


def _blocks(chain: nn.Module, names: Sequence[str]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, getattr(chain, name)) for name in names))


def _stage(chain: Chain, branch_from: str | None) -> str:
    """The stage with which branches begin."""
    stages = list(chain.stages)
    if stages[-1] != "head":
        raise UserError(f"the stages of the network are {', '.join(stages)}; the last must be called head, so that every branch has one")
    if branch_from is not None and branch_from not in stages:
        raise unknown_name("stage to branch from", branch_from, stages)
    stage = branch_from or stages[max(len(stages) - 2, 0)]
    if stage == stages[0]:
        raise UserError(
            f"branching from {stage!r}, the first of the network's stages ({', '.join(stages)}), leaves nothing to share; "
            "take a later stage or a deeper network, or a method of whole networks such as dml"
        )
    return stage
