"""`nasforge.load`: a finished run's network, ready to use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from nasforge.build import build_network
from nasforge.errors import DamagedError, RunFolderError, UsageError, WrongFolderError
from nasforge.run.artifact import Artifact, from_json
from nasforge.run.atomic import write_bytes
from nasforge.run.folder import CONFIG, resume_command, written_again
from nasforge.tasks import Preprocessing

if TYPE_CHECKING:
    from nasforge.space import SearchSpace

FILE: Final = "model.safetensors"


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest class of an image, with its probability and that of every class by name."""

    label: str
    probability: float
    probabilities: dict[str, float]


@final
@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network with what is needed to use it.

    Attributes:
        module: a plain torch module in evaluation mode; (N, C, H, W) normalised -> logits (N, classes).
        class_names: in the order of the logits.
        preprocessing: turns images into the module's input.
        artifact: the architecture and its space.
    """

    module: nn.Module
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    artifact: Artifact

    @torch.no_grad()
    def predict(self, images: Any | Sequence[Any]) -> list[Prediction]:
        """Classify images: paths, PIL images or uint8 arrays (H, W, C), one or several."""
        several = images if isinstance(images, list | tuple) else [images]
        batch = torch.stack([self.preprocessing(image) for image in several])
        rows = torch.softmax(self.module(batch), dim=1)
        return [self._prediction(row.tolist()) for row in rows]

    def _prediction(self, row: list[float]) -> Prediction:
        best = max(range(len(row)), key=row.__getitem__)
        return Prediction(self.class_names[best], row[best], dict(zip(self.class_names, row, strict=True)))


def save_model(
    path: Path, module: nn.Module, artifact: Artifact, classes: Sequence[str], preprocessing: Preprocessing
) -> None:
    """Write weights, architecture, class names and preprocessing into one safetensors file."""
    metadata = {
        "format": "pt",
        "nasforge.architecture": json.dumps(artifact.to_json()),
        "nasforge.classes": json.dumps(list(classes)),
        "nasforge.preprocessing": json.dumps(preprocessing.to_metadata()),
    }
    state = {name: tensor.detach().contiguous().clone() for name, tensor in module.state_dict().items()}
    write_bytes(path, save(state, metadata))  # safetensors' own writing tells a full disk as an error of the file


def load(run: str | Path, space: SearchSpace | None = None) -> LoadedModel:
    """Load the network of a run.

    Args:
        run: a run folder, or a `model.safetensors`.
        space: the space, where it is not a plug-in.

    Raises:
        WrongFolderError: there is no such folder or file.
        RunFolderError: there is no model; the run has not finished.
        DamagedError: the file cannot be read.
        ArchitectureError: the installed space is not the one the network was found in.
    """
    path = Path(run)
    file = path / FILE if path.is_dir() else path
    if not path.exists():
        raise WrongFolderError(f"'{run}' does not exist; give a run that has finished, or a {FILE}.")
    if not file.exists():
        command = f"finish the run with `{resume_command(path)}`"
        advice = command if (path / CONFIG).is_file() else "give a run that has finished"
        raise RunFolderError(f"'{run}' has no {FILE}; {advice}.")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        stored = json.loads(metadata["nasforge.architecture"])
        classes = tuple(map(str, json.loads(metadata["nasforge.classes"])))
        preprocessing = Preprocessing.from_metadata(json.loads(metadata["nasforge.preprocessing"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError, RecursionError) as error:
        raise DamagedError(
            f"'{file}' is no model of nasforge ({type(error).__name__}: {error}); {written_again(file)}."
        ) from error
    artifact = from_json(stored, str(file), space)
    module = build_network(artifact.space.lower(artifact.architecture), seed=0)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise DamagedError(f"the weights in '{file}' do not fit its architecture; {written_again(file)}.") from error
    return LoadedModel(module.eval(), classes, preprocessing, artifact)


def check_images(paths: Sequence[Path]) -> None:
    """Refuse paths that are no files, before any of them is read.

    Raises:
        UsageError: names the first that is missing.
    """
    for path in paths:
        if not path.is_file():
            raise UsageError(f"'{path}' is not a file; give paths of images.")
