"""One modular network of L layers with M modules each; a student is a route through it.

Random routing of Collaborative Group Learning (Feng et al., AAAI 2021, section "Random Routing for Student Network", Eq. 1).
The parameters do not grow with the number of students.

Departures and readings (the paper leaves them open):
- A layer is one block of the network (its stem, a residual block with its shortcut and batch norms). `block_groups` joins
  several blocks into one layer; `route_stem=False` shares the stem. The embedding of a text network is one for all.
- The head (pooling and classifier) is one for all. `head="routed"` gives it M modules like a layer, `"per_student"` K.
- Routes are drawn once, uniformly and independently for each layer; `distinct` draws again until all K differ.
- Batch norm belongs to its module. `bn="pooled"`: the samples that go through a module in one call are normalised together, and
  the module has one running statistic, which follows the students' own samples. `bn="per_student"`: each student's samples are
  normalised by themselves, as in a loop over students, and each student has its own running statistics; the affine parameters
  are shared.
- `targets="recall"`, with pooled batch norm: a module normalises what only makes targets by the statistics of the own samples
  that it has just learnt from (by the running ones if there were none). It takes less time; LOG.md says what it costs.

In one iteration a module is called at most once for the students' own samples, with gradient, and at most once for the samples
on which it is imitated. Samples that several routes have in common travel as one until the routes part, and imitated routes go on
from where they leave the student's own. By student and with `recall` that changes no number; pooled, it is part of the definition
of what is normalised together. Dropout drops the same of all that travels as one; nothing is dropped from imitated routes, which
therefore leave the student's own before the first module with dropout.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.groups.group import Group, check_enough_students
from studygroup.groups.norm import PooledBatchNorm, RouteBatchNorm, StudentBatchNorm, replace_norms
from studygroup.groups.routes import routes_of
from studygroup.groups.target import target_mode
from studygroup.networks.chain import Chain
from studygroup.networks.padded import Activation, concat, detached, empty, samples, split, total

Head = Literal["shared", "routed", "per_student"]
BatchNorm = Literal["pooled", "per_student"]
Targets = Literal["batch_stats", "eval", "train", "recall"]
BEFORE = ("embedding", "stem")  # stages that are a layer each, before those of which each block is one


@dataclass(frozen=True)
class Stream:
    """Samples on their way through the modules.

    Attributes:
        inputs: of b samples, what the route's layer `depth` takes.
        route: the student whose route it is.
        samples: streams with the same number began with the very same samples.
        depth: how many layers are done.
    """

    inputs: Activation
    route: int
    samples: int = 0
    depth: int = 0


class Modular(Group):
    """K routes through layers of modules.

    Attributes:
        layers: one `nn.ModuleList` of modules per layer, the head's last.
    """

    def __init__(
        self,
        make_copy: Callable[[int], nn.Module],
        students: int,
        modules: int = 2,
        *,
        seed: int = 0,
        distinct: bool = True,
        require_coverage: bool = False,
        route_stem: bool = True,
        head: Head = "shared",
        block_groups: Sequence[int] | None = None,
        bn: BatchNorm = "pooled",
        targets: Targets = "batch_stats",
    ) -> None:
        """Cut copies of a network into modules and draw the routes.

        The first student's modules come from copy 0, so that it starts from the same weights as that network alone.

        Args:
            make_copy: copy number -> a freshly initialised `Chain`.
            students: K >= 1.
            modules: M >= 1 modules per layer.
            seed: of the routes.
            distinct: no two students have the same route.
            require_coverage: draw until every module is on some route.
            route_stem: whether the stem is a layer of M modules, or shared.
            head: one head for all, M heads that are routed like a layer, or one per student.
            block_groups: how many consecutive blocks after the stem make a layer, e.g. `(2, 1, 2, 2, 3, 3, 2, 1)`; one each by default.
            bn: batch norm's semantics, see above.
            targets: how modules behave while they only make targets (`target_mode`), or `"recall"`, see above.

        Raises:
            UserError: the network is no chain, or an option cannot work with it.
        """
        super().__init__()
        if students < 1 or modules < 1:
            raise UserError(f"students is {students}, modules {modules}; both must be at least 1")
        if head not in ("shared", "routed", "per_student") or bn not in ("pooled", "per_student"):
            raise UserError(f"head is {head!r}, bn {bn!r}; head must be shared, routed or per_student, bn pooled or per_student")
        first = make_copy(0)
        if not isinstance(first, Chain):
            raise UserError(
                f"routes need a network that is a chain of blocks; {type(first).__name__} is none: "
                "take one of `studygroup list networks`, or a method that leaves networks whole"
            )
        common = ("embedding",) if route_stem else ("embedding", "stem")
        blocks, routed = _layers(first, block_groups, common)
        widths = [modules if moves else 1 for moves in routed]
        widths.append({"shared": 1, "routed": modules, "per_student": students}[head])
        routes = routes_of(students, widths, seed=seed, distinct=distinct, coverage=require_coverage, per_student=head == "per_student")
        chains = {0: first}
        self.layers = nn.ModuleList()
        for number, (names, width) in enumerate(zip(blocks, widths, strict=True)):
            layer: list[nn.Module | None] = [None] * width
            order = [int(routes[0, number]), *(m for m in range(width) if m != int(routes[0, number]))]
            for copy_number, module in enumerate(order):
                if copy_number not in chains:
                    chain = make_copy(copy_number)
                    assert isinstance(chain, Chain)
                    chains[copy_number] = chain
                layer[module] = nn.Sequential(*(getattr(chains[copy_number], name) for name in names))
            self.layers.append(nn.ModuleList(module for module in layer if module is not None))
        self.bn: BatchNorm = bn
        if targets == "recall" and bn != "pooled":
            raise UserError("targets is 'recall', which is of pooled batch norm; take batch_stats, or bn='pooled'")
        self.targets: Targets = targets
        self._table = [tuple(int(m) for m in row) for row in routes]
        self._grid = [list(layer.children()) for layer in self.layers]
        self._blocks = blocks
        self._stages = first.stages
        norm = PooledBatchNorm if bn == "pooled" else partial(StudentBatchNorm, students=students)
        self._norms = [[cast(list[RouteBatchNorm], replace_norms(module, norm)) for module in layer] for layer in self._grid]
        self._random = [[any(map(_is_random, module.modules())) for module in layer] for layer in self._grid]

    @property
    def routes(self) -> Tensor:
        """(K, L + 1) int64: which module of each layer, the head's last, a student uses."""
        return torch.tensor(self._table, dtype=torch.int64)

    def __len__(self) -> int:
        """K."""
        return len(self._table)

    def __getitem__(self, student: int) -> nn.Module:
        """Student `student`'s route, sharing the group's modules."""
        return Route(self, range(len(self))[student])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """K x (B, C); what several routes have in common is computed once where batch norm allows it."""
        return self.run([Stream(inputs, k) for k in range(len(self))])

    def run(self, streams: Sequence[Stream], trail: list[list[Activation]] | None = None, idle: list[Tensor] | None = None) -> list[Tensor]:
        """Logits (b, C) of every stream; every module is called at most once, with all the samples that go through it.

        Args:
            streams: each with at least one sample.
            trail: gets the streams' activations before each layer and at the end.
            idle: starts with no samples (0, ...); then all modules run, those without samples on these, and it gets scalars, zero,
                that their outputs are part of: what ranks in step need, which wait for each other's share of every statistic.
        """
        # Running statistics are each student's own: where they are read or moved, nobody can travel for somebody else.
        apart = self.bn == "per_student" and any(norm.tracks for norm in self._every_norm())
        activations = [stream.inputs for stream in streams]
        absent: Activation | None = idle.pop() if idle is not None else None
        used = self._used if absent is not None else None
        for depth, modules in enumerate(self._grid):
            if trail is not None:
                trail.append(list(activations))
            calls = self._calls(streams, depth, apart=apart)
            following = absent
            for number in used[depth] if used is not None else sorted(calls):
                parties = calls.get(number, {})
                leaders = [positions[0] for positions in parties.values()]
                sizes = [samples(activations[leader]) for leader in leaders]
                pieces = [activations[leader] for leader in leaders] or [cast(Activation, absent)]
                for norm in self._norms[depth][number]:
                    if isinstance(norm, StudentBatchNorm):
                        norm.segments = [(streams[leader].route, size) for leader, size in zip(leaders, sizes, strict=True)]
                output: Activation = modules[number](concat(pieces))
                following = empty(output)
                if not parties and idle is not None:
                    idle.append(total(output))
                    continue
                for positions, part in zip(parties.values(), split(output, sizes), strict=True):
                    for position in positions:
                        activations[position] = part
            absent = following if absent is not None else None
        if trail is not None:
            trail.append(activations)
        return cast(list[Tensor], activations)

    def _calls(self, streams: Sequence[Stream], depth: int, *, apart: bool) -> dict[int, dict[Hashable, list[int]]]:
        """The modules that a layer runs: module -> samples that travel as one -> the positions of their streams."""
        calls: dict[int, dict[Hashable, list[int]]] = {}
        for position, stream in enumerate(streams):
            if stream.depth <= depth:
                path = self._table[stream.route][: depth + 1]
                party = (stream.samples, path, stream.route if apart else None)
                calls.setdefault(path[-1], {}).setdefault(party, []).append(position)
        return calls

    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """A fused pass for the own samples, then one for the imitated routes, each from where it leaves a route that is done."""
        present = [k for k, x in enumerate(inputs) if len(x)]
        own = [x.new_zeros(0) for x in inputs]
        if not present:
            return own, [[] for _ in inputs]
        met = {k: next(j for j in present if inputs[j] is inputs[k]) for k in present}  # the first who has these samples
        for norm in self._every_norm():
            if isinstance(norm, PooledBatchNorm):
                norm.latest = None
        trail: list[list[Activation]] = []
        idle = self._idle(inputs[present[0]])
        for k, logits in zip(present, self.run([Stream(inputs[k], k, met[k]) for k in present], trail, idle), strict=True):
            own[k] = logits

        ready: dict[tuple[int, int], Tensor] = {}
        ahead: dict[tuple[int, int], Stream] = {}
        for k in present:
            guides = [place for place, other in enumerate(present) if met[other] == met[k]]
            for j in imitated[k]:
                depth, guide = max((self._in_common(present[place], j), -place) for place in guides)
                activation = trail[depth][-guide]
                activation = detached(activation) if detach else activation
                if depth == len(self._grid):
                    ready[k, j] = cast(Tensor, activation)
                else:
                    ahead[k, j] = Stream(activation, j, met[k], depth)
        idle_too = self._idle(inputs[present[0]]) if self.targets != "recall" and any(imitated) else None
        if ahead or idle_too is not None:
            with torch.set_grad_enabled(not detach), self._making_targets():
                ready.update(zip(ahead, self.run(list(ahead.values()), None, idle_too), strict=True))
        nothing = [*(idle or []), *((idle_too or []) if not detach else [])]
        if nothing:  # adds nothing but the way back
            own[present[0]] = own[present[0]] + torch.stack(nothing).sum()
        return own, [[ready[k, j] for j in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]

    def _idle(self, inputs: Tensor) -> list[Tensor] | None:
        """What `run` needs to keep step with other ranks; None if nobody waits."""
        return [inputs[:0].detach()] if self.bn == "pooled" and self.ranks is not None and self.ranks.in_step else None

    def _in_common(self, student: int, imitated: int) -> int:
        """How many layers of the way of `imitated` on the same samples are done when `student` has gone its own."""
        if student == imitated:
            return len(self._grid)
        if (self.targets not in ("batch_stats", "recall")) if self.training else (self.bn == "per_student"):
            return 0  # the same module would treat the samples differently now
        for depth, (own, other) in enumerate(zip(self._table[student], self._table[imitated], strict=True)):
            if own != other or (self.training and self._random[depth][own]):
                return depth
        return len(self._grid)

    @contextmanager
    def _making_targets(self) -> Iterator[None]:
        """How modules behave meanwhile; everything is put back at the end."""
        recalling = [norm for norm in self._every_norm() if isinstance(norm, PooledBatchNorm)] if self.targets == "recall" else []
        for norm in recalling:
            norm.recalling = True
        try:
            with target_mode(self, "batch_stats" if self.targets == "recall" else self.targets):
                yield
        finally:
            for norm in recalling:
                norm.recalling = False

    def _every_norm(self) -> Iterator[RouteBatchNorm]:
        return (norm for layer in self._norms for norms in layer for norm in norms)

    def export(self, student: int) -> Chain:
        """A copy of the student's route as the plain network that it is, with the student's own running statistics."""
        route = self._table[student]
        blocks: dict[str, nn.Module] = {}
        for depth, names in enumerate(self._blocks):
            module = copy.deepcopy(self._grid[depth][route[depth]])
            replace_norms(module, lambda norm: cast(RouteBatchNorm, norm).plain(student))
            assert isinstance(module, nn.Sequential)
            blocks.update(zip(names, module, strict=True))
        return Chain({stage: {name: blocks[name] for name in names} for stage, names in self._stages.items()}).train(self.training)

    def unused_modules(self) -> list[tuple[int, int]]:
        """(layer, module) pairs that are on no route: they get no gradient and are not trained."""
        return [(depth, m) for depth, layer in enumerate(self._grid) for m in range(len(layer)) if not self.sharers(depth, m)]

    def sharers(self, depth: int, module: int) -> int:
        """How many students' routes use a module."""
        return sum(route[depth] == module for route in self._table)

    def rescale_gradients(self) -> None:
        """From now on, divide a module's gradients by the number of its students (CL-ILR's rescaling; Song and Chai, 2018)."""
        for depth, layer in enumerate(self._grid):
            for number, module in enumerate(layer):
                for parameter in module.parameters():
                    parameter.register_hook(partial(self._divided, depth, number))

    def _divided(self, depth: int, module: int, gradient: Tensor) -> Tensor:
        return gradient / max(self.sharers(depth, module), 1)

    def compiled_modules(self) -> list[nn.Module]:
        """The modules that are on a route."""
        return [layer[m] for layer, used in zip(self._grid, self._used, strict=True) for m in used]

    def shard(self, ranks: DistContext, classes: int) -> None:
        """Students may live on different ranks. A pooled batch norm then needs every rank's part of its statistics, in one order."""
        if ranks.shard == "members":
            raise UserError("students of a modular group share modules; they can be spread by --shard students or samples, not as members")
        check_enough_students(len(self), ranks)
        if self.targets == "train":
            raise UserError("targets is 'train': running statistics would move on each rank by itself; take batch_stats or eval")
        self.ranks = ranks

    def private_tensors(self, student: int) -> list[Tensor]:
        """The student's running statistics, if it has its own."""
        on_route = [norm for depth, number in enumerate(self._table[student]) for norm in self._norms[depth][number]]
        return [value for norm in on_route if isinstance(norm, StudentBatchNorm) for value in norm.statistics(student)]

    @property
    def _used(self) -> list[list[int]]:
        """The modules of each layer that are on a route."""
        return [[m for m in range(len(layer)) if self.sharers(depth, m)] for depth, layer in enumerate(self._grid)]

    def describe(self) -> dict[str, object]:
        """Kind, semantics and routes."""
        return {"group": "modular", "students": len(self), "bn": self.bn, "routes": [list(route) for route in self._table]}

    def get_extra_state(self) -> dict[str, list[list[int]]]:
        """The routes, so that they are saved with the weights."""
        return {"routes": [list(route) for route in self._table]}

    def set_extra_state(self, state: Mapping[str, list[list[int]]]) -> None:
        """Take saved routes over with the weights."""
        self._table = [tuple(route) for route in state["routes"]]


def _is_random(module: nn.Module) -> bool:
    """Whether a module drops out something in train mode, so that two passes over the same samples differ."""
    shares = [module.p] if isinstance(module, _DropoutNd) else [value for name, value in vars(module).items() if "drop" in name]
    return any(isinstance(share, float) and share > 0.0 for share in shares)


class Route(nn.Module):
    """One student of a modular group as a callable that shares the group's modules."""

    def __init__(self, group: Modular, student: int) -> None:
        """Args: group: the group. student: which of its students."""
        super().__init__()
        self.path = nn.ModuleList(layer[module] for layer, module in zip(group._grid, group._table[student], strict=True))
        self.training = group.training
        self.student = student
        self._run = group.run

    def forward(self, inputs: Tensor) -> Tensor:
        """Args: inputs: (B, ...). Returns: (B, C)."""
        return self._run([Stream(inputs, self.student)])[0]


def _layers(chain: Chain, block_groups: Sequence[int] | None, common: Sequence[str]) -> tuple[list[tuple[str, ...]], list[bool]]:
    """The block names of each layer, the head's last; and of all layers but that whether there is a choice: not in the stages `common`."""
    if "head" not in chain.stages:
        raise UserError(
            f"the stages of the network are {', '.join(chain.stages)}; "
            "the last must be called head, so that routes know what turns maps into logits"
        )
    body = [name for stage, names in chain.stages.items() if stage not in (*BEFORE, "head") for name in names]
    groups = list(block_groups) if block_groups is not None else [1] * len(body)
    if sum(groups) != len(body) or any(size < 1 for size in groups):
        raise UserError(
            f"block_groups is {groups}, which sums to {sum(groups)}; the network has {len(body)} blocks between its stem and its head"
        )
    before = [stage for stage in BEFORE if chain.stages.get(stage)]
    ends = list(itertools.accumulate(groups))
    layers = [*(chain.stages[stage] for stage in before), *(tuple(body[end - size : end]) for end, size in zip(ends, groups, strict=True))]
    return [*layers, chain.stages["head"]], [*(stage not in common for stage in before), *(True for _ in groups)]
