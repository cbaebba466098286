"""Whether presets mirror images: not where a mirrored image looks like another class, as digits, letters and arrows do.

The data set says it, or the names of its classes do, or its training images are tested. In the test, each image x of a sample of the
training images has its nearest neighbours among the others, without networks and without hold-out and test set. With the distances s to
the nearest image of its class and o to the nearest of another class, before and after mirrored copies of all others are added,

    margin = log(o / s),    loss = log(o / s) - log(o' / s')

the loss tells by how much the mirrored copies move x towards other classes. A flip is left out if the mean loss of all images is above
`LOSS`, or that of a class above `CLASS_LOSS`, if it is above `SHARE` of their mean margin (so that images with nearly equal ones in their
class are no evidence) and above `ERRORS` standard errors, and if mirrored images of other classes are nearer to them than those of the
own. Distances are Euclidean, between histograms of oriented gradients (Dalal and Triggs, 2005).

<cache>/flips/<name>-<key>/flips.json     what the test found
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup import randomness
from studygroup.data.cache.entries import cache_dir, cached, digest
from studygroup.data.dataset import Dataset, stratified_order
from studygroup.data.images.augment import flip_changes
from studygroup.data.images.decode import fit_array
from studygroup.data.source import cache_folder
from studygroup.escape import shortened

SAMPLES, FEWEST = 3000, 10
"""Largest number of images that are tested, and smallest number of images of a class whose mean loss counts."""
LOSS, CLASS_LOSS, SHARE, ERRORS = 0.01, 0.03, 0.025, 4.5
"""Mean loss of all images, of those of a class, as a share of the margin, and in standard errors, above which flips are left out."""
SIZE, CELLS, ORIENTATIONS = 32, 8, 8
"""Height and width of the tested images, cells per side, and orientations of a histogram."""
NEAREST = 1e-3
"""Smallest distance: equal images have it."""
BLOCK = 500
"""Images whose distances are in memory at once."""
FILE = "flips.json"


@dataclass(frozen=True)
class Flips:
    """Whether presets flip images.

    Attributes:
        allowed: whether they do.
        reason: why, as a clause.
    """

    allowed: bool
    reason: str


def decide_flips(dataset: Dataset, cache: str | Path | None = None) -> Flips:
    """Decide whether presets flip the images of a data set; what a test of images found is kept in the cache.

    Raises:
        UserError: the cache cannot be written.

    Example:
        >>> from studygroup import data
        >>> data.decide_flips(data.open_dataset("digits")).allowed
        False
    """
    if dataset.flips is not None:
        other = f"no flips, as mirrored images of {dataset.name} are of another class or of none"
        return Flips(dataset.flips, f"mirrored images of {dataset.name} are of the same class" if dataset.flips else other)
    if flip_changes(dataset.classes):
        return Flips(False, "no flips, as the classes are named like digits, letters or sides, which a mirror changes")
    folder = cache_folder(cache)
    home = cache_dir(folder, "flips", dataset.name, digest(1, dataset.key, dataset.train.positions.tobytes()))

    def write(unfinished: Path) -> None:
        rows = np.sort(stratified_order(dataset.train.labels, randomness.generator(0, "flips"))[:SAMPLES])
        sample = dataset.train.take(rows)
        found = judge_by_images(sample.inputs[sample.positions], sample.labels, dataset.classes)
        (unfinished / FILE).write_text(json.dumps(asdict(found)), encoding="utf-8")

    return cached(home, folder, partial(_read, home / FILE), write)


def _read(path: Path) -> Flips | None:
    try:
        return Flips(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def judge_by_images(images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str]) -> Flips:
    """Test whether mirrored images look like other classes.

    Args:
        images: (n, C, H, W), each of which is compared with all others.
        labels: (n,) their classes.
        classes: names.
    """
    count = np.bincount(labels, minlength=len(classes))
    tested = f"{len(labels):,} training images"
    if count.max() < FEWEST or np.count_nonzero(count >= 2) < 2:
        return Flips(True, f"mirrored images count as the same class, which {tested} are too few to test")
    compared = count[labels] >= 2  # others have no neighbour of their class
    images, labels = images[compared], labels[compared]
    margin, loss, own, other, confused = _compare(histograms(fit_array(images, (1, SIZE, SIZE))[:, 0]), labels)
    groups = [(np.ones(len(labels), dtype=bool), LOSS), *((labels == label, CLASS_LOSS) for label in np.flatnonzero(count >= FEWEST))]
    changed = [group for group, least in groups if _changes(margin[group], loss[group], other[group] / own[group], least)]
    if not changed:
        return Flips(True, f"mirrored images count as the same class, as far as the nearest of {tested} tell")
    worst = max(changed, key=lambda group: float(loss[group].mean()))
    pairs = np.bincount(labels[worst] * len(classes) + confused[worst], weights=np.maximum(loss[worst], 0))
    label, mirrored = (shortened(classes[k]) for k in divmod(int(pairs.argmax()), len(classes)))
    return Flips(False, f"no flips, as mirrored images of {mirrored} look like {label}, by the nearest of {tested}")


def _changes(margin: NDArray[np.float32], loss: NDArray[np.float32], mirrored: NDArray[np.float32], least: float) -> bool:
    """Return whether mirrored copies move images towards other classes.

    Args:
        margin: (n,) of the images.
        loss: (n,) of the margins.
        mirrored: (n,) distance to the nearest mirrored image of another class, over that of the same class.
        least: mean loss from which on it matters.
    """
    error = loss.std(ddof=1) / len(loss) ** 0.5
    return bool(loss.mean() > max(least, SHARE * margin.mean(), ERRORS * error) and np.log(mirrored).mean() < 0)


def _compare(
    features: tuple[NDArray[np.float32], NDArray[np.float32]], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Compare each image with all others.

    Args:
        features: of the images (n, d), and of their mirror images (n, d).
        labels: (n,) with at least two images of each class.

    Returns:
        Arrays (n,): margin and loss; distances to the nearest mirrored image of the same class and of another one; the class of that one.
    """
    plain, mirrored = features
    found = []
    for start in range(0, len(labels), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(labels)))
        same = labels[rows, None] == labels
        (own, other, _), (own_mirrored, other_mirrored, nearest) = (
            _nearest(plain[rows], others, rows, same) for others in (plain, mirrored)
        )
        margin = np.log(other / own)
        after = np.log(np.minimum(other, other_mirrored) / np.minimum(own, own_mirrored))
        found.append((margin, margin - after, own_mirrored, other_mirrored, labels[nearest]))
    margin, loss, own, other, confused = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return margin, loss, own, other, confused


