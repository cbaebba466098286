"""Augmentation of images: presets, single operations and their strengths, for a whole batch at once."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from studygroup import randomness
from studygroup.data.images import operations
from studygroup.data.images.mixing import Mixing
from studygroup.errors import UserError, unknown_name


@dataclass(frozen=True)
class Strength:
    """Default, and largest allowed value, of an operation's strength; it is above 0."""

    default: float
    largest: float
    signed: bool = False


OPERATIONS = {
    "crop": Strength(1 / 8, 1.0),
    "flip": Strength(0.5, 1.0),
    "rotate": Strength(30.0, 180.0, signed=True),
    "shear_x": Strength(0.3, 1.0, signed=True),
    "shear_y": Strength(0.3, 1.0, signed=True),
    "translate_x": Strength(0.3, 1.0, signed=True),
    "translate_y": Strength(0.3, 1.0, signed=True),
    "autocontrast": Strength(0.5, 1.0),
    "equalize": Strength(0.5, 1.0),
    "solarize": Strength(1.0, 1.0),
    "posterize": Strength(1.0, 1.0),
    "color": Strength(0.9, 1.0, signed=True),
    "brightness": Strength(0.9, 1.0, signed=True),
    "contrast": Strength(0.9, 1.0, signed=True),
    "sharpness": Strength(0.9, 1.0, signed=True),
    "trivial": Strength(1.0, 1.0),
    "erase": Strength(0.25, 1.0),
    "mixup": Strength(0.2, 100.0),
    "cutmix": Strength(1.0, 100.0),
}
"""Name -> strength, in the order of application; what it means is in docs/augmentation.md."""
ALWAYS = ("autocontrast", "equalize")  # without a strength; that in `OPERATIONS` is the probability of the single operation
PRESETS = {
    "light": ("crop", "flip"),
    "medium": ("crop", "flip", "trivial", "erase"),
    "strong": ("crop", "flip", "trivial", "erase", "mixup", "cutmix"),
}
TRIVIAL = ("identity", *(name for name in (*operations.GEOMETRIC, *operations.POINTWISE)))
ERASED = (0.02, 0.4)  # smallest and largest erased fraction of an image
RATIOS = (0.3, 1 / 0.3)  # of the erased box's height to its width


NUMBERS = "zero|one|two|three|four|five|six|seven|eight|nine"
SYMBOL = re.compile(rf"[^\W_]|\d+|{NUMBERS}|(digit|letter|number|char|character)[ _-]?\w+", re.IGNORECASE)
"""Name of a class of digits, letters or other signs."""


def flip_changes(classes: Sequence[str]) -> bool:
    """Return whether the names of classes say that an image and its mirror image are of different classes.

    They do if most are digits, letters or numbers, or if two names differ by left and right.
    """
    names = {name.lower() for name in classes}
    sided = any("left" in name and name.replace("left", "right") in names for name in names)
    return sided or 2 * sum(SYMBOL.fullmatch(name) is not None for name in names) > len(names)


def parse_augment(augment: str, *, flips: bool = True) -> dict[str, float]:
    """Return the operations of an augmentation with their strengths, in the order of application.

    Args:
        augment: presets and operations, separated by `,` or `+`, each operation perhaps with a strength, such as `crop,rotate=15`;
            `auto` is `light`.
        flips: whether the presets flip.

    Raises:
        UserError: a word is neither preset nor operation, or a strength is out of range.

    Example:
        >>> from studygroup import data
        >>> data.parse_augment("light,rotate=15")
        {'crop': 0.125, 'flip': 0.5, 'rotate': 15.0}
    """
    found: dict[str, float] = {}
    for part in augment.replace("+", ",").split(","):
        name, given, value = (word.strip() for word in part.partition("="))
        if name == "none" and augment.strip() == "none":
            return {}
        preset = PRESETS.get("light" if name == "auto" else name)
        if preset is not None and not given:
            found |= {member: OPERATIONS[member].default for member in preset if flips or member != "flip"}
            continue
        if name not in OPERATIONS:
            if name == "none" or preset is not None:
                raise UserError(f"augment is {augment!r}; {name} takes no strength and none stands alone; leave the rest out")
            raise unknown_name("augmentation", name, ["none", "auto", *PRESETS, *OPERATIONS])
        found[name] = _strength(name, value) if given else OPERATIONS[name].default
    return {name: found[name] for name in OPERATIONS if name in found}


def asks_for_flips(augment: str) -> bool:
    """Return whether an augmentation has a preset that flips images where the data allows it, and no flip of its own.

    Example:
        >>> from studygroup import data
        >>> data.asks_for_flips("light"), data.asks_for_flips("crop+flip")
        (True, False)
    """
    return parse_augment(augment) != parse_augment(augment, flips=False)


def _strength(name: str, text: str) -> float:
    largest = OPERATIONS[name].largest
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= largest:
        example = f"{name}={OPERATIONS[name].default:g}"
        raise UserError(f"the strength of {name} is {text!r}; it must be a number above 0 and at most {largest:g}, such as {example}")
    return value


def format_augment(found: dict[str, float]) -> str:
    """Return the shortest text that `parse_augment` reads as these operations: what a run records.

    Example:
        >>> from studygroup import data
        >>> data.format_augment(data.parse_augment("light,rotate=15"))
        'crop+flip+rotate=15'
    """
    parts = [name if value == OPERATIONS[name].default else f"{name}={value:g}" for name, value in found.items()]
    return "+".join(parts) or "none"


