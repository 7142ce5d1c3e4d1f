"""`bossnas`: block-wise self-supervised search (Li et al. 2021).

    for each block, in order:
        train:  P paths; a pair of views of each image, x1 and x2
                centres       c_v = (1/P) sum_p normalise(f'_p(x_v))         (target: an EMA twin, no gradient)
                loss of path  D(g(f_p(x1)), c2) + D(g(f_p(x2)), c1), D(a, b) = -2 cos(a, b)
                one optimiser step on the sum of the gradients; then the twin follows
        rate:   every path on held-out images, in one fixed pair of views, against the centre of all paths
        choose: the best path is what later blocks get their inputs from
    derive: the least sum of block scores within the limits, over all combinations of rated paths

Symbols: f backbone and projector, g predictor (online side alone), f' their twin. No labels are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np
import torch
from torch import nn

from nasforge import Objective
from nasforge.ranges import Count, NonNegative, Positive, Share
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Context, Phase, Problem, WeightSharing
from nasforge.strategy.blocks.choice import best_combinations, best_samples
from nasforge.strategy.blocks.networks import TwoNetworks
from nasforge.strategy.blocks.paths import blocks_of
from nasforge.strategy.blocks.prefixed import PrefixedPaths
from nasforge.strategy.blocks.rating import BlockRating, centre_distance
from nasforge.strategy.blocks.record import BlockRecord
from nasforge.strategy.blocks.search import by_centre, by_own, evolve, mean_of, traverse
from nasforge.strategy.preset import resolve
from nasforge.strategy.refusal import refuse_unknown, refuse_unless, told
from nasforge.training import RATING, TrainConfig, counted_as, make_lars
from nasforge.training.bootstrap import (
    ON_COLLAPSE,
    VIEWS,
    centre,
    check_batch,
    collapse_sentence,
    distance,
    report_collapse,
    spread,
)
from nasforge.training.ema import rising_momentum
from nasforge.training.path_sgd import PathSGD, merge_views
from nasforge.training.schedule import warmup_cosine

METRIC: Final = "centre_distance"
SAMPLED: Final = 32
"""Architectures that are looked at where no combination of rated paths is within the limits."""
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "optimiser": ("sgd", "lars"), "views": tuple(VIEWS), "pairs": ("one", "each"),
    "on_collapse": ON_COLLAPSE, "rated_by": ("centre", "own"), "lift_target": ("ema", "initial"),
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The options that a preset sets; see `BossNAS` for what they are."""

    optimiser: str = "sgd"
    lr: float = 0.02
    weight_decay: float = 5e-4
    warmup: float = 0.1
    hidden: int = 512
    outputs: int = 128
    lift: int = 64
    pairs: str = "one"
    views: str = "small"
    momentum: float = 0.99
    accumulate: int = 1
    images: int = 256
    calibration: int = 128
    paths: int = 4


PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(),
    "paper": Constants("lars", 4.8, 1e-6, 1 / 6, 4096, 256, 2048, "each", "byol", 0.99, 64, 5000, 256),
    "paper_sizes": Constants("lars", 0.48, 1e-6, 2 / 50, 4096, 256, 2048, "one", "shifted", 0.99, 64, 5000, 256, 8),
}


