"""`spos`: single path one-shot, with uniform sampling (Guo et al. 2020).

    train:  each step draws one architecture uniformly and trains its path alone
    search: evolution on the trained supernet, each architecture rated on valid after recalibration
            (`nasforge.strategy.evolution.population`)
    retrain the best from scratch

No weight of the supernet is tied to what the search finds, so it is the baseline of all other samplings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import torch

from nasforge.build import Supernet
from nasforge.errors import UsageError
from nasforge.ranges import NonNegative, Positive, Share
from nasforge.strategy import Context, Problem
from nasforge.strategy.evolution.over_weights import EvolutionOverWeights
from nasforge.strategy.evolution.population import Population, Sizes, uniform_moves
from nasforge.strategy.paths.training import path_step
from nasforge.strategy.preset import resolve
from nasforge.training import TrainConfig
from nasforge.training.path_sgd import PathSGD
from nasforge.training.schedule import warmup_cosine

PRESETS: Final[Mapping[str, Sizes]] = {
    "quick": Sizes(population=12, generations=4, parents=4, crossover=4, mutation=4),
    "paper": Sizes(),
}
"""How large the evolution is: for searches of minutes, and as in the article."""


@final
@dataclass
class SPOS(EvolutionOverWeights):
    """Uniform single path training, then evolution over the trained weights.

    `preset` sets the sizes of the evolution, from `population` to `mutation`; a size given beside it goes before.
    It takes every kind of choice: paths of operators as in the article, and sliced widths, kernels and depths.
    "Uniform" is the space's own law of sampling. The article's constants of ImageNet are `lr=0.5 weight_decay=4e-5`
    with batches of 1,024; the defaults here are for batches of 64. What a path did not use is not decayed.

    Attributes:
        lr: peak learning rate of SGD with Nesterov momentum 0.9; cosine to zero.
        weight_decay: of the slices a path used, not on normalisations and biases.
        warmup: share of the steps with rising learning rate.
        label_smoothing: of the training loss (the article has 0.1).
        preset: `quick` (4 generations of 12, 4 parents, 4 crossovers, 4 mutations) or `paper` (20 of 50, 10, 25, 25).
        population: architectures of a generation.
        generations: of the evolution, the random first one counted.
        parents: best of all rated that have children.
        crossover: children of two parents in a generation.
        mutation: children of one parent in a generation.
        mutation_probability: that a decision of a mutated child is drawn anew.
        tries: draws of a child that are known or beyond the limits before it is given up.
    """

    lr: Positive = 0.1
    weight_decay: NonNegative = 5e-4
    warmup: float = 0.05
    label_smoothing: Share = 0.0
    preset: Literal["quick", "paper"] = "quick"
    population: int | None = None
    generations: int | None = None
    parents: int | None = None
    crossover: int | None = None
    mutation: int | None = None
    mutation_probability: float = 0.1
    tries: int = 100
    retrain: ClassVar[bool] = True
    different_paths: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options."""
        self._sizes.check("spos")
        if not 0 < self.mutation_probability <= 1 or self.tries < 1 or not 0 <= self.warmup < 1 or self.lr <= 0:
            raise UsageError(
                f"spos was given mutation_probability={self.mutation_probability}, tries={self.tries}, "
                f"warmup={self.warmup} and lr={self.lr}; expected 0 < mutation_probability <= 1, tries >= 1, "
                "0 <= warmup < 1 and lr > 0."
            )

    @property
    def _sizes(self) -> Sizes:
        return resolve(PRESETS, self)

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet."""
        self._net = Supernet(problem.space, seed)
        return {"supernet": self._net}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD that steps the slices of the path alone."""
        return {"weights": PathSGD(self._net, TrainConfig(lr=self.lr, weight_decay=self.weight_decay))}

    def step(self, context: Context) -> dict[str, float]:
        """Train one architecture drawn by the space's law on a train batch."""
        architecture = self.problem.space.sample(context.rng)
        rate = warmup_cosine(context.progress, self.warmup)
        return {"loss": path_step(context, self._net, architecture, self.label_smoothing, rate)}

    def begin_evolution(self) -> Population:
        """Return an evolution by the article's moves."""
        moves = uniform_moves(self.problem.space, self.mutation_probability)
        return Population(self.problem, self._sizes, moves, tries=self.tries)
