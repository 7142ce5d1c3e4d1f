"""`eeea`: the early exit evolutionary algorithm of EEEA-Net (Termritthikun et al., 2021).

population <- P random architectures, each drawn again while params(large(architecture)) >= beta * 10^6
repeat: rank the population by fronts, then crowding; its best share are the parents
        until P: male, female <- tournaments of domination among the parents; two children by uniform crossover,
                 each mutated with some chance, then inverted with some chance; evaluated, unless known before
        population <- parents and children
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, final

import numpy as np

from nasforge import registry
from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.goals import Objective, pareto_front
from nasforge.hardware.cost import Cost
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy
from nasforge.strategy.evolution.early_exit import EarlyExit
from nasforge.strategy.evolution.genes import exchange, genes, redraw
from nasforge.strategy.evolution.member import Member, member_of
from nasforge.strategy.evolution.selection import constrained_fronts, select
from nasforge.strategy.preset import resolve

POLICIES: Final = ("redraw", "score_zero", "allow")


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """What the article, its code and a short search set differently; each is an option."""

    population: int
    survivors: float
    mutation: float
    inversion: float
    inverted: str
    children: str
    beside: tuple[str, ...]
    generations: int


PRESETS: Final = {
    "quick": Constants(20, 0.5, 0.5, 0.1, "swap", "redraw", (), 0),
    "released": Constants(40, 0.1, 0.1, 0.1, "copy", "score_zero", ("params",), 30),
    "paper": Constants(40, 0.1, 0.1, 0.1, "swap", "allow", ("params", "macs"), 30),
}
RANGES: Final = {
    "population": (2, np.inf),
    "survivors": (0, 1),
    "mutation": (0, 1),
    "inversion": (0, 1),
    "generations": (0, np.inf),
    "beta": (0, np.finfo(float).max),
    "redraws": (1, np.inf),
    "tries": (1, np.inf),
}
"""The least and the most that an option may be."""


@final
@dataclass
class EEEA(Strategy):
    """Multi-objective evolution of which the first population, and by choice every child, is below a size.

    The problem's objectives decide. Where it has one only, the article's presets join costs to it: parameters, with
    `preset=paper` parameters and MACs; `quick` does what it was asked for. Fronts and crowding are those of NSGA-II in
    every preset. Genes are an operation with the state that it reads where a space has such pairs, and single decisions
    elsewhere. With several evaluations at a time, a late child counts in the generation in which it is told.

    Attributes:
        preset: `quick`, for budgets of some hundred evaluations (constants chosen on the CIFAR-100 table of
            NAS-Bench-201); `released`, as the article's code: 4 parents of 40, error and parameters; or `paper`: error,
            parameters and MACs.
        beta: threshold of the early exit in millions of parameters (10^6), which must be less; 0 for none.
        large: the network in which parameters are counted: options of the searched space, such as {layers: 20,
            channels: 36}, or a space of the same decisions; the searched network itself without.
        children: what happens to one of beta or above: `redraw` (another is bred), `score_zero` (not evaluated, it
            takes a place in the generation as worse than any), or `allow` (the threshold is for the first population).
        population: P.
        survivors: share of the population that become parents, at least 2.
        mutation: chance that a gene of a child is drawn anew.
        inversion: chance that two neighbouring genes of a child change places.
        inverted: `swap`, or `copy` as in the released code, where one neighbour is overwritten by the other.
        beside: costs that are minimised beside a single objective.
        generations: after which the search is done; 0 for no end.
        redraws: random architectures looked at, for one below beta, before the search ends with an error.
        tries: children that are known, too large or beyond the limits before a random architecture is taken.
    """

    preset: str = "quick"
    beta: float = 0.0
    large: Mapping[str, Any] | SearchSpace | None = None
    children: Literal["redraw", "score_zero", "allow"] | None = None
    population: int | None = None
    survivors: float | None = None
    mutation: float | None = None
    inversion: float | None = None
    inverted: Literal["swap", "copy"] | None = None
    beside: tuple[str, ...] | None = None
    generations: int | None = None
    redraws: int = 20_000
    tries: int = 100
    fronts: list[tuple[Member, ...]] = field(default_factory=list, init=False, repr=False)
    """The first front of every generation so far."""
    early_exit: EarlyExit = field(init=False, repr=False)
    """What draws the first population, and counts what it refused."""

    def __post_init__(self) -> None:
        """Check the options."""
        constants = resolve(PRESETS, self)
        for what, given, known in (
            ("policy of children", constants.children, POLICIES),
            ("inversion", constants.inverted, ("swap", "copy")),
        ):
            if given not in known:
                raise UsageError(unknown_name_sentence(what, given, known))
        values = {**asdict(constants), "beta": self.beta, "redraws": self.redraws, "tries": self.tries}
        wrong = [
            f"{name}={values[name]:g}" for name, (least, most) in RANGES.items() if not least <= values[name] <= most
        ]
        if wrong:
            raise UsageError(
                f"eeea was given {' and '.join(wrong)}; expected a population of at least 2, shares and chances from 0 "
                "to 1, a beta of at least 0 and numbers of at least 1 (generations: 0)."
            )
        if not isinstance(self.large, Mapping | SearchSpace | None):
            raise UsageError(
                f"option large of eeea was given {self.large!r}; expected options of the space, such as "
                "{layers: 20, channels: 36}."
            )

    def setup(self, problem: Problem) -> None:
        """Start without a population."""
        super().setup(problem)
        self._constants = resolve(PRESETS, self)
        self._beside = {} if len(problem.objectives) > 1 else dict(_costs(problem, self._constants.beside))
        minimised = (Objective(metric, "minimize") for metric in self._beside)
        self._objectives = (*problem.objectives, *minimised)
        bound = self.beta * 1e6 if self.beta else np.inf
        self.early_exit = EarlyExit(problem, counted_in(problem.space, self.large), bound, self.redraws)
        self._genes = genes(problem.space)
        self._count = max(2, round(self._constants.survivors * self._constants.population))
        self._seen, self._born, self._done = set[Architecture](), 0, False
        self._population, self._parents, self._brood = list[Member](), list[Member](), list[Architecture]()
        self._told = list[Member]()
        self.fronts = []

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose random architectures until there are parents, then children; nothing twice."""
        proposals: list[Proposal] = []
        while len(proposals) < n and not self._done:
            found = None if self._born >= self._last else self._new(rng)
            self._done = found is None
            if found is not None:
                proposals.append(Proposal(found))
        return proposals

    @property
    def _last(self) -> float:
        """How many are born in all generations."""
        size, turns = self._constants.population, self._constants.generations
        return size + (turns - 1) * max(1, size - self._count) if turns else np.inf

    def _new(self, rng: np.random.Generator) -> Architecture | None:
        """Return an architecture that is to be evaluated; None where random ones are all known too."""
        for _ in range(self.tries if self._parents else 0):
            if self._born >= self._last:  # children that were not evaluated have filled the last generation
                return None
            child = self._child(rng)
            if self._is_new(child) and self._enters(child):
                return self._remembered(child)
        for _ in range(self.tries if self._born < self._last else 0):
            founder = self.early_exit.sample(rng)
            if self._is_new(founder):
                return self._remembered(founder)
        return None

    def _is_new(self, found: Architecture) -> bool:
        return found not in self._seen and self.problem.feasible(found)

    def _remembered(self, found: Architecture) -> Architecture:
        self._seen.add(found)
        self._born += 1
        return found

    def _enters(self, child: Architecture) -> bool:
        """Say whether a child is to be evaluated, by the policy of children."""
        if self._constants.children == "allow" or self.early_exit.accepts(child):
            return True
        if self._constants.children == "score_zero":
            self._join(self._unevaluated(self._remembered(child)))
        return False

    def _child(self, rng: np.random.Generator) -> Architecture:
        """Return the next child, of a new pair of parents where both children of the last are taken."""
        if not self._brood:
            order = [self._parents[place] for place in rng.permutation(len(self._parents))]
            half = max(1, len(order) // 2)
            male, female = _winner(order[:half]), _winner(order[half : 2 * half] or order[:half])
            self._brood = [self._bred(male.architecture, female.architecture, rng) for _ in range(2)]
        return self._brood.pop()

    def _bred(self, male: Architecture, female: Architecture, rng: np.random.Generator) -> Architecture:
        space, constants = self.problem.space, self._constants
        child = space.crossover(male, female, rng)
        if rng.random() < constants.mutation:
            child = redraw(space, self._genes, child, rng)
        if rng.random() < constants.inversion:
            child = exchange(space, self._genes, child, rng, back=constants.inverted == "swap")
        return child

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Take members in; a full population is ranked, and its best become parents."""
        for result in results:
            costs = {metric: float(cost(result.architecture)) for metric, cost in self._beside.items()}
            member = member_of(self.problem, result, self._objectives, costs)
            self._told.append(member)
            self._join(member)

    def _unevaluated(self, architecture: Architecture) -> Member:
        """Return a child that left early: its costs are known, and all else is worse than any."""
        costs = {metric: float(cost(architecture)) for metric, cost in {**self.problem.costs, **self._beside}.items()}
        return Member(architecture, tuple(objective.loss(costs) for objective in self._objectives))

    def _join(self, member: Member) -> None:
        self._population.append(member)
        if len(self._population) < self._constants.population:
            return
        losses, violations = [each.losses for each in self._population], [each.violation for each in self._population]
        self.fronts.append(tuple(self._population[place] for place in constrained_fronts(losses, violations)[0]))
        self._parents = [self._population[place] for place in select(losses, self._count, violations)]
        self._population, self._brood = list(self._parents), []

    def archive(self) -> tuple[Member, ...]:
        """Return all that was evaluated within the limits and is dominated by nothing evaluated."""
        kept = [each for each in self._told if each.violation <= 0]
        return tuple(kept[place] for place in pareto_front([each.losses for each in kept]))


def counted_in(space: SearchSpace, large: Mapping[str, Any] | SearchSpace | None) -> Cost:
    """Return the parameters of architectures of `space`, counted in the network that `large` describes.

    Raises:
        UsageError: options that are not those of the space, or a space of other decisions.
    """
    if large is None:
        return space.cost("params")
    found, given = (_declared(space, large), dict(large)) if isinstance(large, Mapping) else (large, large)
    if found.fingerprint != space.fingerprint:
        raise UsageError(
            f"option large was given {given}, whose decisions are not those of the searched space '{space.name}'; give "
            "every option that the searched space was declared with, but those of size."
        )
    return found.cost("params")


def _declared(space: SearchSpace, options: Mapping[str, Any]) -> SearchSpace:
    """Return the space of the same name for the same images and classes, with other options."""
    shapes, outputs = list(space.input_shapes.values()), list(space.output_shapes.values())
    function = registry.load("spaces", space.name)
    try:
        found = function(**{"input_shape": shapes[0], "classes": outputs[0][0][0], **options})
    except TypeError as error:
        raise UsageError(f"option large does not fit space '{space.name}' ({error}); give options of it.") from error
    assert isinstance(found, SearchSpace)
    return found


def _costs(problem: Problem, metrics: Sequence[str]) -> Iterator[tuple[str, Cost]]:
    """Yield the costs that join a single objective, which itself is none of them."""
    for metric in metrics:
        if metric != problem.objectives[0].metric:
            yield metric, problem.costs[metric] if metric in problem.costs else problem.space.cost(metric)


def _winner(contestants: Sequence[Member]) -> Member:
    """Return the holder that is left after every challenger that beats it has taken its place."""
    holder = contestants[0]
    for challenger in contestants[1:]:
        holder = challenger if challenger.beats(holder) else holder
    return holder
