"""No work twice, and nothing kept: what a step holds when the optimiser runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from studygroup.clock import Clock
from studygroup.distributed.context import SINGLE_PROCESS
from studygroup.methods import METHODS
from studygroup.training.memory import step_memory
from studygroup.training.meter import LossMeter
from tests.training.ranks import Scene, trainer_of


@pytest.mark.parametrize("name", METHODS)
def test_activations_of_a_finished_backward_pass_are_gone_when_the_optimiser_runs(name: str, tmp_path: Path) -> None:
    trainer = trainer_of(Scene(name, norms=True), SINGLE_PROCESS, tmp_path)
    trainer.method.train()
    batches = trainer.runner.batches.epoch(0)
    trainer.updater.step(next(batches), Clock(0, 4, 0, 4), LossMeter())  # the optimiser's state is there from now on
    batch = next(batches)
    state = [value for state in trainer.updater.optimizer.state.values() for value in state.values()]
    resident = [*trainer.method.parameters(), *trainer.method.buffers(), *state, batch.inputs, batch.labels, batch.indices, *batch.views]
    memory = step_memory(lambda: trainer.updater.step(batch, Clock(0, 4, 1, 4), LossMeter()), resident)
    assert memory.left, "there was an update"
    assert set(memory.left) == {0}
    assert memory.waiting[-1] == 0
    assert memory.peak > memory.resident
