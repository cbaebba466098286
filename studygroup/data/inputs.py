"""Network inputs: the differences between images and texts outside of their sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studygroup.data.images.arrays import convert_image, split_images
from studygroup.data.images.augment import format_augment, parse_augment
from studygroup.data.images.decode import decoding, find_images, read_file
from studygroup.data.images.decode import suffixes as image_suffixes
from studygroup.data.images.transform import ImageTransform
from studygroup.data.pool import thread_map
from studygroup.data.texts.files import check_encoding, read_text
from studygroup.data.texts.paths import find_texts
from studygroup.data.texts.ragged import Ragged
from studygroup.data.texts.tokenizers import load_tokenizer
from studygroup.data.tokenizer import Tokenizer, count_unknown
from studygroup.data.transforms import TokenTransform, Transform
from studygroup.errors import UserError
from studygroup.options import DataOptions

if TYPE_CHECKING:
    from PIL import Image

Given: TypeAlias = "str | Path | Image.Image | NDArray[Any] | Tensor"  # what `predict` takes, one or an iterable of them
Sample: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"  # a text, a file, or an image
TOKENIZER = "tokenizer"  # folder of the tokenizer in a run folder
TOLERANCE = 0.02  # larger differences between means or deviations mean another normalisation, smaller ones other samples of the same data


@dataclass(frozen=True)
class InputSpec:
    """Properties of inputs from which a network is built.

    Attributes:
        in_channels: channels of images; None for texts.
        image_size: height and width of images.
        vocabulary: number of token ids of texts; None for images.
    """

    in_channels: int | None = None
    image_size: tuple[int, int] = (32, 32)
    vocabulary: int | None = None


class Inputs(ABC):
    """Kind of network inputs: what the samples of a data set become, and what a trained member takes.

    Attributes:
        noun: word for a sample in messages.
        sample_key: key of the sample in the dictionaries that `predict` returns.
    """

    noun: str
    sample_key: str

    @abstractmethod
    def transform(
        self, device: torch.device | str = "cpu", memory_format: torch.memory_format = torch.contiguous_format, augment: str = "none"
    ) -> Transform:
        """Return the function from stored samples to network inputs."""

    @abstractmethod
    def resolve_augment(self, augment: str, *, flips: bool = False) -> str:
        """Return an augmentation without presets, which flip images if `flips`.

        Raises:
            UserError: it is unknown, or cannot be of such samples.
        """

    @abstractmethod
    def spec(self) -> InputSpec:
        """Return what a network must know about its inputs."""

    @abstractmethod
    def to_card(self) -> dict[str, Any]:
        """Return the entries of a member's card that describe its inputs, in JSON's types."""

    @abstractmethod
    def like_training(self, options: DataOptions) -> tuple[DataOptions, Tokenizer | None]:
        """Return the options, and the tokenizer, with which other data becomes inputs of this kind."""

    @abstractmethod
    def mismatch(self, card: Mapping[str, Any]) -> str | None:
        """Describe how the inputs of the member with this card differ from these; return None if they do not."""

    def iterate_samples(self, given: Given | Iterable[Given]) -> Iterator[Sample]:
        """Iterate over the samples that an argument of `predict`, or each item of an iterable, refers to.

        A list or tuple is checked at once; other iterables are consumed as far as samples are taken.

        Raises:
            UserError: an item is no input of this kind, or does not exist.
        """
        if _is_item(given):
            return iter(self.find_samples(given))
        found = (self._find_item(position, item) for position, item in enumerate(cast("Iterable[Given]", given)))
        return chain.from_iterable(list(found) if isinstance(given, list | tuple) else found)

    def _find_item(self, position: int, item: Given) -> Iterable[Sample]:
        try:
            return self.find_samples(item)
        except UserError as error:
            if isinstance(item, str | Path):
                raise
            raise UserError(f"input {position}: {error}") from error

    @abstractmethod
    def find_samples(self, given: Given) -> Iterable[Sample]:
        """Return the samples that an argument of `predict` refers to: one, or several.

        Raises:
            UserError: there are none, or the argument is no input of this kind.
        """

    @abstractmethod
    def read_sample(self, sample: Sample) -> Tensor:
        """Read a sample as it would be stored in a prepared data set.

        Raises:
            UserError: it cannot be read.
        """

    def read_samples(self, samples: Sequence[Sample]) -> list[Tensor | UserError]:
        """Read samples like `read_sample`; in place of an unreadable one is its error."""
        return [_result_or_error(self.read_sample, sample) for sample in samples]

    def take_texts(self, given: Given | Iterable[Given]) -> Iterator[Sample]:
        """Iterate over texts of which none is taken for the name of a file.

        Raises:
            UserError: the inputs are no texts.
        """
        raise UserError(f"as_text is given, but the inputs are {self.noun}s; leave it out")

    def with_encoding(self, encoding: str) -> Inputs:
        """Return inputs that read files with texts in an encoding.

        Raises:
            UserError: there is no such encoding, or the inputs are no texts.
        """
        raise UserError(f"encoding is given, but the inputs are {self.noun}s; leave it out")

    def count_unknown(self, samples: Sequence[Tensor]) -> tuple[int, int]:
        """Return how many parts of stored samples the network cannot tell apart because the training had none, and the number of all."""
        return 0, 0

    @abstractmethod
    def stack(self, samples: Sequence[Tensor]) -> Tensor:
        """Stack samples, at least one, into a batch for the transform."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write into a run folder what its members need beside their weights and cards."""


