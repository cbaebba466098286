"""Routes through a modular network: how they are drawn, and the fused pass against a plain loop over students."""

from __future__ import annotations

import copy
import io
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from studygroup.errors import UserError
from studygroup.groups import Modular, predict_targets
from studygroup.groups.modular import RouteInput
from studygroup.groups.norm import PooledBatchNorm, StudentBatchNorm
from studygroup.groups.routes import at_most_routes, draw_routes
from studygroup.losses import cross_entropy, soft_kl
from studygroup.networks import Chain, NetworkFactory
from studygroup.networks.chain import Pool
from tests.methods.tiny import CLASSES, Plain, images, layer, tiny


def make_copy(number: int) -> nn.Module:
    return NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, seed=3).copy(number)


def group_of(students: int, modules: int = 2, *, double: bool = False, **options: Any) -> Modular:
    group = Modular(make_copy, students, modules, **options).train()
    return group.double() if double else group


def module_of(group: Modular, depth: int, number: int) -> nn.Module:
    return group.layers[depth].get_submodule(str(number))


# ---------------------------------------------------------------- routes


@pytest.mark.parametrize(("students", "widths"), [(8, (2, 2, 2)), (5, (2, 2, 2)), (3, (2, 3, 1, 2)), (8, (2,) * 9), (4, (4,))])
@pytest.mark.parametrize("seed", range(3))
def test_distinct_routes(students: int, widths: tuple[int, ...], seed: int) -> None:
    routes = draw_routes(students, widths, distinct=True, generator=torch.Generator().manual_seed(seed))
    assert routes.shape == (students, len(widths))
    assert routes.dtype == torch.int64
    assert len({tuple(route) for route in routes.tolist()}) == students
    assert (routes >= 0).all()
    assert (routes < torch.tensor(widths)).all()


def test_no_more_students_than_routes() -> None:
    assert at_most_routes(8, [2, 1, 2, 2]) == 8
    with pytest.warns(UserWarning, match="has 4 distinct routes, so 4 students are trained, not 5; for more students"):
        assert at_most_routes(5, [2, 1, 2]) == 4


def chi_square(counts: Sequence[int], outcomes: int) -> float:
    """Deviation from equal probabilities, in standard deviations."""
    expected = sum(counts) / outcomes
    value = sum((count - expected) ** 2 for count in counts) / expected + (outcomes - len(counts)) * expected
    return (value - (outcomes - 1)) / math.sqrt(2 * (outcomes - 1))


