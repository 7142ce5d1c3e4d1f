"""Writing a trained network as ONNX, float and INT8, with class names and preprocessing in its metadata."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasforge.build import export_onnx
from nasforge.evaluate.quantised import calibration_feeds
from nasforge.run.artifact import Artifact
from nasforge.run.atomic import atomic_path, write_bytes
from nasforge.run.load import LoadedModel

if TYPE_CHECKING:
    from torch import nn

    from nasforge.build.quantize import Quantised


def onnx_metadata(artifact: Artifact, classes: tuple[str, ...], preprocessing: Any) -> dict[str, str]:
    """Return the texts that let a program use the file without nasforge."""
    return {
        "classes": json.dumps(list(classes)),
        "preprocessing": json.dumps(preprocessing.to_metadata()),
        "architecture": json.dumps(artifact.space.to_json(artifact.architecture)),
        "producer": "nasforge",
    }


def export_network(module: nn.Module, artifact: Artifact, source: Any, path: Path) -> Path:
    """Write the float network as ONNX, atomically."""
    metadata = onnx_metadata(artifact, tuple(source.classes), source.preprocessing)
    with atomic_path(path) as temporary:
        export_onnx(module, artifact.input_shape, temporary, metadata)
    return path


def export_int8(float_file: Path, path: Path, source: Any) -> Quantised:
    """Quantise a float ONNX file, calibrated on training images; say which convolutions stayed float."""
    from nasforge.build.quantize import quantise

    with atomic_path(path) as temporary:
        return dataclasses.replace(quantise(float_file, temporary, calibration_feeds(source)), path=path)


def export_model(model: LoadedModel, path: Path, calibration: Any = None) -> Path:
    """Export a loaded network again.

    Args:
        model: with its class names and preprocessing, which go into the file.
        path: the file to write.
        calibration: data source to calibrate INT8 on; None: float.
    """
    metadata = onnx_metadata(model.artifact, model.class_names, model.preprocessing)
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        float_file = Path(folder) / "model.onnx"
        export_onnx(model.module, model.artifact.input_shape, float_file, metadata)
        if calibration is not None:
            export_int8(float_file, path, calibration)
        else:
            write_bytes(path, float_file.read_bytes())
    return path