class Augmentation:
    """Random changes of images, drawn for each image; all of them are functions of the seed.

    Args:
        augment: see `parse_augment`.
        shape: (channels, height, width) of an image.
        fill: (C,) mean colour in [0, 1], with which boxes are erased.
        device: device of the images.

    Attributes:
        mixing: what is done with pairs of samples; None for nothing.

    Raises:
        UserError: the augmentation is unknown, or cannot be of such images.
    """

    def __init__(self, augment: str, shape: tuple[int, int, int], fill: Sequence[float], device: torch.device) -> None:
        strengths = parse_augment(augment)
        if "color" in strengths and shape[0] == 1:
            raise UserError("augment has color, but the images are grey and have no colours; leave it out")
        self.shape = shape
        self.device = device
        self.fill = (torch.tensor(fill, dtype=torch.float64) * 255).round().to(device, torch.uint8)
        self.mixing = Mixing.of(strengths)
        self.strengths = {name: value for name, value in strengths.items() if name not in ("mixup", "cutmix")}
        self.trivial = tuple(name for name in TRIVIAL if name != "color" or shape[0] == 3)

    def __call__(self, images: Tensor, seed: int, rows: Tensor, total: int) -> Tensor:
        """Augment images (b, C, H, W) uint8, which are the rows `rows` (b,) of a batch of `total` images."""
        generator = torch.Generator().manual_seed(seed)
        _, height, width = self.shape
        if (padding := self.strengths.get("crop")) is not None:
            pad_y, pad_x = max(int(height * padding), 1), max(int(width * padding), 1)
            top = torch.randint(2 * pad_y + 1, (total,), generator=generator)[rows].to(self.device)
            left = torch.randint(2 * pad_x + 1, (total,), generator=generator)[rows].to(self.device)
            images = operations.crop(images, top, left, pad_y, pad_x)
        if (probability := self.strengths.get("flip")) is not None:
            flipped = (torch.rand(total, generator=generator) < probability)[rows].to(self.device)
            images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
        images = self._apply_single(images, seed, rows, total)
        if (scale := self.strengths.get("trivial")) is not None:
            images = self._apply_trivial(images, scale, seed, rows, total)
        if (probability := self.strengths.get("erase")) is not None:
            boxes = self._draw_boxes(probability, randomness.generator(seed, "erase"), total)[rows]
            images = operations.erase(images, boxes.to(self.device), self.fill)
        return images

    def _apply_single(self, images: Tensor, seed: int, rows: Tensor, total: int) -> Tensor:
        """Apply each operation that was named alone, to every image."""
        draws = {name: self._draw(name, value, seed, total) for name, value in self.strengths.items() if name in TRIVIAL}
        if moved := {name: values for name, values in draws.items() if name in operations.GEOMETRIC}:
            matrices = operations.affine_matrices(moved, *self.shape[1:])[rows]
            images = operations.affine(images, matrices.to(self.device))
        for name, values in draws.items():
            if name in ALWAYS:
                chosen = (values < self.strengths[name])[rows].to(self.device).view(-1, 1, 1, 1)
                images = torch.where(chosen, operations.POINTWISE[name](images, values), images)
            elif name in operations.POINTWISE:
                images = operations.POINTWISE[name](images, values[rows].to(self.device))
        return images

    def _draw(self, name: str, largest: float, seed: int, total: int) -> Tensor:
        """Draw strengths (total,), uniformly, of both signs where the operation has two directions; of `ALWAYS`, numbers in [0, 1)."""
        values = torch.rand(total, generator=randomness.generator(seed, name))
        if name in ALWAYS:
            return values
        return (2 * values - 1) * largest if OPERATIONS[name].signed else values * largest

    def _apply_trivial(self, images: Tensor, scale: float, seed: int, rows: Tensor, total: int) -> Tensor:
        """Apply one operation to each image, which are grouped by operation: each is computed for its images only."""
        generator = randomness.generator(seed, "trivial")
        chosen = torch.randint(len(self.trivial), (total,), generator=generator)
        values = torch.rand(total, generator=generator)
        strengths = {
            name: ((2 * values - 1) if OPERATIONS[name].signed else values) * OPERATIONS[name].default * scale for name in self.trivial[1:]
        }
        is_of = {name: chosen == k for k, name in enumerate(self.trivial)}
        moved = {name: torch.where(is_of[name], strengths[name], 0) for name in operations.GEOMETRIC}
        matrices = operations.affine_matrices(moved, *self.shape[1:])
        out = images.clone()
        # Rows are found on the CPU, where they were drawn: a device would have to be waited for.
        if len(own := (torch.stack([is_of[name] for name in operations.GEOMETRIC]).any(0)[rows]).nonzero().flatten()):
            on_device = own.to(self.device)
            out[on_device] = operations.affine(images[on_device], matrices[rows[own]].to(self.device))
        for name, operation in operations.POINTWISE.items():
            if name in is_of and len(own := is_of[name][rows].nonzero().flatten()):
                on_device = own.to(self.device)
                out[on_device] = operation(images[on_device], strengths[name][rows[own]].to(self.device))
        return out

    def _draw_boxes(self, probability: float, generator: torch.Generator, total: int) -> Tensor:
        """Draw the boxes (total, 4) to erase, of top, bottom, left and right; empty where none is."""
        _, height, width = self.shape
        draws = torch.rand(5, total, generator=generator, dtype=torch.float64)
        area = (ERASED[0] + (ERASED[1] - ERASED[0]) * draws[0]) * height * width
        ratio = (math.log(RATIOS[0]) + (math.log(RATIOS[1]) - math.log(RATIOS[0])) * draws[1]).exp()
        tall, wide = (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)
        top, left = (draws[2] * (height - tall + 1)).floor(), (draws[3] * (width - wide + 1)).floor()
        tall = torch.where(draws[4] < probability, tall, 0)
        return torch.stack([top, top + tall, left, left + wide], 1).long()