@pytest.mark.parametrize(
    ("students", "widths", "distinct", "outcomes"),
    [
        (2, (2, 2), True, 12),  # drawn until they differ
        (3, (2, 2), True, 24),  # all routes shuffled
        (2, (3, 1, 2), True, 30),
        (2, (2, 2), False, 16),
    ],
)
def test_routes_are_uniform(students: int, widths: tuple[int, ...], distinct: bool, outcomes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = (draw_routes(students, widths, distinct=distinct, generator=generator).tolist() for _ in range(100 * outcomes))
    counts = Counter(str(routes) for routes in draws)
    assert len(counts) == outcomes
    assert abs(chi_square(list(counts.values()), outcomes)) < 5


def test_layers_are_drawn_independently() -> None:
    generator = torch.Generator().manual_seed(1)
    routes = torch.cat([draw_routes(8, (2,) * 9, distinct=True, generator=generator) for _ in range(250)]).double()
    count = len(routes)
    assert ((routes.mean(0) - 0.5).abs() < 5 * 0.5 / count**0.5).all()
    correlation = torch.corrcoef(routes.T) - torch.eye(9)
    assert (correlation.abs() < 5 / count**0.5).all()


def test_two_students_share_half_of_two_modules_on_average() -> None:
    generator = torch.Generator().manual_seed(2)
    pairs = torch.stack([draw_routes(2, (2,) * 9, distinct=False, generator=generator) for _ in range(400)])
    ratio = (pairs[:, 0] == pairs[:, 1]).double().mean()
    assert abs(float(ratio) - 0.5) < 5 * 0.5 / (400 * 9) ** 0.5


def test_more_students_than_routes() -> None:
    with pytest.raises(UserError, match=r"9 students.*only 8"):
        draw_routes(9, (2, 2, 2), distinct=True, generator=torch.Generator())
    assert len(draw_routes(9, (2, 2, 2), distinct=False, generator=torch.Generator())) == 9
    with pytest.warns(UserWarning, match="16 students are trained, not 17"):
        assert len(group_of(17)) == 16


def test_routes_depend_on_the_seed_only() -> None:
    torch.manual_seed(1)
    first = group_of(4, seed=7)
    torch.manual_seed(2)
    assert torch.equal(first.routes, group_of(4, seed=7).routes)
    assert not torch.equal(first.routes, group_of(4, seed=8).routes)


@pytest.mark.parametrize(("students", "modules"), [(2, 2), (3, 3), (4, 3), (8, 2), (4, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_coverage_can_be_required(students: int, modules: int, seed: int) -> None:
    group = group_of(students, modules, seed=seed, require_coverage=True)
    assert group.unused_modules() == []
    assert len(group.routes.unique(dim=0)) == students


def test_covering_routes_are_uniform() -> None:
    counts = Counter(str(Modular(narrow_chain, 2, 2, seed=seed, require_coverage=True).routes.tolist()) for seed in range(800))
    assert len(counts) == 4, "two layers, each 0 1 or 1 0; distinct"
    assert abs(chi_square(list(counts.values()), 4)) < 5


def narrow_chain(number: int = 0) -> Chain:
    """A stem, a block and a head without parameters to speak of."""
    return Chain({"stem": {"stem": nn.Identity()}, "body": {"block": nn.Identity()}, "head": {"pool": Pool()}})


def test_impossible_coverage_is_refused() -> None:
    with pytest.raises(UserError, match=r"2 students cannot cover 3"):
        group_of(2, 3, require_coverage=True)


def test_unused_modules_are_those_on_no_route() -> None:
    group = group_of(2, 3)
    on_route = {(depth, int(module)) for route in group.routes for depth, module in enumerate(route)}
    everything = {(depth, module) for depth in range(4) for module in range(3)} | {(4, 0)}
    assert set(group.unused_modules()) == everything - on_route
    assert len(group.compiled_modules()) == len(on_route)
    assert all(group.student_count(d, m) == sum(int(route[d]) == m for route in group.routes) for d, m in everything)


# ---------------------------------------------------------------- layers and heads


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({}, [2, 2, 2, 2, 1]),
        ({"head": "routed"}, [2, 2, 2, 2, 2]),
        ({"head": "per_student"}, [2, 2, 2, 2, 3]),
        ({"route_stem": False}, [1, 2, 2, 2, 1]),
        ({"block_groups": (1, 2)}, [2, 2, 2, 1]),
        ({"block_groups": (3,), "route_stem": False, "head": "routed"}, [1, 2, 2]),
        ({"modules": 4}, [4, 4, 4, 4, 1]),
    ],
)
def test_layers(options: dict[str, Any], widths: list[int]) -> None:
    modules = options.pop("modules", 2) if "modules" in options else 2
    group = group_of(3, modules, **options)
    assert [len(list(layer.children())) for layer in group.layers] == widths
    assert group.routes.shape == (3, len(widths))
    if options.get("head") == "per_student":
        assert group.routes[:, -1].tolist() == [0, 1, 2]
    inputs = images(2, seed=0)
    group.eval()
    for k, logits in enumerate(group(inputs)):
        network = group.export(k)
        assert isinstance(network, Chain)
        assert network.stages == tiny().stages
        torch.testing.assert_close(network(inputs), logits)


@pytest.mark.parametrize("groups", [(1, 1), (2, 2), (4,), (3, 0), ()])
def test_invalid_block_groups_are_refused(groups: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="block_groups"):
        group_of(2, block_groups=groups)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bn": "per_student", "targets": "recall"}, "recall"),
        ({"head": "none"}, "none"),
        ({"bn": "layer"}, "layer"),
        ({"modules": 0}, "0"),
        ({"students": 0}, "0"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        group_of(**{"students": 2, **options})


def test_networks_that_cannot_be_split_are_refused() -> None:
    with pytest.raises(UserError, match="Plain"):
        Modular(lambda _: Plain(), 2)
    with pytest.raises(UserError, match="head"):
        Modular(lambda _: Chain({"stem": {"stem": layer(1, 4)}, "top": {"pool": Pool()}}), 2)


def test_a_chain_that_uses_a_module_twice_can_be_split() -> None:
    def twice(_: int) -> Chain:
        act = nn.ReLU()
        stem = {"a": nn.Conv2d(1, 3, 3), "relu1": act, "b": nn.Conv2d(3, 3, 3), "relu2": act}
        return Chain({"stem": stem, "head": {"pool": Pool()}})

    group = Modular(twice, 2).eval()
    inputs = images(2, seed=0)
    torch.testing.assert_close(group.export(1)(inputs), group(inputs)[1])


def test_modules_have_different_initial_weights() -> None:
    group = group_of(3, 3)
    for layer_ in list(group.layers)[:-1]:
        first = [next(module.parameters()) for module in layer_.children()]
        assert all(not torch.equal(a, b) for a, b in itertools.combinations(first, 2))
    for name, value in group.export(0).state_dict().items():
        assert torch.equal(value, make_copy(0).state_dict()[name]), "the first student starts as that network alone"


def test_a_route_shares_the_modules() -> None:
    group = group_of(3)
    route = group[-1]
    assert {id(p) for p in route.parameters()} == {
        id(p) for depth, m in enumerate(group.routes[2].tolist()) for p in module_of(group, depth, m).parameters()
    }
    inputs = images(4, seed=0)
    torch.testing.assert_close(route(inputs), group.export(2).train()(inputs))


@pytest.mark.parametrize("bn", ["pooled", "per_student"])
def test_a_shared_prefix_may_be_computed_once(bn: str) -> None:
    group = group_of(6, bn=bn)
    group.study([images(5 + k, seed=k) for k in range(6)], [[]] * 6)  # moves the running statistics
    group.eval()
    counts: Counter[int] = Counter()
    for depth, layer_ in enumerate(group.layers):
        for module in layer_.children():
            module.register_forward_hook(lambda _, x, __, depth=depth: counts.update({depth: len(x[0])}))
    inputs = images(3, seed=9)
    with torch.no_grad():
        batched_call = group(inputs)
        if bn == "pooled":
            prefixes = [len({tuple(route[: depth + 1]) for route in group.routes.tolist()}) for depth in range(len(group.layers))]
            assert [counts[depth] for depth in range(len(group.layers))] == [3 * parties for parties in prefixes]
        for k, logits in enumerate(batched_call):
            torch.testing.assert_close(logits, group[k](inputs))
            torch.testing.assert_close(logits, group.export(k)(inputs))


# ---------------------------------------------------------------- the fused pass

# students, modules, options, shares, who imitates whom
SITUATIONS: list[tuple[int, int, dict[str, Any], list[int], list[list[int]]]] = [
    (3, 2, {}, [4, 5, 3], [[1, 2], [0], []]),
    (3, 2, {}, [4, 0, 3], [[2, 1], [0, 2], [0]]),
    (4, 2, {"head": "per_student"}, [2, 2, 2, 2], [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]),
    (4, 3, {"route_stem": False, "head": "routed"}, [3, 4, 5, 6], [[], [3], [3], [2]]),
    (5, 2, {"distinct": False, "block_groups": (3,)}, [3, 2, 4, 2, 3], [[1], [2], [3], [4], [0]]),  # routes twice
    (3, 1, {"distinct": False}, [3, 4, 2], [[1, 2], [0, 2], [1, 0]]),  # one route for all
    (1, 2, {}, [4], [[]]),
    (8, 2, {"block_groups": (1, 2)}, [3] * 8, [[(k + 1) % 8, (k + 3) % 8] for k in range(8)]),
]
situations = pytest.mark.parametrize(("students", "modules", "options", "shares", "imitated"), SITUATIONS)


class Loop:
    """The naive loop: K networks with separate running statistics and shared parameters."""

    def __init__(self, group: Modular) -> None:
        self.store: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.routes = group.routes.tolist()
        self.networks = [group.export(k).train() for k in range(len(group))]
        names = [list(names) for names in group._layer_blocks]
        self.parameters: list[dict[str, Tensor]] = []
        for k, route in enumerate(self.routes):
            mine: dict[str, Tensor] = {}
            for depth, module in enumerate(route):
                block_names = names[depth]
                shared = self.store.setdefault((depth, module), {})
                for name, parameter in self.networks[k].named_parameters():
                    if name.split(".")[0] in block_names:
                        mine[name] = shared.setdefault(name, parameter.detach().clone().requires_grad_())
            self.parameters.append(mine)

    def run(self, student: int, inputs: Tensor, network: nn.Module | None = None) -> Tensor:
        out: Tensor = functional_call(network or self.networks[student], self.parameters[student], (inputs,))
        return out

    def target(self, student: int, inputs: Tensor, mode: str) -> Tensor:
        if mode == "train":
            return self.run(student, inputs)
        network = copy.deepcopy(self.networks[student])  # what happens to its statistics is forgotten
        return self.run(student, inputs, network.eval() if mode == "eval" else network)


def total_loss(own: Sequence[Tensor], imitated: Sequence[Sequence[Tensor]]) -> Tensor:
    losses = []
    for k, logits in enumerate(own):
        if len(logits):
            labels = torch.arange(len(logits)) % CLASSES
            losses.append(cross_entropy(logits, labels))
            if imitated[k]:
                losses.append((k + 1) * soft_kl(logits, torch.stack(list(imitated[k])).mean(0), 3.0))
    return torch.stack(losses).sum()


def inputs_of(shares: Sequence[int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [images(max(size, 1), seed=40 + k)[:size].to(dtype) for k, size in enumerate(shares)]


def assert_same_gradients(group: Modular, loop: Loop, tolerance: float) -> None:
    for (depth, number), shared in loop.store.items():
        module = module_of(group, depth, number)
        block_names = group._layer_blocks[depth]
        for name, parameter in shared.items():
            block, _, rest = name.partition(".")
            own = module.get_submodule(str(list(block_names).index(block))).get_parameter(rest)
            if parameter.grad is None:
                assert own.grad is None or not own.grad.any()
            else:
                torch.testing.assert_close(own.grad, parameter.grad, rtol=tolerance, atol=tolerance)


def assert_same_statistics(group: Modular, networks: Sequence[nn.Module], tolerance: float) -> None:
    for k, network in enumerate(networks):
        exported = dict(group.export(k).named_buffers())
        for name, value in network.named_buffers():
            if "running" in name:
                torch.testing.assert_close(exported[name], value, rtol=tolerance, atol=tolerance)


@situations
@pytest.mark.parametrize(
    ("detach", "mode", "double"),
    [(True, "batch_stats", True), (False, "batch_stats", True), (True, "eval", True), (True, "train", True), (True, "batch_stats", False)],
)
def test_the_fused_pass_equals_a_loop_over_students(
    students: int,
    modules: int,
    options: dict[str, Any],
    shares: list[int],
    imitated: list[list[int]],
    detach: bool,
    mode: Any,
    double: bool,
) -> None:
    """With per-student batch norm: logits, losses, gradients and running statistics, over two passes."""
    tolerance = 1e-9 if double else 2e-4
    group = group_of(students, modules, double=double, bn="per_student", targets=mode, **options)
    loop = Loop(group)
    for _ in range(2):  # in the second pass no statistic is that of a fresh network
        inputs = inputs_of(shares, torch.float64 if double else torch.float32)
        own, taught = group.study(inputs, imitated, detach=detach)
        expected_own = [loop.run(k, x) if len(x) else x.new_zeros(0) for k, x in enumerate(inputs)]
        expected_taught: list[list[Tensor]] = []
        for k, x in enumerate(inputs):
            logits = [loop.target(j, x, mode) for j in imitated[k]] if len(x) else []
            expected_taught.append([z.detach() for z in logits] if detach else logits)
        for k in range(students):
            torch.testing.assert_close(own[k], expected_own[k], rtol=tolerance, atol=tolerance)
            assert len(taught[k]) == len(expected_taught[k])
            for found, expected in zip(taught[k], expected_taught[k], strict=True):
                torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
                assert found.requires_grad != detach
        loss, expected_loss = total_loss(own, taught), total_loss(expected_own, expected_taught)
        torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=tolerance)
        loss.backward()
        expected_loss.backward()
        assert_same_gradients(group, loop, tolerance)
        assert_same_statistics(group, loop.networks, tolerance)


class PooledLoop:
    """The definition of pooled batch norm, on a copy of a group: layer by layer on own samples, route by route for targets."""

    def __init__(self, group: Modular) -> None:
        self.group = copy.deepcopy(group)
        self.grid = [list(layer_.children()) for layer_ in self.group.layers]
        self.routes = group.routes.tolist()
        self.norms = [module for module in self.group.modules() if isinstance(module, PooledBatchNorm)]
        self.seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def own(self, inputs: Sequence[Tensor]) -> list[list[Tensor]]:
        """Activations before each layer and after the last, of every student with samples; a module's samples make one batch."""
        self.seen = {}

        def watch(norm: nn.Module, taken: tuple[Tensor]) -> None:
            values = taken[0].detach().transpose(0, 1).flatten(1)
            self.seen[norm] = (values.mean(1), values.var(1, unbiased=False))

        hooks = [norm.register_forward_pre_hook(watch) for norm in self.norms]
        now = list(inputs)
        trail = [list(now)]
        for depth, choices in enumerate(self.grid):
            for number, module in enumerate(choices):
                here = [k for k, x in enumerate(inputs) if len(x) and self.routes[k][depth] == number]
                if here:
                    outputs = module(torch.cat([now[k] for k in here])).split([len(inputs[k]) for k in here])
                    for k, output in zip(here, outputs, strict=True):
                        now[k] = output
            trail.append(list(now))
        for hook in hooks:
            hook.remove()
        return trail

    def target(self, route: int, activation: Tensor, depth: int = 0) -> Tensor:
        """Compute a student's logits; batch norm uses the statistics of the pass on own samples (the running ones without samples)."""
        for d in range(depth, len(self.grid)):
            module = self.grid[d][self.routes[route][d]]
            norms = [norm for norm in module.modules() if isinstance(norm, PooledBatchNorm)]
            kept = [(norm.running_mean, norm.running_var) for norm in norms]
            for norm in norms:
                norm.running_mean, norm.running_var = self.seen.get(norm, (norm.running_mean, norm.running_var))
            activation = module.eval()(activation)
            module.train()
            for norm, (mean, var) in zip(norms, kept, strict=True):
                norm.running_mean, norm.running_var = mean, var
        return activation

    def targets(self, wanted: Sequence[tuple[int, int]], trail: list[list[Tensor]]) -> dict[tuple[int, int], Tensor]:
        """Run all imitated routes: what the first pass did not compute, each distinct prefix once, is one batch of a module."""
        # (student whose samples they are, the way so far) -> activation
        known = {(k, tuple(self.routes[k][:d])): maps[k] for d, maps in enumerate(trail) for k in range(len(maps))}
        for norm in self.norms:
            norm.track_running_stats = False
        for depth, choices in enumerate(self.grid):
            for number, module in enumerate(choices):
                ways = [(k, tuple(self.routes[j][: depth + 1])) for k, j in wanted if self.routes[j][depth] == number]
                ways = [way for way in dict.fromkeys(ways) if way not in known]
                if ways:
                    before = [known[k, path[:-1]] for k, path in ways]
                    known.update(zip(ways, module(torch.cat(before)).split([len(x) for x in before]), strict=True))
        for norm in self.norms:
            norm.track_running_stats = True
        return {(k, j): known[k, tuple(self.routes[j])] for k, j in wanted}


def in_common(first: Sequence[int], second: Sequence[int]) -> int:
    return next((d for d, (a, b) in enumerate(zip(first, second, strict=True)) if a != b), len(first))


@situations
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("mode", ["batch_stats", "recall"])
def test_the_pooled_pass_equals_its_definition(
    students: int, modules: int, options: dict[str, Any], shares: list[int], imitated: list[list[int]], detach: bool, mode: Any
) -> None:
    group = group_of(students, modules, double=True, bn="pooled", targets=mode, **options)
    loop = PooledLoop(group)
    for _ in range(2):  # in the second pass no statistic is that of a fresh network
        inputs = inputs_of(shares)
        own, taught = group.study(inputs, imitated, detach=detach)
        trail = loop.own(inputs)
        expected_own = [z if len(inputs[k]) else inputs[k].new_zeros(0) for k, z in enumerate(trail[-1])]
        expected_taught: list[list[Tensor]] = []
        wanted = [(k, j) for k, x in enumerate(inputs) for j in imitated[k] if len(x)]
        batched_call = loop.targets(wanted, [[x.detach() for x in maps] for maps in trail] if detach else trail)
        for k, x in enumerate(inputs):
            logits = []
            for j in imitated[k] if len(x) else []:
                if mode == "batch_stats":
                    logits.append(batched_call[k, j].detach() if detach else batched_call[k, j])
                elif detach:  # from the very beginning: what is shared must change no number
                    logits.append(loop.target(j, x).detach())
                else:  # the gradient goes through the own part of the way, and takes statistics beyond it for constants
                    depth = in_common(loop.routes[k], loop.routes[j])
                    logits.append(loop.target(j, trail[depth][k], depth))
            expected_taught.append(logits)
        for k in range(students):
            torch.testing.assert_close(own[k], expected_own[k])
            for found, target in zip(taught[k], expected_taught[k], strict=True):
                torch.testing.assert_close(found, target)
                assert found.requires_grad != detach
        total_loss(own, taught).backward()
        total_loss(expected_own, expected_taught).backward()
        others = dict(loop.group.named_parameters())
        for name, parameter in group.named_parameters():
            assert (parameter.grad is None) == (others[name].grad is None)
            if parameter.grad is not None:
                torch.testing.assert_close(parameter.grad, others[name].grad, rtol=1e-9, atol=1e-9)
        kept = dict(loop.group.named_buffers())
        for name, value in group.named_buffers():
            torch.testing.assert_close(value, kept[name])  # targets leave no trace


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_pooled_pass_with_other_targets(mode: Any) -> None:
    """With running statistics, or with batch statistics over all samples that produce targets in a module, which update them."""
    group = group_of(3, double=True, bn="pooled", targets=mode)
    inputs, imitated = inputs_of([4, 5, 3]), [[1, 2], [0], [1]]
    reference = copy.deepcopy(group)
    reference.study(inputs, [[], [], []])
    _, taught = group.study(inputs, imitated)
    pairs = [(k, j) for k in range(3) for j in imitated[k]]
    streams = [RouteInput(inputs[k], j, samples=k) for k, j in pairs]
    with torch.no_grad():
        expected = reference.eval().run(streams) if mode == "eval" else reference.run(streams)
    for found, target in zip([z for logits in taught for z in logits], expected, strict=True):
        torch.testing.assert_close(found, target)
        assert not found.requires_grad
    kept = dict(reference.named_buffers())
    for name, value in group.named_buffers():
        torch.testing.assert_close(value, kept[name])


@pytest.mark.parametrize("bn", ["pooled", "per_student"])
def test_a_prefix_shared_with_the_own_route_is_not_recomputed(bn: str) -> None:
    group = group_of(6, bn=bn)
    rows: Counter[tuple[int, bool]] = Counter()
    for depth, layer_ in enumerate(group.layers):
        for module in layer_.children():
            module.register_forward_hook(lambda _, x, __, depth=depth: rows.update({(depth, torch.is_grad_enabled()): len(x[0])}))
    imitated = [[j for j in range(6) if j != k] for k in range(6)]
    group.study(inputs_of([2] * 6, torch.float32), imitated)
    routes = group.routes.tolist()
    for depth in range(len(group.layers)):
        assert rows[depth, True] == 12
        parties = sum(len({tuple(routes[j][: depth + 1]) for j in imitated[k]} - {tuple(routes[k][: depth + 1])}) for k in range(6))
        assert rows[depth, False] == 2 * parties
    assert rows[0, False] == 12, "two modules: the own stem is known, the other one is asked once, not by every route"


def test_dropout_ends_the_shared_prefix() -> None:
    def dropping(number: int) -> Chain:
        with torch.random.fork_rng():
            torch.manual_seed(number)
            blocks = {"a": nn.Sequential(nn.Conv2d(1, 3, 3), nn.Dropout(0.5)), "b": nn.Conv2d(3, 3, 3)}
            return Chain({"stem": {"stem": nn.Identity()}, "body": blocks, "head": {"pool": Pool()}})

    group = Modular(dropping, 2, 1, distinct=False).train()
    inputs = inputs_of([5, 5], torch.float32)
    own, taught = group.study(inputs, [[1], [0]])
    quiet = group.eval()(inputs[0])[0]
    torch.testing.assert_close(taught[0][0], quiet)
    assert not torch.allclose(own[0], quiet), "only the own pass drops"


def test_every_module_runs_at_most_once_per_gradient_mode() -> None:
    group = group_of(6)
    counts: Counter[tuple[int, int, bool]] = Counter()
    for depth, layer_ in enumerate(group.layers):
        for number, module in enumerate(layer_.children()):
            module.register_forward_hook(lambda *_, key=(depth, number): counts.update([(*key, torch.is_grad_enabled())]))
    group.study(inputs_of([2] * 6, torch.float32), [[j for j in range(6) if j != k] for k in range(6)])
    assert set(counts.values()) == {1}
    assert len(counts) == 2 * (sum(len(list(layer_.children())) for layer_ in group.layers) - len(group.unused_modules()))


@pytest.mark.parametrize("bn", ["pooled", "per_student"])
@pytest.mark.parametrize("detach", [True, False])
def test_own_logits_are_reused_on_the_same_samples(bn: str, detach: bool) -> None:
    group = group_of(3, bn=bn)
    same = images(4, seed=1)
    own, taught = group.study([same, same, images(4, seed=2)], [[1, 2], [0], [0, 1]], detach=detach)
    assert taught[0][0].data_ptr() == own[1].data_ptr()
    assert taught[1][0].data_ptr() == own[0].data_ptr()
    assert taught[0][0].requires_grad != detach
    assert taught[0][1].data_ptr() != own[2].data_ptr()
    if bn == "per_student":
        torch.testing.assert_close(taught[0][1], group.export(2).train()(same).detach() if detach else group.export(2).train()(same))


@pytest.mark.parametrize("bn", ["pooled", "per_student"])
def test_targets_have_no_gradient_and_update_no_statistics(bn: str) -> None:
    group = group_of(3, 4, seed=1, bn=bn)
    inputs = inputs_of([3, 3, 3], torch.float32)
    quiet = copy.deepcopy(group)
    quiet.study(inputs, [[], [], []])
    own, taught = group.study(inputs, [[1, 2], [0, 2], [0, 1]])
    for name, value in quiet.named_buffers():
        assert torch.equal(dict(group.named_buffers())[name], value), "imitating leaves the statistics as not imitating does"
    assert not any(z.requires_grad for logits in taught for z in logits)
    soft_kl(own[0], taught[0][0]).backward()
    foreign = {(depth, int(m)) for depth, m in enumerate(group.routes[1])} - {(depth, int(m)) for depth, m in enumerate(group.routes[0])}
    joint = {(depth, int(m)) for depth, m in enumerate(group.routes[0])}
    assert foreign
    for depth, number in foreign if bn == "per_student" else set():
        assert not any(p.grad.any() for p in module_of(group, depth, number).parameters() if p.grad is not None)
    assert all(any(p.grad is not None and p.grad.any() for p in module_of(group, d, m).parameters()) for d, m in joint)


def test_flags_are_restored_after_study() -> None:
    group = group_of(3, bn="per_student")
    before = {name: (m.training, getattr(m, "track_running_stats", None)) for name, m in group.named_modules()}
    group.study(inputs_of([2, 2, 2], torch.float32), [[1], [2], [0]])
    assert {name: (m.training, getattr(m, "track_running_stats", None)) for name, m in group.named_modules()} == before


# ---------------------------------------------------------------- statistics, export, saving


def test_students_have_separate_running_statistics() -> None:
    group = group_of(2, 1, distinct=False, bn="per_student")
    group.study([images(6, seed=1), 5 + 3 * images(6, seed=2)], [[], []])
    alone = [NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, seed=3).copy(0).train() for _ in range(2)]
    alone[0](images(6, seed=1))
    alone[1](5 + 3 * images(6, seed=2))
    assert_same_statistics(group, alone, 1e-5)
    assert not torch.allclose(alone[0].state_dict()["stem.1.running_mean"], alone[1].state_dict()["stem.1.running_mean"])


def test_running_statistics_of_the_given_network_are_kept() -> None:
    def used(number: int) -> nn.Module:
        network = make_copy(number).train()
        with torch.no_grad():
            network(5 * images(6, seed=number))
        return network

    group = Modular(used, 2, 1, distinct=False, bn="per_student").eval()
    inputs = images(3, seed=8)
    for k in range(2):
        torch.testing.assert_close(group[k](inputs), used(0).eval()(inputs))


def test_a_student_norm_needs_segments() -> None:
    norm = StudentBatchNorm(nn.BatchNorm2d(3), 2)
    with pytest.raises(UserError, match="through its group"):
        norm(torch.zeros(2, 3, 4, 4))
    norm.segments = [(0, 1)]
    with pytest.raises(UserError, match="the input has 2 samples"):
        norm(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("bn", ["pooled", "per_student"])
@pytest.mark.parametrize("training", [True, False])
def test_an_export_is_a_plain_copy(bn: str, training: bool) -> None:
    group = group_of(3, bn=bn)
    group.study(inputs_of([4, 4, 4], torch.float32), [[]] * 3)
    group.train(training)
    for k in range(3):
        network = group.export(k)
        assert type(network) is Chain
        assert {m.training for m in network.modules()} == {training}
        assert not any(isinstance(m, StudentBatchNorm) for m in network.modules())
        assert {name: value.shape for name, value in network.state_dict().items()} == {n: v.shape for n, v in tiny().state_dict().items()}
        logits = predict_targets(group[k], images(3, seed=1))
        torch.testing.assert_close(predict_targets(network, images(3, seed=1)), logits)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        torch.testing.assert_close(predict_targets(group[k], images(3, seed=1)), logits)


@pytest.mark.parametrize("bn", ["pooled", "per_student"])
def test_routes_are_saved_with_the_weights(bn: str) -> None:
    saved, other = group_of(3, seed=1, bn=bn), group_of(3, seed=2, bn=bn)
    assert not torch.equal(saved.routes, other.routes)
    saved.study(inputs_of([4, 4, 4], torch.float32), [[]] * 3)
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(saved.routes, other.routes)
    assert other.describe() == saved.describe()
    for k, logits in enumerate(saved.eval()(images(3, seed=1))):
        assert torch.equal(logits, other.eval()(images(3, seed=1))[k])


def gradients(group: Modular, imitated: list[list[int]]) -> dict[str, Tensor]:
    own, taught = group.study(inputs_of([4, 3, 5, 4]), imitated)
    total_loss(own, taught).backward()
    return {name: p.grad for name, p in group.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loaded", [False, True])
def test_rescaling_divides_by_the_number_of_students(loaded: bool) -> None:
    plain, scaled = group_of(4, double=True), group_of(4, double=True, seed=5 if loaded else 0)
    scaled.rescale_gradients()
    if loaded:
        scaled.load_state_dict(plain.state_dict())
    expected, found = (gradients(group, [[1], [2], [3], [0]]) for group in (plain, scaled))
    assert set(found) == set(expected)
    divisors = set()
    for name, gradient in expected.items():
        _, depth, number, *_ = name.split(".")
        divisor = sum(int(route[int(depth)]) == int(number) for route in plain.routes)
        divisors.add(divisor)
        torch.testing.assert_close(found[name], gradient / divisor)
    assert len(divisors) > 1


def test_batch_norms_inside_blocks_are_found() -> None:
    group = group_of(2, bn="per_student")
    norms = [module for module in group.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 8
    assert all(isinstance(norm, StudentBatchNorm) and norm.running_mean.shape[0] == 2 for norm in norms)


def test_no_more_copies_are_made_than_needed() -> None:
    asked: list[int] = []

    def counted(make_copy: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
        def inner(number: int) -> nn.Module:
            asked.append(number)
            return make_copy(number)

        return inner

    Modular(counted(make_copy), 5, 3, head="per_student")
    assert sorted(asked) == [0, 1, 2, 3, 4]
