"""Teachers of a training: loaded from runs, refused where they know other classes, images or the test split.

A teacher sees the very tensor that its student sees, so one whose images were normalised otherwise gets an affine map
in front, and never another crop. The labels it gives are of the train split; that it has not learnt from the student's
test split is looked up by comparing images, where its folder says what it was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from nasforge.build.network import tell_network
from nasforge.errors import NasforgeError, UsageError
from nasforge.run.atomic import read_json
from nasforge.run.data import load_source
from nasforge.run.load import LoadedModel, load
from nasforge.run.progress import Listener
from nasforge.run.result import FILE as RESULT_FILE
from nasforge.tasks import DataSource, Preprocessing
from nasforge.tasks.classification import Classification
from nasforge.training import Teachers, evaluate

TRAINING_FILE: Final = "training.json"
NATURAL: Final = 0.01
"""Share of a test split that data sets may repeat in their train split of their own accord."""

GivenTeacher = str | Path | LoadedModel | nn.Module
GivenTeachers = GivenTeacher | Sequence[GivenTeacher]


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """What a network was trained on."""

    data: str
    options: Mapping[str, Any]
    seed: int


@final
class Renormalised(nn.Module):
    """A network behind a change of normalisation: from that of other images to its own."""

    def __init__(self, network: nn.Module, given: Preprocessing, own: Preprocessing) -> None:
        """Take the network and both normalisations."""
        super().__init__()
        self.network = network
        before, after = (torch.tensor([each.mean, each.std]).view(2, 1, -1, 1, 1) for each in (given, own))
        self.scale = nn.Buffer(before[1] / after[1])
        self.shift = nn.Buffer((before[0] - after[0]) / after[1])

    def forward(self, x: Tensor) -> Any:
        """Run the network on (N, C, H, W) normalised otherwise."""
        given = x * self.scale + self.shift
        found = self.network(given)
        tell_network(self.network, given, found)
        return found


@final
@dataclass(frozen=True, slots=True)
class Lesson:
    """The teachers of one training, and how good they are on the held-out images; nobody, where none were given."""

    teachers: Teachers | None
    names: tuple[str, ...]
    source: DataSource
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, given: GivenTeachers | None, source: DataSource, listener: Listener) -> Lesson:
        """Load the teachers and judge their mean on valid.

        Raises:
            UsageError: see `load_teachers`.
        """
        if given is None:
            return cls(None, (), source, {})
        several = listed(given)
        teachers = load_teachers(several, source, listener)
        metrics = evaluate(teachers.log_probabilities, source, Classification(), "valid")
        return cls(teachers, tuple(map(_name, several)), source, metrics)

    def compare(self, student: nn.Module | None, when: str, listener: Listener) -> None:
        """Warn of teachers that are weaker than their student is."""
        if student is None or self.teachers is None:
            return
        own = evaluate(student, self.source, Classification(), "valid")["accuracy"]
        if own > self.metrics["accuracy"]:
            listener.note(
                f"warning: the teachers are right on {self.metrics['accuracy']:.2%} of the held-out images, their "
                f"student {when} on {own:.2%}; follow stronger ones."
            )

    def to_json(self) -> dict[str, Any] | None:
        """Return plain data; None where there are no teachers."""
        if self.teachers is None:
            return None
        return {"given": list(self.names), "metrics": {f"{key}_valid": value for key, value in self.metrics.items()}}


def listed(given: GivenTeachers) -> list[GivenTeacher]:
    """Return teachers as a list, of a text with commas too."""
    if isinstance(given, str):
        return [each.strip() for each in given.split(",") if each.strip()]
    return [given] if isinstance(given, Path | LoadedModel | nn.Module) else list(given)


def _name(given: GivenTeacher) -> str:
    return str(given) if isinstance(given, str | Path) else type(given).__name__


def load_teachers(given: GivenTeachers, source: DataSource, listener: Listener) -> Teachers:
    """Return the teachers of a student that learns from `source`.

    Args:
        given: run folders and `model.safetensors` (also as one text with commas), loaded models, or modules that take
            what the student takes and give logits.
        source: of the student, unsealed.
        listener: hears what cannot be checked.

    Raises:
        UsageError: a teacher of other classes or images, or one that has learnt from the student's test split.
    """
    return Teachers([_teacher(each, source, listener) for each in listed(given)])


def _teacher(given: GivenTeacher, source: DataSource, listener: Listener) -> nn.Module:
    if isinstance(given, nn.Module):
        _check_logits(given, source)
        return given
    if not isinstance(given, str | Path | LoadedModel):
        raise UsageError(f"a teacher was given as {given!r}; expected a run folder, a model file or a torch module.")
    model = given if isinstance(given, LoadedModel) else load_known(given, source, "the teacher", listener)
    check_fits(model, source, f"the teacher '{_name(given)}'")
    if model.preprocessing == source.preprocessing:
        return model.module
    return Renormalised(model.module, source.preprocessing, model.preprocessing).eval()


def load_known(path: str | Path, source: DataSource, what: str, listener: Listener) -> LoadedModel:
    """Load a network from which a student is to learn, or to begin.

    Raises:
        UsageError: it has learnt from the student's test split.
    """
    model = load(path)
    check_fits(model, source, f"{what} '{path}'")
    check_splits(path, source, what, listener)
    return model


def check_fits(model: LoadedModel, source: DataSource, what: str) -> None:
    """Refuse a network of other classes or other images than those of the data.

    Raises:
        UsageError: names both.
    """
    if model.class_names != tuple(source.classes):
        raise UsageError(
            f"{what} knows the classes {_some(model.class_names)}, the data '{source.name}' have "
            f"{_some(source.classes)}; give one that was trained on these classes, in this order."
        )
    shape = tuple(model.artifact.input_shape)
    if shape != tuple(source.input_shape):
        raise UsageError(
            f"{what} takes images of {_by(shape)}, the data '{source.name}' have {_by(source.input_shape)}; give one "
            "that was trained on images of this size, for it has to see what its student sees."
        )


def _check_logits(module: nn.Module, source: DataSource) -> None:
    images = source.preprocessing.normalise(source.split("train").images[:2])
    try:
        with torch.no_grad():
            found = module.eval()(images)
        shape = tuple(getattr(found, "shape", ()))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UsageError(
            f"the teacher {type(module).__name__} cannot take images of {_by(source.input_shape)} "
            f"({str(error).splitlines()[0]}); give one that can."
        ) from error
    if shape != (len(images), len(source.classes)):
        raise UsageError(
            f"the teacher {type(module).__name__} gives {shape} for {len(images)} images; expected logits of the "
            f"{len(source.classes)} classes of '{source.name}'."
        )


def origin_of(path: str | Path) -> Origin | None:
    """Return what the network of a folder was trained on; None where the folder does not say."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    try:
        if (folder / RESULT_FILE).exists():
            said = read_json(folder / RESULT_FILE)
            options = {key: value for key, value in said["options"]["data"].items() if key not in ("argument", "seed")}
            return Origin(said["task"]["data"], options, int(said["seed"]))
        said = read_json(folder / TRAINING_FILE)
        return Origin(said["data"], dict(said["data_options"]), int(said["seed"]))
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return None