@dataclass(frozen=True)
class Images(Inputs):
    """Images of one size.

    Attributes:
        shape: (channels, height, width).
        mean: mean per channel of the training split's pixels, scaled to [0, 1].
        std: their standard deviation per channel; 1 where all pixels are equal.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    noun = "image"
    sample_key = "path"

    @staticmethod
    def of(card: Mapping[str, Any]) -> Images:
        """Return the inputs of the member with this card."""
        channels, height, width = card["shape"]
        return Images((channels, height, width), tuple(card["mean"]), tuple(card["std"]))

    def transform(
        self, device: torch.device | str = "cpu", memory_format: torch.memory_format = torch.contiguous_format, augment: str = "none"
    ) -> ImageTransform:
        """Return the augmentation and normalisation."""
        return ImageTransform(self.shape, self.mean, self.std, augment, device, memory_format)

    def resolve_augment(self, augment: str, *, flips: bool = False) -> str:
        """Resolve presets into operations."""
        resolved = format_augment(parse_augment(augment, flips=flips))
        self.transform(augment=resolved)  # raises if it cannot be of these images
        return resolved

    def spec(self) -> InputSpec:
        """Return channels and size."""
        return InputSpec(in_channels=self.shape[0], image_size=self.shape[1:])

    def to_card(self) -> dict[str, Any]:
        """Return shape and normalisation."""
        return {"shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)}

    def like_training(self, options: DataOptions) -> tuple[DataOptions, Tokenizer | None]:
        """Return the options with the same size and channels."""
        return replace(options, image_size=self.shape[1], channels=self.shape[0]), None

    def mismatch(self, card: Mapping[str, Any]) -> str | None:
        """Compare shape and normalisation."""
        if "shape" not in card:
            return "it reads texts, and these are images"
        if list(card["shape"]) != list(self.shape):
            return f"its inputs are {card['shape']}, these are {list(self.shape)}"
        difference = max(abs(a - b) for a, b in zip([*card["mean"], *card["std"]], [*self.mean, *self.std], strict=True))
        if difference > TOLERANCE:
            scales = f"mean {card['mean']} and std {card['std']}"
            return f"its inputs are normalised by {scales}, these by {list(self.mean)} and {list(self.std)}"
        return None

    def __str__(self) -> str:
        """Return the size."""
        return f"images of {'x'.join(map(str, self.shape))}"

    def find_samples(self, given: Given) -> Iterable[Sample]:
        """Return an image file, all images in a folder, a PIL image, or the images of an array or tensor (see `split_images`)."""
        return find_images(given) if isinstance(given, str | Path) else split_images(given)

    def read_sample(self, sample: Sample) -> Tensor:
        """Read an image as (C, H, W) uint8."""
        with decoding():
            return self._read(sample)

    def read_samples(self, samples: Sequence[Sample]) -> list[Tensor | UserError]:
        """Read images as (C, H, W) uint8, files in threads."""
        with decoding():
            files = [sample for sample in samples if isinstance(sample, Path)]
            read = iter(list(thread_map(lambda file: _result_or_error(self._read, file), files)))
            # PIL images in this thread: one may be given twice, and loads its pixels when they are first used
            return [next(read) if isinstance(sample, Path) else _result_or_error(self._read, sample) for sample in samples]

    def _read(self, sample: Sample) -> Tensor:
        read = read_file(sample, self.shape) if isinstance(sample, str | Path) else convert_image(sample, self.shape)
        return torch.tensor(read)

    def stack(self, samples: Sequence[Tensor]) -> Tensor:
        """Stack images into (b, C, H, W) uint8."""
        return torch.stack(list(samples))

    def save(self, folder: Path) -> None:
        """Write nothing: the cards are enough."""


@dataclass(frozen=True)
class Tokens(Inputs):
    """Texts as token ids.

    Attributes:
        tokenizer: converts texts to ids.
        max_length: number of tokens that texts are truncated to.
        encoding: of files with texts; None for UTF-8, or what a byte order mark says.
    """

    tokenizer: Tokenizer
    max_length: int
    encoding: str | None = None
    noun = "text"
    sample_key = "text"

    def transform(
        self, device: torch.device | str = "cpu", memory_format: torch.memory_format = torch.contiguous_format, augment: str = "none"
    ) -> Transform:
        """Return the transfer to the device.

        Raises:
            UserError: an augmentation is given.
        """
        if augment != "none":
            raise UserError(f"augment is {augment!r}, which is for images; leave it out for texts")
        return TokenTransform(torch.device(device))

    def resolve_augment(self, augment: str, *, flips: bool = False) -> str:
        """Return `none`, the only augmentation of texts."""
        if augment not in ("auto", "none"):
            raise UserError(f"augment is {augment!r}, which is for images; leave it out for texts")
        return "none"

    def spec(self) -> InputSpec:
        """Return the vocabulary size."""
        return InputSpec(vocabulary=self.tokenizer.vocabulary)

    def to_card(self) -> dict[str, Any]:
        """Return the tokenizer's description and the maximum length."""
        encoding = {"encoding": self.encoding} if self.encoding is not None else {}
        return {"tokenizer": self.tokenizer.describe(), "max_length": self.max_length, **encoding}

    def like_training(self, options: DataOptions) -> tuple[DataOptions, Tokenizer | None]:
        """Return the options with the same maximum length, and the same tokenizer."""
        return replace(options, max_length=self.max_length), self.tokenizer

    def mismatch(self, card: Mapping[str, Any]) -> str | None:
        """Compare the tokenizers; texts that are truncated elsewhere are the same kind of inputs."""
        if "tokenizer" not in card:
            return "it takes images, and these are texts"
        theirs, ours = card["tokenizer"], self.tokenizer.describe()
        return f"its texts are made into tokens by {theirs}, these by {ours}" if theirs != ours else None

    def __str__(self) -> str:
        """Return the maximum length."""
        return f"texts of up to {self.max_length} tokens"

    def find_samples(self, given: Given) -> Iterable[Sample]:
        """Return a text; a file with one; all `.txt` files in a folder; or, for `-`, each line of standard input, as it comes."""
        if not isinstance(given, str | Path):
            shape = f" of shape {tuple(given.shape)}" if isinstance(given, np.ndarray | Tensor) else ""
            raise UserError(
                f"a value of type {type(given).__name__}{shape} is no text; give strings, paths of text files, or one list of them"
            )
        return find_texts(given, image_suffixes())

    def take_texts(self, given: Given | Iterable[Given]) -> Iterator[Sample]:
        """Iterate over texts as they are: none is taken for the name of a file.

        Raises:
            UserError: one is no string.
        """
        for text in [given] if isinstance(given, str) else cast("Iterable[Given]", given):
            if not isinstance(text, str):
                raise UserError(f"a value of type {type(text).__name__} is no text, and as_text is given; give strings")
            yield text

    def read_sample(self, sample: Sample) -> Tensor:
        """Read a text as (T,) ids."""
        try:
            text, problem = read_text(sample, self.encoding) if isinstance(sample, Path) else (str(sample), "")
        except OSError as error:
            problem = str(error.strerror)
        if problem:
            raise UserError(f"{sample} cannot be read: {problem}; repair it, or leave it out")
        return torch.from_numpy(self.tokenizer.encode([text], self.max_length)[0])

    def with_encoding(self, encoding: str) -> Inputs:
        """Return the same with another encoding."""
        check_encoding(encoding)
        return replace(self, encoding=encoding)

    def count_unknown(self, samples: Sequence[Tensor]) -> tuple[int, int]:
        """Return the number of unknown tokens, and of all."""
        return sum(count_unknown(ids.numpy(), self.tokenizer) for ids in samples), sum(map(len, samples))

    def stack(self, samples: Sequence[Tensor]) -> Tensor:
        """Stack texts into (b, T) ids, padded to the longest."""
        rows = Ragged.of([ids.numpy() for ids in samples], self.tokenizer.pad)
        return torch.from_numpy(rows.gather(np.arange(len(rows)), 1))

    def save(self, folder: Path) -> None:
        """Write the tokenizer into `tokenizer/`."""
        self.tokenizer.save(folder / TOKENIZER)


def inputs_of(card: Mapping[str, Any], folder: Path) -> Inputs:
    """Return the inputs of a member of a run.

    Args:
        card: the member's card.
        folder: the run folder.

    Raises:
        UserError: the tokenizer is missing or damaged.

    Example:
        >>> import studygroup as sg
        >>> from studygroup import data
        >>> run = sg.Run("runs/digits")
        >>> data.inputs_of(run.best.card, run.folder).shape
        (1, 8, 8)
    """
    if "tokenizer" not in card:
        return Images.of(card)
    return Tokens(load_tokenizer(folder / TOKENIZER), card["max_length"], card.get("encoding"))


def _is_item(given: Given | Iterable[Given]) -> TypeGuard[Given]:
    """Return whether an argument is one item; iterables of items are lists, generators, arrays of strings and the like."""
    if isinstance(given, np.ndarray):
        return given.dtype.kind not in "UO"
    return isinstance(given, str | bytes | bytearray | Mapping | Tensor) or not isinstance(given, Iterable)


def _result_or_error(read: Callable[[Sample], Tensor], sample: Sample) -> Tensor | UserError:
    try:
        return read(sample)
    except UserError as error:
        return error
