"""Rating the paths of a block without labels: how far a path's prediction is from the centre of all targets.

Li et al. 2021 (BossNAS), section 3.3. Every path is judged on the same held-out images in the same views, with
batch normalisation re-estimated for it on one training batch; without that the statistics mix all paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from nasforge.build import Supernet
from nasforge.build.modes import taking_statistics
from nasforge.space import Architecture
from nasforge.strategy.blocks.kept_images import KeptImages
from nasforge.strategy.blocks.paths import Block
from nasforge.training.bootstrap import distance

CHUNK: Final = 256
PAIR: Final = 2
"""Views of an image."""


@final
@dataclass(frozen=True, slots=True)
class Side:
    """One of the two networks: what learns, or the target that follows it."""

    supernet: Supernet
    lifts: nn.ModuleList
    projectors: nn.ModuleList

    def before(self, x: Tensor, architecture: Architecture, block: Block) -> Tensor:
        """Run the images to where a block begins."""
        return x if block.start is None else self.supernet.run(x, architecture, stop=block.start)

    def embed(self, features: Tensor, architecture: Architecture, block: Block, number: int) -> Tensor:
        """Run features through block number `number` and its head; (N, D), not normalised."""
        mapped = self.supernet.run(features, architecture, start=block.start, stop=block.name)
        found: Tensor = self.projectors[number](self.lifts[number](mapped))
        return found

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All its modules."""
        return self.supernet, self.lifts, self.projectors


@final
@dataclass
class BlockRating:
    """Judges paths of one block behind one prefix, in evaluation mode.

    Args:
        online: what was trained.
        predictors: of the online side, one for each block.
        target: its twin.
        block: the block.
        number: of the block.
        prefix: an architecture whose earlier blocks lead to it.
        views: of held-out images, one of each, then another of each: 2 N.
        calibration: M training images for batch normalisation.
    """

    online: Side
    predictors: nn.ModuleList
    target: Side
    block: Block
    number: int
    prefix: Architecture
    views: KeptImages
    calibration: KeptImages
    _features: dict[str, tuple[Tensor, list[Tensor]]] = field(default_factory=dict, init=False, repr=False)

    @torch.no_grad()
    def predictions(self, path: Architecture) -> Tensor:
        """Return what the online side predicts of both views, (2, N, D)."""
        predictor = self.predictors[self.number]
        return self._embedded("online", self.online, path, predictor)

    @torch.no_grad()
    def targets(self, path: Architecture) -> Tensor:
        """Return the target's embeddings of both views, (2, N, D)."""
        return self._embedded("target", self.target, path, None)

    def _embedded(self, name: str, side: Side, path: Architecture, predictor: nn.Module | None) -> Tensor:
        parts = [*side.modules, *([predictor] if predictor is not None else [])]
        ends: Any = predictor if predictor is not None else nn.Identity()
        calibration, views = self._inputs(name, side)
        with judging(*parts):
            with _training(*parts), taking_statistics(*parts):
                ends(side.embed(calibration, path, self.block, self.number))
            found = [ends(side.embed(chunk, path, self.block, self.number)) for chunk in views]
        return torch.cat(found).view(PAIR, -1, found[0].shape[1])

    def _inputs(self, name: str, side: Side) -> tuple[Tensor, Iterable[Tensor]]:
        """Return the features in front of the block: of the calibration images, and of the views in chunks.

        In front of the first block these are the images, which are read anew each time.
        """
        if self.block.start is None:
            return self.calibration.read(), self._chunks()
        if name not in self._features:
            with judging(*side.modules):
                with _training(side.supernet), taking_statistics(side.supernet):
                    calibration = side.before(self.calibration.read(), self.prefix, self.block)
                self._features[name] = (
                    calibration,
                    [side.before(each, self.prefix, self.block) for each in self._chunks()],
                )
        return self._features[name]

    def _chunks(self) -> Iterator[Tensor]:
        for begin in range(0, len(self.views), CHUNK):
            yield self.views.read(begin, begin + CHUNK)


def centre_distance(predictions: Tensor, centres: Tensor) -> float:
    """Return D(q1, c2) + D(q2, c1), in -4..4: how far predictions (2, N, D) are from the other view's centres."""
    return float(distance(predictions[0], centres[1]) + distance(predictions[1], centres[0]))


@contextmanager
def judging(*modules: nn.Module) -> Iterator[None]:
    """While open, modules are in evaluation mode; every part is back in its own afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def _training(*modules: nn.Module) -> Iterator[None]:
    """While open, modules are in training mode, and in evaluation mode afterwards."""
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for module in modules:
            module.eval()


__all__ = ["BlockRating", "Side", "centre_distance", "judging"]
