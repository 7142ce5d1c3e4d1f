"""Training one architecture alone, from fresh weights or from its own (`nasforge train`)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import nn

from nasforge.build import build_network
from nasforge.errors import UsageError
from nasforge.rng import integer_seed
from nasforge.run.artifact import FILE as ARCHITECTURE_FILE
from nasforge.run.artifact import Artifact, remade
from nasforge.run.atomic import write_json
from nasforge.run.data import load_source
from nasforge.run.export import export_network
from nasforge.run.folder import RunFolder
from nasforge.run.load import FILE as MODEL_FILE
from nasforge.run.load import save_model
from nasforge.run.options import check_memory, make_space
from nasforge.run.plan import RETRAIN_EPOCHS, check_training, training_config
from nasforge.run.progress import Listener, Silent
from nasforge.run.recipe import TEACHER, check_followed, check_places
from nasforge.run.settings import Plug
from nasforge.run.setup import Given
from nasforge.run.teacher import TRAINING_FILE, GivenTeachers, Lesson, load_known
from nasforge.tasks import DataSource
from nasforge.tasks.classification import Classification
from nasforge.training import evaluate, train
from nasforge.training.recipe import expanded


@final
@dataclass(frozen=True, slots=True)
class Trained:
    """A network trained alone: where it is and how good."""

    folder: Path
    metrics: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"folder": str(self.folder), **self.metrics}


def train_architecture(
    found: Artifact,
    *,
    data: Any = "digits",
    space_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    teacher: GivenTeachers | None = None,
    initial: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    listener: Listener | None = None,
) -> Trained:
    """Train an architecture on a data set and write model, ONNX file and architecture.

    The space is made again for the data's shape and classes and for `space_options`, so an architecture found
    small can be trained large.

    Args:
        found: the architecture and the space it was found in.
        data: `name` or `name:argument`, or a data source.
        space_options: such as width and repeats.
        training: fields of the training configuration, and `recipe` and `teacher`.
        data_options: size, classes, limit.
        teacher: whose mean probabilities take the place of labels: run folders, model files, loaded models or modules.
        initial: run folder or model file of the same architecture whose weights are the first; fresh ones without.
        seed: of weights and batches.
        out: a new or empty folder.
        listener: hears of progress.

    Raises:
        UsageError: something asked for does not exist or does not fit.
    """
    heard, settings = listener or Silent(), expanded(training or {})
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed was given {seed!r}; expected a whole number of at least 0.")
    followed = settings.get(TEACHER) if teacher is None else teacher
    check_training(settings)
    RunFolder.check(out)
    config = training_config(settings, float(settings.get("epochs") or RETRAIN_EPOCHS))
    check_followed(settings, config, followed)
    given = Given(source=None if isinstance(data, str) else data)
    source = given.source or load_source(data, data_options or {}, seed)
    artifact = refit(found, source.input_shape, len(source.classes), space_options or {})
    check_places(config, artifact.space)
    check_memory([("the network", artifact.space.params(artifact.architecture))])
    lesson = Lesson.of(followed, source, heard)
    module = build_network(artifact.space.lower(artifact.architecture), seed=integer_seed(seed, "weights"))
    if initial is not None:
        begin_with(module, initial, artifact, source, heard)
        lesson.compare(module, "before its training", heard)
    with RunFolder.create(out, f"train-{artifact.space.name}") as folder:
        heard.stage("training", 1.0)
        train(module, source.sealed(), Classification(), config, seed, hear(heard), teacher=lesson.teachers)
        metrics = _metrics(module, source, artifact)
        lesson.compare(module, "now", heard)
        said = {
            "data": data if isinstance(data, str) else source.name,
            "data_options": dict(data_options or {}),
            "seed": seed,
            "config": dataclasses.asdict(config),
            "recipe": (training or {}).get("recipe"),
            "teacher": lesson.to_json(),
            "initial": None if initial is None else str(initial),
            "metrics": metrics,
        }
        _write(folder, module, artifact, source, said)
        return Trained(folder.path, metrics)


def _write(
    folder: RunFolder, module: nn.Module, artifact: Artifact, source: DataSource, said: Mapping[str, Any]
) -> None:
    """Write the files of a trained network, and what is said of its training."""
    save_model(folder.file(MODEL_FILE), module, artifact, source.classes, source.preprocessing)
    export_network(module, artifact, source, folder.file("model.onnx"))
    write_json(folder.file(ARCHITECTURE_FILE), artifact.to_json())
    write_json(folder.file(TRAINING_FILE), said)


def _metrics(module: nn.Module, source: DataSource, artifact: Artifact) -> dict[str, float]:
    """Return how good a trained network is; the one place of `nasforge train` that opens the test split."""
    valid, test = (evaluate(module, source, Classification(), split) for split in ("valid", "test"))
    return {
        **{f"{name}_valid": value for name, value in valid.items()},
        **test,
        "params": artifact.space.params(artifact.architecture),
        "macs": artifact.space.macs(artifact.architecture),
    }


def begin_with(module: nn.Module, path: str | Path, artifact: Artifact, source: DataSource, listener: Listener) -> None:
    """Give a network the weights of another training of the same architecture.

    Raises:
        UsageError: it is of another architecture, of other classes or images, or has learnt from the test split.
    """
    model = load_known(path, source, "the network to begin with", listener)
    own, other = (each.space.network_id(each.architecture) for each in (artifact, model.artifact))
    if own != other:
        raise UsageError(
            f"'{path}' holds another network ({other}) than the one to be trained ({own}); give a run of the same "
            "architecture and width, or leave --from out."
        )
    if model.preprocessing != source.preprocessing:
        listener.note(f"the images of '{path}' were normalised a little differently; its weights are used as they are.")
    module.load_state_dict(model.module.state_dict())


def hear(listener: Listener, step: int = 0, part: str = "retraining") -> Callable[[float, Mapping[str, float]], None]:
    """Return a hook for the training loop that only listens; the next step has the number `step`."""
    steps = itertools.count(step)

    def on_step(done: float, figures: Mapping[str, float]) -> None:
        listener.progress(done, figures)
        listener.figures(part, next(steps), figures)

    return on_step


def refit(artifact: Artifact, input_shape: tuple[int, ...], classes: int, options: Mapping[str, Any]) -> Artifact:
    """Return the same architecture in the space made for another input, other classes or other options.

    Raises:
        UsageError: the space is not a plug-in and the shapes differ.
    """
    if artifact.published is not None:
        artifact, options = remade(artifact, tuple(input_shape), classes, options), {}
    if artifact.plug is None:
        if tuple(input_shape) != tuple(artifact.input_shape) or classes != artifact.classes or options:
            raise UsageError(
                f"the architecture is of a space for inputs {tuple(artifact.input_shape)} and {artifact.classes} "
                f"classes, the data have {tuple(input_shape)} and {classes}; give data of that size (--size), or an "
                "architecture.json of a run."
            )
        return artifact
    plug = Plug(artifact.plug.name, {**artifact.plug.options, **options})
    space = make_space(plug.name, plug.options, input_shape, classes)
    same = space.from_json(artifact.space.to_json(artifact.architecture))
    return Artifact(space, same, plug, classes)
