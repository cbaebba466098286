"""Starts a run's ranks by torchrun's own engine (torch.distributed.elastic), and brings back what came of them."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from studygroup.distributed.context import RankLost, launched_by_torchrun
from studygroup.errors import TrainingError, UserError

INTERRUPTED = 130  # exit code of a rank that was asked to stop
Entry = Callable[[Any], str]


def wanted(devices: int, nodes: int, rendezvous: str | None) -> bool:
    """Whether ranks are asked for that nobody has started yet.

    Raises:
        UserError: what is asked for contradicts what was started, or there is not enough of it.
    """
    if launched_by_torchrun():
        size = int(os.environ["WORLD_SIZE"])
        if devices * nodes not in (1, size):
            raise UserError(f"devices is {devices}, nodes {nodes}, but {size} ranks were started; leave both out under torchrun")
        return False
    if nodes > 1 and rendezvous is None:
        raise UserError(
            f"nodes is {nodes}: give --rendezvous HOST:PORT, the same on every node (HOST is one of them), or start the command by torchrun"
        )
    return bool(devices * nodes > 1)


def launch(entry: Entry, arguments: object, *, devices: int, nodes: int, rendezvous: str | None, hint: str) -> str:
    """Run `entry(arguments)` in `devices` processes on this machine, of `nodes` that do the same, and return what the first says.

    Args:
        entry: a function of a module, and its arguments can be sent to another process.
        arguments: see there.
        devices: processes on this machine.
        nodes: machines.
        rendezvous: `host:port` where they meet; None for this machine alone.
        hint: how to go on with a run that was interrupted.

    Raises:
        UserError, TrainingError: as `entry`, or a rank was killed.
        KeyboardInterrupt: a stop was asked for.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):  # they say in forty lines what we say in one
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    alone = nodes == 1
    with tempfile.TemporaryDirectory(prefix="studygroup-ranks-") as logs:
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=devices,
            run_id="studygroup",
            rdzv_backend="c10d",
            rdzv_endpoint=rendezvous or "localhost:0",
            local_addr="localhost" if alone else None,
            max_restarts=0,
            monitor_interval=0.2,
            start_method="spawn",
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            told = elastic_launch(config, _rank)(entry, arguments)
        except ChildFailedError as error:
            if error.get_first_failure()[1].exitcode == INTERRUPTED:
                raise KeyboardInterrupt(f"go on with: {hint}") from error
            raise TrainingError(f"{_death(error)}; the last checkpoint is kept. Go on with: {hint}") from error
        except SignalException as error:
            raise KeyboardInterrupt(f"go on with: {hint}") from error
    return _outcome(told)


def _rank(entry: Entry, arguments: object) -> dict[str, str]:
    """One rank's process: its result, or what went wrong, in words."""
    if os.environ["RANK"] != "0":
        warnings.simplefilter("ignore")
    try:
        return {"result": entry(arguments)}
    except (UserError, TrainingError) as error:
        return {type(error).__name__: str(error)}
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # everything is saved; a rank that returns is kept waiting for the others' results


def _outcome(told: Mapping[int, Mapping[str, str]]) -> str:
    """The first rank's result; an error that explains the others' comes first."""
    ordered = [told[rank] for rank in sorted(told)]
    for kind in (UserError, TrainingError, RankLost):
        for outcome in ordered:
            if kind.__name__ in outcome:
                raise kind(outcome[kind.__name__])
    return next(outcome["result"] for outcome in ordered)


def _death(error: Any) -> str:
    """Which rank ended how, the first to end."""
    rank, failure = error.get_first_failure()
    if failure.exitcode < 0:
        return f"rank {rank} was killed ({signal.Signals(-failure.exitcode).name})"
    message = failure.message.get("message", "") if isinstance(failure.message, dict) else str(failure.message)
    return (
        f"rank {rank} failed (exit code {failure.exitcode}: {message.strip().splitlines()[-1][:200] if message.strip() else 'no message'})"
    )
