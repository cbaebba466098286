"""Writing an .npy file chunk by chunk, so that no more than a chunk is in memory."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class ArrayFile:
    """An .npy file (rows, *shape) that is written chunk by chunk; the number of rows need not be known in advance."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.rows, self.shape, self.dtype = 0, shape, dtype
        self._file = path.open("wb")
        self._write_header()
        self._start = self._file.tell()

    def append(self, chunk: NDArray[Any]) -> None:
        """Write rows (n, *shape)."""
        if chunk.shape[1:] != self.shape or chunk.dtype != self.dtype:
            raise ValueError(f"rows are {chunk.shape[1:]} {chunk.dtype}, not {self.shape} {self.dtype}")
        self._file.write(np.ascontiguousarray(chunk).data)
        self.rows += len(chunk)

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.rows, *self.shape)}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()
                if self._file.tell() != self._start:
                    raise RuntimeError("the header's length depends on the number of rows")
                self._file.flush()
                os.fsync(self._file.fileno())
