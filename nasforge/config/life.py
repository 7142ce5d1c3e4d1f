"""The winner's life from Python: describe, measure, predict, train, export, classify, as the commands do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from nasforge.config.written import read_settings
from nasforge.errors import TargetError, UsageError
from nasforge.run import artifact as artifacts
from nasforge.run.artifact import Artifact
from nasforge.run.data import load_source
from nasforge.run.export import export_model
from nasforge.run.folder import CONFIG
from nasforge.run.load import LoadedModel, Prediction, check_images, load
from nasforge.run.measuring import find_network, measure_architecture, measure_network
from nasforge.run.options import make_target
from nasforge.run.progress import Listener
from nasforge.run.teacher import GivenTeachers
from nasforge.run.training import Trained, train_architecture
from nasforge.targets.base import Measurement, Target

if TYPE_CHECKING:
    from nasforge.space import SearchSpace

Which = str | Path | Artifact


@final
@dataclass(frozen=True, slots=True)
class LatencyPrediction:
    """A predicted latency for one image, with where it comes from and how far it was off on held-out networks."""

    latency_ms: float
    source: str
    profile: str
    validated: Mapping[str, float]


def describe(what: Which, space: SearchSpace | None = None) -> dict[str, Any]:
    """Return shape, params, MACs (exact integers) and decisions of an architecture.

    Args:
        what: run folder, `architecture.json`, name of a published architecture, or an artifact.
        space: the space, where it was made in Python.
    """
    return dict(artifacts.describe(_artifact(what, space)))


def measure(what: Which, target: str | Target = "cpu", *, space: SearchSpace | None = None) -> Measurement:
    """Measure a network's latency here.

    Args:
        what: as for `describe`, or an ONNX file.
        target: its name, or an object.
        space: the space, where it was made in Python.

    Raises:
        TargetError: the target cannot be measured on this machine.
        UsageError: `what` cannot be run.
    """
    device = _target(target)
    if space is None and not isinstance(what, Artifact):
        return measure_network(device, device.name, str(what))
    reason = device.available()
    if reason is not None:
        raise TargetError(f"target '{device.name}' cannot be measured here: {reason}; use `nasforge predict`.")
    return measure_architecture(device, _artifact(what, space))


def predict(what: Which, target: str | Target = "gpu", *, space: SearchSpace | None = None) -> LatencyPrediction:
    """Predict a network's latency from the target's profile or model; the profile is measured on first use.

    Args:
        what: as for `describe`.
        target: its name, or an object.
        space: the space, where it was made in Python.
    """
    found = _artifact(what, space)
    predictor = _target(target).predictor(found.space)
    latency_ms = float(predictor.cost(found.architecture))
    return LatencyPrediction(latency_ms, predictor.source, predictor.profile, dict(predictor.validated))


def train(
    architecture: Which,
    *,
    data: Any = "digits",
    space_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    teacher: GivenTeachers | None = None,
    initial: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    space: SearchSpace | None = None,
    listener: Listener | None = None,
) -> Trained:
    """Train an architecture, also larger than it was found; leave model, ONNX file and architecture.

    Args:
        architecture: as for `describe`.
        data: `name` or `name:argument`, or a data source.
        space_options: such as width and repeats; the space is made again with them.
        training: fields of the training configuration; `recipe` names one of `nasforge.training.RECIPES`.
        data_options: size, classes, limit.
        teacher: whose mean probabilities take the place of labels: run folders, model files, loaded models, or torch
            modules that take what the network takes and give logits; several as a list.
        initial: run folder or model file of the same architecture whose weights are the first; fresh ones without.
        seed: of weights and batches.
        out: a new or empty folder; a new one below `runs` without.
        space: the space, where it was made in Python.
        listener: hears of progress.
    """
    return train_architecture(
        _artifact(architecture, space),
        data=data,
        space_options=space_options,
        training=training,
        data_options=data_options,
        teacher=teacher,
        initial=initial,
        seed=seed,
        out=out,
        listener=listener,
    )


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    int8: bool = False,
    data: Any = None,
    space: SearchSpace | None = None,
) -> Path:
    """Write a run's network as an ONNX file again, and return the file.

    Args:
        run: run folder, or `model.safetensors`.
        out: the file; `model.onnx` or `model.int8.onnx` beside the model without.
        int8: quantise to INT8.
        data: what to calibrate INT8 on; the data of the run without.
        space: the space, where it was made in Python.

    Raises:
        UsageError: nothing to calibrate on.
    """
    model, where = load(run, space), Path(run)
    folder = where if where.is_dir() else where.parent
    path = Path(out) if out is not None else folder / ("model.int8.onnx" if int8 else "model.onnx")
    return export_model(model, path, calibration=_calibration(where, data, model) if int8 else None)


def classify(run: str | Path, images: Sequence[str | Path], space: SearchSpace | None = None) -> list[Prediction]:
    """Classify image files with the network of a run, one after the other.

    Raises:
        UsageError: a path that is no file.
        DataError: a file that is no image.
    """
    check_images([Path(image) for image in images])
    model = load(run, space)
    return [model.predict(Path(image))[0] for image in images]


def _artifact(what: Which, space: SearchSpace | None) -> Artifact:
    if isinstance(what, Artifact):
        return what
    if space is not None:
        return artifacts.read_artifact(Path(what), space)
    return find_network(str(what))


def _target(target: str | Target) -> Target:
    return make_target(target, {}) if isinstance(target, str) else target


def _calibration(run: Path, data: Any, model: LoadedModel) -> Any:
    if data is not None and not isinstance(data, str):
        return data.sealed()
    if data is not None:
        return load_source(data, {"size": model.artifact.input_shape[-1]}, 0).sealed()
    if not (run / CONFIG).is_file():
        raise UsageError(f"'{run}' is no run folder, so there is nothing to calibrate INT8 on; give --data.")
    settings = read_settings(run)
    return load_source(settings.data, settings.data_options, settings.seed).sealed()
