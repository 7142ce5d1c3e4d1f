"""`int8`: quantised networks on this processor through ONNX Runtime."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, final

import onnx

from nasforge.build.quantize import inspect_quantised, is_quantised, quantise_for_timing
from nasforge.errors import TargetError
from nasforge.hardware.device import this_cpu
from nasforge.targets.base import Measurement, Progress
from nasforge.targets.ort_cpu import OrtCpu
from nasforge.targets.ort_target import OrtTarget

SLOWER: Final = "this processor has no INT8 instructions (VNNI, AMX, i8mm), so INT8 may be slower than float32"


@final
class OrtInt8(OrtTarget):
    """Static QDQ, U8 activations, S8 weights per channel; one thread, one image.

    A float32 file is quantised with made-up ranges, on which latency does not depend; a file that already is
    quantised is run as it is. A processor without instructions for 8-bit products is measured like any other, and its
    figures say so.
    """

    name: ClassVar[str] = "int8"
    precision: ClassVar[str] = "int8"
    quant: ClassVar[Mapping[str, Any]] = {
        "format": "QDQ", "activations": "uint8", "weights": "int8", "per_channel": True, "reduce_range": False,
    }  # fmt: skip

    @functools.cached_property
    def _said(self) -> dict[str, str]:
        """What stayed float, by file."""
        return {}

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
        made = inspect_quantised(source) if is_quantised(source) else quantise_for_timing(source, folder / "int8.onnx")
        self._said[str(source)] = made.sentence
        return made.path

    @property
    def caution(self) -> str:
        """Whether this processor has no instructions for 8-bit products."""
        return "" if this_cpu().multiplies_int8 else SLOWER

    @property
    def source(self) -> str:
        """One line of provenance."""
        return "; ".join(filter(None, (super().source, self.caution)))

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure float32 or INT8 ONNX files, and say which of their convolutions stayed float."""
        self._said.clear()
        found = super().measure_many(paths, progress)
        return [
            dataclasses.replace(each, quantised=self._said[str(path)]) for path, each in zip(paths, found, strict=True)
        ]

    def measure_beside(self, path: str | Path, float_file: str | Path) -> tuple[Measurement, Measurement | None]:
        """Measure an INT8 file and its float32 file in one interleaved session, so that a slow minute hits both."""
        rounded, exact = OrtCpu(self.protocol, self.threads, self.batch).measure_many([path, float_file])
        said = inspect_quantised(path).sentence
        return dataclasses.replace(rounded, source=self.source, quantised=said), exact
