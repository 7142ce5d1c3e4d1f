"""`neas`: one-shot search for ensembles of paths on a shared trunk (Chen et al., CVPR 2021).

    train:  s <- a split; K paths that agree on layers 1..s, drawn uniformly from the operators alive
            trunk once, branches K times; sum of K cross-entropies, one of each head
            the gradient that arrives at the split is divided by K
    shrink: after a warm-up, again and again: in every layer with more than m operators alive the one of the least
            rank(potential) + lambda rank(diversity) dies; the weights of the others train on
    search: evolution over (s, trunk, K branches) with the trained weights; fitness is the accuracy of the mean logits

The paper's supernet, its scores and its evolution are not released: formulas and schedules here are a reconstruction,
and each is an option. Paths that use one operator in one layer share its weights; heads are their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

import numpy as np
import torch

from nasforge.build import Supernet
from nasforge.build.modes import frozen_statistics, without_dropout
from nasforge.errors import IncompatibleError, InfeasibleError, UsageError
from nasforge.ranges import NonNegative, Positive, Share
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.space.paths import shared_boundary
from nasforge.strategy import Context, Phase, Problem
from nasforge.strategy.ensembles.genes import EnsembleSpace, Genes, root_of
from nasforge.strategy.ensembles.operator_scores import FEATURES, RULES, OperatorScores, diversities, rank_scores
from nasforge.strategy.evolution.over_weights import EvolutionOverWeights
from nasforge.strategy.evolution.population import Moves, Population, Sizes
from nasforge.strategy.preset import resolve
from nasforge.strategy.refusal import refuse_unknown
from nasforge.training import TrainConfig, make_sgd
from nasforge.training.schedule import warmup_cosine


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The options that a preset sets; see `NEAS` for what they are."""

    lr: float = 0.2
    weight_decay: float = 5e-4
    population: int = 10
    generations: int = 5
    parents: int = 4
    crossover: int = 5
    mutation: int = 5


PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(),
    "paper": Constants(0.5 / 16, 4e-5, 50, 20, 10, 25, 25),
}
KNOWN: Final[Mapping[str, Collection[str]]] = {
    "shrinking": RULES, "feature": tuple(FEATURES), "potential": ("accuracy", "nll"), "divide": ("paths", "none"),
}  # fmt: skip


