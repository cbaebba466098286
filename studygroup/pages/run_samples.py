"""Samples to look at: the most confident mistakes, and those on which the students disagree."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

from studygroup.escape import one_line, shortened
from studygroup.pages.plots import css
from studygroup.pages.run_facts import ENSEMBLE, RunFacts
from studygroup.pages.tables import Matrix, Square, percent

NAME = 60
MAX_SHEET = 600_000
"""Bytes of the contact sheet that a page may hold."""
MOST_MEMBERS = 24


@dataclass(frozen=True)
class Vote:
    """What a member says of a sample: its name, colour and class, and whether that is right."""

    member: str
    css: str
    label: str
    right: bool


@dataclass(frozen=True)
class Tile:
    """A sample to look at.

    Attributes:
        name: of its file or row.
        picture: `data:` address; empty without a picture.
        text: empty without a text.
        true: its class.
        predicted: the class that the selected student takes it for.
        probability: of that class in words.
        votes: of the students; empty for mistakes.
    """

    name: str
    picture: str
    text: str
    true: str
    predicted: str
    probability: str
    votes: Sequence[Vote] = ()


def mistakes(run: RunFacts) -> list[Tile]:
    """Return the most confident mistakes of the selected student, the most confident first."""
    return [] if run.samples is None else _tiles(run, run.samples.mistakes, voted=False)


def disputed(run: RunFacts) -> list[Tile]:
    """Return the samples on which most pairs of students disagree."""
    return [] if run.samples is None or run.member_predictions is None else _tiles(run, run.samples.disputed, voted=True)


def _tiles(run: RunFacts, positions: Sequence[int], *, voted: bool) -> list[Tile]:
    found, samples, members = run.predictions, run.samples, run.member_predictions
    if found is None or samples is None:
        return []
    spelled = run.spelled
    tiles = []
    for place in positions:
        sample = samples.shown.get(place)
        if sample is None or place >= len(found.labels):
            continue
        label, predicted = found.labels[place], found.predicted[place]
        votes = []
        if voted and members is not None and place < len(members.labels):
            students = [name for name in run.students if name in members.by_member]
            for name in students[:MOST_MEMBERS]:
                vote = members.by_member[name][place]
                votes.append(Vote(name, css(run.names.index(name)), _class(spelled, vote), vote == label))
        probability = found.probability[place]
        tiles.append(
            Tile(
                shortened(found.names[place], NAME),
                sample.picture or "",
                one_line(sample.text or ""),
                _class(spelled, label),
                _class(spelled, predicted),
                percent(probability, 1) if math.isfinite(probability) else "–",
                votes,
            )
        )
    return tiles


def _class(spelled: dict[str, str], name: str) -> str:
    return shortened(spelled.get(name, name), NAME)


def contact_sheet(run: RunFacts) -> str:
    """Return the contact sheet of mistakes of an earlier version's run as a `data:` address; empty if there is none, or a large one."""
    path = run.files.mistakes_picture
    try:
        content = path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_SHEET else b""
    except OSError as error:
        run.problems.append(f"{path} cannot be read ({error.strerror})")
        return ""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}" if content.startswith(b"\x89PNG") else ""


def disagreement(run: RunFacts) -> Matrix | None:
    """Return the share of test samples that two members assign to different classes, by pair."""
    found = run.member_predictions
    names = [] if found is None else [name for name in run.names if name in found.by_member][:MOST_MEMBERS]
    if found is None or len(names) < 2 or not found.labels:
        return None
    names += [ENSEMBLE] if ENSEMBLE in found.by_member else []
    return pairwise("Who disagrees with whom", names, [found.by_member[name] for name in names])


def pairwise(title: str, names: Sequence[str], predicted: Sequence[Sequence[str]]) -> Matrix:
    """Return the share of samples on which each two predict different classes."""
    total = len(predicted[0])
    shares = {}
    for i, one in enumerate(predicted):
        for j, other in enumerate(predicted[:i]):
            shares[i, j] = shares[j, i] = sum(a != b for a, b in zip(one, other, strict=True)) / total
    return share_matrix(title, names, shares, f"{total:,} test samples")


def share_matrix(title: str, names: Sequence[str], shares: dict[tuple[int, int], float], of: str) -> Matrix:
    """Draw a share for each pair of names; the depth of the colour is relative to the largest."""
    largest = max(shares.values(), default=0.0) or 1.0
    squares = [
        Square(i, j, 0.9 * share / largest, f"{100 * share:.1f}", f"{names[i]} and {names[j]}\n{percent(share)} of {of} differ")
        for (i, j), share in sorted(shares.items())
    ]
    return Matrix(title, names, names, squares, note=f"Share of the {of}, in %, on which two predict different classes.")


def spread(run: RunFacts) -> list[tuple[str, float, str]]:
    """Return how many test samples 0, 1, ..., K students get right: words, share, text."""
    found = run.member_predictions
    names = [] if found is None else [name for name in run.students if name in found.by_member]
    if found is None or len(names) < 2 or not found.labels:
        return []
    right = [0] * (len(names) + 1)
    for place, label in enumerate(found.labels):
        right[sum(found.by_member[name][place] == label for name in names)] += 1
    total = len(found.labels)
    words = {0: "no student is right", len(names): "all students are right"}
    return [
        (words.get(count, f"{count} of {len(names)} are right"), number / total, f"{number:,} ({percent(number / total, 1)})")
        for count, number in enumerate(right)
    ]
