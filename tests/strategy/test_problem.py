"""Problems: costs, limits, and drawing within them however tight they are."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge import registry
from nasforge.errors import InfeasibleError
from nasforge.goals import Constraint, Objective
from nasforge.strategy import Evaluation, Problem, ScoreFilter
from nasforge.testing.small_spaces import elastic_space, path_space

SPACES = [path_space(4), elastic_space()]


def problem_of(space, **bounds) -> Problem:
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    return Problem(space, constraints=tuple(Constraint(m, b) for m, b in bounds.items()), costs=costs)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SPACES), st.integers(0, 10_000), st.sampled_from(["macs", "params", "both"]))
def test_what_one_architecture_meets_is_met_by_what_is_drawn(space, seed, metrics):
    rng = np.random.default_rng(seed)
    witness, costs = space.sample(rng), problem_of(space).cost_metrics
    bounds = {m: value for m, value in costs(witness).items() if metrics in (m, "both")}
    problem = problem_of(space, **bounds)
    drawn = problem.sample(rng)
    assert space.contains(drawn)
    assert all(problem.cost_metrics(drawn)[metric] <= bound for metric, bound in bounds.items())


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("name", "options"),
    [("mbconv", {}), ("mbconv_elastic", {}), ("nb201", {"repeats": 1}), ("mbconv_elastic", {"preset": "full"})],
)
def test_limits_that_only_the_smallest_meets_are_met(name, options):
    shape = (3, 96, 96) if options.get("preset") == "full" else (3, 16, 16)
    space = registry.load("spaces", name)(shape, 10, **options)
    for metric in ("macs", "params"):
        bound = space.cost(metric)(space.smallest(metric))
        for share in (1.0, 1.01):
            problem = problem_of(space, **{metric: bound * share})
            assert problem.feasible(problem.sample(np.random.default_rng(1)))


def test_draws_within_loose_limits_keep_the_space_s_law():
    space = SPACES[0]
    costs = [space.macs(architecture) for architecture in space.enumerate()]
    problem = problem_of(space, macs=float(np.quantile(costs, 0.5)))
    inside = [architecture for architecture in space.enumerate() if problem.feasible(architecture)]
    rng, drawn = np.random.default_rng(0), 20 * len(inside)
    counts = dict.fromkeys(inside, 0)
    for _ in range(drawn):
        counts[problem.sample(rng)] += 1
    chi_square = sum((n - 20) ** 2 / 20 for n in counts.values())
    free = len(inside) - 1
    assert chi_square < free + 5 * np.sqrt(2 * free)


def test_draws_within_tight_limits_are_not_always_the_same():
    space = elastic_space()
    costs = sorted(space.macs(architecture) for architecture in space.enumerate())
    inside = {a for a in space.enumerate() if space.macs(a) <= costs[6]}
    problem = problem_of(space, macs=costs[6])
    rng = np.random.default_rng(0)
    assert len({problem.sample(rng) for _ in range(60)} & inside) > len(inside) / 2


def test_limits_that_nothing_meets_say_the_least_found():
    space = SPACES[1]
    least = space.macs(space.smallest())
    with pytest.raises(InfeasibleError, match=f"nearest found has {least:,.0f}"):
        problem_of(space, macs=least - 1).sample(np.random.default_rng(0))


def test_violation_is_the_summed_relative_excess():
    space = SPACES[1]
    rows = space.sample_batch(20, np.random.default_rng(0))
    problem = problem_of(space, macs=30_000.0, params=500.0)
    for row, found in zip(rows, problem.violation(rows), strict=True):
        architecture = space.from_decisions(row)
        excess = [space.macs(architecture) / 30_000 - 1, space.params(architecture) / 500 - 1]
        assert found == pytest.approx(sum(max(0.0, each) for each in excess))
        assert problem.feasible(architecture) == (found <= 0)


def test_limits_on_metrics_that_need_an_evaluation_bind_no_draw():
    space = SPACES[1]
    problem = problem_of(space, latency_ms=0.001)
    assert problem.feasible(problem.sample(np.random.default_rng(0)))


def test_a_failed_evaluation_has_an_infinite_loss():
    space = SPACES[1]
    problem = Problem(space, objectives=(Objective("accuracy_valid"),))
    architecture = space.smallest()
    assert problem.loss(Evaluation(0, architecture, {"accuracy_valid": 0.25})) == -0.25
    assert problem.loss(Evaluation(0, architecture, {}, error="it failed")) == np.inf


def filtered(share: float, **bounds) -> tuple[Problem, list]:
    """Return a problem whose filter keeps a share of all architectures, and its calls; every eighth has no score."""
    space, asked = SPACES[0], []
    values = {each: float(place) if place % 8 else np.nan for place, each in enumerate(space.enumerate())}

    def score(architectures):
        asked.extend(architectures)
        return np.asarray([values[each] for each in architectures])

    problem = problem_of(space, **bounds)
    threshold = float(np.nanquantile([*values.values()], 1 - share))
    return dataclasses.replace(problem, scores={"made": score}, filter=ScoreFilter("made", threshold)), asked


def test_what_is_drawn_passes_the_filter_by_the_space_s_law_within_the_limits():
    space = SPACES[0]
    problem, _ = filtered(0.4, macs=float(np.quantile([space.macs(each) for each in space.enumerate()], 0.6)))
    inside = [each for each in space.enumerate() if problem.feasible(each)]
    assert inside
    assert all(
        problem.passes(each) and problem.cost_metrics(each)["macs"] <= problem.constraints[0].bound for each in inside
    )
    rng = np.random.default_rng(0)
    drawn = [problem.sample(rng) for _ in range(10 * len(inside))]
    assert set(drawn) <= set(inside)
    assert len(set(drawn)) > 0.95 * len(inside)


def test_architectures_beyond_the_limits_are_not_scored_and_those_without_a_score_do_not_pass():
    problem, asked = filtered(0.99, macs=0.0)
    every = [*SPACES[0].enumerate()]
    assert not any(problem.feasible(each) for each in every)
    assert not asked
    assert not problem.passes(every[0])
    assert problem_of(SPACES[0]).passes(every[0])


def test_rows_are_feasible_where_their_architectures_are():
    space = SPACES[0]
    every = [*space.enumerate()]
    for bounds in ({}, {"macs": float(np.quantile([space.macs(each) for each in every], 0.6))}):
        problem, _ = filtered(0.4, **bounds)
        rows = space.integers(every)
        for each in (problem, problem_of(space, **bounds)):
            assert each.feasible_rows(rows).tolist() == [each.feasible(architecture) for architecture in every]
        assert problem.feasible_rows(rows[:0]).shape == (0,)


def test_a_filter_that_nothing_passes_is_named():
    problem, _ = filtered(0.5)
    problem = dataclasses.replace(problem, filter=ScoreFilter("made", 1e9))
    with pytest.raises(InfeasibleError, match=r"has made >= 1e\+09, as the filter asks"):
        problem.sample(np.random.default_rng(0))
