"""Static quantisation of ONNX files to int8."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from studygroup.exporting.formats import INPUT


def quantise(path: Path, target: Path, batches: Iterable[Tensor]) -> None:
    """Quantise weights (per channel) and activations (per tensor) to int8, with the ranges of activations on some batches.

    The graph is optimised first: weights that it reshapes, as those of one-dimensional convolutions, become constants, which are quantised,
    and batch norm becomes a part of the convolution before it.

    Args:
        path: ONNX file in float32.
        target: file to write.
        batches: inputs of the file.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The batches, one by one."""

        def __init__(self) -> None:
            self.inputs = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch."""
            batch = next(self.inputs, None)
            return None if batch is None else {INPUT: batch.numpy()}

    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        optimised = Path(folder) / path.name
        quant_pre_process(str(path), str(optimised), skip_symbolic_shape=True)
        quantize_static(str(optimised), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
