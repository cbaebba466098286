"""Texts: the speed of the two text networks, the cost of groups, and the gain from batches of texts of similar length.

`transformer` on tokens of a vocabulary of 16,000, at most 512 per text, and `vdcnn9` on characters, at most 1,024 per text, with default
options, batch size 64, on the reviews of `benchmarks/texts.py`, which are synthetic, with lengths as long-tailed as those of real reviews.
An epoch has 6,400 of them. A repetition runs 4 of its 100 steps, the same ones each time, evenly spread over the lengths of the batches;
random batches are padded to other lengths, and their 4 steps are spread over these. A step is all that the trainer does for one batch.
Tokens and characters do not include padding. ORC's pivot has twice as many blocks as the student. In the loop, each student runs a forward
pass on its own samples, and each route that it imitates runs a forward pass on them without gradient (as in `benchmarks/routing.py`; batch
norm per student). Losses and gradients of both are compared in float32, without dropout, before the loop is timed. There are no targets for
texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from common import Row, defaults, main, maker, row, trainer_for
from routing import Loop, check, subgroups_of, unassembled
from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.data import Batches, Dataset, Ragged, Split, Tokens
from studygroup.data.texts.tokenizers import make_tokenizer
from studygroup.methods import CGL, CLILR, DML, ONE, ORC, Baseline, Method, OKDDip
from studygroup.networks import NetworkFactory
from studygroup.training import DataSplits, Settings, Trainer
from studygroup.training.meter import LossMeter
from studygroup.training.timing import interleave, quartiles, ratio, seconds_of
from texts import made_up_reviews

EVALUATED = 256  # texts
DEVICE, PRECISION, LAYOUT = defaults()

Learn = Callable[[Batch, Clock], None]


@dataclass(frozen=True)
class Student:
    """A network, and what it reads.

    Attributes:
        network: its name.
        exact: the same without dropout, so that two ways to compute a step can be compared.
        pivot: a larger one.
        tokenizer: its kind.
        longest: what texts are cut to.
        unit: what they are made of.
    """

    network: str
    exact: str
    pivot: str
    tokenizer: str
    longest: int
    unit: str


STUDENTS = (
    Student("transformer", "transformer@dropout=0", "transformer@depth=6", "bpe", 512, "tokens"),
    Student("vdcnn9", "vdcnn9", "vdcnn17", "chars", 1024, "characters"),
)
TINY = "transformer@heads=2,hidden=8,embedding=8,feedforward=8"
NARROW = "@embedding=4,width=4,hidden=8"
TINY_STUDENTS = (
    Student(TINY, f"{TINY},dropout=0", f"{TINY},depth=6", "bpe", 96, "tokens"),
    Student(f"vdcnn9{NARROW}", f"vdcnn9{NARROW}", f"vdcnn17{NARROW}", "chars", 256, "characters"),
)


def methods() -> dict[str, Method]:
    """The groups by what they are called, each with the product's defaults."""
    return {
        "DML, 2 students": DML(students=2),
        "CL-ILR, 4 branches": CLILR(),
        "ONE, 4 branches": ONE(),
        "OKDDip, 4 branches": OKDDip(),
        "CGL, 8 students": CGL(students=8),
        "ORC, 3 students and a pivot": ORC(students=3),
    }


def reviews(student: Student, train: int, holdout: int) -> DataSplits:
    """Made-up reviews as what a network reads of them."""
    texts, stars = zip(*made_up_reviews(train + holdout), strict=True)
    tokenizer = make_tokenizer(student.tokenizer, lambda: iter(texts))
    rows = Ragged.of(tokenizer.encode(texts, student.longest), tokenizer.pad)
    everything = Split(rows, np.array([int(star) - 1 for star in stars]))
    learned, held = everything.take(np.arange(train)), everything.take(np.arange(train, train + holdout))
    inputs = Tokens(tokenizer, student.longest)
    dataset = Dataset("reviews", tuple("12345"), learned, held, held.take(np.arange(0)), held, frozenset(), inputs, None, "")
    return DataSplits(dataset, learned, held, "none")


# ---------------------------------------------------------------- batches


def at_random(batches: Batches) -> Batches:
    """The same texts in batches that are put together without a look at their lengths."""
    ungrouped = copy(batches)
    ungrouped.lengths = None
    return ungrouped


def positions(batches: Batches) -> list[NDArray[np.int64]]:
    """Which texts each step of epoch 0 has."""
    share, size = batches.student_positions(0)[0], batches.sizes[0]
    return [share[start : min(start + size, batches.samples_per_epoch[0])] for start in range(0, batches.samples_per_epoch[0], size)]


def widths(batches: Batches) -> NDArray[np.int64]:
    """(steps,): what the batch of each step of epoch 0 is padded to."""
    lengths = batches.split.lengths
    assert lengths is not None
    return np.array([lengths[chosen].max() for chosen in positions(batches)])


def evenly(values: NDArray[np.int64], count: int) -> list[int]:
    """`count` places of values, evenly spread over their ranks, the smallest value first."""
    ranks = ((np.arange(count) + 0.5) * len(values) / count).astype(np.int64)
    return [int(place) for place in np.argsort(values, kind="stable")[ranks]]


def padding(batches: Batches) -> float:
    """Share of an epoch's positions that are padding."""
    lengths, chosen = batches.split.lengths, positions(batches)
    assert lengths is not None
    sizes = np.array([len(own) for own in chosen])
    return 1 - float(lengths[np.concatenate(chosen)].sum()) / float((widths(batches) * sizes).sum())


