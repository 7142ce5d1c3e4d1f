"""The likeliest architectures of independent distributions over choices that meet all cost limits."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nasforge.space import Architecture, SearchSpace
from nasforge.strategy.base import Problem

Lost = Callable[[npt.NDArray[np.int16]], npt.NDArray[np.float64]]


def most_probable(
    problem: Problem, log_probabilities: Sequence[npt.NDArray[np.float64]], count: int, visited: int = 4000
) -> list[Architecture]:
    """Return up to `count` feasible architectures, likeliest first.

    Exact as long as enough are among the `visited` likeliest; where the limits are so tight that none is, a price on
    the violation is raised until feasible ones appear, and the best is then improved option by option.

    Args:
        problem: space and limits; choices that are not always active have one option left.
        log_probabilities: for each choice, (options,).
        count: how many.
        visited: how many of the likeliest are looked at.

    Raises:
        InfeasibleError: nothing within the limits was found.
    """
    found: list[Architecture] = []
    for seen, decisions in enumerate(_by_probability(log_probabilities)):
        architecture = _settled(problem.space, decisions)
        if problem.feasible(architecture):
            found.append(architecture)
        if len(found) >= count or seen >= visited:
            break
    return found or _priced(problem, log_probabilities, count)


def _by_probability(logs: Sequence[npt.NDArray[np.float64]]) -> Iterator[list[int]]:
    """Yield decisions in order of falling joint probability (best-first over ranks)."""
    orders = [np.argsort(-row, kind="stable") for row in logs]
    losses = [(row[order[0]] - row[order]).tolist() for row, order in zip(logs, orders, strict=True)]
    heap: list[tuple[float, tuple[int, ...], int]] = [(0.0, tuple(0 for _ in logs), 0)]
    while heap:
        lost, ranks, first = heapq.heappop(heap)
        yield [int(order[rank]) for order, rank in zip(orders, ranks, strict=True)]
        for place in range(first, len(ranks)):
            rank = ranks[place] + 1
            if rank < len(losses[place]) and losses[place][rank] < np.inf:  # infinite: taken away by restriction
                step = losses[place][rank] - losses[place][rank - 1]
                heapq.heappush(heap, (lost + step, (*ranks[:place], rank, *ranks[place + 1 :]), place))


def _priced(problem: Problem, logs: Sequence[npt.NDArray[np.float64]], count: int) -> list[Architecture]:
    """Descend on (lost log-probability + price x violation), the price rising until the limits are met."""
    space = problem.space
    best = _settled(space, [int(row.argmax()) for row in logs]).decisions
    found: dict[Architecture, float] = {}

    def lost(rows: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
        terms = (np.where(rows[:, place] >= 0, logs[place][rows[:, place]], 0.0) for place in range(len(logs)))
        return -sum(terms)  # type: ignore[return-value]  # arrays

    for price in np.geomspace(1.0, 1e5, 11):
        current = np.asarray(best, dtype=np.int16)
        value = np.inf
        while True:
            rows = np.concatenate([current[None], _near(problem, space.from_decisions(current))])
            scores = lost(rows) + price * problem.violation(rows)
            place = int(scores.argmin())
            inside = np.flatnonzero(problem.violation(rows) <= 0)
            for row in inside[np.argsort(lost(rows)[inside], kind="stable")[:count]]:
                found[space.from_decisions(rows[row])] = float(lost(rows[row : row + 1])[0])
            if scores[place] >= value - 1e-12:
                break
            current, value = rows[place], float(scores[place])
    if not found:
        drawn = problem.sample(np.random.default_rng(0))
        found = {drawn: float(lost(np.asarray([drawn.decisions], dtype=np.int16))[0])}
    _improve(problem, lost, found)
    return sorted(found, key=lambda a: (found[a], a.decisions))[:count]


def _settled(space: SearchSpace, decisions: Sequence[int]) -> Architecture:
    """Return the architecture without the options of inactive choices; nothing is drawn."""
    return space.repair(decisions, np.random.default_rng(0))


def _improve(problem: Problem, lost: Lost, found: dict[Architecture, float]) -> None:
    """Add to `found` what changing one option of the best gains, as long as it stays within the limits."""
    best = min(found, key=lambda a: (found[a], a.decisions))
    while True:
        near = _near(problem, best)
        if not len(near):
            return
        scores = np.where(problem.violation(near) <= 0, lost(near), np.inf)
        place = int(scores.argmin())
        if not scores[place] < found[best] - 1e-12:
            return
        best = problem.space.from_decisions(near[place])
        found[best] = float(scores[place])


def _near(problem: Problem, architecture: Architecture) -> npt.NDArray[np.int16]:
    """Return the decisions of all neighbours, (n, choices)."""
    rows = [each.decisions for each in problem.space.neighbours(architecture)]
    return np.asarray(rows, dtype=np.int16).reshape(-1, len(architecture.decisions))
