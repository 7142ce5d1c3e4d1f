"""What block-wise search has found out, as buffers: it is saved, loaded and moved with the other modules.

The images that paths are rated on are kept too: all paths of all blocks are judged in the same views, those as well
that another strategy asks for when training is over. They are kept as bytes (see `KeptImages`), for they are in every
checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from nasforge.space import Architecture, SearchSpace
from nasforge.strategy.blocks.kept_images import KeptImages
from nasforge.strategy.blocks.paths import Block, Path
from nasforge.strategy.blocks.rating import PAIR
from nasforge.strategy.blocks.search import Rated
from nasforge.strategy.weight_sharing import Context
from nasforge.tasks.view import ViewMaker


@final
class BlockRecord(nn.Module):
    """Rated paths of each block, the centres they were compared with, and the images.

    Args:
        space: the space.
        blocks: its blocks.
        rows: rated paths of a block, at most.
        shape: of an image, (C, H, W).
        images: held-out images; two views of each are kept.
        calibration: training images for batch normalisation.
        outputs: features of an embedding.
    """

    filled: Tensor
    counts: Tensor
    spreads: Tensor

    def __init__(
        self,
        space: SearchSpace,
        blocks: Sequence[Block],
        rows: int,
        shape: tuple[int, ...],
        images: int,
        calibration: int,
        outputs: int,
    ) -> None:
        """Allocate; nothing is rated yet."""
        super().__init__()
        self._space, self._blocks = space, list(blocks)
        self.views, self.calibration = KeptImages(PAIR * images, shape), KeptImages(calibration, shape)
        self.register_buffer("filled", torch.zeros((), dtype=torch.bool))
        self.register_buffer("counts", torch.zeros(len(blocks), dtype=torch.int64))
        self.register_buffer("spreads", torch.full((len(blocks),), torch.nan))
        for number in range(len(blocks)):
            self.register_buffer(f"decisions{number}", torch.full((rows, len(space.choices)), -1, dtype=torch.int16))
            self.register_buffer(f"scores{number}", torch.full((rows,), torch.nan, dtype=torch.float64))
            self.register_buffer(f"own{number}", torch.full((rows,), torch.nan, dtype=torch.float64))
            self.register_buffer(f"centres{number}", torch.zeros(2, images, outputs))

    @property
    def is_filled(self) -> bool:
        """Whether the images are there."""
        return bool(self.filled)

    def fill(self, views: Tensor, calibration: Tensor) -> None:
        """Keep the images: views (2, N, C, H, W), calibration (M, C, H, W)."""
        self.views.fill(views.flatten(0, 1))
        self.calibration.fill(calibration)
        self.filled.fill_(True)

    def fill_from(self, context: Context, makers: Sequence[ViewMaker]) -> None:
        """Take held-out images in a pair of views, and training images in the same kind of views, and keep them."""
        views: list[Tensor] = []
        calibration: list[Tensor] = []
        images, training = len(self.views) // PAIR, len(self.calibration)
        while sum(each.shape[1] for each in views) < images:
            views.append(torch.stack(context.valid_views(makers)))
        while sum(len(each) for each in calibration) < training:
            calibration += context.train_views(makers)
        self.fill(torch.cat(views, 1)[:, :images], torch.cat(calibration)[:training])

    def is_rated(self, number: int) -> bool:
        """Whether the paths of a block are rated."""
        return bool(self.counts[number])

    def note(self, number: int, rated: Rated) -> None:
        """Keep what was found of a block."""
        count = len(rated.paths)
        rows = torch.tensor([path.decisions for path in rated.paths], dtype=torch.int16)
        self.get_buffer(f"decisions{number}")[:count] = rows
        self.get_buffer(f"scores{number}")[:count] = torch.tensor(rated.scores, dtype=torch.float64)
        self.get_buffer(f"own{number}")[:count] = torch.tensor(rated.own, dtype=torch.float64)
        self.get_buffer(f"centres{number}").copy_(rated.centres)
        self.counts[number], self.spreads[number] = count, rated.spread

    def rated(self, number: int) -> tuple[list[Architecture], np.ndarray]:
        """Return the rated paths of a block and their scores, those that are not finite left out."""
        count = int(self.counts[number])
        scores = self.get_buffer(f"scores{number}")[:count].cpu().numpy()
        rows = self.get_buffer(f"decisions{number}")[:count].cpu().numpy()
        fine = np.flatnonzero(np.isfinite(scores))
        return [self._space.from_decisions(rows[place]) for place in fine], scores[fine]

    def scores(self, number: int) -> dict[Path, float]:
        """Return the scores of a block by path."""
        paths, scores = self.rated(number)
        return {self._blocks[number].path(path): float(score) for path, score in zip(paths, scores, strict=True)}

    def own_scores(self, number: int) -> dict[Path, float]:
        """Return by path how far predictions were from the path's own targets, in -4..4, when the block was rated.

        Later the twin is another: it goes on following while later blocks are trained.
        """
        count, block = int(self.counts[number]), self._blocks[number]
        rows, own = (self.get_buffer(f"{name}{number}")[:count].cpu().numpy() for name in ("decisions", "own"))
        paths = [block.path(self._space.from_decisions(row)) for row in rows]
        return {path: float(score) for path, score in zip(paths, own, strict=True)}

    def centres(self, number: int) -> Tensor:
        """Return the centres (2, N, D) that the paths of a block were compared with."""
        return self.get_buffer(f"centres{number}")

    def prefix(self, number: int) -> dict[int, int]:
        """Return the decisions of the best path of each rated block before block `number`, by choice."""
        found: dict[int, int] = {}
        for earlier in range(number):
            paths, scores = self.rated(earlier) if self.is_rated(earlier) else ([], np.empty(0))
            if len(scores):
                block = self._blocks[earlier]
                found.update(zip(block.choices, block.path(paths[int(scores.argmin())]), strict=True))
        return found