# ---------------------------------------------------------------- turns


class Turns:
    """Some steps of epoch 0, the same ones in each turn, and the longest once before the first."""

    def __init__(self, batches: Batches, steps: Sequence[int], learn: Learn, settings: Settings) -> None:
        self.batches, self.steps, self.learn, self.settings = batches, steps, learn, settings
        self.take(steps[-1:])

    def __call__(self) -> float:
        """Seconds."""
        return seconds_of(partial(self.take, self.steps), DEVICE)

    def take(self, steps: Sequence[int]) -> None:
        for step in steps:
            batch = next(self.batches.epoch(0, step))
            self.learn(batch, Clock(0, self.settings.epochs, step, self.batches.steps(), self.settings.seed))


def by_trainer(trainer: Trainer) -> Learn:
    """A step as `studygroup train` makes it."""
    meter = LossMeter()
    return lambda batch, clock: trainer.updater.step(batch, clock, meter)


def by_loop(make: NetworkFactory, cgl: CGL, settings: Settings) -> Learn:
    """The step of CGL as one would write it, with the optimiser that the product has."""
    loop = Loop(make, LAYOUT)
    optimizer = torch.optim.Adam(loop.group.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)

    def learn(batch: Batch, clock: Clock) -> None:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=PRECISION == "bf16"):
            loss = loop.losses(batch, subgroups_of(cgl, clock))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return learn


# ---------------------------------------------------------------- the table


def rows_of(student: Student, splits: DataSplits, settings: Settings, steps: int, repeats: int) -> Iterator[Row]:
    """One network's rows."""
    make = maker(student.network, splits, teacher=student.pivot)
    with ExitStack() as stack:

        def trainer(method: Method) -> Trainer:
            return stack.enter_context(trainer_for(method, make, splits, settings))

        alone = trainer(Baseline())
        batches, mixed = alone.runner.batches, at_random(alone.runner.batches)
        chosen = evenly(widths(batches), steps)
        alone.score(splits.holdout)  # once that does not count, like a step of each
        turns: dict[str, Callable[[], float]] = {
            "alone": Turns(batches, chosen, by_trainer(alone), settings),
            "at random": Turns(mixed, evenly(widths(mixed), steps), by_trainer(alone), settings),
            "evaluation": lambda: seconds_of(lambda: alone.score(splits.holdout), DEVICE),
        }
        for name, method in methods().items():
            own = trainer(method)
            turns[name] = Turns(own.runner.batches, chosen, by_trainer(own), settings)
        fused = trainer(cgl := unassembled())
        shortest = next(fused.runner.batches.epoch(0, chosen[0]))
        apart = check(maker(student.exact, splits), shortest, LAYOUT)
        turns["fused"] = Turns(fused.runner.batches, chosen, by_trainer(fused), settings)
        turns["loop"] = Turns(fused.runner.batches, chosen, by_loop(make, cgl, settings), settings)
        times = interleave(turns, repeats, warm_up=0)

    name = student.network.partition("@")[0]
    figures = {"seconds": times}
    medians = {what: quartiles(seconds).value for what, seconds in times.items()}
    step = {what: 1000 * seconds / steps for what, seconds in medians.items()}
    epoch = {what: medians[what] / steps * batches.steps() for what in ("alone", "at random")}
    lengths = splits.train.lengths
    held = splits.holdout.lengths
    assert lengths is not None
    assert held is not None
    learned = int(sum(lengths[positions(batches)[number]].sum() for number in chosen))
    evaluated = int(held.sum())
    yield row(
        f"{name}: training, the student alone",
        quartiles([learned / seconds for seconds in times["alone"]]),
        unit=f"{student.unit}/s",
        details=f"{step['alone']:.0f} ms per step; {lengths.mean():.0f} {student.unit} per text",
        figures=figures,
    )
    yield row(
        f"{name}: evaluation",
        quartiles([evaluated / seconds for seconds in times["evaluation"]]),
        unit=f"{student.unit}/s",
        details=f"{len(splits.holdout)} texts in {1000 * medians['evaluation']:.0f} ms",
    )
    for method_name in methods():
        yield row(
            f"{name}: a step of {method_name}, over the student alone",
            ratio(times[method_name], times["alone"]),
            details=f"{step[method_name]:.0f} ms, alone {step['alone']:.0f} ms",
        )
    yield row(
        f"{name}: a CGL step in a loop over its students, over the fused step",
        ratio(times["loop"], times["fused"]),
        details=f"loop {step['loop']:.0f} ms, fused {step['fused']:.0f} ms; gradients agree to {apart:.0e}",
    )
    yield row(
        f"{name}: an epoch of random batches, over one of batches of similar length",
        ratio(times["at random"], times["alone"]),
        details=f"{epoch['at random']:.1f} s and {epoch['alone']:.1f} s for {len(splits.train):,} texts; "
        f"{padding(mixed):.0%} and {padding(batches):.0%} of the positions are padding",
    )


def measure(repeats: int, quick: bool) -> list[Row]:
    settings = Settings(batch_size=16 if quick else 64, optimizer="adam", progress=False)
    rows: list[Row] = []
    for student in TINY_STUDENTS if quick else STUDENTS:
        splits = reviews(student, (8 if quick else 100) * settings.batch_size, 16 if quick else EVALUATED)
        rows += rows_of(student, splits, settings, 2 if quick else 4, repeats)
    return rows


if __name__ == "__main__":
    main(__doc__, measure, repeats=5)
