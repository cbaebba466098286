"""Routes that are given, and layers that all students share."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.groups import Independent, Modular
from studygroup.groups.routes import draw_shared_layers
from studygroup.networks import NetworkFactory
from studygroup.networks.registry import parameter_count
from tests.methods.tiny import CLASSES, images, snapshot, tiny

ROUTES = [[0, 1, 0, 1, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]


def group_of(students: int, modules: int = 2, *, weights: int = 3, **options: Any) -> Modular:
    def make_copy(number: int) -> nn.Module:
        return NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, seed=weights).copy(number)

    return Modular(make_copy, students, modules, **options).train()


def test_given_routes_are_taken_whatever_the_seeds() -> None:
    for weights, seed in itertools.product(range(2), range(2)):
        assert group_of(3, weights=weights, seed=seed, routes=ROUTES).routes.tolist() == ROUTES


def test_given_routes_are_those_that_were_drawn() -> None:
    """What a run recorded makes the same group again: the same weights, and the same logits."""
    for options in ({}, {"head": "routed"}, {"head": "per_student"}, {"route_stem": False, "block_groups": (1, 2)}):
        drawn = group_of(3, seed=5, **options)
        given = group_of(3, seed=6, routes=drawn.routes.tolist(), **options)
        state = given.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in drawn.state_dict().items() if isinstance(value, Tensor))
        inputs = images(4, seed=0)
        assert all(torch.equal(a, b) for a, b in zip(drawn(inputs), given(inputs), strict=True))


@pytest.mark.parametrize(("head", "heads"), [("shared", [0, 0, 0]), ("per_student", [0, 1, 2])])
def test_the_head_may_be_left_out(head: str, heads: list[int]) -> None:
    short = [route[:-1] for route in ROUTES]
    expected = [[*route, number] for route, number in zip(short, heads, strict=True)]
    assert group_of(3, routes=short, head=head).routes.tolist() == expected
    assert group_of(3, routes=expected, head=head).routes.tolist() == expected


def test_equal_routes_if_they_need_not_be_distinct() -> None:
    twins = group_of(2, routes=[ROUTES[0]] * 2, distinct=False).eval()
    first, second = twins(images(3, seed=0))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("routes", "options", "message"),
    [
        ([], {}, "routes has 0 routes for 3 students"),
        (ROUTES[:2], {}, "routes has 2 routes for 3 students; give one for each"),
        ([[0, 0, 0], *ROUTES[1:]], {}, r"route 0 has 3 modules, but the network has 4 layers \(stem, "),
        ([*ROUTES[:2], [0] * 6], {}, "route 2 has 6 modules, but the network has 4 layers"),
        ([route[:-1] for route in ROUTES], {"head": "routed"}, "route 0 has 4 modules, but the network has 5 layers"),
        ([ROUTES[0], [0, 0, 2, 0, 0], ROUTES[2]], {}, "route 1 takes module 2 of .*, which has 2 modules, numbers 0 to 1"),
        ([ROUTES[0], [0, 0, -1, 0, 0], ROUTES[2]], {}, "route 1 takes module -1"),
        (ROUTES, {"route_stem": False}, "route 1 takes module 1 of stem, which has one module, number 0"),
        ([ROUTES[0], [0, 0, 0, 0, 1], ROUTES[2]], {}, "route 1 takes module 1 of head, which has one module"),
        (ROUTES, {"head": "per_student"}, "route 1 takes head 0, but its head is number 1"),
        ([ROUTES[0], ROUTES[1], ROUTES[0]], {}, "routes 0 and 2 are the same; change one, or give distinct=False"),
        (ROUTES, {"require_coverage": True, "modules": 3}, "some modules are on no route"),
        (ROUTES, {"shared_layers": 1}, "shared_layers is 1 beside routes"),
        (["0110", *ROUTES[1:]], {}, "route 0 is '0110'; it must be a list of whole numbers"),
        ([[0.0, 1.0, 0.0, 1.0], *ROUTES[1:]], {}, "route 0 is .* it must be a list of whole numbers"),
        ([5, *ROUTES[1:]], {}, "route 0 is 5; it must be a list of whole numbers"),
    ],
)
def test_what_is_no_route(routes: Sequence[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        group_of(3, options.pop("modules", 2) if "modules" in options else 2, routes=routes, **options)


# ---------------------------------------------------------------- shared layers


@pytest.mark.parametrize("count", range(5))
def test_shared_layers_have_one_module(count: int) -> None:
    group = group_of(5, seed=2, shared_layers=count, distinct=False)
    widths = [len(list(layer.children())) for layer in group.layers]
    assert widths.count(1) == count + 1, "and the head"
    single = [depth for depth, width in enumerate(widths[:-1]) if width == 1]
    assert all(len(set(group.routes[:, depth].tolist())) == 1 for depth in single)
    alone = parameter_count(group.export(0))
    assert parameter_count(group) <= 2 * alone
    assert (parameter_count(group) == alone) == (count == 4)


def test_more_shared_layers_contain_fewer() -> None:
    for seed in range(5):
        drawn = [set(draw_shared_layers(count, [1, 2, 4, 7], seed)) for count in range(5)]
        assert all(len(layers) == count and layers <= {1, 2, 4, 7} for count, layers in enumerate(drawn))
        assert all(few < more for few, more in itertools.pairwise(drawn))
    assert len({tuple(draw_shared_layers(2, range(9), seed)) for seed in range(20)}) > 5, "the seed decides"


def test_no_shared_layers_draw_the_same_routes_as_before() -> None:
    assert torch.equal(group_of(4, seed=7).routes, group_of(4, seed=7, shared_layers=0).routes)


def test_what_shared_layers_leave_too_few_of() -> None:
    with pytest.warns(UserWarning, match="has 4 distinct routes, so 4 students are trained, not 5"):
        assert len(group_of(5, shared_layers=2)) == 4
    with pytest.raises(UserError, match="shared_layers is 5, but only 4 layers have several modules"):
        group_of(2, shared_layers=5)
    with pytest.raises(UserError, match="shared_layers is 4, but only 3 layers"):
        group_of(2, shared_layers=4, route_stem=False)


# ---------------------------------------------------------------- routes that share nothing


@pytest.mark.parametrize("bn", ["pooled", "per_student"])
@pytest.mark.parametrize("targets", ["batch_stats", "eval", "train"])
@pytest.mark.parametrize("detach", [True, False])
def test_separate_networks_are_routes_that_share_nothing(
    bn: Literal["pooled", "per_student"], targets: Literal["batch_stats", "eval", "train"], detach: bool
) -> None:
    """The ablation "w/o RR": logits, targets, gradients and running statistics are those of a modular group of disjoint routes."""
    routes = [[k] * 5 for k in range(3)]
    modular = group_of(3, 3, head="routed", routes=routes, bn=bn, targets=targets).double()
    networks = [copy.deepcopy(modular.export(k)).train() for k in range(3)]
    separate = Independent(networks, bn=bn, targets=targets).train()
    inputs = [images(size, seed=size).double() for size in (4, 6, 5)]
    imitated = [[1, 2], [2], [0, 1]]
    results = [group.study(inputs, imitated, detach=detach) for group in (modular, separate)]
    for own, other in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(own, other)
    for taught, others in zip(results[0][1], results[1][1], strict=True):
        for target, other in zip(taught, others, strict=True):
            torch.testing.assert_close(target, other)
            assert target.requires_grad == other.requires_grad == (not detach)
    for logits, imitations in results:
        torch.stack([z.square().sum() for z in logits] + [z.sum() for row in imitations for z in row]).sum().backward()
    for k, network in enumerate(networks):
        exported = modular.export(k)
        for name, value in snapshot(exported).items():
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(value, snapshot(network)[name])
        for layer, names in enumerate(modular._layer_blocks):
            module = modular.layers[layer].get_submodule(str(k))
            own_gradients = [parameter.grad for parameter in module.parameters()]
            other_gradients = [parameter.grad for name in names for parameter in network.get_submodule(name).parameters()]
            for gradient, expected in zip(own_gradients, other_gradients, strict=True):
                torch.testing.assert_close(gradient, expected)


def test_batch_norm_of_targets_is_an_option_of_separate_networks() -> None:
    """Two students imitate the third on other samples: normalised together, or each student's samples separately."""
    networks = [group_of(1, weights=k).export(0).train() for k in range(3)]
    inputs = [images(size, seed=size) for size in (4, 6, 5)]
    found = {}
    for bn in ("pooled", "per_student"):
        _, taught = Independent(networks, bn=bn).train().study(inputs, [[2], [2], []])
        found[bn] = taught[0][0]
    from studygroup.groups import predict_targets

    torch.testing.assert_close(found["per_student"], predict_targets(networks[2], inputs[0]))
    torch.testing.assert_close(found["pooled"], predict_targets(networks[2], torch.cat(inputs[:2]))[:4])
    assert not torch.allclose(found["pooled"], found["per_student"], atol=1e-3)