def _nearest(
    images: NDArray[np.float32], others: NDArray[np.float32], rows: NDArray[np.int64], same: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return the distances (b,) to the nearest image of the same class, but for itself, and of another class, and the row of that one."""
    distances = np.sqrt(np.maximum(2 - 2 * images @ others.T, NEAREST**2))  # of vectors of length 1
    distances[np.arange(len(rows)), rows] = np.inf
    different = np.where(same, np.inf, distances)
    return np.where(same, distances, np.inf).min(1), different.min(1), different.argmin(1)


def histograms(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return histograms of oriented gradients (n, d), of length 1, of grey images (n, SIZE, SIZE) and of their mirror images."""
    blocks = [images[start : start + BLOCK].astype(np.float32) for start in range(0, len(images), BLOCK)]
    plain, mirrored = (np.concatenate([_histograms(block[:, :, ::step]) for block in blocks]) for step in (1, -1))
    return plain, mirrored


def _histograms(images: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down, right = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1], padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    strength, angle = np.hypot(down, right), np.arctan2(down, right) * (ORIENTATIONS / (2 * np.pi))
    side = SIZE // CELLS
    cells = np.zeros((len(images), ORIENTATIONS, CELLS + 2, CELLS + 2), dtype=np.float32)
    for k in range(ORIENTATIONS):  # a gradient counts for the two orientations beside its own
        difference = np.abs((angle - k + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2)
        share = strength * np.maximum(1 - difference, 0)
        cells[:, k, 1:-1, 1:-1] = share.reshape(-1, CELLS, side, CELLS, side).sum((2, 4))
    rows = cells[:, :, 1:-1] + (cells[:, :, :-2] + cells[:, :, 2:]) / 2  # cells that overlap: a shift by some pixels matters less
    found = np.sqrt(rows[..., 1:-1] + (rows[..., :-2] + rows[..., 2:]) / 2).reshape(len(images), -1)
    normalised: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), NEAREST)
    return normalised
