"""Starts the ranks of a run by torchrun's engine (torch.distributed.elastic) and returns the result."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from studygroup.distributed.collectives import RankLost
from studygroup.distributed.context import launched_by_torchrun
from studygroup.errors import TrainingError, UserError, one_line

if TYPE_CHECKING:
    from studygroup.options import RankOptions

MOST_PORTS = 65535
INTERRUPTED = 130  # exit code of a rank that was interrupted
T = TypeVar("T")


def needs_launch(options: RankOptions) -> bool:
    """Return whether the options ask for ranks that are not running yet.

    Raises:
        UserError: the options contradict the ranks that torchrun started, or several nodes have no rendezvous.
    """
    ranks = options.devices * options.nodes
    if launched_by_torchrun():
        world_size = int(os.environ["WORLD_SIZE"])
        if ranks not in (1, world_size):
            raise UserError(f"devices is {options.devices}, nodes {options.nodes}, but torchrun started {world_size} ranks; leave both out")
        return False
    if options.nodes > 1 and options.rendezvous is None:
        raise UserError(
            f"nodes is {options.nodes}: give --rendezvous HOST:PORT, the same on every node (HOST is one of them), or use torchrun"
        )
    if options.nodes == 1 and options.rendezvous is not None:
        raise UserError(f"rendezvous is {options.rendezvous}, but there is one node; give --nodes, too, or leave it out")
    if options.rendezvous is not None:
        host, _, port = options.rendezvous.rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port[:9]) <= MOST_PORTS:
            raise UserError(f"rendezvous is {options.rendezvous!r}; it must be HOST:PORT, with a port from 1 to {MOST_PORTS}")
    return ranks > 1


def launch(entry: Callable[[T], str], argument: T, options: RankOptions, *, hint: str) -> str:
    """Run `entry(argument)` in `options.devices` processes on this machine and return the result of the first.

    Args:
        entry: a function of a module.
        argument: any object that can be pickled.
        options: number of processes and nodes; every node must call this function.
        hint: how to continue an interrupted run.

    Raises:
        UserError, TrainingError: `entry` raised it, or a rank was killed.
        KeyboardInterrupt: the ranks were interrupted.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):  # their forty lines would hide our one
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="studygroup-ranks-") as logs:
        config = LaunchConfig(
            min_nodes=options.nodes,
            max_nodes=options.nodes,
            nproc_per_node=options.devices,
            run_id="studygroup",
            rdzv_backend="c10d",
            rdzv_endpoint=options.rendezvous or "localhost:0",
            local_addr="localhost" if options.nodes == 1 else None,
            max_restarts=0,
            monitor_interval=0.2,
            start_method="spawn",
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            outcomes = elastic_launch(config, _run_rank)(entry, argument, logs)
        except ChildFailedError as error:
            if error.get_first_failure()[1].exitcode == INTERRUPTED:
                raise KeyboardInterrupt(f"continue with: {hint}") from error
            raise TrainingError(f"{_describe_failure(error)}; the last checkpoint is kept. Continue with: {hint}") from error
        except RendezvousError as error:
            raise UserError(
                f"the nodes do not meet at {options.rendezvous} ({one_line(error)}); give the name or address of one of them and a port of "
                "it that no other program uses, the same on every node"
            ) from error
        except SignalException as error:
            raise KeyboardInterrupt(f"continue with: {hint}") from error
    return _first_result(outcomes)


def _run_rank(entry: Callable[[T], str], argument: T, logs: str) -> dict[str, str]:
    """Run one rank; return its result, or the class and message of its error."""
    threading.Thread(target=_end_with_launcher, args=(logs,), daemon=True).start()
    if os.environ["RANK"] != "0":
        warnings.simplefilter("ignore")
    try:
        return {"result": entry(argument)}
    except (UserError, TrainingError) as error:
        return {type(error).__name__: str(error)}
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # everything is saved; returning would wait for the results of the other ranks


def _end_with_launcher(logs: str) -> None:
    """Wait for the end of the launcher, then end this rank: of a launcher that was killed, nobody else would end it."""
    launcher = multiprocessing.parent_process()
    if launcher is not None:
        launcher.join()
        shutil.rmtree(logs, ignore_errors=True)
        os._exit(1)


def _first_result(outcomes: Mapping[int, Mapping[str, str]]) -> str:
    """Return the result of rank 0, or raise the error that caused the others: a lost rank is a consequence."""
    ordered = [outcomes[rank] for rank in sorted(outcomes)]
    for kind in (UserError, TrainingError, RankLost):
        for outcome in ordered:
            if kind.__name__ in outcome:
                raise kind(outcome[kind.__name__])
    return next(outcome["result"] for outcome in ordered)


def _describe_failure(error: Any) -> str:
    """Describe the first rank that failed."""
    rank, failure = error.get_first_failure()
    if failure.exitcode < 0:
        return f"rank {rank} was killed ({signal.Signals(-failure.exitcode).name})"
    message = failure.message.get("message", "") if isinstance(failure.message, dict) else str(failure.message)
    return (
        f"rank {rank} failed (exit code {failure.exitcode}: {message.strip().splitlines()[-1][:200] if message.strip() else 'no message'})"
    )
