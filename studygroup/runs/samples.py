"""Samples of the test set to look at: the most confident mistakes, and those on which the students disagree, as small pictures or texts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studygroup.data import Split
from studygroup.escape import shortened
from studygroup.runs.evaluation import Outcomes
from studygroup.runs.files import write_json
from studygroup.runs.layout import RunFiles
from studygroup.runs.mistakes import most_confident

DISPUTED = 18
SIDE = 96  # pixels of the longer side of a picture; smaller ones stay as they are
LOSSLESS = 48  # pixels of the longer side up to which a picture is a PNG
MAX_TEXT = 600  # characters


def most_disputed(students: Sequence[NDArray[np.int64]], number: int = DISPUTED) -> NDArray[np.int64]:
    """Return the positions of the samples on which most pairs of students disagree, at most `number`, none on which all agree.

    Args:
        students: predicted classes (N,) of each.
        number: of positions.
    """
    if len(students) < 2:
        return np.empty(0, dtype=np.int64)
    votes = np.stack(students)  # (K, N)
    differing = sum((votes[k + 1 :] != votes[k]).sum(0) for k in range(len(votes) - 1))
    found = np.argsort(-np.asarray(differing), kind="stable")[:number]
    return found[np.asarray(differing)[found] > 0]


def write_samples(files: RunFiles, split: Split, outcomes: Outcomes, students: Sequence[NDArray[np.int64]]) -> None:
    """Write the samples of a split to look at.

    The file has the positions in the split of the most confident `mistakes` of the selected student and of the samples that are `disputed`
    among the students, and `samples`: position -> `text`, or `png` or `jpeg` in base64.

    Args:
        files: of the run.
        split: the N samples.
        outcomes: predictions of the selected student for them.
        students: predicted classes (N,) of each student.
    """
    mistakes, disputed = most_confident(outcomes), most_disputed(students)
    chosen = np.unique(np.concatenate([mistakes, disputed]))
    shown: dict[str, Any] = {}
    if split.texts is not None:
        shown = {str(i): {"text": shortened(split.texts.text(int(split.positions[i])), MAX_TEXT)} for i in chosen.tolist()}
    elif len(chosen):
        pixels = split.gather(chosen)[0].numpy()
        shown = {str(i): picture(image) for i, image in zip(chosen.tolist(), pixels, strict=True)}
    write_json(files.samples, {"mistakes": mistakes.tolist(), "disputed": disputed.tolist(), "samples": shown})


def picture(pixels: NDArray[np.uint8]) -> dict[str, str]:
    """Return an image (C, H, W), C 1 or 3, as a small file in base64, by format."""
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    image.thumbnail((SIDE, SIDE))
    kind, options = ("png", {"optimize": True}) if max(image.size) <= LOSSLESS else ("jpeg", {"quality": 82})
    file = io.BytesIO()
    image.save(file, kind, **options)
    return {kind: base64.b64encode(file.getvalue()).decode("ascii")}
