"""Small trainable networks between a student's features and a teacher's.

They are trained with the student and discarded afterwards. Layers and initialisation follow the CRD benchmark's code (Tian et al.,
ICLR 2020, arXiv:1910.10699) or the authors'; learning rates are those of the methods. Shapes of maps are (C, H, W), without the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from studygroup.errors import UserError
from studygroup.networks.layers import convolution
from studygroup.networks.padded import Padded, TokenPositions, from_maps, to_maps

Shape = Sequence[int]


def apply_connector(connector: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a connector to maps; those of texts only at positions that are not padding, so that padding is in no statistic.

    Args:
        connector: maps -> maps; for texts, one that processes each position separately.
        features: maps (B, c, h, w), of texts (B, c, 1, T).
        mask: (B, T) bool, False at padding; None for images.

    Returns:
        Maps, zero at padding.
    """
    if mask is None:
        out: Tensor = connector(features)
        return out
    positions = TokenPositions(mask)
    rows = positions.select(from_maps(features, mask).values)[:, :, None, None]  # (N, c, 1, 1)
    # Without any token there are no batch statistics; but synchronised batch norm needs a call in train mode on every rank.
    in_training = [] if len(rows) or has_torch_function_unary(rows) else [module for module in connector.modules() if module.training]
    for module in in_training:
        module.training = False
    output = connector(rows).flatten(1)
    for module in in_training:
        module.training = True
    return to_maps(Padded(positions.scatter(output), mask))


class ConvReg(nn.Module):
    """FitNet's regressor (Romero et al., ICLR 2015, arXiv:1412.6550): a convolution (with bias), batch norm, ReLU.

    The convolution maps the student's size to the teacher's: 3x3 with stride 2 from twice the size, 4x4 transposed with stride 2 from
    half the size, else without padding and with a kernel of the difference + 1. The paper has the last one only.
    """

    def __init__(self, student: Shape, teacher: Shape, *, relu: bool = True) -> None:
        """Set up the layers.

        Args:
            student: (C_s, H_s, W_s).
            teacher: (C_t, H_t, W_t).
            relu: whether to end in a ReLU.

        Raises:
            UserError: the student's map is smaller, and not half as large.
        """
        super().__init__()
        (channels, *size), (width, *target) = _checked(student), _checked(teacher)
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if size == [2 * side for side in target]:
            self.conv = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        elif [2 * side for side in size] == target:
            self.conv = nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1)
        elif size[0] >= target[0] and size[1] >= target[1]:
            self.conv = nn.Conv2d(channels, width, (1 + size[0] - target[0], 1 + size[1] - target[1]))
        else:
            raise UserError(
                f"the student's map is {size[0]}x{size[1]}, the teacher's {target[0]}x{target[1]}; "
                "use a layer where the student's is as large, larger, or half as large"
            )
        self.norm = nn.BatchNorm2d(width)
        self.activation = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C_s, H_s, W_s). Returns: (B, C_t, H_t, W_t)."""
        out: Tensor = self.activation(self.norm(self.conv(maps)))
        return out


class Connector(nn.Module):
    """Connectors of activation boundaries (Heo et al., AAAI 2019, arXiv:1811.03233), one for each pair of pre-activation maps.

    The identity where the shapes are equal, else a regressor without ReLU.
    """

    def __init__(self, students: Sequence[Shape], teachers: Sequence[Shape]) -> None:
        """Set up the layers.

        Args:
            students: (C, H, W) of each of the student's maps.
            teachers: (C, H, W) of as many of the teacher's.

        Raises:
            UserError: different numbers of maps, or a pair that `ConvReg` does not fit.
        """
        super().__init__()
        if len(students) != len(teachers):
            raise UserError(f"{len(students)} maps of the student, {len(teachers)} of the teacher; give as many of each")
        self.connectors = nn.ModuleList(
            nn.Identity() if _checked(student) == _checked(teacher) else ConvReg(student, teacher, relu=False)
            for student, teacher in zip(students, teachers, strict=True)
        )

    def forward(self, maps: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None) -> list[Tensor]:
        """Args: maps: the student's, each (B, C, H, W). masks: of each, as `apply_connector`. Returns: as many, of the teacher's shapes."""
        masks = masks or [None] * len(maps)
        return [apply_connector(connector, x, mask) for connector, x, mask in zip(self.connectors, maps, masks, strict=True)]


def _encoder(channels: int, factors: int, norm: bool) -> nn.Sequential:
    """Make three 3x3 convolutions (B, channels, H, W) -> (B, factors, H, W), each with an optional batch norm and a leaky ReLU."""
    return nn.Sequential(
        *_with_leaky_relu(nn.Conv2d(channels, channels, 3, padding=1), norm),
        *_with_leaky_relu(nn.Conv2d(channels, factors, 3, padding=1), norm),
        *_with_leaky_relu(nn.Conv2d(factors, factors, 3, padding=1), norm),
    )


def _with_leaky_relu(layer: nn.Conv2d | nn.ConvTranspose2d, norm: bool) -> list[nn.Module]:
    norms: list[nn.Module] = [nn.BatchNorm2d(layer.out_channels)] if norm else []
    return [layer, *norms, nn.LeakyReLU(0.1, inplace=True)]


def _factors(channels: int, share: float) -> int:
    """Return the number of factor maps for a teacher's map of `channels`."""
    factors = int(channels * share)
    if factors < 1:
        raise UserError(f"{share} of {channels} channels leave no factor; use a larger share")
    return factors


