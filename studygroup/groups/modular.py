"""One network of L layers with M modules each; a student is a route through it.

Random routing of Collaborative Group Learning (Feng et al., AAAI 2021, section "Random Routing for Student Network", Eq. 1).
The number of parameters does not grow with the number of students.

What the paper leaves open:
- A layer is one block of the network (its stem, a residual block with its shortcut and batch norms). `block_groups` joins
  several blocks into one layer; `route_stem=False` shares the stem. The embedding of a text network is shared.
- The head (pooling and classifier) is shared. `head="routed"` gives it M modules like a layer, `"per_student"` K.
- Routes are drawn once, uniformly and independently for each layer; `distinct` draws again until all K differ. They can be given
  (`routes`), and layers, drawn at random, can be shared by all (`shared_layers`; Figure 5(b)).
- Batch norm: `bn="pooled"` normalises all samples of one call of a module together; the module has one set of running statistics,
  updated by the students' own samples. `bn="per_student"` normalises each student's samples separately, as in a loop over students;
  each student has its own running statistics, and the affine parameters are shared.
- `targets="recall"`, with pooled batch norm: a module normalises samples that only produce targets by the batch statistics of the
  training samples it has just seen (by the running statistics if there were none). This is faster; LOG.md has the cost in accuracy.

In one iteration a module is called at most once on the students' own samples, with gradient, and at most once on the samples
on which it is imitated. Routes with a common prefix on the same samples compute it once, and an imitated route continues from where
it leaves the student's own route. With per-student batch norm or `recall` this changes no number; with pooled batch norm it is part
of the definition of what is normalised together. A shared prefix has one dropout mask; imitated routes have no dropout, and so share
no prefix that contains a module with dropout.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.groups.group import BatchNorm, Group, check_enough_students
from studygroup.groups.layers import has_dropout, layers_of
from studygroup.groups.norm import PooledBatchNorm, RouteBatchNorm, StudentBatchNorm, replace_norms
from studygroup.groups.routes import at_most_routes, check_routes, draw_shared_layers, group_routes
from studygroup.groups.target import target_mode
from studygroup.networks.chain import Chain
from studygroup.networks.padded import Activation, batch_size, concat, detached, empty, split, total

Head = Literal["shared", "routed", "per_student"]
Targets = Literal["batch_stats", "eval", "train", "recall"]


@dataclass(frozen=True)
class RouteInput:
    """Samples that go through one route.

    Attributes:
        inputs: activations of b samples, the input of layer `depth`.
        route: the student whose route they take.
        samples: identifier of the samples: equal numbers mean that the network's inputs were the very same.
        depth: number of layers that are done.
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
        routes: Sequence[Sequence[int]] | None = None,
        shared_layers: int = 0,
        bn: BatchNorm = "pooled",
        targets: Targets = "batch_stats",
    ) -> None:
        """Split copies of a network into modules and draw the routes.

        The first student's modules come from copy 0, so it starts from the same weights as this network trained alone.

        Args:
            make_copy: copy number -> a freshly initialised `Chain`.
            students: K >= 1; if routes must be distinct, at most as many as there are routes are made.
            modules: M >= 1 modules per layer.
            seed: of the routes and the shared layers.
            distinct: whether no two students may have the same route; a warning says if that leaves fewer students.
            require_coverage: draw until every module is on some route.
            route_stem: whether the stem is a layer of M modules, or shared.
            head: one head for all, M heads that are routed like a layer, or one per student.
            block_groups: number of consecutive blocks after the stem in each layer, e.g. `(2, 1, 2, 2, 3, 3, 2, 1)`; one each by default.
            routes: for each student the module of each layer, as `check_routes` takes them; drawn by default.
            shared_layers: number of layers that have a single module for all.
            bn: semantics of batch norm, see above.
            targets: `target_mode` of the passes that only compute targets, or `"recall"`, see above.

        Raises:
            UserError: the network is no chain, or an option does not fit it.
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
                "use one of `studygroup list networks`, or a method of whole networks such as dml"
            )
        shared_stages = ("embedding",) if route_stem else ("embedding", "stem")
        blocks, routed = layers_of(first, block_groups, shared_stages)
        shared = draw_shared_layers(shared_layers, [layer for layer, is_routed in enumerate(routed) if is_routed], seed)
        widths = [modules if is_routed and layer not in shared else 1 for layer, is_routed in enumerate(routed)]
        if routes is not None and shared:
            raise UserError(f"shared_layers is {shared_layers} beside routes, which say what is shared; leave one of the two out")
        if distinct and routes is None:
            students = at_most_routes(students, [*widths, modules] if head == "routed" else widths)
        widths.append({"shared": 1, "routed": modules, "per_student": students}[head])
        names = [*("+".join(layer_blocks) for layer_blocks in blocks[:-1]), "head"]
        conditions = {"distinct": distinct, "coverage": require_coverage}
        if routes is not None:
            drawn = check_routes(routes, students, names, widths, routed_head=head == "routed", **conditions)
        else:
            drawn = group_routes(students, widths, seed=seed, per_student=head == "per_student", **conditions)
        chains = {0: first}
        self.layers = nn.ModuleList()
        for number, (own_blocks, width) in enumerate(zip(blocks, widths, strict=True)):
            layer: list[nn.Module | None] = [None] * width
            order = [int(drawn[0, number]), *(m for m in range(width) if m != int(drawn[0, number]))]
            for copy_number, module in enumerate(order):
                if copy_number not in chains:
                    chain = make_copy(copy_number)
                    assert isinstance(chain, Chain)
                    chains[copy_number] = chain
                layer[module] = nn.Sequential(*(getattr(chains[copy_number], name) for name in own_blocks))
            self.layers.append(nn.ModuleList(module for module in layer if module is not None))
        self.bn: BatchNorm = bn
        if targets == "recall" and bn != "pooled":
            raise UserError("targets='recall' needs pooled batch norm; use targets='batch_stats', or bn='pooled'")
        self.targets: Targets = targets
        self._routes = [tuple(row) for row in drawn.tolist()]
        self._layer_modules = [list(layer.children()) for layer in self.layers]
        self._layer_blocks = blocks
        self._stages = first.stages
        make_norm = (
            partial(PooledBatchNorm, remembers=targets == "recall") if bn == "pooled" else partial(StudentBatchNorm, students=students)
        )
        self._norms = [[cast(list[RouteBatchNorm], replace_norms(module, make_norm)) for module in layer] for layer in self._layer_modules]
        self._recalling = [norm for norm in self._all_norms() if isinstance(norm, PooledBatchNorm) and norm.remembers]
        for depth, number in self.unused_modules():
            self._layer_modules[depth][number].requires_grad_(False)  # it is not trained
        self._drops = [[any(map(has_dropout, module.modules())) for module in layer] for layer in self._layer_modules]

    @property
    def routes(self) -> Tensor:
        """Return the module of each layer, the head's last, that each student uses: (K, L + 1) int64."""
        return torch.tensor(self._routes, dtype=torch.int64)

    def __len__(self) -> int:
        """Return K."""
        return len(self._routes)

    def __getitem__(self, student: int) -> nn.Module:
        """Return a student's route, which shares the group's modules."""
        return Route(self, range(len(self))[student])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return every student's logits, K x (B, C); a prefix that routes share is computed once where batch norm allows it."""
        return self.run([RouteInput(inputs, k) for k in range(len(self))])

    def run(
        self,
        inputs: Sequence[RouteInput],
        history: list[list[Activation]] | None = None,
        empty_batches: list[Tensor] | None = None,
    ) -> list[Tensor]:
        """Return the logits (b, C) of every input; each module is called at most once, on all samples that go through it.

        Args:
            inputs: each with at least one sample.
            history: is filled with the inputs' activations before each layer and at the end.
            empty_batches: if given, all modules run, as synchronised batch norm on several ranks needs. Its only item, an input without
                samples (0, ...), is replaced by the sums of the outputs of modules that had no samples: zeros, for the backward pass.
        """
        # Each student has its own running statistics: where they are used or updated, no two students can share a computation.
        separate = self.bn == "per_student" and any(norm.tracks for norm in self._all_norms())
        activations = [route_input.inputs for route_input in inputs]
        samples = [batch_size(activation) for activation in activations]
        without_samples: Activation | None = empty_batches.pop() if empty_batches is not None else None
        used = self.used_modules if without_samples is not None else None
        for depth, modules in enumerate(self._layer_modules):
            if history is not None:
                history.append(list(activations))
            calls = self._plan_calls(inputs, depth, separate=separate)
            following = without_samples
            for number in used[depth] if used is not None else sorted(calls):
                shared = calls.get(number, {})
                firsts = [positions[0] for positions in shared.values()]
                sizes = [samples[first] for first in firsts]
                parts = [activations[first] for first in firsts] or [cast(Activation, without_samples)]
                for norm in self._norms[depth][number]:
                    if isinstance(norm, StudentBatchNorm):
                        norm.segments = [(inputs[first].route, size) for first, size in zip(firsts, sizes, strict=True)]
                output: Activation = modules[number](concat(parts))
                following = empty(output)
                if not shared and empty_batches is not None:
                    empty_batches.append(total(output))
                    continue
                for positions, part in zip(shared.values(), split(output, sizes), strict=True):
                    for position in positions:
                        activations[position] = part
            without_samples = following if without_samples is not None else None
        if history is not None:
            history.append(activations)
        return cast(list[Tensor], activations)

    def _plan_calls(self, inputs: Sequence[RouteInput], depth: int, *, separate: bool) -> dict[int, dict[Hashable, list[int]]]:
        """Return the calls of a layer's modules: module -> computation -> positions of the inputs that share it."""
        calls: dict[int, dict[Hashable, list[int]]] = {}
        for position, route_input in enumerate(inputs):
            if route_input.depth <= depth:
                prefix = self._routes[route_input.route][: depth + 1]
                key = (route_input.samples, prefix, route_input.route if separate else None)
                calls.setdefault(prefix[-1], {}).setdefault(key, []).append(position)
        return calls

    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Run a fused pass on own samples, then one on imitated routes, each from where it leaves a computed route."""
        present = [k for k, x in enumerate(inputs) if len(x)]
        own = [x.new_zeros(0) for x in inputs]
        if not present:
            return own, [[] for _ in inputs]
        samples = {k: next(j for j in present if inputs[j] is inputs[k]) for k in present}  # identified by their first student
        for norm in self._recalling:
            norm.batch_statistics = None
        history: list[list[Activation]] = []
        empty_own = self._empty_batches(inputs[present[0]])
        for k, logits in zip(present, self.run([RouteInput(inputs[k], k, samples[k]) for k in present], history, empty_own), strict=True):
            own[k] = logits

        computed: dict[tuple[int, int], Tensor] = {}
        remaining: dict[tuple[int, int], RouteInput] = {}
        for k in present:
            candidates = [place for place, other in enumerate(present) if samples[other] == samples[k]]
            for j in imitated[k]:
                depth, negative_place = max((self._shared_depth(present[place], j), -place) for place in candidates)
                activation = history[depth][-negative_place]
                activation = detached(activation) if detach else activation
                if depth == len(self._layer_modules):
                    computed[k, j] = cast(Tensor, activation)
                else:
                    remaining[k, j] = RouteInput(activation, j, samples[k], depth)
        empty_imitated = self._empty_batches(inputs[present[0]]) if self.targets != "recall" and any(imitated) else None
        if remaining or empty_imitated is not None:
            with torch.set_grad_enabled(not detach), self._target_mode():
                computed.update(zip(remaining, self.run(list(remaining.values()), None, empty_imitated), strict=True))
        zeros = [*(empty_own or []), *((empty_imitated or []) if not detach else [])]
        if zeros:  # so that the backward pass of synchronised batch norm runs on every rank
            own[present[0]] = own[present[0]] + torch.stack(zeros).sum()
        return own, [[computed[k, j] for j in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]

    def _empty_batches(self, inputs: Tensor) -> list[Tensor] | None:
        """Return the argument `empty_batches` of `run`; None unless batch norm is synchronised over ranks."""
        return [inputs[:0].detach()] if self.bn == "pooled" and self.ranks is not None and self.ranks.in_step else None

    def _shared_depth(self, student: int, imitated: int) -> int:
        """Return how many layers of the imitated route are computed when a student has run its own on the same samples."""
        if student == imitated:
            return len(self._layer_modules)
        if (self.targets not in ("batch_stats", "recall")) if self.training else (self.bn == "per_student"):
            return 0  # the same module would normalise the samples differently
        for depth, (own, other) in enumerate(zip(self._routes[student], self._routes[imitated], strict=True)):
            if own != other or (self.training and self._drops[depth][own]):
                return depth
        return len(self._layer_modules)

    @contextmanager
    def _target_mode(self) -> Iterator[None]:
        """Put the modules into the mode in which they compute targets, and restore them at the end."""
        for norm in self._recalling:
            norm.recall = True
        try:
            with target_mode(self, "batch_stats" if self.targets == "recall" else self.targets):
                yield
        finally:
            for norm in self._recalling:
                norm.recall = False

    def _all_norms(self) -> Iterator[RouteBatchNorm]:
        return (norm for layer in self._norms for norms in layer for norm in norms)

    def export(self, student: int) -> Chain:
        """Return a copy of the student's route as a chain, with the student's running statistics."""
        return self.export_route(self._routes[student], student)

    def export_route(self, route: Sequence[int], student: int = 0) -> Chain:
        """Return a copy of any route as a chain. Args: route: a module of each layer. student: whose running statistics it gets."""
        blocks: dict[str, nn.Module] = {}
        for depth, names in enumerate(self._layer_blocks):
            module = copy.deepcopy(self._layer_modules[depth][route[depth]])
            replace_norms(module, lambda norm: cast(RouteBatchNorm, norm).to_batch_norm(student))
            assert isinstance(module, nn.Sequential)
            blocks.update(zip(names, module, strict=True))
        return Chain({stage: {name: blocks[name] for name in names} for stage, names in self._stages.items()}).train(self.training)

    def unused_modules(self) -> list[tuple[int, int]]:
        """Return the (layer, module) pairs that are on no route: they get no gradient and are not trained."""
        layers = zip(self._layer_modules, self.used_modules, strict=True)
        return [(depth, m) for depth, (layer, used) in enumerate(layers) for m in range(len(layer)) if m not in used]

    def unused_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of modules that are on no route."""
        return [parameter for depth, m in self.unused_modules() for parameter in self._layer_modules[depth][m].parameters()]

    def student_count(self, depth: int, module: int) -> int:
        """Return the number of students whose routes use a module."""
        return sum(route[depth] == module for route in self._routes)

    def rescale_gradients(self) -> None:
        """Divide a module's gradients by the number of its students from now on (CL-ILR's rescaling; Song and Chai, 2018)."""
        for depth, layer in enumerate(self._layer_modules):
            for number, module in enumerate(layer):
                for parameter in filter(lambda parameter: parameter.requires_grad, module.parameters()):
                    parameter.register_hook(partial(self._divide_gradient, depth, number))

    def _divide_gradient(self, depth: int, module: int, gradient: Tensor) -> Tensor:
        return gradient / max(self.student_count(depth, module), 1)

    def compiled_modules(self) -> list[nn.Module]:
        """Return the modules that are on a route."""
        return [layer[m] for layer, used in zip(self._layer_modules, self.used_modules, strict=True) for m in used]

    def shard(self, ranks: DistContext, classes: int) -> None:
        """Shard the students over ranks; pooled batch norm is then synchronised, so all ranks call the modules in one order."""
        if ranks.shard == "members":
            raise UserError("students of a modular group share modules; use --shard students or samples, not members")
        check_enough_students(len(self), ranks)
        if self.targets == "train":
            raise UserError("targets='train' would update running statistics on each rank separately; use batch_stats or eval")
        self.ranks = ranks

    def private_tensors(self, student: int) -> list[Tensor]:
        """Return the student's running statistics, if students have their own."""
        on_route = [norm for depth, number in enumerate(self._routes[student]) for norm in self._norms[depth][number]]
        return [value for norm in on_route if isinstance(norm, StudentBatchNorm) for value in norm.statistics(student)]

    @property
    def used_modules(self) -> list[list[int]]:
        """Return the modules of each layer that are on a route."""
        return [[m for m in range(len(layer)) if self.student_count(depth, m)] for depth, layer in enumerate(self._layer_modules)]

    def describe(self) -> dict[str, object]:
        """Return kind, semantics of batch norm, and routes."""
        return {"group": "modular", "students": len(self), "bn": self.bn, "routes": [list(route) for route in self._routes]}

    def get_extra_state(self) -> dict[str, list[list[int]]]:
        """Return the routes, which belong to the state dict."""
        return {"routes": [list(route) for route in self._routes]}

    def set_extra_state(self, state: Mapping[str, list[list[int]]]) -> None:
        """Load the routes of a state dict."""
        self._routes = [tuple(route) for route in state["routes"]]


class Route(nn.Module):
    """One student of a modular group as a module that shares the group's modules."""

    def __init__(self, group: Modular, student: int) -> None:
        """Args: group: the group. student: index of the student."""
        super().__init__()
        self.path = nn.ModuleList(layer[module] for layer, module in zip(group._layer_modules, group._routes[student], strict=True))
        self.training = group.training
        self.student = student
        self._run = group.run

    def forward(self, inputs: Tensor) -> Tensor:
        """Args: inputs: (B, ...). Returns: (B, C)."""
        return self._run([RouteInput(inputs, self.student)])[0]
