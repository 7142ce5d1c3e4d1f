"""Looking for a block's best path: traversal of all paths, or evolution towards the centre of the population.

Li et al. 2021 (BossNAS), section 3.3. A traversal costs two forward passes of each path and image; in an evolution the
embeddings of the population are kept, so it costs two of each path visited, and one more at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from nasforge.space import Architecture
from nasforge.strategy.block_paths import BlockPaths
from nasforge.strategy.block_rating import BlockRating, centre_distance
from nasforge.training.bootstrap import spread

Mean = Callable[[Sequence[float]], list[float]]
"""From scores of this process's images to their means over those of all workers."""
Compare = Callable[[BlockRating, Architecture, Tensor, Tensor], float]
"""From a path, what the online side predicts of it and the centres to its score."""


@final
@dataclass(frozen=True)
class Rated:
    """Rated paths of a block; less score is better.

    Attributes:
        paths: each once.
        scores: one for each.
        centres: (2, N, D), what they were compared with.
        spread: of the targets, mean over paths (see `nasforge.training.bootstrap.spread`).
    """

    paths: Sequence[Architecture]
    scores: Sequence[float]
    centres: Tensor
    spread: float


def by_centre(rating: BlockRating, path: Architecture, predictions: Tensor, centres: Tensor) -> float:
    """Compare with the centre of all paths."""
    return centre_distance(predictions, centres)


def by_own(rating: BlockRating, path: Architecture, predictions: Tensor, centres: Tensor) -> float:
    """Compare with the path's own target: the ablation without a centre."""
    return centre_distance(predictions, rating.targets(path))


def traverse(rating: BlockRating, paths: Sequence[Architecture], compare: Compare, mean: Mean) -> Rated:
    """Rate every path against the centre of all of them. Targets are not normalised before averaging, as released."""
    total, wide = torch.zeros(()), 0.0
    for path in paths:
        target = rating.targets(path)
        total, wide = total + target, wide + spread(target.flatten(0, 1))
    centres = total / len(paths)
    scores = mean([compare(rating, path, rating.predictions(path), centres) for path in paths])
    return Rated(paths, scores, centres, wide / len(paths))


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
    for generation in range(generations + 1):
        kept = {path: kept.get(path) or (rating.targets(path), rating.predictions(path)) for path in alive}
        centres = torch.stack([target for target, _ in kept.values()]).mean(dim=0)
        scores = mean([compare(rating, path, found, centres) for path, (_, found) in kept.items()])
        if generation < generations:
            parents = [alive[place] for place in np.argsort(scores, kind="stable")[: max(1, len(alive) // 2)]]
            children = _children(ways, parents, visited, population - len(parents), rng)
            visited.update(dict.fromkeys(children))
            alive = [*parents, *children]
    final = [kept[path][1] if path in kept else rating.predictions(path) for path in visited]
    scores = mean([compare(rating, path, found, centres) for path, found in zip(visited, final, strict=True)])
    wide = float(np.mean([spread(target.flatten(0, 1)) for target, _ in kept.values()]))
    return Rated(list(visited), scores, centres, wide)


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
