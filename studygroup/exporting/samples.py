"""Samples on which an exported file is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from studygroup.data import Images, Split, Tokens, Transform, evaluation_batches, open_data
from studygroup.errors import TrainingError, UserError, one_line
from studygroup.runs.member import Member

MOST = 500
"""Number of samples that are checked."""
BATCH = 64
CALIBRATION = 200
"""Number of samples that a quantisation is calibrated on."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of the network and of the file.

    Attributes:
        prepared: inputs of the network (b, ...).
        given: inputs of the file: the same, or uint8 images if it normalises them.
    """

    prepared: Tensor
    given: Tensor


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples on which a file is checked.

    Attributes:
        batches: batches of 64 samples; the first batch has one sample.
        labels: (N,) of their samples; None for random inputs.
        origin: where they come from, such as `hold-out`.
        extremes: other shapes that the file must take if the network does, such as texts of a single token.
    """

    batches: Sequence[Batch]
    labels: Tensor | None
    origin: str
    extremes: Sequence[Batch] = ()


def check_samples(member: Member, *, with_preprocessing: bool, cache: str | Path | None = None) -> Samples:
    """Return up to `MOST` hold-out samples of a member's run; random inputs if its data cannot be opened."""
    try:
        _, split, origin = run_splits(member, cache)
    except (UserError, TrainingError, OSError) as error:
        return random_samples(member, f"random inputs, as the run's data cannot be used ({one_line(error)})", with_preprocessing)
    batches: list[Batch] = []
    labels: list[Tensor] = []
    for raw, truth in evaluation_batches(drawn(split, MOST), Raw(), BATCH):
        pieces = [raw] if batches else [raw[:1], raw[1:]]
        batches += [batch_of(member, piece, with_preprocessing) for piece in pieces if len(piece)]
        labels.append(truth)
    return Samples(batches, torch.cat(labels), origin, extremes(member))


def calibration_inputs(member: Member, *, with_preprocessing: bool, cache: str | Path | None = None) -> list[Tensor]:
    """Return up to `CALIBRATION` training samples of a member's run as inputs of its file, in batches.

    Raises:
        UserError: the run's data cannot be opened.
    """
    try:
        train, _, _ = run_splits(member, cache)
    except (UserError, TrainingError, OSError) as error:
        raise UserError(f"int8 is calibrated on training samples, but the run's data cannot be used ({one_line(error)})") from error
    batches = evaluation_batches(drawn(train, CALIBRATION), Raw(), BATCH)
    return [batch_of(member, raw, with_preprocessing).given for raw, _ in batches]


def drawn(split: Split, count: int) -> Split:
    """Draw up to `count` samples, the same each time."""
    return split.take(np.sort(np.random.default_rng(0).permutation(len(split))[:count]))


class Raw(Transform):
    """A transform that returns the stored samples."""

    device = torch.device("cpu")

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        """Return the samples."""
        return raw


def run_splits(member: Member, cache: str | Path | None) -> tuple[Split, Split, str]:
    """Return the training samples of a member's run, the samples to check on, and the name of these.

    Checked are the hold-out samples, or the test samples if none are held out, or else the training samples.

    Raises:
        UserError: the member is of no run, or the run's data cannot be opened or is not what it was.
    """
    trained = member.data_options()
    options = replace(trained, cache=cache or trained.cache, download=False, progress=False)
    options, tokenizer = member.inputs.like_training(options)
    dataset = open_data(options, tokenizer=tokenizer)
    if list(dataset.classes) != member.classes:
        raise UserError(f"{options.data} has other classes now")
    if len(dataset.holdout):
        return dataset.train, dataset.holdout, "hold-out"
    return (dataset.train, dataset.test, "test") if len(dataset.test) else (dataset.train, dataset.train, "training")


def batch_of(member: Member, raw: Tensor, with_preprocessing: bool) -> Batch:
    """Prepare stored samples."""
    prepared = member.inputs.transform("cpu")(raw)
    return Batch(prepared, raw if with_preprocessing else prepared)


def random_samples(member: Member, origin: str, with_preprocessing: bool) -> Samples:
    """Return `MOST` random samples of the right kind, the same each time."""
    sizes = (1, *[BATCH] * ((MOST - 1) // BATCH), (MOST - 1) % BATCH)
    batches = [batch_of(member, random_inputs(member, size, seed), with_preprocessing) for seed, size in enumerate(sizes)]
    return Samples(batches, None, origin, extremes(member))


def random_inputs(member: Member, count: int, seed: int = 0, length: int = 64) -> Tensor:
    """Return random stored samples: images (count, C, H, W) uint8, or texts (count, T) int64 of up to `length` tokens."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(member.inputs, Images):
        return torch.randint(256, (count, *member.inputs.shape), generator=generator, dtype=torch.uint8)
    assert isinstance(member.inputs, Tokens)
    width, tokenizer = min(length, member.inputs.max_length), member.inputs.tokenizer
    ids = torch.randint(tokenizer.vocabulary, (count, width), generator=generator)
    ids[ids == tokenizer.pad] = (tokenizer.pad + 1) % tokenizer.vocabulary
    lengths = torch.randint(1, width + 1, (count, 1), generator=generator)
    lengths[0] = width
    return ids.masked_fill(torch.arange(width) >= lengths, tokenizer.pad)


def extremes(member: Member) -> list[Batch]:
    """Return texts of one token, and of as many as texts are truncated to; nothing for images."""
    if not isinstance(member.inputs, Tokens):
        return []
    longest = member.inputs.max_length
    return [
        Batch(ids, ids) for ids in (random_inputs(member, 1, 1, 1), random_inputs(member, 3, 2, 5), random_inputs(member, 2, 3, longest))
    ]