@final
@dataclass
class BossNAS(WeightSharing):
    """Ensemble bootstrapping, block by block, and search towards the centre of the population.

    `preset` sets what follows it down to `paths`; an option given beside it goes before. `quick` is for searches
    of minutes at batches of 64. `paper` holds the constants of the released MBConv and HyTra searches, `paper_sizes`
    those of the released size search on NATS-Bench; both make batches of 4,096 out of 64 batches of 64.

    Attributes:
        preset: `quick`, `paper` or `paper_sizes`.
        optimiser: `sgd` (Nesterov 0.9) or `lars` (momentum 0.9); normalisation and biases are not decayed or scaled.
        lr: peak learning rate; the schedule, a cosine to 0 after a linear warm-up, starts anew with each block.
        weight_decay: of the weights that were used in a step, and of the heads.
        warmup: share of a block's training with rising learning rate.
        hidden: features inside of projector and predictor.
        outputs: features of an embedding.
        lift: channels that maps are brought to where their shapes differ at the end of a block.
        pairs: `one` pair of views for all paths of a step, or one for `each`.
        views: `byol` (for large images), `small` (crops of 0.3 to 1 and colours) or `shifted` (shift and mirror).
        momentum: of the twin at a block's beginning; it rises to 1 as a cosine.
        accumulate: batches in one step; their gradients are averaged.
        images: held-out images that paths are rated on, at least two; checkpoints hold two views of each, as bytes.
            More than there are in the valid split come again in other views.
        calibration: training images for a path's batch normalisation when it is rated, at least two.
        paths: P, paths in a step.
        blocks: names of the boundaries at which the network is cut; all of the space without.
        detach_prefix: whether earlier blocks stay as they are (the article); otherwise later losses train their best
            path on (the released code).
        traversed: a block of up to so many paths is rated path by path, a larger one by evolution.
        population: of the evolution, whose centre its members are compared with.
        generations: of the evolution.
        rated_by: distance to the `centre` of all paths, or to the path's `own` target (an ablation).
        lift_target: whether the twin's lifts follow (`ema`) or keep their `initial` weights (the released code).
        smallest_batch: images that the batch normalisation of projectors needs at least; fewer are refused.
        on_collapse: what happens when embeddings hardly differ between images: `warn`, `error` or `ignore`.
        finalists: architectures proposed, best first.
    """

    preset: Literal["quick", "paper", "paper_sizes"] = "quick"
    optimiser: str | None = None
    lr: Positive | None = None
    weight_decay: NonNegative | None = None
    warmup: Share | None = None
    hidden: Count | None = None
    outputs: Count | None = None
    lift: Count | None = None
    pairs: str | None = None
    views: str | None = None
    momentum: float | None = None
    accumulate: int | None = None
    images: int | None = None
    calibration: int | None = None
    paths: int | None = None
    blocks: tuple[str, ...] | None = None
    detach_prefix: bool = True
    traversed: int = 512
    population: int = 32
    generations: int = 8
    rated_by: str = "centre"
    lift_target: str = "ema"
    smallest_batch: int = 16
    on_collapse: str = "warn"
    finalists: int = 4
    rates_by: ClassVar[Objective | None] = Objective(METRIC, "minimize")
    weight_modules: ClassVar[frozenset[str]] = frozenset({"lifts", "projectors", "predictors"})

    def __post_init__(self) -> None:
        """Check the options."""
        self._set = found = resolve(PRESETS, self)
        counts = ("paths", "traversed", "generations", "finalists", "calibration", "accumulate", "images", "hidden")
        given = {name: getattr(found, name, None) or getattr(self, name) for name in (*CHOICES, *counts)}
        refuse_unknown("bossnas", given, CHOICES)
        least = {**dict.fromkeys(counts, 1), "population": 2}
        least |= dict.fromkeys(("images", "calibration", "smallest_batch"), 2)  # one image has no deviation
        given |= {"population": self.population, "smallest_batch": self.smallest_batch}
        rules = [(given[name] >= n, told(**{name: given[name]}), f"expected {n} or more") for name, n in least.items()]
        momentum = 0 <= found.momentum < 1, told(momentum=found.momentum), "expected 0 <= momentum < 1"
        refuse_unless("bossnas", [*rules, momentum])

    def check_space(self, space: SearchSpace) -> None:
        """Cut the space into blocks."""
        self.cut = blocks_of(space, "bossnas", self.blocks)

    def modules(self, problem: Problem, seed: int) -> dict[str, nn.Module]:
        """Return both networks, and the record of what was rated and chosen."""
        found, space = self._set, problem.space
        self._networks = pair = TwoNetworks(space, self.cut, seed, found.lift, found.hidden, found.outputs)
        self._online, self._predictors, self._target = pair.online, pair.predictors, pair.target
        shape = next(iter(space.input_shapes.values()))
        rows = max(self.traversed, self.population * (self.generations + 1))
        self.record = BlockRecord(space, self.cut, rows, shape, found.images, found.calibration, found.outputs)
        self.paths_behind = PrefixedPaths(space, self.cut, self.record, self.traversed)
        return {**pair.modules, "record": self.record}

    def optimisers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser for the supernet and the heads, which leaves alone what no path used."""
        heads = [modules[name] for name in sorted(self.weight_modules)]
        config = TrainConfig(lr=self._set.lr, weight_decay=self._set.weight_decay)
        if self._set.optimiser == "sgd":
            self._optimiser: torch.optim.Optimizer = PathSGD(self._online.supernet, config, heads)
        else:
            self._optimiser = make_lars(nn.ModuleList([self._online.supernet, *heads]), config)
        return {"weights": self._optimiser}

    def phases(self) -> list[Phase]:
        """Return two phases for each block: its training, and one step in which its paths are rated."""
        pairs = [(Phase(f"block {b.name}"), Phase(f"rating {b.name}", 1e-9)) for b in self.cut]
        return [phase for pair in pairs for phase in pair]

    def start_phase(self, phase: Phase, modules: Mapping[str, nn.Module]) -> None:
        """Begin a block with a new optimiser: without momentum of earlier ones."""
        if phase.name.startswith("block "):
            self._optimiser.state.clear()

    def step(self, context: Context) -> dict[str, float]:
        """Train a block on one batch, or rate its paths."""
        kind, _, name = context.phase.name.partition(" ")
        number = [block.name for block in self.cut].index(name)
        if kind == "block":
            return self._train(context, number)
        with counted_as(RATING):
            return self._rate_block(context, number)

    def _train(self, context: Context, number: int) -> dict[str, float]:
        found = self._set
        drawn = self._drawn(number, context.rng)
        pairs = len(drawn) if found.pairs == "each" else 1
        makers = [view for _ in range(pairs) for view in VIEWS[found.views]]
        losses, spreads = [], []
        with self._online.supernet.recording() as taken:
            for _ in range(found.accumulate):
                views = context.train_views(makers)
                check_batch(len(views[0]), self.smallest_batch, "bossnas")
                loss, wide = self._bootstrap(context, number, drawn, views)
                losses.append(loss)
                spreads.append(wide)
        if found.optimiser == "lars":
            merge_views(taken)
        context.update("weights", warmup_cosine(context.progress, found.warmup))
        momentum = rising_momentum(found.momentum, context.progress)
        self._networks.follow(momentum)
        if self.lift_target == "ema":
            self._networks.follow_lifts(momentum)
        return {"loss": float(np.mean(losses)), "spread": float(np.mean(spreads)), "momentum": momentum}

    def _drawn(self, number: int, rng: np.random.Generator) -> list[Architecture]:
        """Draw the paths of a step."""
        return self.paths_behind.drawn(number, self._set.paths, rng)

    def _bootstrap(
        self, context: Context, number: int, drawn: Sequence[Architecture], views: Sequence[torch.Tensor]
    ) -> tuple[float, float]:
        """Add the gradients of all paths; return the mean loss and how far embeddings are spread."""
        block, online, predictor = self.cut[number], self._online, self._predictors[number]
        pairs = [views[2 * p : 2 * p + 2] for p in range(len(views) // 2)]
        with torch.no_grad():
            inputs = [[self._target.before(view, drawn[0], block) for view in pair] for pair in pairs]
            members = [
                [self._target.embed(x, path, block, number) for x in inputs[p % len(pairs)]]
                for p, path in enumerate(drawn)
            ]
            centres = [centre([pair[view] for pair in members]) for view in range(2)]
            if self.detach_prefix and block.start is not None:
                inputs = [[online.before(view, drawn[0], block) for view in pair] for pair in pairs]
        total = 0.0
        for p, path in enumerate(drawn):
            if self.detach_prefix and block.start is not None:
                begun = inputs[p % len(pairs)]
            else:
                begun = [online.before(view, path, block) for view in pairs[p % len(pairs)]]
            predicted = [predictor(online.embed(x, path, block, number)) for x in begun]
            loss = distance(predicted[0], centres[1]) + distance(predicted[1], centres[0])
            context.backward(loss / self._set.accumulate)
            total += float(loss.detach())
        return total / len(drawn), float(np.mean([spread(each) for pair in members for each in pair]))

    def _rate_block(self, context: Context, number: int) -> dict[str, float]:
        """Rate the paths of a trained block, on images that are taken once for all blocks."""
        if self.record.is_rated(number):
            return {}
        if not self.record.is_filled:
            self.record.fill_from(context, VIEWS[self._set.views])
        rating, listed = self.rating(number), self.paths_behind.listed(number)
        compare = by_centre if self.rated_by == "centre" else by_own
        mean = mean_of(context, self._set.images)
        if listed is not None:
            rated = traverse(rating, listed, compare, mean)
        else:
            sizes = self.population, self.generations
            rated = evolve(rating, self.paths_behind.of(number), compare, mean, context.rng, *sizes)
        self.record.note(number, rated)
        report_collapse(self.cut[number].name, rated.spread, self.on_collapse)
        return {"best_distance": min(rated.scores), "rated_paths": float(len(rated.paths)), "spread": rated.spread}

    def warnings(self) -> list[str]:
        """Say which blocks were rated by embeddings that had collapsed."""
        if self.on_collapse == "ignore":
            return []
        rated = [(block.name, number) for number, block in enumerate(self.cut) if self.record.is_rated(number)]
        said = [collapse_sentence(name, float(self.record.spreads[number])) for name, number in rated]
        return [sentence for sentence in said if sentence is not None]

    def rating(self, number: int, prefix: Architecture | None = None) -> BlockRating:
        """Return what judges paths of a block behind the best prefix, or behind another architecture's blocks."""
        behind = prefix or self.paths_behind.of(number).first()
        images = self.record.views, self.record.calibration
        return BlockRating(self._online, self._predictors, self._target, self.cut[number], number, behind, *images)

    def rate(
        self, architectures: Sequence[Architecture], modules: Mapping[str, nn.Module]
    ) -> list[dict[str, float]] | None:
        """Return the sum over blocks of score + 4, 0 to 8 for each block, NaN before training is over."""
        return [{METRIC: found} for found in self._distances(architectures)]

    def _distances(self, architectures: Sequence[Architecture]) -> list[float]:
        return [sum(self._distance(n, each) for n in range(len(self.cut))) for each in architectures]

    def _distance(self, number: int, architecture: Architecture) -> float:
        """Return score + 4 of an architecture's path through a block.

        A path that was not rated is now; behind the architecture's own blocks, where it does not follow the best ones.
        """
        if not self.record.is_rated(number):
            return float("nan")
        path = self.cut[number].path(architecture)
        known = self.record.scores(number).get(path)
        if known is None:
            taken, prefix = self.paths_behind.through(number, architecture)
            rating = self.rating(number, prefix)
            known = centre_distance(rating.predictions(taken), self.record.centres(number))
        return known + 4.0

    def derive(self) -> list[Architecture]:
        """Return the least sums of block scores within the limits; of blocks not rated yet, any paths."""
        behind, numbers = self.paths_behind, range(len(self.cut))
        rated = [behind.rated(number, self.population, generator(0, "unrated")) for number in numbers]
        return best_combinations(self.problem, rated, self.finalists) or self._rated_samples()

    def _rated_samples(self) -> list[Architecture]:
        """Return random architectures within the limits, the best of them once all blocks are rated."""
        rng = generator(0, "within the limits")
        drawn = list(dict.fromkeys(self.problem.sample(rng) for _ in range(SAMPLED)))
        if not all(map(self.record.is_rated, range(len(self.cut)))):
            return drawn[: self.finalists]
        return best_samples(drawn, self._distances, self.finalists, "bossnas")
