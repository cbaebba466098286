"""The metrics of a run: one record per epoch in metrics.jsonl, and TensorBoard events if wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from studygroup.atomic import write_atomically
from studygroup.errors import UserError
from studygroup.runs.layout import RunFiles

Record = dict[str, Any]


class MetricsLog:
    """Writer of metrics.jsonl and of TensorBoard's event files.

    The records are kept in the checkpoints, too; the file is written anew from them when a run is resumed.
    """

    def __init__(self, files: RunFiles, *, tensorboard: bool = False, writes: bool = True) -> None:
        """Open the log.

        Args:
            files: of the run.
            tensorboard: whether to write event files as well.
            writes: False on all ranks but one.
        """
        self.path = files.metrics
        self.writes = writes
        self.history: list[Record] = []
        self.board = _writer(files.tensorboard) if tensorboard and writes else None

    def restore(self, history: list[Record]) -> None:
        """Continue after these records."""
        self.history = list(history)
        self._write()

    def append(self, record: Record) -> None:
        """Write the last record of `history`."""
        self._write()
        if self.board is not None:
            for name, value in _flat(record):
                self.board.add_scalar(name, value, record["epoch"])
            self.board.flush()

    def _write(self) -> None:
        if self.writes:
            write_atomically(self.path, "".join(json.dumps(record) + "\n" for record in self.history).encode())

    def close(self) -> None:
        """Close the files."""
        if self.board is not None:
            self.board.close()


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("tensorboard is not installed; pip install 'studygroup[tensorboard]', or leave --tensorboard out") from error
    return SummaryWriter(str(folder))


def _flat(record: Record, prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "epoch":
            pairs.append((prefix + name, float(value)))
    return pairs
