"""Groups of text networks: routes and branches against separate networks."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.groups import Branched, Group, Independent, Modular, batched_call, pooled, predict_targets, target_mode
from studygroup.groups.branched import scaled_gradient
from studygroup.groups.layers import has_dropout
from studygroup.networks import Chain, NetworkFactory, create, parameter_count
from studygroup.networks.padded import Padded
from tests.groups.test_modular import Loop, assert_same_gradients, assert_same_statistics, total_loss
from tests.methods.tiny import CLASSES, VOCABULARY, sentences, tiny_text

TRANSFORMER = "transformer@hidden=8,heads=2,embedding=6,feedforward=8,dropout=0.0"
DROPPING = TRANSFORMER.replace("dropout=0.0", "dropout=0.5")
VDCNN = "vdcnn9@embedding=4,width=4,k=2,hidden=8"
FINER = [f"{TRANSFORMER},sublayers=1", f"{VDCNN},convolutions=1"]
SPECS: list[Any] = [TRANSFORMER, VDCNN, tiny_text, *FINER]
every_network = pytest.mark.parametrize("spec", SPECS, ids=["transformer", "vdcnn", "tiny", "sublayers", "convolutions"])


def maker_of(spec: Any) -> Callable[[int], nn.Module]:
    return NetworkFactory(spec, num_classes=CLASSES, vocabulary=VOCABULARY, seed=3).copy


def routes_of(spec: Any, students: int, modules: int = 2, **options: Any) -> Modular:
    return Modular(maker_of(spec), students, modules, **options).double().train()


def partitioned(shares: Sequence[int]) -> list[Tensor]:
    """The texts of every student, all padded to one length."""
    return list(sentences(max(sum(shares), 1), seed=40).split(list(shares)))


# ---------------------------------------------------------------- routes


def sizes(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_embedding_and_head_are_shared() -> None:
    def on_paper(name: str, classes: int) -> Modular:
        def make_copy(_: int) -> nn.Module:
            with torch.device("meta"):
                return create(name, classes)

        return Modular(make_copy, 8)

    words, characters = on_paper("transformer", 2), on_paper("vdcnn9", 5)
    assert [len(list(layer.children())) for layer in words.layers] == [1, 2, 2, 2, 1]
    assert sizes(words) == parameter_count(words) == 9_447_554
    finer = on_paper("transformer@sublayers=1", 2), on_paper("vdcnn9@convolutions=1", 5)
    assert [[len(list(layer.children())) for layer in group.layers] for group in finer] == [[1, *[2] * 6, 1], [1, *[2] * 9, 1]]
    assert sizes(finer[0]) == sizes(words)
    assert sizes(words[3]) == 8_852_738
    assert [len(list(layer.children())) for layer in characters.layers] == [1, 2, 2, 2, 2, 2, 1]
    assert sizes(characters) == 1_152 + 2 * (3_136 + 24_960 + 74_496 + 296_448 + 1_182_720) + 12_597_253
    assert sizes(characters[3]) == 14_180_165
    assert len(words.routes.unique(dim=0)) == 8, "all there are"
    with pytest.warns(UserWarning, match="8 students are trained, not 9"):
        assert len(Modular(maker_of(TRANSFORMER), 9)) == 8


@pytest.mark.parametrize(
    ("spec", "options", "widths"),
    [
        (VDCNN, {"route_stem": False}, [1, 1, 2, 2, 2, 2, 1]),
        (VDCNN, {"block_groups": (2, 2), "head": "routed"}, [1, 2, 2, 2, 2]),
        (TRANSFORMER, {"route_stem": False, "head": "per_student"}, [1, 2, 2, 2, 3]),
        (TRANSFORMER, {"block_groups": (1, 2)}, [1, 2, 2, 1]),
    ],
)
def test_layers(spec: str, options: dict[str, Any], widths: list[int]) -> None:
    assert [len(list(layer.children())) for layer in routes_of(spec, 3, **options).layers] == widths


SITUATIONS: list[tuple[int, dict[str, Any], list[int], list[list[int]]]] = [
    (3, {"head": "per_student"}, [4, 0, 3], [[2, 1], [0, 2], [0]]),
    (4, {"distinct": False}, [3, 3, 4, 2], [[1, 2, 3], [0, 2], [], [0, 1, 2]]),
]


@every_network
@pytest.mark.parametrize(("students", "options", "shares", "imitated"), SITUATIONS)
@pytest.mark.parametrize(("detach", "mode"), [(True, "batch_stats"), (False, "batch_stats"), (True, "eval")])
def test_the_fused_pass_equals_a_loop_over_students(
    spec: Any, students: int, options: dict[str, Any], shares: list[int], imitated: list[list[int]], detach: bool, mode: Any
) -> None:
    """Logits, losses, gradients and running statistics, over two passes."""
    group = routes_of(spec, students, bn="per_student", targets=mode, **options)
    loop = Loop(group)
    for _ in range(2):
        inputs = partitioned(shares)
        own, taught = group.study(inputs, imitated, detach=detach)
        expected_own = [loop.run(k, x) if len(x) else x.new_zeros(0) for k, x in enumerate(inputs)]
        expected_taught = [[loop.target(j, x, mode) for j in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]
        if detach:
            expected_taught = [[z.detach() for z in logits] for logits in expected_taught]
        for k in range(students):
            torch.testing.assert_close(own[k], expected_own[k], rtol=1e-9, atol=1e-9)
            for found, expected in zip(taught[k], expected_taught[k], strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
                assert found.requires_grad != detach
        loss, expected_loss = total_loss(own, taught), total_loss(expected_own, expected_taught)
        torch.testing.assert_close(loss, expected_loss, rtol=1e-9, atol=1e-9)
        loss.backward()
        expected_loss.backward()
        assert_same_gradients(group, loop, 1e-9)
        assert_same_statistics(group, loop.networks, 1e-9)


@every_network
@pytest.mark.parametrize("targets", ["batch_stats", "recall"])
def test_pooled_routes_of_one_module_are_one_network(spec: Any, targets: Any) -> None:
    """All texts are one batch, and imitated logits are those of the first pass."""
    group = routes_of(spec, 3, 1, distinct=False, targets=targets)
    network = copy.deepcopy(group.export(0))
    inputs = partitioned([4, 5, 3])
    own, taught = group.study(inputs, [[1, 2], [0], [0, 1]])
    torch.testing.assert_close(torch.cat(own), network(torch.cat(inputs)))
    for k, logits in enumerate(taught):
        for z in logits:
            torch.testing.assert_close(z, own[k].detach())
    for name, value in group.export(1).named_buffers():
        torch.testing.assert_close(value, dict(network.named_buffers())[name])


def calls_of(group: Modular) -> Counter[tuple[int, bool]]:
    """How many texts go through the modules of each layer, with gradient or without."""
    rows: Counter[tuple[int, bool]] = Counter()
    for depth, layer in enumerate(group.layers):
        for module in layer.children():
            module.register_forward_hook(
                lambda _, x, __, depth=depth: rows.update(
                    {(depth, torch.is_grad_enabled()): len(x[0].mask if isinstance(x[0], Padded) else x[0])}
                )
            )
    return rows


@every_network
@pytest.mark.parametrize("bn", ["pooled", "per_student"])
def test_a_prefix_shared_with_the_own_route_is_not_recomputed(spec: Any, bn: Any) -> None:
    group = routes_of(spec, 6, bn=bn)
    rows = calls_of(group)
    imitated = [[j for j in range(6) if j != k] for k in range(6)]
    group.study(partitioned([5] * 6), imitated)
    routes = group.routes.tolist()
    for depth in range(len(group.layers)):
        assert rows[depth, True] == 30
        parties = sum(len({tuple(routes[j][: depth + 1]) for j in imitated[k]} - {tuple(routes[k][: depth + 1])}) for k in range(6))
        assert rows[depth, False] == 5 * parties
    assert rows[0, False] == 0, "texts are embedded once"
    assert rows[1, False] == 30


def only_embedding_drops(number: int) -> nn.Module:
    network = maker_of(TRANSFORMER)(number)
    network.get_submodule("embedding.dropout").p = 0.5  # type: ignore[assignment]
    return network


@pytest.mark.parametrize("make_copy", [maker_of(DROPPING), only_embedding_drops], ids=["everywhere", "embedding"])
@pytest.mark.parametrize("students", [1, 3])
def test_targets_share_no_activation_after_dropout(make_copy: Callable[[int], nn.Module], students: int) -> None:
    torch.manual_seed(0)
    group = Modular(make_copy, 3, 2).train()
    rows = calls_of(group)
    inputs = partitioned([4, 4, 4])
    imitated = [[j for j in range(3) if j != k][: students - 1] or [k] for k in range(3)]
    own, taught = group.study(inputs, imitated)
    quiet = [group.eval()(x) for x in inputs]
    for k in range(3):
        for j, logits in zip(imitated[k], taught[k], strict=True):
            expected = own[k].detach() if j == k else quiet[k][j]
            torch.testing.assert_close(logits, expected)
        assert not torch.allclose(own[k], quiet[k][k]), "the own pass drops"
    assert rows[0, False] == (0 if students == 1 else 12), "embedded again, once for all whom a student imitates"


def test_dropout_inside_a_function_is_detected_and_disabled() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention_dropout = 0.5

        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.dropout(x, self.attention_dropout, self.training)

    assert has_dropout(Attention())
    assert any(map(has_dropout, nn.MultiheadAttention(4, 2, dropout=0.1).modules()))
    assert not any(map(has_dropout, nn.MultiheadAttention(4, 2).modules()))
    assert any(map(has_dropout, create(DROPPING, CLASSES).get_submodule("stage2_block1").modules()))
    assert not any(map(has_dropout, create(TRANSFORMER, CLASSES).modules()))
    network = nn.Sequential(Attention(), nn.BatchNorm1d(3)).train()
    x = torch.randn(5, 3)
    torch.testing.assert_close(predict_targets(network, x), predict_targets(network, x))
    with target_mode(network):
        assert not network[0].training
        assert network[1].training
    assert all(module.training for module in network.modules())


@every_network
@pytest.mark.parametrize("bn", ["pooled", "per_student"])
def test_routes_are_exported_as_plain_networks(spec: Any, bn: Any) -> None:
    group = routes_of(spec, 3, bn=bn)
    group.study(partitioned([4, 4, 4]), [[]] * 3)
    group.eval()
    inputs = sentences(5, seed=8)
    for k, logits in enumerate(group(inputs)):
        network = group.export(k)
        assert type(network) is Chain
        assert list(network.state_dict()) == list(maker_of(spec)(0).state_dict())
        torch.testing.assert_close(network(inputs), logits)
        torch.testing.assert_close(group[k](inputs), logits)


# ---------------------------------------------------------------- branches


@pytest.mark.parametrize(
    ("spec", "options", "stage", "shared"),
    [
        (TRANSFORMER, {}, "stage3", 3),
        (TRANSFORMER, {"branch_from": "stage1"}, "stage1", 1),
        (TRANSFORMER, {"branch_from": "head"}, "head", 4),
        (TRANSFORMER, {"whole": True}, None, 0),
        (VDCNN, {}, "stage4", 5),
        (VDCNN, {"branch_from": "stem"}, "stem", 1),
        (tiny_text, {}, "stage2", 4),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_branches_are_networks_with_a_shared_trunk(spec: Any, options: dict[str, Any], stage: str, shared: int, training: bool) -> None:
    group = Branched(maker_of(spec), 3, **options).double().train(training)
    assert group.branch_from == stage
    assert len(list(group.trunk.children())) == shared
    inputs = sentences(6, seed=1)
    plain = [group.export(k)(inputs) for k in range(3)]
    logits = group(inputs)
    features = group.features(group.trunk(inputs))
    for k in range(3):
        torch.testing.assert_close(logits[k], plain[k])
        torch.testing.assert_close(group[k](inputs), plain[k])
        torch.testing.assert_close(group.classify(features)[k], plain[k])
    assert group.widths(torch.ones(1, 8, dtype=torch.int64))[1] == features[0].shape[1]


@every_network
@pytest.mark.parametrize("branch", [None, "stage1"])
def test_the_trunks_gradient_is_divided(spec: Any, branch: str | None) -> None:
    plain, scaled = (Branched(maker_of(spec), 3, branch_from=branch, rescale=rescale).double().train() for rescale in (False, True))
    for group in (plain, scaled):
        total_loss(group(sentences(6, seed=1)), [[]] * 3).backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), scaled.named_parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(other.grad, one.grad / 3 if name.startswith("trunk") else one.grad)
    whole = Padded(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    half = scaled_gradient(whole, 0.5)
    assert isinstance(half, Padded)
    assert half.mask is whole.mask
    assert torch.equal(half.values, whole.values)


@pytest.mark.parametrize("spec", [TRANSFORMER, VDCNN])
def test_branches_share_the_embedding_at_least(spec: str) -> None:
    with pytest.raises(UserError, match=r"branching from 'embedding', the first of .* leaves nothing to share; use a later stage"):
        Branched(maker_of(spec), 2, branch_from="embedding")


def test_the_mean_over_a_text_ignores_padding() -> None:
    values = torch.randn(3, 4, 2, dtype=torch.float64)
    lengths = [4, 2, 0]
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    found = pooled(Padded(values * mask.unsqueeze(-1), mask))
    expected = [values[row, :length].mean(0) if length else torch.zeros(2) for row, length in enumerate(lengths)]
    torch.testing.assert_close(found, torch.stack([row.double() for row in expected]))


# ---------------------------------------------------------------- one batch, shares, and networks of their own


@every_network
@pytest.mark.parametrize("kind", ["branched", "independent"])
@pytest.mark.parametrize("detach", [True, False])
def test_study_equals_calling_each_student(spec: Any, kind: str, detach: bool) -> None:
    """In eval mode, where no sample depends on another."""
    make_copy = maker_of(spec)
    group: Group = Branched(make_copy, 3) if kind == "branched" else Independent([make_copy(k) for k in range(3)])
    group = group.double().eval()
    inputs, imitated = partitioned([3, 0, 5]), [[2, 1], [0], [0]]
    own, taught = group.study(inputs, imitated, detach=detach)
    for k, x in enumerate(inputs):
        if len(x):
            torch.testing.assert_close(own[k], group[k](x))
            for j, logits in zip(imitated[k], taught[k], strict=True):
                torch.testing.assert_close(logits, group[j](x))
                assert logits.requires_grad != detach
        else:
            assert taught[k] == []


def test_padded_activations_are_batched() -> None:
    network = create(TRANSFORMER, CLASSES, vocabulary=VOCABULARY).double()
    few, more = (network.embed(sentences(count, seed=count)) for count in (2, 3))
    rest = nn.Sequential(*(network.get_submodule(name) for name in list(network.blocks())[1:]))
    found = batched_call(rest, {0: few, 5: more, 7: few})
    torch.testing.assert_close(found[0], network.forward_embedded(few))
    torch.testing.assert_close(found[5], network.forward_embedded(more))
    assert found[7] is found[0]
