"""What a run writes down: one record per epoch, and TensorBoard's events if asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from studygroup.errors import UserError
from studygroup.runs.files import write_atomically

Record = dict[str, Any]


class Log:
    """`metrics.jsonl`, and optionally `tensorboard/`.

    The records are kept in the checkpoints, too; the file is written anew from them when a run is resumed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False, writes: bool = True) -> None:
        self.path = folder / "metrics.jsonl"
        self.writes = writes  # of several ranks, one does
        self.history: list[Record] = []
        self.board = _writer(folder / "tensorboard") if tensorboard and writes else None

    def restore(self, history: list[Record]) -> None:
        """Go on after these records."""
        self.history = list(history)
        self._write()

    def append(self, record: Record) -> None:
        """Write one epoch's record, already in `history`."""
        self._write()
        if self.board is not None:
            for name, value in _flat(record):
                self.board.add_scalar(name, value, record["epoch"])
            self.board.flush()

    def _write(self) -> None:
        if self.writes:
            write_atomically(self.path, "".join(json.dumps(record) + "\n" for record in self.history).encode())

    def close(self) -> None:
        """Let go of the files."""
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
