"""Predictions of a trained network, batch by batch."""

from __future__ import annotations

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
from studygroup.devices import pick_device
from studygroup.errors import UserError

BATCH_SIZE = 500
Key = dict[str, str | int]  # `path`, `text` or `index` of a sample


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
    def prepare(self, device: torch.device) -> Transform:
        """Return the transform from stored samples to the network's inputs."""

    @abstractmethod
    def runner(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return a function from inputs (B, ...) to float32 logits (B, C) on a device."""

    def predict(
        self,
        inputs: Given | Iterable[Given],
        *,
        top: int = 1,
        batch_size: int = BATCH_SIZE,
        on_error: OnError = "stop",
        device: str = "auto",
    ) -> list[dict[str, Any]]:
        """Classify images or texts.

        Args:
            inputs: images or texts (see the class).
            top: number of classes to list per sample.
            batch_size: number of samples that are read and classified at once.
            on_error: `skip` leaves out unreadable samples, with a line on standard error; `stop` raises.
            device: `auto`, `cpu`, `cuda`, ...

        Returns:
            Per sample: `path`, `text` or `index` (its position among the given images without a path); `label`, `probability`, and `top`:
            the most probable classes as (label, probability).

        Raises:
            UserError: an argument or a sample cannot be used.
        """
        return list(self.stream(inputs, top=top, batch_size=batch_size, on_error=on_error, device=device))

    def stream(
        self,
        inputs: Given | Iterable[Given],
        *,
        top: int = 1,
        batch_size: int = BATCH_SIZE,
        on_error: OnError = "stop",
        device: str = "auto",
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of `predict` as batches are computed; no more than two batches of images are in memory."""
        if top < 1:
            raise UserError(f"top is {top}; it must be at least 1")
        batches = self._batches(inputs, batch_size, on_error, device)
        return (row for keys, probabilities in batches for row in self._rows(keys, probabilities, top))

    def predict_proba(self, inputs: Given | Iterable[Given], *, batch_size: int = BATCH_SIZE, device: str = "auto") -> NDArray[np.float32]:
        """Return the probabilities (N, C), float32, of the classes in the order of `classes`; for the arguments see `predict`.

        Raises:
            UserError: an argument or a sample cannot be used.
        """
        batches = [probabilities.cpu().numpy() for _, probabilities in self._batches(inputs, batch_size, "stop", device)]
        return np.concatenate([np.empty((0, len(self.classes)), np.float32), *batches])

    def _batches(
        self, inputs: Given | Iterable[Given], batch_size: int, on_error: OnError, device: str
    ) -> Iterator[tuple[list[Key], Tensor]]:
        """Check the arguments, and iterate over the keys and the probabilities (b, C) of each batch."""
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        if on_error not in get_args(OnError):
            raise UserError(f"on_error is {on_error!r}; it must be {' or '.join(get_args(OnError))}")
        target = pick_device(device)
        samples = self._with_keys(self.inputs.iterate_samples(inputs))
        classify = partial(self._classify, self.runner(target), self.prepare(target), on_error)
        batches = iter(lambda: list(islice(samples, batch_size)), [])
        return (found for batch in batches if (found := classify(batch)) is not None)

    def _with_keys(self, samples: Iterable[Sample]) -> Iterator[tuple[Key, Sample]]:
        index = count()
        for sample in samples:
            yield {self.inputs.sample_key: str(sample)} if isinstance(sample, str | Path) else {"index": next(index)}, sample

    def _classify(
        self, run: Callable[[Tensor], Tensor], prepare: Transform, on_error: OnError, batch: Sequence[tuple[Key, Sample]]
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
        return (keys, run(prepare(self.inputs.stack(stored))).softmax(-1)) if stored else None

    def _rows(self, keys: Sequence[Key], probabilities: Tensor, top: int) -> Iterator[dict[str, Any]]:
        values, indices = probabilities.topk(min(top, len(self.classes)))
        for key, row, chosen in zip(keys, values.tolist(), indices.tolist(), strict=True):
            ranking = [(self.classes[index], value) for index, value in zip(chosen, row, strict=True)]
            yield {**key, "label": ranking[0][0], "probability": ranking[0][1], "top": ranking}
