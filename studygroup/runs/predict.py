"""Predictions of a trained network, batch by batch."""

from __future__ import annotations

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studygroup.data import Given, Inputs, OnError, Sample, Transform
from studygroup.data.tokenizer import unknown_warning
from studygroup.devices import pick_device
from studygroup.errors import UserError
from studygroup.options import DataOptions

BATCH_SIZE = 500
Key = dict[str, str | int]  # `path`, `text` or `index` of a sample

logger = logging.getLogger(__name__)


class UnknownTokens:
    """Counter of the tokens that the network cannot read."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.unknown = self.total = 0

    def add(self, samples: Sequence[Tensor]) -> None:
        """Count the tokens of stored samples."""
        unknown, total = self.inputs.count_unknown(samples)
        self.unknown += unknown
        self.total += total

    def warn(self) -> None:
        """Log a warning if too many tokens are unknown."""
        if warning := unknown_warning(self.unknown, self.total, "the inputs"):
            logger.warning(warning)


def check_shape(logits: Tensor, samples: int, classes: int) -> None:
    """Check that a network returns a row of logits per sample.

    Raises:
        UserError: it does not, as one that drops the axis of a batch of one.
    """
    if tuple(logits.shape) != (samples, classes):
        raise UserError(
            f"the network returns logits of shape {tuple(logits.shape)} for {samples} samples and {classes} classes, not "
            f"{(samples, classes)}; its forward function must keep the axis of the batch"
        )


class Classifier(ABC):
    """A trained network that classifies images or texts.

    Its methods take paths and folders of images, PIL images, and NumPy arrays and torch tensors of uint8 pixels; or texts and paths of text
    files; one of them, or an iterable, which is consumed batch by batch. An array or tensor is an image or a batch, with channels first or
    last (`studygroup.data.images.arrays.split_images`).

    Attributes:
        inputs: kind, size and preprocessing of the inputs.
    """

    inputs: Inputs

    @property
    @abstractmethod
    def classes(self) -> list[str]:
        """Names of the C classes."""

    @abstractmethod
    def data_options(self) -> DataOptions:
        """Return how the training data was read, for other data to be read in the same way.

        Raises:
            UserError: it is not known.
        """

    @abstractmethod
    def prepare(self, device: torch.device) -> Transform:
        """Return the transform from stored samples to the network's inputs."""

    @abstractmethod
    def runner(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return a function from inputs (B, ...) to float32 logits (B, C) on a device."""

    def pick_device(self, name: str) -> torch.device:
        """Return the device of this name.

        Raises:
            UserError: there is none, or the network cannot run on it.
        """
        return pick_device(name)

    def predict(
        self,
        inputs: Given | Iterable[Given],
        *,
        top: int = 1,
        batch_size: int = BATCH_SIZE,
        on_error: OnError = "stop",
        as_text: bool = False,
        device: str = "auto",
    ) -> list[dict[str, Any]]:
        """Classify images or texts.

        Args:
            inputs: images or texts (see the class).
            top: number of classes to list per sample.
            batch_size: number of samples that are read and classified at once.
            on_error: `skip` leaves out unreadable samples, with a line on standard error; `stop` raises.
            as_text: take every input as a text, even if it looks like the name of a file.
            device: `auto`, `cpu`, `cuda`, ...

        Returns:
            Per sample: `path`, `text` or `index` (its position among the given images without a path); `label`, `probability`, and `top`:
            the most probable classes as (label, probability).

        Raises:
            UserError: an argument or a sample cannot be used.
        """
        return list(self.stream(inputs, top=top, batch_size=batch_size, on_error=on_error, as_text=as_text, device=device))

    def stream(
        self,
        inputs: Given | Iterable[Given],
        *,
        top: int = 1,
        batch_size: int = BATCH_SIZE,
        on_error: OnError = "stop",
        as_text: bool = False,
        device: str = "auto",
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of `predict` as batches are computed; no more than two batches of images are in memory."""
        if top < 1:
            raise UserError(f"top is {top}; it must be at least 1")
        batches = self._batches(inputs, batch_size, on_error, as_text, device)
        return (row for keys, probabilities in batches for row in self._rows(keys, probabilities, top))

    def predict_proba(
        self, inputs: Given | Iterable[Given], *, batch_size: int = BATCH_SIZE, as_text: bool = False, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Return the probabilities (N, C), float32, of the classes in the order of `classes`; for the arguments see `predict`.

        Raises:
            UserError: an argument or a sample cannot be used.
        """
        found = self._batches(inputs, batch_size, "stop", as_text, device)
        batches = [probabilities.cpu().numpy() for _, probabilities in found]
        return np.concatenate([np.empty((0, len(self.classes)), np.float32), *batches])

    def _batches(
        self, inputs: Given | Iterable[Given], batch_size: int, on_error: OnError, as_text: bool, device: str
    ) -> Iterator[tuple[list[Key], Tensor]]:
        """Check the arguments, and iterate over the keys and the probabilities (b, C) of each batch."""
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        if on_error not in get_args(OnError):
            raise UserError(f"on_error is {on_error!r}; it must be {' or '.join(get_args(OnError))}")
        target = self.pick_device(device)
        samples = self._with_keys(self.inputs.take_texts(inputs) if as_text else self.inputs.iterate_samples(inputs))
        unknown = UnknownTokens(self.inputs)
        classify = partial(self._classify, self.runner(target), self.prepare(target), on_error, unknown)
        batches = iter(lambda: list(islice(samples, batch_size)), [])

        def classified() -> Iterator[tuple[list[Key], Tensor]]:
            yield from (found for batch in batches if (found := classify(batch)) is not None)
            unknown.warn()

        return classified()

    def _with_keys(self, samples: Iterable[Sample]) -> Iterator[tuple[Key, Sample]]:
        index = count()
        for sample in samples:
            yield {self.inputs.sample_key: str(sample)} if isinstance(sample, str | Path) else {"index": next(index)}, sample

    def _classify(
        self,
        run: Callable[[Tensor], Tensor],
        prepare: Transform,
        on_error: OnError,
        unknown: UnknownTokens,
        batch: Sequence[tuple[Key, Sample]],
    ) -> tuple[list[Key], Tensor] | None:
        """Return the keys and probabilities of the readable samples of a batch; None if there are none."""
        keys, stored = [], []
        for (key, _), read in zip(batch, self.inputs.read_samples([sample for _, sample in batch]), strict=True):
            if isinstance(read, Tensor):
                keys.append(key)
                stored.append(read)
                continue
            error = UserError(f"index {key['index']}: {read}") if "index" in key else read
            if on_error == "stop":
                raise error
            print(f"skipped: {error}", file=sys.stderr)
        unknown.add(stored)
        if not stored:
            return None
        logits = run(prepare(self.inputs.stack(stored)))
        check_shape(logits, len(stored), len(self.classes))
        return keys, logits.softmax(-1)

    def _rows(self, keys: Sequence[Key], probabilities: Tensor, top: int) -> Iterator[dict[str, Any]]:
        values, indices = probabilities.topk(min(top, len(self.classes)))
        for key, row, chosen in zip(keys, values.tolist(), indices.tolist(), strict=True):
            ranking = [(self.classes[index], value) for index, value in zip(chosen, row, strict=True)]
            yield {**key, "label": ranking[0][0], "probability": ranking[0][1], "top": ranking}
