"""Text networks: published sizes, and no influence of padding, against programs without padding."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks import TEXT_NETWORKS, Chain, create, extract_features, head_of, parameter_count
from studygroup.networks.padded import Padded, TokenPositions, from_maps, to_maps
from studygroup.networks.transformer import MeanPool, sinusoidal_positions
from studygroup.networks.vdcnn import ConvolutionBlock, KMaxPool, halve

SMALL = {
    "transformer": "transformer@depth=2,heads=2,hidden=8,embedding=6,feedforward=10",
    "vdcnn9": "vdcnn9@embedding=3,width=4,k=3,hidden=10",
    "vdcnn17": "vdcnn17@embedding=3,width=4,k=3,hidden=10,shortcut=1",
    "vdcnn29": "vdcnn29@embedding=3,width=4,k=3,hidden=10",
    "transformer, finer": "transformer@depth=2,heads=2,hidden=8,embedding=6,feedforward=10,sublayers=1",
    "vdcnn9, finer": "vdcnn9@embedding=3,width=4,k=3,hidden=10,convolutions=1",
}
TOKENS = 30
LENGTHS = (23, 1, 0, 8, 2, 17, 3)


def small(name: str) -> Chain:
    """A small network in double precision with random biases and updated running statistics, without dead units."""
    torch.manual_seed(0)
    network = create(SMALL[name], num_classes=4, vocabulary=TOKENS).double()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            if path.endswith("bias"):
                parameter.normal_(std=0.2)
        for norm in norms:
            norm.momentum = 1.0
        network(padded(texts((30,) * 20, seed=1)))
    for norm in norms:
        norm.momentum = 0.1
    return network


def texts(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, TOKENS, (length,), generator=generator) for length in lengths]


def padded(texts: Sequence[Tensor], width: int = 0) -> Tensor:
    width = max(width, 1, *(len(text) for text in texts))
    return torch.stack([F.pad(text, (0, width - len(text))) for text in texts])


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("transformer", 2, 8_852_738),
        ("vdcnn9", 5, 14_180_165),
        ("vdcnn9", 10, 14_190_410),
        ("vdcnn9@shortcut=1", 5, 14_353_989),
        ("vdcnn9@shortcut=1", 10, 14_364_234),
        # one more block of two convolutions (with bias and batch norm) in each stage than vdcnn9: 24,960 + 99,072 + 394,752 + 1,575,936
        ("vdcnn17", 5, 14_180_165 + 2_094_720),
        ("vdcnn29", 5, 14_180_165 + 4 * (24_960 + 99_072) + 394_752 + 1_575_936),
    ],
)
def test_parameter_counts(name: str, classes: int, count: int) -> None:
    with torch.device("meta"):
        assert parameter_count(create(name, classes)) == count


def test_parameter_counts_of_parts() -> None:
    with torch.device("meta"):
        convolutional, attentive = create("vdcnn9", 5), create("transformer", 2)
    counts = {name: parameter_count(block) for name, block in convolutional.blocks().items()}
    assert list(counts.values()) == [1_152, 3_136, 24_960, 74_496, 296_448, 1_182_720, 0, 12_597_253]
    counts = {name: parameter_count(block) for name, block in attentive.blocks().items()}
    assert list(counts.values()) == [8_192_000 + 65_664, *[198_272] * 3, 0, 258]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("transformer", [1, 1, 1, 1, 2]),
        ("transformer@depth=5", [1, 1, 1, 1, 1, 1, 2]),
        ("vdcnn9", [1, 1, 1, 1, 1, 1, 2]),
        ("vdcnn17", [1, 1, 2, 2, 2, 2, 2]),
        ("vdcnn29", [1, 1, 5, 5, 2, 2, 2]),
        ("transformer@sublayers=1", [1, 2, 2, 2, 2]),
        ("vdcnn9@convolutions=1", [1, 1, 2, 2, 2, 2, 2]),
    ],
)
def test_stages(name: str, stages: list[int]) -> None:
    with torch.device("meta"):
        network = create(name, 2)
    assert [len(blocks) for blocks in network.stages.values()] == stages
    first, *between, last = network.stages
    assert (first, last, network.stages["head"]) == ("embedding", "head", ("pool", "classifier"))
    assert list(network.last_blocks()) == between
    assert between[-1] == f"stage{len(between) - name.startswith('vdcnn')}"


@pytest.mark.parametrize("name", SMALL)
def test_networks_are_a_function_of_the_seed(name: str) -> None:
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(create(SMALL[name], 4, vocabulary=TOKENS).state_dict())
    assert all(torch.equal(value, made[1][key]) for key, value in made[0].items())
    assert any(not torch.equal(value, made[2][key]) for key, value in made[0].items())
    network = create(SMALL[name], 4, vocabulary=TOKENS)
    network.load_state_dict(made[0])
    assert all(torch.equal(value, made[0][key]) for key, value in network.state_dict().items())
    assert set(made[0]) == {*dict(network.named_parameters()), *dict(network.named_buffers())}


@pytest.mark.parametrize("name", [name for name in SMALL if "finer" in name])
def test_finer_blocks_are_the_same_network(name: str) -> None:
    coarse, fine = small(name.partition(",")[0]), small(name)
    assert len(fine.blocks()) > len(coarse.blocks())
    assert all(torch.equal(one, other) for one, other in zip(coarse.state_dict().values(), fine.state_dict().values(), strict=True))
    ids = padded(texts(), 2)
    for mode in (False, True):
        torch.manual_seed(5)  # the same values are dropped out
        one = coarse.train(mode)(ids)
        torch.manual_seed(5)
        assert torch.equal(fine.train(mode)(ids), one)


def test_convolutions_start_from_kaiming_fan_out() -> None:
    torch.manual_seed(0)
    for path, module in create("vdcnn9@shortcut=1,hidden=8", 3).named_modules():
        if isinstance(module, nn.Conv1d):
            wanted = (2 / (module.out_channels * module.kernel_size[0])) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(wanted, rel=0.1), path
            assert (module.bias is not None) == (module.kernel_size[0] == 3)
            assert module.bias is None or module.bias.detach().eq(0).all()


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("name", SMALL)
def test_padding_does_not_change_predictions(name: str) -> None:
    network, known = small(name).eval(), texts()
    together = network(padded(known))
    wider = network(padded(known, 41))
    torch.testing.assert_close(wider, together, rtol=0, atol=1e-9)
    for text, logits in zip(known, together, strict=True):
        for width in {max(len(text), 1), len(text) + 1, len(text) + 2, 50}:
            torch.testing.assert_close(network(padded([text], width))[0], logits, rtol=0, atol=1e-9)
    assert together.isfinite().all()
    assert len({round(value, 10) for value in together[:, 0].tolist()}) == len(known), "texts have different logits"


@pytest.mark.parametrize("name", SMALL)
def test_gradients_do_not_depend_on_padding(name: str) -> None:
    """In train mode, but for dropout: logits, gradients and running statistics."""
    found = []
    for width in (0, 29, 64):
        network = small(name).train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        logits = network(padded(texts(), width))
        (logits * torch.arange(4.0)).sin().sum().backward()
        gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
        found.append({"logits": logits, **gradients, **{f"buffer {key}": value for key, value in network.named_buffers()}})
    for other in found[1:]:
        for key, value in found[0].items():
            torch.testing.assert_close(other[key], value, rtol=1e-7, atol=1e-9, msg=key)
    assert found[0][next(key for key in found[0] if key.endswith("tokens.weight"))][0].eq(0).all(), "the pad's vector learns nothing"


@pytest.mark.parametrize("name", SMALL)
def test_values_are_zero_at_padding(name: str) -> None:
    network = small(name).train()
    x = network.embed(padded(texts(), 26))
    for path, block in list(network.named_children())[1:]:
        if path == "pool":
            break
        assert isinstance(x, Padded)
        before = Padded(x.values.clone(), x.mask.clone())
        following = block(x)
        assert torch.equal(x.values, before.values), f"{path} changes its input"
        assert torch.equal(x.mask, before.mask)
        x = following
        assert x.values[~x.mask].eq(0).all(), path
        assert x.values[x.mask].ne(0).any()
        assert x.values.shape[:2] == x.mask.shape


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_its_embedding_and_the_other_stages(name: str) -> None:
    network, ids = small(name).eval(), padded(texts())
    embedded = network.embed(ids)
    assert isinstance(embedded, Padded)
    assert torch.equal(embedded.mask, ids != 0)
    assert torch.equal(network.forward_embedded(embedded), network(ids))


def test_an_image_network_has_no_embedding() -> None:
    network = create("resnet8", 3)
    with pytest.raises(UserError, match=r"stages of the network are stem, stage1, .*head; there is no embedding: use a text network"):
        network.embed(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="there is no embedding"):
        network.forward_embedded(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", SMALL)
def test_no_samples(name: str) -> None:
    """An empty batch, as on a rank without samples for a module."""
    for mode in (True, False):
        network = small(name).train(mode)
        before = {key: value.clone() for key, value in network.named_buffers() if value.is_floating_point()}
        assert network(torch.zeros(0, 5, dtype=torch.int64)).shape == (0, 4)
        assert all(torch.equal(value, before[key]) for key, value in network.named_buffers() if key in before)


@pytest.mark.parametrize("name", SMALL)
def test_mixed_precision(name: str) -> None:
    network, ids = small(name).float().train(), padded(texts())
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(ids)
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    network = small(name).float().eval()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(ids).float(), network(padded(texts(), 40)).float(), rtol=0.1, atol=0.1)
    assert network.to(torch.bfloat16)(ids).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler looks at it
@pytest.mark.parametrize(
    ("name", "parts"), [("transformer", ("embedding", "stage1_block1", "pool")), ("vdcnn17", ("stage2_block1", "pool"))]
)
def test_blocks_can_be_compiled(name: str, parts: Sequence[str]) -> None:
    """Traced only, which takes a second."""
    network = small(name).eval()
    compiled = copy.deepcopy(network)
    for part in parts:
        compiled.get_submodule(part).compile(backend="eager")
    for mode in (False, True):
        for module in (*network.modules(), *compiled.modules()):
            module.training = mode and not isinstance(module, nn.Dropout)
        torch.testing.assert_close(compiled(padded(texts())), network(padded(texts())))


# ---------------------------------------------------------------- the transformer, a text at a time


def test_sinusoidal_positions() -> None:
    table = sinusoidal_positions(7, 5, torch.zeros(1, dtype=torch.float64))
    for t in range(7):
        for i in range(5):
            angle = t / 10_000 ** ((i - i % 2) / 5)
            assert float(table[t, i]) == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-12)
    assert sinusoidal_positions(4000, 6, torch.zeros(1)).shape == (4000, 6)
    assert sinusoidal_positions(2, 6, torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


def one_text(network: Chain, ids: Tensor) -> Tensor:
    """Compute the logits (C,) of a text (n,), n at least 1, by the formulas."""
    blocks = network.blocks()
    embedding = blocks.pop("embedding")
    table = embedding.get_parameter("embedding.tokens.weight")
    x = embedding.get_submodule("projection")(table[ids])
    x = x + sinusoidal_positions(len(ids), x.shape[1], x)
    for name, block in blocks.items():
        if not name.startswith("stage"):
            continue
        queries, keys, values = block.get_submodule("attention.mixed")(x).chunk(3, 1)
        width = queries.shape[1] // 2
        heads = []
        for start in (0, width):
            q, k, v = (part[:, start : start + width] for part in (queries, keys, values))
            heads.append((q @ k.T / math.sqrt(width)).softmax(1) @ v)
        x = block.get_submodule("attention.norm")(x + block.get_submodule("attention.out")(torch.cat(heads, 1)))
        feedforward = block.get_submodule("feedforward")
        inside = feedforward.get_submodule("inside")(x).relu()
        x = feedforward.get_submodule("norm")(x + feedforward.get_submodule("out")(inside))
    logits: Tensor = blocks["classifier"](x.mean(0))
    return logits


def test_the_transformer_against_its_formulas() -> None:
    network, known = small("transformer").eval(), [text for text in texts() if len(text)]
    expected = torch.stack([one_text(network, text) for text in known])
    torch.testing.assert_close(network(padded(known)), expected, rtol=0, atol=1e-10)


def test_the_mean_of_an_empty_text_is_zero() -> None:
    network = small("transformer").eval()
    logits = network(padded([torch.zeros(0, dtype=torch.int64)], 3))
    assert torch.equal(logits[0], network.get_parameter("classifier.bias"))
    assert torch.equal(MeanPool()(Padded(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))), torch.zeros(2, 4))


def test_dropout_is_where_the_paper_has_it() -> None:
    """On the sum of embeddings and positions, and on the output of each sublayer, by modules that target modes disable."""
    network = create("transformer@dropout=0.3", 2)
    assert [(path, module.p) for path, module in network.named_modules() if isinstance(module, nn.Dropout)] == [
        ("embedding.dropout", 0.3),
        *((f"stage{number}_block1.{part}.dropout", 0.3) for number in (1, 2, 3) for part in ("attention", "feedforward")),
    ]
    ids = padded(texts())
    assert not torch.equal(network(ids), network(ids))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    assert torch.equal(network(ids), network(ids)), "nothing else is random"


# ---------------------------------------------------------------- VDCNN, a text at a time


def k_largest(row: Sequence[float], k: int) -> list[float]:
    """The k largest in their order, the first of equal ones, and zeros if there are fewer."""
    kept = sorted(sorted(range(len(row)), key=lambda t: (-row[t], t))[:k])
    return [row[t] for t in kept] + [0.0] * (k - len(kept))


def widest(maps: Tensor) -> Tensor:
    """(d, n) -> (d, ceil(n / 2)): the largest of 2 j - 1, 2 j and 2 j + 1."""
    n = maps.shape[1]
    columns = [maps[:, max(2 * j - 1, 0) : 2 * j + 2].amax(1) for j in range((n + 1) // 2)]
    return torch.stack(columns, 1) if columns else maps


def along(maps: Tensor, layer: nn.Module) -> Tensor:
    """A convolution of one text (d, n)."""
    assert isinstance(layer, nn.Conv1d)
    return layer(maps.unsqueeze(0)).squeeze(0) if maps.shape[1] else maps.new_zeros(layer.out_channels, 0)


def all_together(texts: Sequence[Tensor], norm: nn.Module) -> list[Tensor]:
    """Batch norm over all positions of texts (d, n)."""
    rows: Tensor = norm(torch.cat(list(texts), 1).T)
    return list(rows.T.split([text.shape[1] for text in texts], 1))


def text_by_text(network: Chain, known: Sequence[Tensor]) -> Tensor:
    """Logits (B, C) without any padding."""
    table, shortcut = network.get_parameter("embedding.tokens.weight"), False
    x = [along(table[text].T, network.get_submodule("stem.conv")) for text in known]
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        for number, path in enumerate(network.stages[stage]):
            block = network.get_submodule(path)
            assert isinstance(block, ConvolutionBlock)
            shortcut = block.shortcut
            if number == 0 and stage != "stage1":
                x = [widest(text) for text in x]
            y = [text.relu() for text in all_together([along(text, block.conv1) for text in x], block.bn1)]
            y = all_together([along(text, block.conv2) for text in y], block.bn2)
            if shortcut and block.projection is not None and block.bn3 is not None:
                x = all_together([along(text, block.projection) for text in x], block.bn3)
            x = [(text + (before if shortcut else 0.0)).relu() for text, before in zip(y, x, strict=True)]
    pooled = torch.tensor([[value for row in text.tolist() for value in k_largest(row, 3)] for text in x], dtype=torch.float64)
    logits: Tensor = network.get_submodule("classifier")(pooled)
    return logits


@pytest.mark.parametrize("name", ["vdcnn9", "vdcnn17"])
@pytest.mark.parametrize("mode", [False, True])
def test_vdcnn_against_its_definition(name: str, mode: bool) -> None:
    """In train mode, batch norm and its running statistics are over the positions of all texts that are not padding."""
    network, known = small(name).train(mode), texts()
    reference = copy.deepcopy(network)
    expected = text_by_text(reference, known)
    torch.testing.assert_close(network(padded(known, 37)), expected, rtol=0, atol=1e-9)
    buffers = dict(reference.named_buffers())
    for key, value in network.named_buffers():
        torch.testing.assert_close(value, buffers[key], msg=key)
    assert mode == any(not torch.equal(value, before) for value, before in zip(network.buffers(), small(name).buffers(), strict=True))


def test_positions_are_not_selected_without_padding() -> None:
    """Batches without padding take a faster path with the same result."""
    network, known = small("vdcnn9").train(), texts((16, 16, 16))
    reference = copy.deepcopy(network)
    assert TokenPositions(padded(known) != 0).index is None
    torch.testing.assert_close(network(padded(known)), text_by_text(reference, known), rtol=0, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 8])
def test_batch_norm_needs_two_positions(length: int) -> None:
    """The last stage of a single short text has a single position."""
    network = small("vdcnn9")
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        network(padded(texts((length, 0)), 20))
    network(padded(texts((length, 1)), 20))
    network.eval()(padded(texts((length,))))


def test_running_statistics_stay_without_tokens() -> None:
    network = small("vdcnn9").train()
    before = {key: value.clone() for key, value in network.named_buffers()}
    logits = network(torch.zeros(3, 9, dtype=torch.int64))
    assert torch.equal(logits[0], logits[1])
    assert logits.isfinite().all()
    assert all(torch.equal(value, before[key]) for key, value in network.named_buffers())


def test_max_pooling_ignores_padding() -> None:
    """Values of any sign, with any padding."""
    generator = torch.Generator().manual_seed(0)
    lengths = (9, 8, 1, 0, 5)
    values = torch.randn(5, 9, 2, generator=generator, dtype=torch.float64) - 3
    mask = torch.arange(9) < torch.tensor(lengths).unsqueeze(1)
    values = (values * mask.unsqueeze(-1)).requires_grad_()
    found = halve(Padded(values, mask))
    assert found.mask.sum(1).tolist() == [(length + 1) // 2 for length in lengths]
    for text, length, pooled in zip(values, lengths, found.values, strict=True):
        expected = widest(text[:length].T).T
        assert torch.equal(pooled[: len(expected)], expected)
        assert pooled[len(expected) :].eq(0).all()
    found.values.sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert values.grad[~mask].eq(0).all()


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("ties", [False, True])
def test_k_max_pooling(k: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(k)
    lengths = (7, 2, 0, 6, 1, 4)
    values = torch.randn(6, 7, 5, generator=generator, dtype=torch.float64)
    values = values.round() if ties else values
    mask = torch.arange(7) < torch.tensor(lengths).unsqueeze(1)
    values = (values * mask.unsqueeze(-1)).requires_grad_()
    for width in (7, 12):
        wide = Padded(F.pad(values, (0, 0, 0, width - 7)), F.pad(mask, (0, width - 7)))
        found = KMaxPool(k)(wide)
        assert found.shape == (6, 5 * k)
        expected = [
            [v for row in text[:length].T.tolist() for v in k_largest(row, k)] for text, length in zip(values, lengths, strict=True)
        ]
        assert found.tolist() == expected
    (gradient,) = torch.autograd.grad(found.sum(), values)
    assert gradient.sum().item() == sum(min(length, k) for length in lengths) * 5
    assert gradient[~mask].eq(0).all()


def test_k_max_pooling_keeps_nan() -> None:
    """So that diverged training is noticed."""
    values = torch.zeros(1, 9, 1)
    values[0, 4] = math.nan
    assert KMaxPool(2)(Padded(values, torch.ones(1, 9, dtype=torch.bool))).isnan().any()


# ---------------------------------------------------------------- what feature methods see


@pytest.mark.parametrize("name", SMALL)
def test_maps_of_texts(name: str) -> None:
    network, ids = small(name).eval(), padded(texts())
    found = extract_features(network, ids)
    assert torch.equal(found.logits, network(ids))
    x: Tensor | Padded = ids
    seen = {}
    for path, block in network.blocks().items():
        x = block(x)
        seen[path] = x
    for end, features, mask, pre in zip(network.last_blocks().values(), found.maps, found.masks, found.pre, strict=True):
        expected = seen[end]
        assert isinstance(expected, Padded)
        assert mask is not None
        assert torch.equal(mask, expected.mask)
        assert torch.equal(features, to_maps(expected))
        assert features.shape == (7, expected.values.shape[2], 1, expected.mask.shape[1])
        assert torch.equal(from_maps(features, mask).values, expected.values)
        assert pre.shape == features.shape
        assert pre.transpose(1, 3)[:, :, 0][~mask].eq(0).all()
        activated = not name.startswith("transformer") and end != "stem"
        assert torch.equal(pre.relu() if activated else pre, features)
        assert pre.lt(0).any(), "before the activation"
    pooled = seen["pool"]
    assert isinstance(pooled, Tensor)
    assert torch.equal(found.pooled, pooled)
    assert found.pooled.shape == (7, 8 if name.startswith("transformer") else 3 * 32)


@pytest.mark.parametrize("name", SMALL)
def test_features_have_gradients(name: str) -> None:
    found = extract_features(small(name), padded(texts()))
    for value in (*found.maps, *found.pre, found.pooled):
        assert value.requires_grad
    torch.stack([value.square().sum() for value in (*found.maps, *found.pre)]).sum().backward()


@pytest.mark.parametrize("name", SMALL)
def test_head_of_text_networks(name: str) -> None:
    network, ids = small(name).eval(), padded(texts())
    position, head = head_of(network)
    assert position == list(network.last_blocks().values())[-1]
    found = extract_features(network, ids, [position])
    assert found.masks[0] is not None
    assert torch.equal(head(from_maps(found.maps[0], found.masks[0])), found.logits)
    other = torch.ones_like(found.maps[0])  # as a connector may make, which knows no padding
    assert torch.equal(
        head(from_maps(other, found.masks[0])),
        head(Padded(found.masks[0].unsqueeze(-1).expand(other.shape[0], other.shape[3], other.shape[1]).double(), found.masks[0])),
    )


class Preactivated(nn.Module):
    """A block that starts with a norm, as in many transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Padded) -> Padded:
        return Padded(self.linear(self.norm(x.values)) * x.mask.unsqueeze(-1), x.mask)


