"""Asking, evaluating and telling: replay from any point gives the state of an undisturbed run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest

from nasforge.errors import DamagedError, EvaluationError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.asking import Asking, drive
from nasforge.run.local import Job, LocalExecutor, TogetherExecutor
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy


def tiny_space() -> SearchSpace:
    x = Conv(choice(4, 8, 12, 16, name="width"), choice(1, 3, 5, name="kernel"))(Input(3, 8, 8), name="stem")
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, name="tiny")


@final
@dataclass
class Climber(Strategy):
    """Mutates the best known; keeps its state so that it can be compared."""

    snapshots: bool = False

    def setup(self, problem: Problem) -> None:
        self.problem = problem
        self.best: tuple[float, tuple[int, ...]] | None = None
        self.history: list[tuple[int, ...]] = []

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        space = self.problem.space
        if self.best is None:
            return [Proposal(space.sample(rng)) for _ in range(n)]
        return [Proposal(space.mutate(space.from_decisions(self.best[1]), rng)) for _ in range(n)]

    def tell(self, results: Sequence[Evaluation]) -> None:
        for result in results:
            self.history.append(result.architecture.decisions)
            found = (self.problem.loss(result), result.architecture.decisions)
            self.best = found if self.best is None else min(self.best, found)

    def snapshot(self) -> dict[str, Any]:
        if not self.snapshots:
            return {}
        return {"best": self.best, "history": list(self.history)}

    def restore(self, state: Mapping[str, Any]) -> None:
        best = state["best"]
        self.best = None if best is None else (best[0], tuple(best[1]))
        self.history = [tuple(row) for row in state["history"]]


def evaluate(job: Job) -> dict[str, float]:
    if job.architecture.decisions[0] == 3:
        raise EvaluationError("width 16 always fails")
    return {"accuracy_valid": 0.1 * job.architecture.decisions[0] + 1e-9 * (job.seed % 1000)}


def asking(limit: int, slots: int = 1, snapshots: bool = False) -> Asking:
    strategy = Climber(snapshots)
    strategy.setup(Problem(tiny_space()))
    return Asking(strategy, strategy.problem.space, seed=5, slots=slots, limit=limit)


def run(state: Asking, stored: list[Evaluation], stop_after: int | None = None) -> None:
    end = len(stored) + stop_after if stop_after is not None else None
    drive(state, LocalExecutor(evaluate), stored.append, lambda: end is None or len(stored) < end)


def untimed(evaluations: Sequence[Evaluation]) -> list[tuple[Any, ...]]:
    return [(e.number, e.architecture, dict(e.metrics), e.error, e.ask, e.tell) for e in evaluations]


@pytest.mark.parametrize("cut", range(12))
def test_replay_after_any_number_of_evaluations_ends_in_the_same_state(cut: int) -> None:
    whole, stored = asking(12), []
    run(whole, stored)
    first, kept = asking(12), []
    run(first, kept, stop_after=cut)
    again = asking(12)
    again.replay(kept)
    run(again, kept)
    assert untimed(kept) == untimed(stored)
    assert again.strategy.history == whole.strategy.history  # type: ignore[attr-defined]  # a Climber


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_snapshot_and_replay_of_the_rest_equal_full_replay(cut: int) -> None:
    whole, stored = asking(12, snapshots=True), []
    run(whole, stored)
    first, kept = asking(12, snapshots=True), []
    run(first, kept, stop_after=cut)
    state = first.snapshot()
    assert state is not None
    run(first, kept, stop_after=2)
    again = asking(12, snapshots=True)
    again.restore(state)
    again.replay(kept)
    run(again, kept)
    assert untimed(kept) == untimed(stored)


def test_failed_evaluations_are_told_with_their_error() -> None:
    state, stored = asking(30), []
    run(state, stored)
    failed = [each for each in stored if each.error]
    assert failed
    assert all(each.error == "width 16 always fails" and not each.metrics for each in failed)


def test_a_store_of_another_seed_is_refused() -> None:
    state, stored = asking(8), []
    run(state, stored)
    other = asking(8)
    other.seed = 6
    with pytest.raises(DamagedError, match="seed 6"):
        other.replay(stored)


def test_metrics_that_are_not_finite_are_errors() -> None:
    executor = LocalExecutor(lambda job: {"accuracy_valid": float("nan")})
    executor.submit(Job(0, tiny_space().sample(np.random.default_rng(0)), None, 0))
    outcome = executor.wait()
    assert outcome.error is not None
    assert "accuracy_valid" in outcome.error


def test_limit_counts_proposals_exactly() -> None:
    state, stored = asking(7, slots=3), []
    run(state, stored)
    assert sorted(each.number for each in stored) == list(range(7))


@final
class Group:
    """Measures several at once, and notes how many."""

    def __init__(self, broken: int | None = None) -> None:
        self.sizes: list[int] = []
        self.broken = broken

    def __call__(self, job: Job) -> dict[str, float]:
        if job.number == self.broken:
            raise EvaluationError(f"job {job.number} is broken")
        return {"accuracy_valid": 0.1 * job.architecture.decisions[0]}

    def many(self, jobs: Sequence[Job]) -> list[dict[str, float]]:
        self.sizes.append(len(jobs))
        return [self(job) for job in jobs]


def together(limit: int, group: Group, stored: list[Evaluation], count: int = 4) -> Asking:
    state = asking(limit, slots=count)
    state.least = count
    state.replay(stored)
    drive(state, TogetherExecutor(group, count), stored.append, lambda: True)
    return state


def test_what_is_asked_for_together_is_measured_together_and_told_before_the_next() -> None:
    group, seen = Group(), []
    together(10, group, seen)
    assert group.sizes == [4, 4, 2]
    assert [(each.number, each.ask, each.tell) for each in seen] == [(n, n // 4 * 4, n) for n in range(10)]


def test_an_error_of_one_that_is_measured_with_others_is_told_of_that_one() -> None:
    seen: list[Evaluation] = []
    together(6, Group(broken=4), seen, 3)
    assert [each.error for each in seen] == [None] * 4 + ["job 4 is broken"] + [None]


@pytest.mark.parametrize("killed", [0, 1, 3, 4, 6])
def test_a_run_that_asks_for_several_together_replays_from_the_middle_of_them(killed: int) -> None:
    whole: list[Evaluation] = []
    first = together(9, Group(), whole)
    stored = whole[:killed]
    again = together(9, Group(), stored)
    assert untimed(stored) == untimed(whole)
    assert again.strategy.history == first.strategy.history  # type: ignore[attr-defined]  # a Climber