@final
@dataclass
class NEAS(EvolutionOverWeights):
    """K-path training, shrinking by diversity and potential, K-path evolution.

    `preset` sets what follows it down to `mutation`; an option given beside it goes before. `quick` is for searches of
    minutes, `paper` holds what is remembered of the article (the learning rate is for a batch of 64).

    Attributes:
        preset: `quick` or `paper`.
        lr: peak learning rate (SGD, Nesterov 0.9; warm-up of 5 %, then a cosine over all phases).
        weight_decay: of convolutions and classifiers that were drawn.
        population: ensembles of the first generation, random ones.
        generations: of the evolution, the first included.
        parents: so many of the best of all so far have children.
        crossover: children of two parents in a generation.
        mutation: children of one parent in a generation; what is missing in the population is drawn.
        mutation_probability: that a gene of a mutated child is drawn anew.
        tries: draws of a child that are known or beyond the limits before it is given up.
        label_smoothing: of each head's loss.
        divide: what the gradient at the split is divided by: `paths` (K) or `none`.
        shrinking: by what the worst operator of a layer is found: `both`, `potential`, `diversity`, `random`, or
            `none` to drop none.
        keep: m, operators that stay alive in each layer, at least 2.
        warmup: share of the training before the first operators die.
        final: share of the training after the last ones died.
        balance: lambda, weight of the rank of diversity against that of potential.
        potential: of an ensemble on a valid batch: `accuracy` of its mean logits, or minus their `nll`.
        decay: of the running means of potential.
        measure_every: steps between two ensembles that are measured for it.
        feature: what outputs of operators are compared as: `pooled` (channel means) or `flat`.
        diversity_batches: valid batches over which distances are averaged before operators die.
    """

    preset: Literal["quick", "paper"] = "quick"
    lr: Positive | None = None
    weight_decay: NonNegative | None = None
    population: int | None = None
    generations: int | None = None
    parents: int | None = None
    crossover: int | None = None
    mutation: int | None = None
    mutation_probability: float = 0.1
    tries: int = 100
    label_smoothing: Share = 0.1
    divide: Literal["paths", "none"] = "paths"
    shrinking: Literal["both", "potential", "diversity", "random", "none"] = "both"
    keep: int = 2
    warmup: float = 1 / 3
    final: float = 1 / 3
    balance: NonNegative = 1.0
    potential: Literal["accuracy", "nll"] = "accuracy"
    decay: float = 0.95
    measure_every: int = 2
    feature: Literal["pooled", "flat"] = "pooled"
    diversity_batches: int = 4
    _spaces: dict[bytes, SearchSpace] = field(default_factory=dict, init=False, repr=False)
    _scores: OperatorScores | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        self._set = resolve(PRESETS, self)
        self._sizes.check("neas")
        least = min(self.measure_every, self.diversity_batches, self.tries)
        if least < 1 or not 0 < self.mutation_probability <= 1 or not 0 <= self.decay < 1:
            raise UsageError(
                f"neas was given measure_every={self.measure_every}, diversity_batches={self.diversity_batches}, "
                f"tries={self.tries}, mutation_probability={self.mutation_probability:g} and decay={self.decay:g}; "
                "expected the first three from 1, a probability above 0 and up to 1, and 0 <= decay < 1."
            )
        if self.keep < 2:
            raise UsageError(f"neas was given keep={self.keep}; expected at least 2, for paths that cannot differ.")
        if not (0 < self.warmup < 1 and 0 < self.final < 1 and self.warmup + self.final < 1):
            raise UsageError(
                f"neas was given warmup={self.warmup:g} and final={self.final:g}; expected shares of the training "
                "above 0 that leave some of it for shrinking."
            )
        refuse_unknown("neas", {name: getattr(self, name) for name in KNOWN}, KNOWN)

    @property
    def _sizes(self) -> Sizes:
        found = self._set
        return Sizes(found.population, found.generations, found.parents, found.crossover, found.mutation)

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space that is not made of paths, or that shrinking as asked for cannot begin with."""
        self._read(space)

    def _read(self, space: SearchSpace) -> EnsembleSpace:
        ensemble = EnsembleSpace.of(space, "neas")
        most = int(ensemble.allowed.sum(axis=1).max())
        if self.shrinking != "none" and self.keep > most:
            raise UsageError(
                f"neas was given keep={self.keep}, and no layer of space '{space.name}' has more than {most} "
                "operators; keep fewer, or take shrinking=none."
            )
        if ensemble.paths == 1 and self.shrinking in ("both", "diversity"):
            raise IncompatibleError(
                f"strategy 'neas' cannot search space '{space.name}' with shrinking={self.shrinking}: a single "
                "path has nothing to differ from; take shrinking=potential, random or none, or a space of more paths."
            )
        return ensemble

    def setup(self, problem: Problem) -> None:
        """Read the paths of the space; nothing has died."""
        super().setup(problem)
        self._ensemble = self._read(problem.space)
        self._scores, self._spaces = None, {}

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet, of the whole space, and the scores of its operators."""
        self._net = Supernet(root_of(problem.space), seed)
        self._scores = OperatorScores(self._ensemble.allowed, self.decay)
        return {"supernet": self._net, "scores": self._scores}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD; operators that were not drawn have no gradient, so nothing moves them."""
        config = TrainConfig(lr=self._set.lr, weight_decay=self._set.weight_decay)
        return {"weights": make_sgd(modules["supernet"], config)}

    def phases(self) -> list[Phase]:
        """Return the warm-up, a phase behind each death but the last, and the last."""
        deaths = max(0, int(self._ensemble.allowed.sum(axis=1).max()) - self.keep)
        if self.shrinking == "none" or deaths == 0:
            return [Phase("train")]
        between = (1.0 - self.warmup - self.final) / max(1, deaths - 1)
        shrunk = [Phase(f"shrink {number}", between) for number in range(1, deaths)]
        rest = self.final if shrunk else 1.0 - self.warmup
        return [Phase("warmup", self.warmup), *shrunk, Phase("final", rest)]

    # Training

    def step(self, context: Context) -> dict[str, float]:
        """Train the paths of one ensemble; at the start of a phase of shrinking, let operators die first."""
        if context.phase_step == 0 and context.phase.name not in ("train", "warmup"):
            self._shrink(context)
        architecture = self.space.sample(context.rng)
        genes = self._ensemble.read(architecture)
        images, targets = context.train_batch()
        outputs, split = self._net.with_boundary(images, architecture, shared_boundary(genes.split))
        if self.divide == "paths":
            split.register_hook(lambda gradient: gradient / self._ensemble.paths)
        heads = outputs if isinstance(outputs, list) else [outputs]
        losses = [context.loss(head, targets, self.label_smoothing) for head in heads]
        context.backward(torch.stack(losses).sum())
        context.update("weights", warmup_cosine(self.whole_progress(context), 0.05))
        if context.step % self.measure_every == 0:
            self._measure(context, architecture, genes)
        return {"loss": float(torch.stack(losses).mean().detach()), "alive": float(self.alive.sum(axis=1).mean())}

    @torch.no_grad()
    def _measure(self, context: Context, architecture: Architecture, genes: Genes) -> None:
        """Note how well the ensemble does on valid images, for the potential of its operators."""
        assert self._scores is not None
        images, targets = context.valid_batch()
        with frozen_statistics(self._net), without_dropout(self._net):  # these images teach nothing
            found = context.metrics(self._net(images, architecture), targets)
        self._scores.observe(genes.operators, found["accuracy"] if self.potential == "accuracy" else -found["nll"])

    def _shrink(self, context: Context) -> None:
        """Let the worst operator die in every layer with more than m of them."""
        assert self._scores is not None
        alive, potential = self.alive, self._scores.potential.cpu().numpy()
        apart = self._diversities(context) if self.shrinking in ("both", "diversity") else np.zeros(alive.shape)
        for layer in range(self._ensemble.layers):
            options = context.rng.permutation(np.flatnonzero(alive[layer]))
            if len(options) <= self.keep:
                continue
            if self.shrinking != "random":
                scores = rank_scores(potential[layer, options], apart[layer, options], self.balance, self.shrinking)
                options = options[np.argsort(scores, kind="stable")]
            victim = next((int(option) for option in options if self._can_die(layer, int(option))), None)
            if victim is not None:
                self._scores.drop(layer, victim)

    def _can_die(self, layer: int, option: int) -> bool:
        """Say whether something within the limits is left without an operator."""
        left = self.alive.copy()
        left[layer, option] = False
        try:
            replace(self.problem, space=self._ensemble.restricted(left)).sample(generator(0, "limits"))
        except InfeasibleError:
            return False
        return True

    def _diversities(self, context: Context) -> np.ndarray:
        """Return the mean distance of each operator to the others alive, by the same inputs, (layers, options)."""
        total = np.zeros(self.alive.shape)
        for _ in range(self.diversity_batches):
            images, _ = context.valid_batch()
            operators = [int(context.rng.choice(np.flatnonzero(row))) for row in self.alive]
            with frozen_statistics(self._net), without_dropout(self._net):
                found = diversities(self._net.run, self._ensemble, self.alive, operators, images, self.feature)
            for layer, row in enumerate(found):
                total[layer, self.alive[layer]] += row
        shared = context.mean({str(place): value for place, value in enumerate(total.ravel().tolist())}, len(images))
        return np.asarray([shared[str(place)] for place in range(total.size)]).reshape(total.shape)

    @property
    def alive(self) -> np.ndarray:
        """Which operators are alive, bool (layers, options)."""
        return self._ensemble.allowed if self._scores is None else self._scores.alive_mask()

    @property
    def space(self) -> SearchSpace:
        """The space as shrunk by now; its architectures use trained weights."""
        key = self.alive.tobytes()
        if key not in self._spaces:
            self._spaces[key] = self._ensemble.restricted(self.alive)
        return self._spaces[key]

    # Evolution

    def begin_evolution(self) -> Population:
        """Return the evolution over the space as shrunk: it begins with the operators that are alive then."""
        problem = replace(self.problem, space=self.space)
        return Population(problem, self._sizes, Moves(self._crossed, self._mutated), tries=self.tries)

    def _crossed(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        read = self._ensemble.read
        return self._ensemble.write(self._ensemble.crossover(read(first), read(second), rng))

    def _mutated(self, parent: Architecture, rng: np.random.Generator) -> Architecture:
        genes = self._ensemble.mutate(self._ensemble.read(parent), self.mutation_probability, self.alive, rng)
        return self._ensemble.write(genes)