def check_splits(path: str | Path, source: DataSource, what: str, listener: Listener) -> None:
    """Refuse a network that has learnt from images of the test split.

    Raises:
        UsageError: it has.
    """
    origin = origin_of(path)
    try:
        other = None if origin is None else load_source(origin.data, origin.options, origin.seed)
    except NasforgeError:
        other = None
    if other is None:
        listener.note(f"{what} '{path}' does not say what it was trained on; be sure that no test image was among it.")
        return
    if other.name != source.name:
        listener.note(f"{what} '{path}' was trained on '{other.name}' and its student learns from '{source.name}'.")
    seen = _digests(other.split("train").images)
    shares = {name: _share(source.split(name).images, seen) for name in ("test", "valid")}
    if shares["test"] > NATURAL:
        raise UsageError(
            f"{what} '{path}' has learnt from {shares['test']:.0%} of the test images of '{source.name}' (it was "
            f"trained with seed {origin.seed if origin else '?'}); give one with the same splits (--seed), or train it "
            "again."
        )
    if shares["valid"] > NATURAL:
        listener.note(
            f"warning: {what} '{path}' has learnt from {shares['valid']:.0%} of the held-out images (valid); what is "
            "said of them is too good."
        )


def _digests(images: Tensor) -> set[bytes]:
    return {hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images.contiguous()}


def _share(images: Tensor, seen: set[bytes]) -> float:
    digests = [hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images.contiguous()]
    return sum(each in seen for each in digests) / max(1, len(digests))


def _some(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:5])
    return f"{shown}, ... ({len(classes)})" if len(classes) > 5 else shown


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
