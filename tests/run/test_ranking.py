"""Who becomes a finalist: the best of the highest fidelity, however much shorter trainings promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nasforge import SearchResult, Strategy
from nasforge.run.ranking import Best, highest_fidelity, ranked
from nasforge.strategy import Evaluation, Problem, Proposal
from nasforge.testing.small_spaces import path_space

SPACE = path_space(3)
PROBLEM = Problem(SPACE, full_fidelity=9.0)
ALL = tuple(SPACE.enumerate())

told = st.lists(
    st.tuples(
        st.integers(0, 7), st.sampled_from([None, 1.0, 3.0, 9.0]), st.integers(0, 8).map(lambda n: n / 8), st.booleans()
    ),
    max_size=30,
).map(
    lambda rows: [
        Evaluation(n, ALL[a], {} if bad else {"accuracy_valid": v}, f, "it failed" if bad else None)
        for n, (a, f, v, bad) in enumerate(rows)
    ]
)


@given(told)
def test_all_of_a_fidelity_come_before_any_of_a_lower_one_each_architecture_once(evaluations: list[Evaluation]) -> None:
    ranking = ranked(evaluations, PROBLEM)
    places = [(-PROBLEM.spent(each), -each.metrics["accuracy_valid"]) for each in ranking]
    assert places == sorted(places)
    usable = [each for each in evaluations if each.error is None]
    assert {each.architecture for each in ranking} == {each.architecture for each in usable}
    assert len({each.architecture for each in ranking}) == len(ranking)
    for each in ranking:
        assert PROBLEM.spent(each) == max(PROBLEM.spent(o) for o in usable if o.architecture == each.architecture)


@given(told)
def test_the_best_so_far_is_the_first_of_the_ranking(evaluations: list[Evaluation]) -> None:
    best = Best(PROBLEM, evaluations[:-1])
    shown = best.hear(evaluations[-1]) if evaluations else {}
    usable = [each for each in evaluations if each.error is None]
    expected = [each.metrics["accuracy_valid"] for each in highest_fidelity(usable, PROBLEM)]
    assert shown == ({"best accuracy_valid": max(expected)} if expected else {})


class Listed(Strategy):
    """Proposes architectures with fidelities from a list."""

    def __init__(self, listed: list[tuple[int, float]]) -> None:
        self.listed = listed

    def setup(self, problem: Problem) -> None:
        super().setup(problem)
        self.left = list(self.listed)

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        taken, self.left = self.left[:n], self.left[n:]
        architectures = list(self.problem.space.enumerate())
        return [Proposal(architectures[place], fidelity) for place, fidelity in taken]

    def tell(self, results: Any) -> None:
        return


def test_a_shorter_training_is_a_finalist_only_where_no_longer_one_meets_the_limit(
    search_small: Callable[..., SearchResult], small_space: Any, tmp_path: Path
) -> None:
    """Files are larger than predicted by about 3 kB, so the larger network misses a limit that it should meet."""
    places = sorted(range(small_space.size), key=lambda place: small_space.params(list(small_space.enumerate())[place]))
    given: dict[str, Any] = {"strategy": Listed([(places[0], 1.0), (places[-1], 2.0)]), "retrain": False}
    free = search_small(**given)
    assert [each["provenance"]["evaluation"] for each in free.finalists] == [1]
    limit = free.metrics["latency_ms"] - 0.01
    limited = search_small(**given, max_latency=limit, out=tmp_path / "limited")
    assert [each["provenance"]["evaluation"] for each in limited.finalists] == [1, 0]
    assert limited.status == "finished"
    assert limited.metrics["latency_ms"] <= limit < limited.finalists[0]["metrics"]["latency_ms"]
