"""`cpu`: float32 on this processor through ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, final

from nasforge.targets.ort_target import OrtTarget


@final
class OrtCpu(OrtTarget):
    """Float32, one thread, one image."""

    name: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "float32"

    def prepare(self, source: Path, folder: Path) -> Path:
        """Return the file itself."""
        return source
