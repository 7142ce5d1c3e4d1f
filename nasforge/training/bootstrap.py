"""Parts of learning by bootstrapping (BYOL, Grill et al. 2020; BossNAS, Li et al. 2021): views, heads, loss, collapse.

A head turns the map at the end of a block into an embedding. What is predicted is the centre of several targets: each
is normalised before they are averaged, so none counts more for being longer.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.errors import DivergedError, UsageError
from nasforge.tasks.view import View

SHIFTED: Final = View(area=(1.0, 1.0), shift=0.125, jitter=0.0, grey=0.0)
VIEWS: Final[Mapping[str, tuple[View, View]]] = {
    "byol": (View(blur=0.1), View(blur=1.0, solarise=0.2)),
    "small": (View(area=(0.3, 1.0)), View(area=(0.3, 1.0))),
    "shifted": (SHIFTED, SHIFTED),
}
"""Pairs of views: of large images, crops and colours for small ones, shift and mirror."""
ON_COLLAPSE: Final = ("warn", "error", "ignore")
COLLAPSED_BELOW: Final = 0.5
"""Spread of embeddings below which they say next to nothing of the images."""


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return linear, batch normalisation, ReLU, linear: the form of BYOL's projector and predictor."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )


@final
class Lift(nn.Module):
    """Brings maps of any of several shapes to one number of channels; one shape passes as it is.

    For each shape a depthwise convolution down to the smallest map, where it is not that, a 1x1 convolution and batch
    normalisation.

    Args:
        shapes: every (C, H, W) that can arrive.
        width: channels that leave, where there are several shapes.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], width: int) -> None:
        """Make a way for each shape."""
        super().__init__()
        least = min(shape[1] for shape in shapes)
        several = len(shapes) > 1
        self.ways = nn.ModuleDict({_key(s): _way(s, max(1, s[1] // least), width) for s in shapes} if several else {})
        self.width = width if several else shapes[0][0]

    def forward(self, x: Tensor) -> Tensor:
        """Lift a map (N, C, H, W)."""
        found: Tensor = self.ways[_key(x.shape[1:])](x) if self.ways else x
        return found


def _key(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _way(shape: tuple[int, ...], ratio: int, width: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    if ratio > 1:
        parts.append(nn.Conv2d(shape[0], shape[0], ratio, ratio, groups=shape[0], bias=False))
    return nn.Sequential(*parts, nn.Conv2d(shape[0], width, 1, bias=False), nn.BatchNorm2d(width))


@final
class Projector(nn.Module):
    """Average pooling and a perceptron: from a map (N, C, H, W) to an embedding (N, outputs)."""

    def __init__(self, channels: int, hidden: int, outputs: int) -> None:
        """Make the perceptron."""
        super().__init__()
        self.perceptron = perceptron(channels, hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a map."""
        found: Tensor = self.perceptron(x.mean(dim=(2, 3)))
        return found


def distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return -2 x cosine similarity, mean over the batch: in -2..2, and -2 where both point the same way.

    It differs from BYOL's squared distance of normalised vectors by the constant 2.
    """
    return -2.0 * functional.cosine_similarity(predicted, target, dim=1).mean()


def centre(members: Sequence[Tensor]) -> Tensor:
    """Return the mean (N, D) of members, each normalised to length 1 first."""
    return torch.stack([functional.normalize(member, dim=1) for member in members]).mean(dim=0)


def spread(embeddings: Tensor) -> float:
    """Return the deviation of normalised embeddings (N, D) over the images, in units of 1 / sqrt(D).

    1 for directions that are spread evenly, 0 where all images have the same embedding.
    """
    deviation = functional.normalize(embeddings, dim=1).std(dim=0, correction=0).mean()
    return float(deviation) * math.sqrt(embeddings.shape[1])


def check_batch(images: int, least: int, strategy: str) -> None:
    """Refuse batches that are too small for the batch normalisation of projectors.

    Args:
        images: of the batch.
        least: how many there have to be.
        strategy: named in the error.

    Raises:
        UsageError: fewer images than that.
    """
    if images < least:
        raise UsageError(
            f"{strategy} was given batches of {images} images, too few for the batch normalisation of its projectors, "
            f"with which embeddings collapse; expected {least} or more: raise training.batch_size."
        )


def collapse_sentence(block: str, wide: float) -> str | None:
    """Return what there is to say of embeddings whose spread (see `spread`) is too small; None of others."""
    if wide >= COLLAPSED_BELOW:
        return None
    return (
        f"the embeddings of block '{block}' have collapsed: their spread is {wide:.2g} of that "
        f"of even directions, expected {COLLAPSED_BELOW} or more; raise the batch size, or lower lr."
    )


def report_collapse(block: str, wide: float, on_collapse: str) -> None:
    """Say that embeddings hardly differ between images, where they do so.

    Args:
        block: at whose end they are.
        wide: their spread (see `spread`).
        on_collapse: one of `ON_COLLAPSE`.

    Raises:
        DivergedError: the spread is below `COLLAPSED_BELOW`, with `error`; with `warn` it is a RuntimeWarning.
    """
    sentence = collapse_sentence(block, wide)
    if sentence is None or on_collapse == "ignore":
        return
    if on_collapse == "error":
        raise DivergedError(sentence)
    warnings.warn(sentence, RuntimeWarning, stacklevel=2)
