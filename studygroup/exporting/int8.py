"""Static quantisation of ONNX files to int8."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from studygroup.exporting.formats import INPUT


def quantise(path: Path, target: Path, batches: Iterable[Tensor]) -> None:
    """Quantise weights (per channel) and activations (per tensor) to int8, with the ranges of activations on some batches.

    Args:
        path: ONNX file in float32.
        target: file to write.
        batches: inputs of the file.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The batches, one by one."""

        def __init__(self) -> None:
            self.inputs = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch."""
            batch = next(self.inputs, None)
            return None if batch is None else {INPUT: batch.numpy()}

    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(path), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
