"""Measuring one network on a target: a file, or an architecture."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nasforge.build import build_network, export_onnx
from nasforge.errors import TargetError, UsageError
from nasforge.run.artifact import Artifact, find_architecture
from nasforge.targets.base import Measurement, Progress, Target

ONNX_SUFFIX = ".onnx"


def measure_network(target: Target, name: str, what: str, progress: Progress | None = None) -> Measurement:
    """Measure an ONNX file, a run, an `architecture.json` or a named architecture.

    Args:
        target: where.
        name: the target's name, for errors.
        what: the network.
        progress: hears of done and total.

    Raises:
        TargetError: this machine cannot measure the target.
        UsageError: there is no such network.
    """
    reason = target.available()
    if reason is not None:
        raise TargetError(f"target '{name}' cannot be measured here: {reason}; use `nasforge predict`.")
    path = Path(what)
    if path.suffix == ONNX_SUFFIX:
        return measure_file(target, path, progress)
    return measure_architecture(target, find_network(what), progress)


def find_network(what: str) -> Artifact:
    """Return the architecture that is meant; an ONNX file holds none.

    Raises:
        UsageError: an ONNX file, or neither a path nor a name.
    """
    if Path(what).suffix == ONNX_SUFFIX:
        raise UsageError(
            f"'{what}' is an ONNX file, and predictions need an architecture; give a run or an architecture.json, or "
            "measure the file with `nasforge measure`."
        )
    return find_architecture(what)


def measure_file(target: Target, path: Path, progress: Progress | None = None) -> Measurement:
    """Measure an ONNX file.

    Raises:
        UsageError: there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' is not a file; give an ONNX file, a run or an architecture.")
    return target.measure_many([path], progress)[0]


def measure_architecture(target: Target, artifact: Artifact, progress: Progress | None = None) -> Measurement:
    """Measure an architecture; its latency does not depend on weights, so fresh ones serve."""
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        network = build_network(artifact.space.lower(artifact.architecture), seed=0)
        path = export_onnx(network, artifact.space.input_shapes, Path(folder) / "network.onnx", {})
        return target.measure_many([path], progress)[0]
