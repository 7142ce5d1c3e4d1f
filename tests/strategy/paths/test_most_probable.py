"""The likeliest architectures within limits, against looking at all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import InfeasibleError
from nasforge.goals import Constraint
from nasforge.strategy import Problem
from nasforge.strategy.paths.most_probable import most_probable
from nasforge.testing.small_spaces import path_space

SPACE = path_space(4)
COSTS = {metric: SPACE.cost(metric) for metric in ("params", "macs")}
EVERY = list(SPACE.enumerate())
ROWS = SPACE.integers(EVERY)


def logits(seed: int, scale: float) -> list[np.ndarray]:
    rows = np.random.default_rng(seed).normal(0.0, scale, (len(SPACE.choices), 4))
    return [row - np.log(np.exp(row).sum()) for row in rows]


def log_probability(logs, architecture):
    return sum(float(logs[place][option]) for place, option in enumerate(architecture.decisions))


def limited(share: float, metrics=("macs",)) -> Problem:
    """Return a problem whose limit on each cost is the given quantile over all architectures."""
    bounds = {metric: float(np.quantile(COSTS[metric].batch(ROWS), share)) for metric in metrics}
    return Problem(SPACE, constraints=tuple(Constraint(m, b) for m, b in bounds.items()), costs=COSTS)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 5.0), st.floats(0.0, 1.0), st.integers(1, 6))
def test_they_are_the_likeliest_of_all_feasible_ones_in_order(seed, scale, share, count):
    logs, problem = logits(seed, scale), limited(share, ("macs", "params"))
    feasible = [a for a in EVERY if problem.feasible(a)]
    if not feasible:
        return
    found = most_probable(problem, logs, count)
    best = sorted((log_probability(logs, a) for a in feasible), reverse=True)[:count]
    assert len(set(found)) == len(found) == min(count, len(feasible))
    assert all(problem.feasible(a) for a in found)
    assert [log_probability(logs, a) for a in found] == pytest.approx(best, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 5.0), st.floats(0.0, 0.2))
def test_beyond_what_is_looked_at_one_by_one_no_change_of_one_option_is_better(seed, scale, share):
    logs, problem = logits(seed, scale), limited(share)
    (found,) = most_probable(problem, logs, 1, visited=0)
    assert problem.feasible(found)
    for neighbour in SPACE.neighbours(found):
        if problem.feasible(neighbour):
            assert log_probability(logs, neighbour) <= log_probability(logs, found) + 1e-9


def test_without_limits_the_first_is_the_likeliest_option_of_every_choice():
    logs = logits(3, 1.0)
    found = most_probable(Problem(SPACE, costs=COSTS), logs, 3)
    assert found[0].decisions == tuple(int(row.argmax()) for row in logs)


def test_options_that_restriction_has_taken_away_never_come():
    small = SPACE.restrict({"b0": ["k3"], "b1": ["k3", "k5"], "b2": ["wide"], "b3": ["zero"]})
    logs = [np.full(4, -np.inf) for _ in SPACE.choices]
    for place, allowed in enumerate(small.allowed):
        logs[place][list(allowed)] = -np.log(len(allowed))
    found = most_probable(Problem(small, costs=COSTS), logs, 10)
    assert len(found) == small.size == 2
    assert all(small.contains(architecture) for architecture in found)


def test_limits_below_everything_are_an_error():
    problem = Problem(SPACE, constraints=(Constraint("macs", 1.0),), costs=COSTS)
    with pytest.raises(InfeasibleError, match="max-macs 1 "):
        most_probable(problem, logits(0, 1.0), 2)
