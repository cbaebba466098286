"""Time and memory: how they are measured."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from studygroup.training.memory import LiveTensors, bytes_of, step_memory
from studygroup.training.timing import computing_seconds, interleave, quartiles, ratio, seconds_of


def test_a_median_and_its_quartiles() -> None:
    found = quartiles([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.value, found.low, found.high) == (3.0, 2.0, 4.0)
    alone = quartiles([7.0])
    assert (alone.value, alone.low, alone.high) == (7.0, 7.0, 7.0)


def test_a_ratio_is_of_the_medians_and_its_quartiles_are_of_the_pairs() -> None:
    found = ratio([2.0, 6.0, 40.0], [1.0, 2.0, 10.0])
    assert found.value == 3.0
    assert (found.low, found.high) == (2.5, 3.5), "of the ratios 2, 3 and 4"
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_turns_are_taken() -> None:
    turns: list[str] = []
    clock: Iterator[float] = iter(range(100))

    def timed(name: str) -> float:
        turns.append(name)
        return next(clock)

    found = interleave({name: lambda name=name: timed(name) for name in "ab"}, 2, warm_up=1, after=lambda: turns.append("."))  # type: ignore[misc]
    assert "".join(turns) == "a.b.a.b.a.b."
    assert found == {"a": [2, 4], "b": [3, 5]}, "without the warm-up"


def test_seconds_are_those_of_the_call() -> None:
    calls: list[int] = []
    assert seconds_of(lambda: calls.append(1), torch.device("cpu")) >= 0
    assert calls == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_other_programs_do_not_count_with_one_thread(threads: int) -> None:
    calls: list[int] = []

    def wait() -> None:
        calls.append(1)
        time.sleep(0.2)  # as if another program had the processor

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seconds = computing_seconds(wait, torch.device("cpu"))
    finally:
        torch.set_num_threads(before)
    assert calls == [1]
    assert (seconds >= 0.2) == (threads > 1)


KIB = 1024
FLOATS = 256  # of 4 bytes


def test_live_tensors_are_counted_once_and_to_their_end() -> None:
    there = torch.zeros(FLOATS)
    with LiveTensors([there, there.view(2, -1)]) as live:
        assert live.now == KIB
        one = there + 1
        view = one.view(16, 16)
        one.add_(1)
        assert live.now == 2 * KIB, "a view and an operation in place make nothing new"
        two = torch.cat([one, one])
        del one
        assert live.now == 4 * KIB, "the view holds it"
        del view
        assert live.now == 3 * KIB
        del two
        assert live.now == KIB
    assert live.peak == 4 * KIB


def test_bytes_of_storages() -> None:
    one, other = torch.zeros(FLOATS), torch.zeros(FLOATS)
    assert bytes_of([one, one[3:], other]) == 2 * KIB
    assert bytes_of([one, one[3:], other], besides=[one[:1]]) == KIB


class Steps:
    """Two networks that learn one after the other from one pair of forward passes."""

    def __init__(self) -> None:
        self.inputs = torch.ones(4, 64)
        self.networks = [nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)) for _ in range(2)]
        self.optimizer = torch.optim.SGD([p for network in self.networks for p in network.parameters()], lr=0.1)

    def resident(self) -> list[Tensor]:
        return [self.inputs, *(p for network in self.networks for p in network.parameters())]

    def run(self, keep: bool = False, unused: bool = False) -> None:
        losses = [network(self.inputs).sum() for network in self.networks]
        extra = self.networks[0](self.inputs) if unused else None
        for loss in losses:
            loss.backward(retain_graph=keep)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        del extra


def test_what_is_left_when_the_optimiser_runs() -> None:
    steps = Steps()
    hidden = 4 * 64 * 4  # bytes that the tanh keeps, which the layer after it needs as well
    memory = step_memory(steps.run, steps.resident())
    assert memory.waiting == (hidden, 0), "the second network's backward pass comes after the first update"
    assert memory.left == (0, 0)
    assert memory.resident == bytes_of(steps.resident())
    assert memory.peak > memory.resident + 2 * hidden
    kept = step_memory(lambda: steps.run(keep=True), steps.resident())
    assert kept.left == (hidden, 2 * hidden), "a graph that is retained is found"
    unused = step_memory(lambda: steps.run(unused=True), steps.resident())
    assert unused.waiting == (2 * hidden, hidden), "and one that nobody goes back through"


def test_measuring_leaves_nothing_behind() -> None:
    steps = Steps()
    seen = step_memory(steps.run, steps.resident())
    steps.run()
    assert len(seen.left) == 2, "updates outside are not looked at"
    with pytest.raises(ZeroDivisionError):
        step_memory(lambda: 1 // 0, [])
    steps.run()
