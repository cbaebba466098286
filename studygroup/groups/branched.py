"""One trunk, K branches: students that share the lower layers of a network.

As in CL-ILR (Song and Chai, NeurIPS 2018), ONE (Lan et al., NeurIPS 2018) and OKDDip (Chen et al., AAAI 2020): a branch is the last
feature stage and a head; everything before it is shared, unless `branch_from` names another stage. If all students get the same batch,
the trunk runs once.
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
    """The identity with a gradient multiplied by a factor (Song and Chai's I(.))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        """Args: x: any shape. factor: of the gradient."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Args: gradient: of the output."""
        return gradient * ctx.factor, None


def scaled_gradient(activation: Activation, factor: float) -> Activation:
    """Return the activation unchanged; its gradient is multiplied by a factor."""
    if isinstance(activation, Padded):
        return Padded(ScaledGradient.apply(activation.values, factor), activation.mask)  # type: ignore[no-untyped-call]
    scaled: Tensor = ScaledGradient.apply(activation, factor)  # type: ignore[no-untyped-call]
    return scaled


class Branch(nn.Module):
    """One student's own layers, from the trunk's output to its logits.

    Attributes:
        body: all blocks but the last.
        classifier: the last block: features -> logits (B, C).
        gradient_scale: factor of the gradient that goes into the trunk.
    """

    def __init__(self, body: nn.Sequential, classifier: nn.Module, gradient_scale: float) -> None:
        """Args: body, classifier, gradient_scale: see above."""
        super().__init__()
        self.body = body
        self.classifier = classifier
        self.gradient_scale = gradient_scale

    def features(self, shared: Activation) -> Tensor:
        """Return the input of the classifier: pooled features (B, d) in the library's networks.

        Args:
            shared: the trunk's output.
        """
        if self.gradient_scale != 1.0:
            shared = scaled_gradient(shared, self.gradient_scale)
        out: Tensor = self.body(shared)
        return out

    def forward(self, shared: Activation) -> Tensor:
        """Args: shared: the trunk's output. Returns: logits (B, C)."""
        out: Tensor = self.classifier(self.features(shared))
        return out


class Branched(Group):
    """K branches on one trunk.

    Attributes:
        trunk: the shared blocks; empty, so the identity, if the students are whole networks.
        branches: K modules `Branch`.
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
        """Split copies of a network: branch k comes from copy k, the trunk from copy 0.

        So the first student starts from the same weights as this network trained alone.

        Args:
            make_copy: copy number -> a freshly initialised `Chain`.
            students: K >= 1.
            branch_from: the first stage of a branch; by default the last one before the head.
            whole: share nothing: every branch is a whole network. Excludes `branch_from`.
            rescale: divide the gradient of the trunk by K.
            targets: `target_mode` of the passes that only compute targets.

        Raises:
            UserError: the network is no chain, or cannot be split at this stage.
        """
        super().__init__()
        if students < 1:
            raise UserError(f"students is {students}; at least 1 is needed")
        if whole and branch_from is not None:
            raise UserError(f"branch_from is {branch_from!r}, but whole networks have no trunk; leave one of the two out")
        first = make_copy(0)
        if not isinstance(first, Chain):
            raise UserError(
                f"branches need a network that is a chain of blocks; {type(first).__name__} is none: "
                "use one of `studygroup list networks`, or a method of whole networks such as dml"
            )
        self.branch_from = None if whole else _first_branch_stage(first, branch_from)
        self.rescale = rescale
        self.targets: TargetMode = targets
        self._stages = first.stages
        names = [name for blocks in first.stages.values() for name in blocks]
        cut = 0 if self.branch_from is None else names.index(first.stages[self.branch_from][0])
        self.trunk = _blocks(first, names[:cut])
        gradient_scale = 1 / students if rescale else 1.0
        chains = (make_copy(k) if k else first for k in range(students))
        self._branches = [Branch(_blocks(chain, names[cut:-1]), getattr(chain, names[-1]), gradient_scale) for chain in chains]
        self.branches = nn.ModuleList(self._branches)

    def __len__(self) -> int:
        """Return K."""
        return len(self.branches)

    def __getitem__(self, student: int) -> nn.Module:
        """Return trunk and branch of a student, shared with the group."""
        path = nn.Sequential(self.trunk, self.branches[student])
        path.training = self.training  # not path.train(), which would change the shared modules
        return path

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return every student's logits, K x (B, C); the trunk runs once."""
        return self.branch_outputs(self.trunk(inputs))

    def branch_outputs(self, shared: Activation) -> list[Tensor]:
        """Return every student's logits, K x (B, C), from the trunk's output."""
        return [branch(shared) for branch in self.branches]

    def features(self, shared: Activation) -> list[Tensor]:
        """Return the inputs of the classifiers, K x (B, d), from the trunk's output."""
        return [branch.features(shared) for branch in self._branches]

    def own_features(self, shared: Sequence[Activation]) -> list[Tensor]:
        """Return the inputs of the classifiers, K x (b_k, d), from the trunk's outputs on each student's own inputs."""
        return [branch.features(x) for branch, x in zip(self._branches, shared, strict=True)]

    def classify(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return every student's logits, K x (B, C), from its features."""
        return [branch.classifier(x) for branch, x in zip(self._branches, features, strict=True)]

    def widths(self, example: Tensor) -> tuple[int, int]:
        """Return the channels of the trunk's output and the length of the pooled features for inputs like `example` (1, ...)."""
        weights = next(self.parameters(), example)
        with torch.no_grad(), target_mode(self, "eval"):
            shared = self.trunk(example.to(weights.device, weights.dtype if example.is_floating_point() else example.dtype))
            return pooled(shared).shape[1], pooled(self._branches[0].features(shared)).shape[1]

    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Run one pass for own samples, and one for the imitated logits that it did not compute."""
        present = [k for k, x in enumerate(inputs) if len(x)]
        shared = batched_call(self.trunk, {k: inputs[k] for k in present}) if present else {}
        own = [self.branches[k](shared[k]) if k in shared else x.new_zeros(0) for k, x in enumerate(inputs)]
        pairs = [(k, teacher) for k in present for teacher in imitated[k]]
        targets = {(k, j): own[j].detach() if detach else own[j] for k, j in pairs if inputs[k] is inputs[j]}
        missing = [pair for pair in pairs if pair not in targets]
        if missing:
            with torch.set_grad_enabled(not detach), target_mode(self, self.targets):
                shared = batched_call(self.trunk, {k: inputs[k] for k, _ in missing})
                for teacher in sorted({j for _, j in missing}):
                    logits = batched_call(self.branches[teacher], {k: shared[k] for k, j in missing if j == teacher})
                    targets.update(((k, teacher), z) for k, z in logits.items())
        return own, [[targets[k, j] for j in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]

    def export(self, student: int) -> Chain:
        """Return a copy of trunk and branch as a chain."""
        branch = self._branches[student]
        blocks = iter([*self.trunk, *branch.body, branch.classifier])
        stages = {stage: {name: copy.deepcopy(next(blocks)) for name in names} for stage, names in self._stages.items()}
        return Chain(stages).train(self.training)

    def compiled_modules(self) -> list[nn.Module]:
        """Return trunk, bodies and classifiers."""
        sequences = [self.trunk, *(branch.body for branch in self._branches)]
        return [*(blocks for blocks in sequences if len(blocks)), *(branch.classifier for branch in self._branches)]

    def describe(self) -> dict[str, object]:
        """Return kind, size and first stage of the branches."""
        return {"group": "branched", "students": len(self), "branch_from": self.branch_from, "rescale": self.rescale}


def pooled(features: Activation) -> Tensor:
    """Return the mean over positions of maps, (B, c, ...) -> (B, c), or texts (0 for an empty one); vectors (B, d) are unchanged."""
    if isinstance(features, Padded):
        return features.values.sum(1) / features.mask.sum(1, keepdim=True).clamp_min(1)
    return features.flatten(2).mean(-1) if features.dim() > 2 else features


def _blocks(chain: nn.Module, names: Sequence[str]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, getattr(chain, name)) for name in names))


def _first_branch_stage(chain: Chain, branch_from: str | None) -> str:
    """Return the first stage of the branches, checked."""
    stages = list(chain.stages)
    if stages[-1] != "head":
        raise UserError(f"the stages of the network are {', '.join(stages)}; the last must be called head")
    if branch_from is not None and branch_from not in stages:
        raise unknown_name("stage to branch from", branch_from, stages)
    stage = branch_from or stages[max(len(stages) - 2, 0)]
    if stage == stages[0]:
        raise UserError(
            f"branching from {stage!r}, the first of the network's stages ({', '.join(stages)}), leaves nothing to share; "
            "use a later stage or a deeper network, or a method of whole networks such as dml"
        )
    return stage
