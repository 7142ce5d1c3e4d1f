"""Writing a trained network as ONNX, float and INT8, with class names and preprocessing in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nasforge.build import export_onnx
from nasforge.errors import UsageError
from nasforge.run.artifact import Artifact
from nasforge.run.atomic import atomic_path
from nasforge.run.folder import CONFIG
from nasforge.run.load import LoadedModel, load
from nasforge.run.setup import load_source
from nasforge.run.written import read_settings

if TYPE_CHECKING:
    from torch import nn

CALIBRATION_IMAGES: Final = 256


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


def export_int8(float_file: Path, path: Path, source: Any) -> tuple[str, ...]:
    """Quantise a float ONNX file, calibrated on training images; return convolutions that stayed float."""
    from nasforge.build.quantize import quantise

    with atomic_path(path) as temporary:
        return quantise(float_file, temporary, calibration_feeds(source)).float_convolutions


def calibration_feeds(source: Any) -> Iterator[dict[str, Any]]:
    """Yield batches of unaugmented training images, as ONNX Runtime takes them."""
    from nasforge.tasks import Loader

    loader = Loader(source, "train", 32, seed=0, shuffle=True, channels_last=False)
    for number in range(min(len(loader), CALIBRATION_IMAGES // 32)):
        yield {"image": loader.batch(number)[0].contiguous().numpy()}


def export_model(run: Path, path: Path, *, int8: bool = False, data: str | None = None) -> Path:
    """Export the network of a run again.

    Args:
        run: run folder or `model.safetensors`.
        path: the file to write.
        int8: quantise, calibrated on `data`.
        data: the data of the run without.

    Raises:
        UsageError: nothing to calibrate on.
    """
    import tempfile

    model = load(run)
    metadata = onnx_metadata(model.artifact, model.class_names, model.preprocessing)
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        float_file = Path(folder) / "model.onnx"
        export_onnx(model.module, model.artifact.input_shape, float_file, metadata)
        if int8:
            export_int8(float_file, path, _calibration_source(run, data, model))
        else:
            with atomic_path(path) as temporary:
                temporary.write_bytes(float_file.read_bytes())
    return path


def _calibration_source(run: Path, data: str | None, model: LoadedModel) -> Any:
    size = model.artifact.input_shape[-1]
    if data is not None:
        return load_source(data, {"size": size}, 0).sealed()
    if not (run / CONFIG).is_file():
        raise UsageError(f"'{run}' is no run folder, so there is nothing to calibrate INT8 on; give --data.")
    settings = read_settings(run)
    return load_source(settings.data, settings.data_options, settings.seed).sealed()
