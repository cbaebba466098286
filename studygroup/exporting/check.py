"""Comparison of an exported file with the float32 network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from studygroup.errors import TrainingError
from studygroup.exporting.formats import Forward
from studygroup.exporting.samples import Samples
from studygroup.runs.predict import check_shape

TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest logit."""
BATCH_SIZES = (1, 64)
"""Batch sizes that are checked and timed."""
SECONDS = 0.3
"""Time of each measurement."""


@dataclass(frozen=True)
class Score:
    """Properties of a network or of its file.

    Attributes:
        accuracy: in [0, 1]; None if the samples have no labels.
        bytes: size of the file, or of the weights.
        seconds: median seconds per sample by batch size.
    """

    accuracy: float | None
    bytes: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Check:
    """Result of the comparison.

    Attributes:
        samples: number of samples.
        origin: where they come from.
        difference: largest difference of logits, relative to the largest logit.
        agreement: fraction of the samples with the same label.
        network: the float32 network in PyTorch.
        file: the exported file.
    """

    samples: int
    origin: str
    difference: float
    agreement: float
    network: Score
    file: Score


@torch.no_grad()
def check(network: Forward, file: Forward, samples: Samples, network_bytes: int, file_bytes: int, tolerance: float = TOLERANCE) -> Check:
    """Compare the function of a file with the network.

    Args:
        network: prepared inputs -> logits of the float32 network.
        file: inputs of the file -> its logits.
        samples: inputs of both.
        network_bytes: size of the weights.
        file_bytes: size of the file.
        tolerance: largest difference of logits, relative to the largest logit.

    Raises:
        UserError: the network does not return a row of logits per sample.
        TrainingError: the logits differ by more than `tolerance`, or the file fails on a batch.
    """
    expected: list[Tensor] = []
    found: list[Tensor] = []
    difference, scale = 0.0, 0.0
    for batch in (*samples.batches, *samples.extremes):
        try:
            reference = network(batch.prepared)
        except Exception:
            if any(batch is extreme for extreme in samples.extremes):  # the network itself cannot take it
                continue
            raise
        check_shape(reference, len(batch.prepared), reference.shape[-1])
        try:
            logits = file(batch.given)
        except Exception as error:
            shape = "x".join(map(str, batch.given.shape))
            reason = " ".join(str(error).split())[-150:]
            raise TrainingError(
                f"the exported file fails on inputs of {shape} ({reason}); it was removed; take another --format"
            ) from error
        difference = max(difference, largest(logits - reference))
        scale = max(scale, largest(reference))
        if any(batch is own for own in samples.batches):
            expected.append(reference)
            found.append(logits)
    relative = difference / max(scale, torch.finfo(torch.float32).tiny)
    if not relative <= tolerance:  # NaN, too
        raise TrainingError(
            f"the exported file's logits differ from the network's by {relative:.1e} of the largest, more than {tolerance:g}; "
            "it was removed; take another --format"
        )
    theirs, ours = torch.cat(found), torch.cat(expected)
    labels = None if samples.labels is None else samples.labels
    return Check(
        len(ours),
        samples.origin,
        relative,
        float((theirs.argmax(-1) == ours.argmax(-1)).double().mean()),
        Score(accuracy(ours, labels), network_bytes, seconds(network, [batch.prepared for batch in samples.batches])),
        Score(accuracy(theirs, labels), file_bytes, seconds(file, [batch.given for batch in samples.batches])),
    )


def largest(values: Tensor) -> float:
    """Return the largest absolute value; infinity if one is not finite."""
    value = values.abs().max()
    return float(value) if torch.isfinite(value) else float("inf")


def accuracy(logits: Tensor, labels: Tensor | None) -> float | None:
    """Return the accuracy in [0, 1]; None without labels."""
    return None if labels is None else float((logits.argmax(-1) == labels).double().mean())


def seconds(forward: Forward, batches: Sequence[Tensor]) -> dict[str, float]:
    """Measure the median seconds per sample at each of `BATCH_SIZES`, with samples of the last full batch."""
    sample = max(batches, key=len)
    result = {}
    for size in BATCH_SIZES:
        inputs = sample[torch.arange(size) % len(sample)]
        forward(inputs)
        times: list[float] = []
        end = time.perf_counter() + SECONDS
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            forward(inputs)
            times.append((time.perf_counter() - start) / size)
        result[str(size)] = statistics.median(times)
    return result
