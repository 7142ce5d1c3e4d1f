"""Which cost of a problem is cut into bins, and the cut: the first thing that a strategy of cost bins does.

The cost that a limit is put on is the one whose range is worth covering evenly, so it is taken unless another is asked
for.
"""

from __future__ import annotations

from typing import NamedTuple, final

from nasforge.errors import IncompatibleError, UsageError, unknown_name_sentence
from nasforge.hardware.cost import Cost
from nasforge.rng import generator
from nasforge.strategy.base import Problem
from nasforge.strategy.bins.cost_bins import BinSampler, Coverage, coverage, make_bins


@final
class Cut(NamedTuple):
    """A cost, architectures from one end of it to the other, and what draws from its bins."""

    cost: Cost
    coverage: Coverage
    within: BinSampler


def cut_into_bins(
    problem: Problem, strategy: str, metric: str | None = None, number: int | None = None, width: float | None = None
) -> Cut:
    """Cut the range of one of a problem's costs into bins; always the same ones.

    Args:
        problem: its space and costs.
        strategy: its name, for messages.
        metric: of the cost; without it, of the first limit on a known cost, or the reference cost.
        number: of bins; see `make_bins`.
        width: of a bin, in the cost's unit; goes before `number`.

    Raises:
        UsageError: an unknown cost; or a number or width that makes no bins, or empty ones.
        IncompatibleError: all architectures cost the same; names the strategy and the space.
    """
    limited = [limit.metric for limit in problem.constraints if limit.metric in problem.costs]
    chosen = metric or next(iter(limited), problem.reference_cost)
    if chosen not in problem.costs:
        raise UsageError(unknown_name_sentence("cost", chosen, problem.costs))
    space, cost = problem.space, problem.costs[chosen]
    found = coverage(space, cost, generator(0, "coverage"))
    try:
        bins = make_bins(space, cost, found, number, width)
    except IncompatibleError as error:
        raise IncompatibleError(f"strategy '{strategy}' cannot search space '{space.name}': {error}") from error
    return Cut(cost, found, BinSampler(space, cost, bins, found))