def test_the_output_of_the_next_norm_of_texts() -> None:
    torch.manual_seed(0)
    blocks = small("transformer").float().eval().blocks()
    stages = {"embedding": ["embedding"], "stage1": ["stage1_block1"], "stage2": ["own"], "head": ["pool", "classifier"]}
    blocks["own"] = Preactivated()
    network = Chain({stage: {name: blocks[name] for name in names} for stage, names in stages.items()}).eval()
    found = extract_features(network, padded(texts()))
    assert found.masks[0] is not None
    expected = Padded(
        blocks["own"].get_submodule("norm")(from_maps(found.maps[0], found.masks[0]).values) * found.masks[0].unsqueeze(-1), found.masks[0]
    )
    assert torch.equal(found.pre[0], to_maps(expected))
    assert not torch.equal(found.pre[0], found.maps[0])


def test_images_have_no_masks_and_the_classifier_of_a_chain_is_its_block() -> None:
    found = extract_features(create("resnet8", 3, 1), torch.zeros(2, 1, 8, 8))
    assert found.masks == (None,) * 4
    network = small("vdcnn9").eval()
    named = extract_features(network, padded(texts()), [], classifier="classifier.4")
    assert named.pooled.shape == (7, 10)
    assert extract_features(network, padded(texts()), []).pooled.shape == (7, 96)


def test_every_text_network_is_tested() -> None:
    assert set(TEXT_NETWORKS) == {name for name in SMALL if "finer" not in name}
