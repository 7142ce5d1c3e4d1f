"""Training one network alone: finalists of a search, and architectures on their own (`nasforge train`)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from nasforge.build import build_network
from nasforge.errors import UsageError
from nasforge.rng import integer_seed
from nasforge.run.artifact import FILE as ARCHITECTURE_FILE
from nasforge.run.artifact import Artifact
from nasforge.run.atomic import write_json
from nasforge.run.export import export_network
from nasforge.run.folder import RunFolder
from nasforge.run.load import FILE as MODEL_FILE
from nasforge.run.load import save_model
from nasforge.run.options import check_memory, make_space
from nasforge.run.plan import RETRAIN_EPOCHS, check_training, training_config
from nasforge.run.progress import Listener, Silent
from nasforge.run.settings import Plug
from nasforge.run.setup import Given, load_source
from nasforge.tasks.classification import Classification
from nasforge.training import evaluate, train


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
    seed: int = 0,
    out: str | Path | None = None,
    listener: Listener | None = None,
) -> Trained:
    """Train an architecture from scratch on a data set and write model, ONNX file and architecture.

    The space is made again for the data's shape and classes and for `space_options`, so an architecture found
    small can be trained large.

    Args:
        found: the architecture and the space it was found in.
        data: `name` or `name:argument`, or a data source.
        space_options: such as width and repeats.
        training: fields of the training configuration.
        data_options: size, classes, limit.
        seed: of weights and batches.
        out: a new or empty folder.
        listener: hears of progress.

    Raises:
        UsageError: something asked for does not exist or does not fit.
    """
    heard, settings = listener or Silent(), dict(training or {})
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed was given {seed!r}; expected a whole number of at least 0.")
    check_training(settings)
    RunFolder.check(out)
    config = training_config(settings, float(settings.get("epochs") or RETRAIN_EPOCHS))
    given = Given(source=None if isinstance(data, str) else data)
    source = given.source or load_source(data, data_options or {}, seed)
    artifact = refit(found, source.input_shape, len(source.classes), space_options or {})
    check_memory([("the network", artifact.space.params(artifact.architecture))])
    with RunFolder.create(out, f"train-{artifact.space.name}") as folder:
        module = build_network(artifact.space.lower(artifact.architecture), seed=integer_seed(seed, "weights"))
        heard.stage("training", 1.0)
        task = Classification()
        train(module, source.sealed(), task, config, seed, hear(heard))
        metrics = {
            "accuracy_valid": evaluate(module, source, task, "valid")["accuracy"],
            "accuracy": evaluate(module, source, task, "test")["accuracy"],
            "params": artifact.space.params(artifact.architecture),
            "macs": artifact.space.macs(artifact.architecture),
        }
        save_model(folder.file(MODEL_FILE), module, artifact, source.classes, source.preprocessing)
        export_network(module, artifact, source, folder.file("model.onnx"))
        write_json(folder.file(ARCHITECTURE_FILE), artifact.to_json())
        write_json(
            folder.file("training.json"),
            {"data": source.name, "seed": seed, "config": dataclasses.asdict(config), "metrics": metrics},
        )
        return Trained(folder.path, metrics)


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
