"""Looking for a block's best path: traversal of all paths, or evolution towards the centre of the population.

Li et al. 2021 (BossNAS), section 3.3. A traversal costs two forward passes of each path and image (three where
predictions are too many to keep); in an evolution the embeddings of the population are kept, so it costs two of each
path visited, and one more at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from nasforge.space import Architecture
from nasforge.strategy.blocks.paths import BlockPaths
from nasforge.strategy.blocks.rating import BlockRating, centre_distance
from nasforge.strategy.weight_sharing import Context
from nasforge.training.bootstrap import spread

Mean = Callable[[Sequence[float]], list[float]]
"""From scores of this process's images to their means over those of all workers."""
Compare = Callable[[float, float], float]
"""From a path's distances to the centre and to its own target to its score."""
KEPT_BYTES: Final = 1 << 28
"""Predictions of all paths that are kept while the centre is not known; of more paths they are made twice."""


@final
@dataclass(frozen=True)
class Rated:
    """Rated paths of a block; less score is better.

    Attributes:
        paths: each once.
        scores: one for each.
        own: of each, the distance to its own target.
        centres: (2, N, D), what they were compared with.
        spread: of the targets, mean over paths (see `nasforge.training.bootstrap.spread`).
    """

    paths: Sequence[Architecture]
    scores: Sequence[float]
    own: Sequence[float]
    centres: Tensor
    spread: float


def mean_of(context: Context, images: int) -> Mean:
    """Return what averages scores, each of so many images, over the workers of a training."""

    def mean(scores: Sequence[float]) -> list[float]:
        return list(context.mean({str(place): score for place, score in enumerate(scores)}, images).values())

    return mean


def by_centre(to_centre: float, to_own: float) -> float:
    """Go by the centre of all paths."""
    return to_centre


def by_own(to_centre: float, to_own: float) -> float:
    """Go by the path's own target: the ablation without a centre."""
    return to_own


def traverse(rating: BlockRating, paths: Sequence[Architecture], compare: Compare, mean: Mean) -> Rated:
    """Rate every path against the centre of all of them. Targets are not normalised before averaging, as released."""
    total, wide, own = torch.zeros(()), 0.0, []
    kept: dict[Architecture, Tensor] = {}
    for path in paths:
        target, predictions = rating.targets(path), rating.predictions(path)
        total, wide = total + target, wide + spread(target.flatten(0, 1))
        own.append(centre_distance(predictions, target))
        if len(paths) * predictions.nbytes <= KEPT_BYTES:
            kept[path] = predictions
    centres = total / len(paths)
    to_centre = [centre_distance(kept[p] if p in kept else rating.predictions(p), centres) for p in paths]
    scores = [compare(*pair) for pair in zip(to_centre, own, strict=True)]
    return Rated(paths, mean(scores), mean(own), centres, wide / len(paths))


def evolve(
    rating: BlockRating,
    ways: BlockPaths,
    compare: Compare,
    mean: Mean,
    rng: np.random.Generator,
    population: int,
    generations: int,
) -> Rated:
    """Rate a population against its own centre, and replace its worse half, again and again.

    All paths that were visited are rated once more at the end, against the last population's centre.
    """
    visited = dict.fromkeys(ways.random(rng) for _ in range(population))
    alive = list(visited)
    kept: dict[Architecture, tuple[Tensor, Tensor]] = {}
    own: dict[Architecture, float] = {}
    for generation in range(generations + 1):
        kept = {path: kept.get(path) or (rating.targets(path), rating.predictions(path)) for path in alive}
        own.update({path: centre_distance(found, target) for path, (target, found) in kept.items()})
        centres = torch.stack([target for target, _ in kept.values()]).mean(dim=0)
        scores = mean([compare(centre_distance(found, centres), own[path]) for path, (_, found) in kept.items()])
        if generation < generations:
            parents = [alive[place] for place in np.argsort(scores, kind="stable")[: max(1, len(alive) // 2)]]
            children = _children(ways, parents, visited, population - len(parents), rng)
            visited.update(dict.fromkeys(children))
            alive = [*parents, *children]
    final = [kept[path][1] if path in kept else rating.predictions(path) for path in visited]
    to_centre = [centre_distance(found, centres) for found in final]
    scores = mean([compare(distance, own[path]) for path, distance in zip(visited, to_centre, strict=True)])
    wide = float(np.mean([spread(target.flatten(0, 1)) for target, _ in kept.values()]))
    return Rated(list(visited), scores, mean([own[path] for path in visited]), centres, wide)


def _children(
    ways: BlockPaths,
    parents: Sequence[Architecture],
    visited: dict[Architecture, None],
    count: int,
    rng: np.random.Generator,
) -> list[Architecture]:
    """Return up to `count` new paths: one half mutated, one half crossed."""
    found: dict[Architecture, None] = {}
    for attempt in range(20 * count):
        if len(found) == count:
            break
        first, second = (parents[int(place)] for place in rng.integers(len(parents), size=2))
        child = ways.mutated(first, rng) if attempt % 2 else ways.crossed(first, second, rng)
        if child not in visited:
            found[child] = None
    return list(found)
