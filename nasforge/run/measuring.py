"""Measuring one network on a target."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nasforge.build import build_network, export_onnx
from nasforge.errors import UsageError
from nasforge.run.artifact import Artifact
from nasforge.targets.base import Measurement, Target


def measure_file(target: Target, path: Path) -> Measurement:
    """Measure an ONNX file.

    Raises:
        UsageError: there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' is not a file; give an ONNX file, a run or an architecture.")
    return target.measure(path)


def measure_architecture(target: Target, artifact: Artifact) -> Measurement:
    """Measure an architecture; its latency does not depend on weights, so fresh ones serve."""
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        network = build_network(artifact.space.lower(artifact.architecture), seed=0)
        path = export_onnx(network, artifact.input_shape, Path(folder) / "network.onnx", {})
        return target.measure(path)
