"""Connectors: shapes, parameter counts computed from the layers, gradients, and shapes that are refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks import parameter_count
from studygroup.networks.connectors import (
    Connector,
    ConvReg,
    Embed,
    Paraphraser,
    Projection,
    Translator,
    VariationalRegressor,
    apply_connector,
)


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# student, teacher, kernel's number of positions
REGRESSORS = [
    ((16, 8, 8), (32, 8, 8), 1),
    ((16, 8, 8), (24, 4, 4), 9),
    ((16, 4, 4), (24, 8, 8), 16),
    ((16, 8, 8), (24, 6, 6), 9),
    ((16, 8, 6), (24, 3, 6), 6),
    ((16, 9, 8), (24, 2, 8), 8),
    ((16, 8, 8), (24, 1, 1), 64),
]


@pytest.mark.parametrize(("student", "teacher", "positions"), REGRESSORS)
def test_regressors(student: tuple[int, int, int], teacher: tuple[int, int, int], positions: int) -> None:
    regressor = ConvReg(student, teacher)
    found = regressor(maps(3, *student))
    assert found.shape == (3, *teacher)
    assert float(found.detach().min()) == 0  # after a ReLU
    assert parameter_count(regressor) == student[0] * teacher[0] * positions + teacher[0] + 2 * teacher[0]
    linear = ConvReg(student, teacher, relu=False)
    assert float(linear(maps(3, *student)).detach().min()) < 0
    assert parameter_count(linear) == parameter_count(regressor)


def test_connectors_are_identities_where_shapes_agree() -> None:
    students, teachers = [(4, 8, 8), (8, 4, 4), (8, 2, 2)], [(4, 8, 8), (16, 4, 4), (8, 1, 1)]
    connector = Connector(students, teachers)
    inputs = [maps(2, *shape) for shape in students]
    found = connector(inputs)
    assert [tuple(features.shape[1:]) for features in found] == teachers
    assert found[0] is inputs[0]
    assert float(found[1].detach().min()) < 0
    assert parameter_count(connector) == (8 * 16 + 3 * 16) + (8 * 8 * 9 + 3 * 8)
    assert not any(isinstance(module, nn.ReLU) for module in connector.modules())


def test_paraphraser() -> None:
    paraphraser = Paraphraser(8)
    assert paraphraser.factors(maps(2, 8, 5, 5)).shape == (2, 4, 5, 5)
    assert paraphraser(maps(2, 8, 5, 5)).shape == (2, 8, 5, 5)
    half = 9 * (8 * 8 + 8 * 4 + 4 * 4)  # weights of the encoder, and of the decoder
    assert parameter_count(paraphraser) == 2 * half + (8 + 4 + 4) + (4 + 8 + 8)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in paraphraser.modules())
    assert {m.negative_slope for m in paraphraser.modules() if isinstance(m, nn.LeakyReLU)} == {0.1}
    assert Paraphraser(8, share=0.75).factors(maps(2, 8, 5, 5)).shape == (2, 6, 5, 5)


def test_translator() -> None:
    translator = Translator(6, 8)
    assert translator(maps(2, 6, 5, 5)).shape == (2, 4, 5, 5)
    assert parameter_count(translator) == 9 * (6 * 6 + 6 * 4 + 4 * 4) + 3 * (6 + 4 + 4)
    assert [type(layer).__name__ for layer in translator.encoder] == ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3


def test_an_autoencoder_learns_to_reconstruct() -> None:
    torch.manual_seed(0)
    paraphraser = Paraphraser(4)
    features = maps(8, 4, 4, 4).relu()
    optimizer = torch.optim.Adam(paraphraser.parameters(), lr=1e-2)
    errors = []
    for _ in range(60):
        error = (paraphraser(features) - features).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.6 * errors[0]


def test_variational_regressor() -> None:
    regressor = VariationalRegressor(6, 8)
    assert regressor(maps(2, 6, 5, 5)).shape == (2, 8, 5, 5)
    assert parameter_count(regressor) == 6 * 8 + 8 * 8 + 8 * 8 + 8
    assert regressor.log_scale.tolist() == pytest.approx([4.9932] * 8, abs=1e-4)
    wide = VariationalRegressor(6, 8, variance=0.3)
    variance = torch.nn.functional.softplus(wide.log_scale.detach()) + 1e-5
    assert variance.tolist() == pytest.approx([0.3] * 8)
    with pytest.raises(UserError, match=r"variance is 0\.0"):
        VariationalRegressor(6, 8, variance=0.0)


def test_embeddings() -> None:
    embed = Embed(2 * 3 * 3)
    found = embed(maps(5, 2, 3, 3))
    assert found.shape == (5, 128)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    assert parameter_count(embed) == 18 * 128 + 128
    linear = Embed(18, 7, normalise=False)
    features = maps(5, 18)
    assert torch.equal(linear(features), linear.linear(features))


def test_embeddings_are_normalised_in_float32_and_zeros_stay_finite() -> None:
    embed = Embed(6, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = embed(maps(5, 6))
    assert found.dtype == torch.float32
    assert found.norm(dim=1).tolist() == pytest.approx([1.0] * 5, abs=1e-6)
    nn.init.zeros_(embed.linear.bias)
    (gradient,) = torch.autograd.grad(embed(torch.zeros(2, 6)).square().sum(), embed.linear.weight)
    assert torch.isfinite(gradient).all()


def test_projection() -> None:
    torch.manual_seed(0)
    projection = Projection(64, 256)
    found = projection(maps(2, 64, 4, 4))
    assert found.shape == (2, 256, 4, 4)
    assert float(found.detach().min()) == 0
    assert parameter_count(projection) == 64 * 256 + 2 * 256
    convolution = projection[0]
    assert isinstance(convolution, nn.Conv2d)
    assert float(convolution.weight.detach().std()) == pytest.approx(math.sqrt(2 / 256), rel=0.05)


@pytest.mark.parametrize("module", [
    ConvReg((6, 8, 8), (8, 4, 4)), Paraphraser(6), Translator(6, 8), VariationalRegressor(6, 8), Embed(6 * 8 * 8, 5), Projection(6, 8),
])  # fmt: skip
def test_all_weights_get_gradients(module: nn.Module) -> None:
    out = module(maps(4, 6, 8, 8))
    (out * torch.linspace(-1, 2, out.numel()).view_as(out)).sum().backward()
    for name, parameter in module.named_parameters():
        if name != "log_scale":  # which is the loss's
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name


def test_shapes_that_no_connector_fits_are_refused() -> None:
    with pytest.raises(UserError, match="5x5, the teacher's 8x8"):
        ConvReg((4, 5, 5), (4, 8, 8))
    with pytest.raises(UserError, match="8x2, the teacher's 4x8"):
        ConvReg((4, 8, 2), (4, 4, 8))
    with pytest.raises(UserError, match=r"\(2, 4, 5, 5\); it must be \(C, H, W\)"):
        ConvReg((2, 4, 5, 5), (4, 8, 8))
    with pytest.raises(UserError, match="1 maps of the student, 2 of the teacher"):
        Connector([(4, 5, 5)], [(4, 5, 5), (4, 3, 3)])
    for make in (lambda: Paraphraser(1), lambda: Translator(4, 1)):
        with pytest.raises(UserError, match=r"0\.5 of 1 channels"):
            make()


# ---------------------------------------------------------------- texts


def texts(lengths: list[int], width: int = 5) -> tuple[Tensor, Tensor]:
    """Return maps (B, 3, 1, width) of texts of these lengths, and their mask."""
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    values = torch.randn(len(lengths), 3, 1, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return values * mask[:, None, None], mask


@pytest.mark.parametrize("connector", [ConvReg((3, 1, 8), (4, 1, 8)), Projection(3, 4)])
def test_a_connector_ignores_padding(connector: nn.Module) -> None:
    connector = connector.double().train()
    maps, mask = texts([5, 0, 2])
    state = {name: value.clone() for name, value in connector.state_dict().items()}
    found = apply_connector(connector, maps, mask)
    assert found.shape == (3, 4, 1, 5)
    left = connector.state_dict()
    connector.load_state_dict(state)
    # Plainly: one after the other, as pixels of one image.
    rows = torch.stack([maps[row, :, 0, place] for row in range(3) for place in range(5) if mask[row, place]], 1)
    expected = connector(rows[None, :, None, :])
    assert all(torch.allclose(value, left[name]) for name, value in connector.state_dict().items())
    columns = iter(expected[0, :, 0].unbind(1))
    for row in range(3):
        for place in range(5):
            here = next(columns) if mask[row, place] else torch.zeros(4, dtype=torch.float64)
            torch.testing.assert_close(found[row, :, 0, place], here)


def test_connectors_without_tokens_are_not_updated() -> None:
    connector = Projection(3, 4).double().train()
    connector[2].eval()
    state = {name: value.clone() for name, value in connector.state_dict().items()}
    maps, mask = texts([0, 0])
    found = apply_connector(connector, maps.requires_grad_(), mask)
    assert not found.any()
    found.sum().backward()
    assert all(torch.equal(value, state[name]) for name, value in connector.state_dict().items())
    assert [module.training for module in connector] == [True, True, False]


def test_connectors_of_images_are_called_directly() -> None:
    connector = Projection(3, 4).eval()
    maps = torch.randn(2, 3, 4, 4)
    assert torch.equal(apply_connector(connector, maps, None), connector(maps))