class Paraphraser(nn.Module):
    """Factor transfer's paraphraser (Kim et al., NeurIPS 2018, arXiv:1802.04977): an autoencoder of the teacher's map.

    Encoder and decoder have three 3x3 convolutions each, with leaky ReLUs of slope 0.1 and without batch norm. It is trained first, to
    reconstruct; then the student's translator learns to match `factors`.
    """

    def __init__(self, channels: int, share: float = 0.5) -> None:
        """Set up the layers.

        Args:
            channels: C_t of the teacher's map.
            share: k, number of factor maps per channel.

        Raises:
            UserError: there would be no factor.
        """
        super().__init__()
        factors = _factors(channels, share)
        self.encoder = _encoder(channels, factors, norm=False)
        self.decoder = nn.Sequential(
            *_with_leaky_relu(nn.ConvTranspose2d(factors, factors, 3, padding=1), norm=False),
            *_with_leaky_relu(nn.ConvTranspose2d(factors, channels, 3, padding=1), norm=False),
            *_with_leaky_relu(nn.ConvTranspose2d(channels, channels, 3, padding=1), norm=False),
        )

    def factors(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C_t, H, W). Returns: (B, k C_t, H, W)."""
        out: Tensor = self.encoder(maps)
        return out

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C_t, H, W). Returns: their reconstruction (B, C_t, H, W)."""
        out: Tensor = self.decoder(self.encoder(maps))
        return out


class Translator(nn.Module):
    """Factor transfer's translator (Kim et al., NeurIPS 2018, arXiv:1802.04977): a student's map -> the paraphraser's factors.

    Three 3x3 convolutions, each followed by a batch norm and a leaky ReLU of slope 0.1.
    """

    def __init__(self, student_channels: int, teacher_channels: int, share: float = 0.5) -> None:
        """Set up the layers.

        Args:
            student_channels: C_s of the student's map.
            teacher_channels: C_t of the teacher's.
            share: k of the paraphraser.

        Raises:
            UserError: there would be no factor.
        """
        super().__init__()
        self.encoder = _encoder(student_channels, _factors(teacher_channels, share), norm=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C_s, H, W). Returns: (B, k C_t, H, W)."""
        out: Tensor = self.encoder(maps)
        return out


class VariationalRegressor(nn.Module):
    """The Gaussian of variational information distillation (Ahn et al., CVPR 2019, arXiv:1904.05835).

    Three 1x1 convolutions without bias, with ReLUs between them, predict its mean; the variances are one parameter per channel.

    Attributes:
        log_scale: (C_t,); the variances are log(1 + exp(log_scale)) + 1e-5.
    """

    def __init__(self, student_channels: int, teacher_channels: int, variance: float = 5.0) -> None:
        """Set up the layers.

        Args:
            student_channels: C_s of the student's map.
            teacher_channels: C_t of the teacher's map, and of the hidden layers.
            variance: initial variance, above 1e-5.

        Raises:
            UserError: the variance is too small.
        """
        super().__init__()
        if variance <= 1e-5:
            raise UserError(f"variance is {variance}; it must be above 1e-5")
        self.mean = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        self.log_scale = nn.Parameter(torch.full((teacher_channels,), math.log(math.expm1(variance - 1e-5))))

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C_s, H, W), pooled to the teacher's size if larger. Returns: the mean (B, C_t, H, W)."""
        out: Tensor = self.mean(maps)
        return out


class Embed(nn.Module):
    """A linear embedding of features, normalised in CRD, and not in correlation congruence (arXiv:1904.01802)."""

    def __init__(self, features: int, dimensions: int = 128, *, normalise: bool = True) -> None:
        """Set up the layer.

        Args:
            features: D, number of values per sample.
            dimensions: of the embedding.
            normalise: whether embeddings are divided by their norm, in float32 or float64.
        """
        super().__init__()
        self.linear = nn.Linear(features, dimensions)
        self.normalise = normalise

    def forward(self, features: Tensor) -> Tensor:
        """Args: features: (B, ...) with D values each. Returns: (B, dimensions)."""
        out: Tensor = self.linear(features.flatten(1))
        if not self.normalise:
            return out
        return F.normalize(out.float() if out.dtype in (torch.bfloat16, torch.float16) else out)


class Projection(nn.Sequential):
    """SRRL's connector (Yang et al., ICLR 2021): (B, C_s, H, W) -> (B, C_t, H, W) by a 1x1 convolution, batch norm and ReLU.

    The convolution has no bias and Kaiming normal initialisation, fan-out, as in the authors' code.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        """Args: student_channels: C_s. teacher_channels: C_t."""
        super().__init__(convolution(student_channels, teacher_channels, 1), nn.BatchNorm2d(teacher_channels), nn.ReLU(inplace=True))


def _checked(shape: Shape) -> list[int]:
    """Return channels, height and width."""
    if len(shape) != 3:
        raise UserError(f"a map's shape is {tuple(shape)}; it must be (C, H, W), without the batch")
    return list(shape)
