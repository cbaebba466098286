"""What a network is given: images or texts, as far as it makes a difference to anybody but their own readers."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from studygroup.data.images.decode import find_images, read_image
from studygroup.data.images.transform import Augment, ImageTransform
from studygroup.data.texts.ragged import Ragged
from studygroup.data.texts.tokenizers import Tokenizer, load_tokenizer
from studygroup.errors import UserError

TOKENIZER = "tokenizer"  # its folder in a run's
APART = 1e-3  # means and deviations further apart than this are of other data


class Transform(Protocol):
    """From what is stored to what a network takes, for a batch at once.

    Attributes:
        device: where the result lies.
    """

    device: torch.device

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        """Arguments as those of `Preprocess.__call__`."""


class Inputs(ABC):
    """The kind of inputs that a data set has, and a trained member takes."""

    what: str
    """What a sample is called in messages."""
    asked_by: str
    """What a sample is asked by, as the answers' key calls it."""

    @abstractmethod
    def prepare(
        self, device: torch.device | str = "cpu", memory_format: torch.memory_format = torch.contiguous_format, augment: Augment = "none"
    ) -> Transform:
        """What makes network inputs of stored samples."""

    @abstractmethod
    def network(self) -> dict[str, int]:
        """What `networks.maker.build` has to know of them."""

    @abstractmethod
    def maker(self) -> dict[str, Any]:
        """What `networks.maker.Maker` has to know of them."""

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """What a member's card says of them, in JSON's types."""

    @abstractmethod
    def opening(self) -> dict[str, Any]:
        """Words of `open_dataset` with which other data is read as these are."""

    @abstractmethod
    def differs(self, card: Mapping[str, Any]) -> str | None:
        """In what the inputs that a member with this card takes are others, in words; None if they are the same."""

    @abstractmethod
    def find(self, given: str | Path) -> Sequence[str | Path]:
        """What a user asks a trained member about in one word: a sample, or several.

        Raises:
            UserError: there is nothing.
        """

    @abstractmethod
    def read(self, question: str | Path) -> Tensor:
        """A sample as it is stored in a prepared data set.

        Raises:
            UserError: it cannot be read.
        """

    @abstractmethod
    def stack(self, stored: Sequence[Tensor]) -> Tensor:
        """Some stored samples, at least one, as `prepare()` takes them."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write into a run's folder what its members need beside their weights and cards."""


