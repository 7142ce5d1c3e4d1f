"""Whether anything in a space meets the limits: asked before time is spent, and again where the latency is known.

The cheapest architecture is looked for by descending, so a limit is refused only with the least cost beside it.
"""

from __future__ import annotations

from typing import Final

from nasforge.errors import InfeasibleError
from nasforge.rng import generator
from nasforge.run.options import check_memory
from nasforge.run.settings import Settings
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Problem

SIZED: Final = 8
NARROWED: Final = 4.0
"""Half the width leaves about a quarter of params and MACs: limits further away than that are no matter of width."""


def check_feasible(problem: Problem, seed: int) -> None:
    """Refuse limits that nothing in the space can meet.

    Raises:
        InfeasibleError: names the limit and the least cost found.
    """
    for limit in problem.constraints:
        cost = problem.costs[limit.metric]
        least = _least(problem, limit.metric)
        if cost(least) > limit.bound:
            word = "least" if limit.metric in ("params", "macs") else "fastest"
            narrowed = ", or narrow the space (space.width=0.5)" if cost(least) <= NARROWED * limit.bound else ""
            raise InfeasibleError(
                f"{limit} was asked for, but the {word} found in space '{problem.space.name}' is "
                f"{limit.told(cost(least))}; raise the limit to that or more{narrowed}."
            )
    problem.sample(generator(seed, "feasible"))


def _least(problem: Problem, metric: str) -> Architecture:
    """Return the cheapest architecture found: the best of many samples and of the smallest in MACs, descended."""
    space, cost = problem.space, problem.costs[metric]
    rows = space.sample_batch(512, generator(0, "least"))
    starts = [space.from_decisions(rows[int(cost.batch(rows).argmin())]), space.smallest("macs")]
    current = min(starts, key=cost)
    while True:
        near = min(space.neighbours(current), key=cost, default=current)
        if cost(near) >= cost(current):
            return current
        current = near


def check_counts(space: SearchSpace, settings: Settings) -> None:
    """Refuse impossible limits on params and MACs, and giants, before the device is profiled, which takes time."""
    counts = {metric: space.cost(metric) for metric in ("params", "macs")}
    constraints = tuple(limit for limit in settings.limits.constraints() if limit.metric in counts)
    problem = Problem(space, constraints=constraints, costs=counts)
    check_feasible(problem, settings.seed)
    some = generator(settings.seed, "memory")
    check_memory((f"a network of space '{space.name}'", space.params(problem.sample(some))) for _ in range(SIZED))
