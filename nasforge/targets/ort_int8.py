"""`int8`: quantised networks on this processor through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import onnx

from nasforge.build.quantize import quantise_for_timing
from nasforge.errors import TargetError
from nasforge.targets.ort_target import OrtTarget


@final
class OrtInt8(OrtTarget):
    """Static QDQ, U8 activations, S8 weights per channel; one thread, one image.

    A float32 file is quantised with made-up ranges, on which latency does not depend; a file that already is
    quantised is run as it is.
    """

    name: ClassVar[str] = "int8"
    precision: ClassVar[str] = "int8"
    quant: ClassVar[Mapping[str, Any]] = {
        "format": "QDQ", "activations": "uint8", "weights": "int8", "per_channel": True, "reduce_range": False,
    }  # fmt: skip

    def prepare(self, source: Path, folder: Path) -> Path:
        """Return the quantised file.

        Raises:
            TargetError: the file is no ONNX file.
            EvaluationError: ONNX Runtime cannot quantise it.
        """
        try:
            model = onnx.load(str(source), load_external_data=False)
        except Exception as error:
            raise TargetError(
                f"'{source}' cannot be read as ONNX ({type(error).__name__}); give an ONNX file."
            ) from error
        if not model.graph.node:
            raise TargetError(f"'{source}' holds no network; give an ONNX file.")
        if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            return source
        return quantise_for_timing(source, folder / "int8.onnx").path
