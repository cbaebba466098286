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

from studygroup.data import Given, Images, Inputs, OnError, Sample, Transform
from studygroup.data.texts.frames import is_frame
from studygroup.data.texts.unlabelled import TableRow, read_frame
from studygroup.data.tokenizer import unknown_warning
from studygroup.devices import pick_device
from studygroup.errors import UserError
from studygroup.escape import visible
from studygroup.options import DataOptions, TableOptions

BATCH_SIZE = 500
Key = dict[str, str | int]  # `path`, `text` or `index` of a sample; of a row of a table `row`, perhaps `true`, and `text`

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
    files, or a DataFrame of pandas; one of them, or an iterable, which is consumed batch by batch. An array or tensor is an image or a
    batch, with channels first or last (`studygroup.data.images.arrays.split_images`).

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
        samples = self._find_samples(inputs, on_error, as_text)
        return self._stream(samples, top=top, batch_size=batch_size, on_error=on_error, device=device)

    def stream_table(
        self, table: Iterator[TableRow], *, top: int = 1, batch_size: int = BATCH_SIZE, device: str = "auto"
    ) -> Iterator[dict[str, Any]]:
        """Yield rows like `stream`, of the rows of a table: with `row` (from 1) and, if the table has labels, `true`."""
        return self._stream(self._find_rows(table), top=top, batch_size=batch_size, device=device)

    def predict_proba(
        self, inputs: Given | Iterable[Given], *, batch_size: int = BATCH_SIZE, as_text: bool = False, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Return the probabilities (N, C), float32, of the classes in the order of `classes`; for the arguments see `predict`.

        Raises:
            UserError: an argument or a sample cannot be used.
        """
        found = self._batches(self._find_samples(inputs, "stop", as_text), batch_size, "stop", device)
        batches = [probabilities.cpu().numpy() for _, probabilities in found]
        return np.concatenate([np.empty((0, len(self.classes)), np.float32), *batches])

    def _stream(
        self, samples: Iterator[tuple[Key, Sample]], *, top: int, batch_size: int, on_error: OnError = "stop", device: str
    ) -> Iterator[dict[str, Any]]:
        if top < 1:
            raise UserError(f"top is {top}; it must be at least 1")
        batches = self._batches(samples, batch_size, on_error, device)
        return (row for keys, probabilities in batches for row in self._rows(keys, probabilities, top))

    def _batches(
        self, samples: Iterator[tuple[Key, Sample]], batch_size: int, on_error: OnError, device: str
    ) -> Iterator[tuple[list[Key], Tensor]]:
        """Check the arguments, and iterate over the keys and the probabilities (b, C) of each batch."""
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        if on_error not in get_args(OnError):
            raise UserError(f"on_error is {on_error!r}; it must be {' or '.join(get_args(OnError))}")
        target = self.pick_device(device)
        unknown = UnknownTokens(self.inputs)
        classify = partial(self._classify, self.runner(target), self.prepare(target), on_error, unknown)
        batches = iter(lambda: list(islice(samples, batch_size)), [])

        def classified() -> Iterator[tuple[list[Key], Tensor]]:
            yield from (found for batch in batches if (found := classify(batch)) is not None)
            unknown.warn()

        return classified()

    def read_frame(self, frame: object, options: DataOptions) -> Iterator[TableRow]:
        """Return the rows of a DataFrame, with the columns of the training where none are given and it has them.

        Raises:
            UserError: the network takes images, or it is not clear which columns hold the texts.
        """
        if isinstance(self.inputs, Images):
            raise UserError("the data is a DataFrame, and this network classifies images; give files, PIL images or an array of pixels")
        try:
            trained = TableOptions.of(self.data_options())
        except UserError:  # a member of no run
            trained = TableOptions()
        return read_frame(frame, options, trained)

    def _find_samples(self, inputs: Given | Iterable[Given], on_error: OnError, as_text: bool) -> Iterator[tuple[Key, Sample]]:
        """Check the inputs, and iterate over their samples with their keys."""
        if is_frame(inputs):
            return self._find_rows(self.read_frame(inputs, DataOptions("", on_error=on_error)))
        index = count()
        found = self.inputs.take_texts(inputs) if as_text else self.inputs.iterate_samples(inputs)
        key = self.inputs.sample_key
        return (({key: str(sample)} if isinstance(sample, str | Path) else {"index": next(index)}, sample) for sample in found)

    def _find_rows(self, table: Iterator[TableRow]) -> Iterator[tuple[Key, Sample]]:
        for row in table:
            yield {"row": row.number, **({} if row.label is None else {"true": row.label}), self.inputs.sample_key: row.text}, row.text

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
            print(visible(f"skipped: {error}"), file=sys.stderr)
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
