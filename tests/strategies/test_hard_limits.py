"""Hard limits hold in every family: either all that comes out is within them, or nothing can be and it is said."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import InfeasibleError
from nasforge.goals import Constraint
from nasforge.registry import installed
from nasforge.run.asking import Asking
from nasforge.run.compatible import why_incompatible
from nasforge.run.options import make_strategy
from nasforge.strategy import Problem
from nasforge.testing.small_spaces import elastic_space, path_space
from nasforge.testing.strategies import run
from nasforge.testing.trial import Trial

pytestmark = [
    pytest.mark.plugins,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # strategies say what trainings as short as these leave open
]
METRICS = ("params", "macs")
PAIRS = [
    (name, space)
    for name in installed("strategies")
    for space in (path_space(3), elastic_space())
    if why_incompatible(make_strategy(name, {}), space, name) is None
]


@functools.cache
def table(space):
    """Return all architectures and their costs, (n, 2)."""
    every = list(space.enumerate())
    rows = space.integers(every)
    return every, np.stack([space.cost(metric).batch(rows) for metric in METRICS], axis=1)


@pytest.mark.parametrize(("name", "space"), PAIRS, ids=[f"{name}-{space.name}" for name, space in PAIRS])
@settings(max_examples=12, deadline=None)
@given(quantiles=st.tuples(st.floats(-0.05, 1.0), st.floats(-0.05, 1.0)), both=st.booleans(), seed=st.integers(0, 999))
def test_what_is_proposed_and_derived_is_within_random_limits_or_nothing_can_be(name, space, quantiles, both, seed):
    every, costs = table(space)
    bounds = [_bound(costs[:, place], share) for place, share in enumerate(quantiles)][: 2 if both else 1]
    inside = {a for a, cost in zip(every, costs, strict=True) if (cost[: len(bounds)] <= bounds).all()}
    constraints = tuple(Constraint(metric, bound) for metric, bound in zip(METRICS, bounds, strict=False))
    trial = Trial(name, {}, space, 10, 4)
    problem = Problem(space, constraints=constraints, costs={metric: space.cost(metric) for metric in METRICS})
    try:
        strategy = trial.ready(problem, seed)
        found = run(Asking(strategy, space, seed, 2, 10))
    except InfeasibleError:
        assert not inside
        return
    assert found
    assert {space.from_decisions(decisions) for decisions in found} <= inside
    if hasattr(strategy, "derive"):
        assert set(strategy.derive()) <= inside


def _bound(costs, share):
    """Return a quantile of the costs; for negative shares a value below all of them, for small ones the least."""
    if share < 0:
        return float(costs.min() * (1 + share))
    return float(costs.min() if share < 0.03 else np.quantile(costs, share))