@dataclass(frozen=True)
class Images(Inputs):
    """Images of one size.

    Attributes:
        shape: (channels, height, width).
        mean: per channel, over the training split's pixels scaled to [0, 1].
        std: per channel, likewise; 1 where every pixel is the same.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    what = "image"
    asked_by = "path"

    @staticmethod
    def of(card: Mapping[str, Any]) -> Images:
        """Those that a member with this card takes."""
        channels, height, width = card["shape"]
        return Images((channels, height, width), tuple(card["mean"]), tuple(card["std"]))

    def prepare(
        self, device: torch.device | str = "cpu", memory_format: torch.memory_format = torch.contiguous_format, augment: Augment = "none"
    ) -> ImageTransform:
        """Scale, augment, normalise."""
        return ImageTransform(self.shape, self.mean, self.std, augment, device, memory_format)

    def network(self) -> dict[str, int]:
        """Their channels."""
        return {"in_channels": self.shape[0]}

    def maker(self) -> dict[str, Any]:
        """Channels and size."""
        return {"in_channels": self.shape[0], "image_size": self.shape[1:]}

    def card(self) -> dict[str, Any]:
        """Shape and normalisation."""
        return {"shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)}

    def opening(self) -> dict[str, Any]:
        """Size and channels."""
        return {"image_size": self.shape[1], "channels": self.shape[0]}

    def differs(self, card: Mapping[str, Any]) -> str | None:
        """Another shape, or another normalisation."""
        if "shape" not in card:
            return "it reads texts, and these are images"
        if list(card["shape"]) != list(self.shape):
            return f"its inputs are {card['shape']}, these are {list(self.shape)}"
        apart = max(abs(a - b) for a, b in zip([*card["mean"], *card["std"]], [*self.mean, *self.std], strict=True))
        if apart > APART:
            scales = f"mean {card['mean']} and std {card['std']}"
            return f"its inputs are normalised by {scales}, these by {list(self.mean)} and {list(self.std)}"
        return None

    def find(self, given: str | Path) -> Sequence[Path]:
        """An image file, or all images in a folder."""
        return find_images(Path(given))

    def read(self, question: str | Path) -> Tensor:
        """(C, H, W) uint8."""
        return torch.tensor(read_image(question, self.shape))

    def stack(self, stored: Sequence[Tensor]) -> Tensor:
        """(b, C, H, W) uint8."""
        return torch.stack(list(stored))

    def save(self, folder: Path) -> None:
        """Nothing: all is on the cards."""


@dataclass(frozen=True)
class Tokens(Inputs):
    """Texts as ids of tokens.

    Attributes:
        tokenizer: what makes them.
        max_length: tokens that a text is cut to.
    """

    tokenizer: Tokenizer
    max_length: int
    what = "text"
    asked_by = "text"

    def prepare(
        self, device: torch.device | str = "cpu", memory_format: torch.memory_format = torch.contiguous_format, augment: Augment = "none"
    ) -> Transform:
        """Nothing but the way to the device.

        Raises:
            UserError: an augmentation is asked for.
        """
        if augment != "none":
            raise UserError(f"augment is {augment!r}, which is for images; leave it out for texts")
        return TokenTransform(torch.device(device))

    def network(self) -> dict[str, int]:
        """How many ids there are."""
        return {"vocabulary": self.tokenizer.vocabulary}

    def maker(self) -> dict[str, Any]:
        """How many ids there are."""
        return {"vocabulary": self.tokenizer.vocabulary}

    def card(self) -> dict[str, Any]:
        """What the tokenizer is, and where texts are cut."""
        return {"tokenizer": self.tokenizer.describe(), "max_length": self.max_length}

    def opening(self) -> dict[str, Any]:
        """The same tokenizer."""
        return {"tokenizer": self.tokenizer, "max_length": self.max_length}

    def differs(self, card: Mapping[str, Any]) -> str | None:
        """Another tokenizer. Texts that are cut elsewhere are the same kind of inputs."""
        if "tokenizer" not in card:
            return "it takes images, and these are texts"
        theirs, ours = card["tokenizer"], self.tokenizer.describe()
        return f"its texts are made into tokens by {theirs}, these by {ours}" if theirs != ours else None

    def find(self, given: str | Path) -> Sequence[str | Path]:
        """A text; a file that holds one; of a folder all that are called `.txt`; or, for `-`, each line of standard input."""
        if given == "-":
            return [line.rstrip("\r\n") for line in sys.stdin]
        if given == "":  # an empty text; as a path it would be the folder that one is in
            return [""]
        try:
            path = Path(given).expanduser()
            folder, file = path.is_dir(), path.is_file()
        except (OSError, ValueError, RuntimeError):  # too long for a name, with a zero byte, or of nobody's home: no path
            return [str(given)]
        if folder:
            if not (found := sorted(path.rglob("*.txt"))):
                raise UserError(f"{path} has no texts; files called .txt count")
            return found
        if file:
            return [path]
        if isinstance(given, Path) or (not any(map(str.isspace, given)) and (given.endswith(".txt") or os.sep in given)):
            raise UserError(f"{given} does not exist; give a text, or a file that holds one")
        return [given]

    def read(self, question: str | Path) -> Tensor:
        """(T,) ids."""
        try:
            text = question if isinstance(question, str) else question.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"byte {error.start} is no UTF-8"
            raise UserError(f"{question} cannot be read: {reason}; repair it, or leave it out") from error
        return torch.from_numpy(self.tokenizer.encode([text], self.max_length)[0])

    def stack(self, stored: Sequence[Tensor]) -> Tensor:
        """(b, T) ids, padded to the longest."""
        rows = Ragged.of([ids.numpy() for ids in stored], self.tokenizer.pad)
        return torch.from_numpy(rows.gather(np.arange(len(rows)), 1))

    def save(self, folder: Path) -> None:
        """The tokenizer, into `tokenizer/`."""
        self.tokenizer.save(folder / TOKENIZER)


class TokenTransform:
    """Ids as they are, on a device."""

    def __init__(self, device: torch.device) -> None:
        """Args: device: where the result lies."""
        self.device = device

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        """Args: raw: (b, T) ids; nothing else matters. Returns: the same on the device."""
        return raw.to(self.device, non_blocking=True)


def inputs_of(card: Mapping[str, Any], folder: Path) -> Inputs:
    """What a member of a run takes.

    Args:
        card: the member's.
        folder: the run's.

    Raises:
        UserError: what it needs beside its card is not there, or damaged.
    """
    if "tokenizer" not in card:
        return Images.of(card)
    return Tokens(load_tokenizer(folder / TOKENIZER), card["max_length"])
