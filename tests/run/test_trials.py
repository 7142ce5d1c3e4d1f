"""Proposals given out as trials: asked as the one loop asks, told once, and the same again from a saved state."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import DamagedError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.asking import Asking, drive
from nasforge.run.local import Job, LocalExecutor
from nasforge.run.trials import Report, Trials, check_state
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy


def make_space() -> SearchSpace:
    x = Conv(choice(4, 8, 12, 16, name="width"), choice(1, 3, 5, name="kernel"))(Input(3, 8, 8), name="stem")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name="tiny")


SPACE = make_space()
PROBLEM = Problem(SPACE, costs={"params": SPACE.cost("params")})


class Climber(Strategy):
    """Mutates the best it was told; in the beginning, and every `pause` tells, it wants to hear before it proposes."""

    def __init__(self, first: int = 3, total: int = 12) -> None:
        self.first, self.total = first, total

    def setup(self, problem: Problem) -> None:
        super().setup(problem)
        self.asked, self.calls, self.heard = 0, 0, list[Evaluation]()

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        self.calls += 1
        proposals = []
        while len(proposals) < n and self.asked < self.total:
            if self.asked < self.first:
                found = self.problem.sample(rng)
            elif len(self.heard) < self.first:
                break  # waits for the first generation
            else:
                best = min(self.heard, key=self.problem.loss).architecture
                found = self.problem.space.mutate(best, rng)
            self.asked += 1
            proposals.append(Proposal(found, fidelity=None if self.asked % 2 else 2.0))
        return proposals

    def tell(self, results: Sequence[Evaluation]) -> None:
        self.heard += results


def value(job: Job) -> dict[str, float]:
    return {"accuracy_valid": (job.seed % 1000) / 1000 + 0.01 * sum(job.architecture.decisions)}


def begun(slots: int = 2, strategy: Strategy | None = None, seed: int = 5) -> Trials:
    strategy = strategy or Climber()
    strategy.setup(PROBLEM)
    trials = Trials(Asking(strategy, SPACE, seed, slots), PROBLEM)
    trials.begin()
    return trials


def loaded(state: object, slots: int = 2, strategy: Strategy | None = None) -> Trials:
    strategy = strategy or Climber()
    strategy.setup(PROBLEM)
    trials = Trials(Asking(strategy, SPACE, 5, slots), PROBLEM)
    content = json.loads(json.dumps(state))
    check_state(content, SPACE)
    trials.load_state(content)
    return trials


def play(trials: Trials, order: Callable[[int], int], underway: dict[str, Job], steps: int | None = None) -> list[Job]:
    """Give out and complete trials as `order` says, and return what was given out."""
    given_out = []
    while steps is None or steps > 0:
        while (job := trials.suggest(f"t{trials.asking.told}-{len(underway)}")) is not None:
            underway[f"t{trials.asking.told}-{len(underway)}"] = job
            given_out.append(job)
        if trials.done:
            assert not underway
            break
        name = sorted(underway)[order(len(underway))]
        job = underway.pop(name)
        failed = job.number % 5 == 4
        trials.complete(name, None if failed else Report(value(job), 1.0), "it broke" if failed else None)
        steps = None if steps is None else steps - 1
    return given_out


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 12), st.randoms(use_true_random=False), st.integers(0, 4))
def test_a_saved_state_gives_the_same_further_suggestions(slots: int, stop: int, random: object, spare: int) -> None:
    picks = [random.randrange(1000) for _ in range(40)]  # type: ignore[attr-defined]

    def chooser(start: int) -> Callable[[int], int]:
        at = iter(picks[start:])
        return lambda n: next(at) % n

    trials, underway = begun(slots), dict[str, Job]()
    play(trials, chooser(0), underway, stop)
    for name in list(underway)[:spare]:
        trials.report(name, Report({"accuracy_valid": 0.125}, 1.0))
    again = loaded(trials.state(), slots)
    assert again.state() == trials.state()
    assert again.asking.strategy.calls == trials.asking.strategy.calls  # type: ignore[attr-defined]
    assert play(trials, chooser(20), dict(underway)) == play(again, chooser(20), dict(underway))
    assert again.told == trials.told
    assert sorted(each.number for each in trials.told) == list(range(12))


def test_trials_one_at_a_time_are_the_evaluations_of_the_loop() -> None:
    strategy, kept = Climber(first=1), list[Evaluation]()
    strategy.setup(PROBLEM)
    costs = PROBLEM.cost_metrics
    drive(
        Asking(strategy, SPACE, 5), LocalExecutor(lambda job: {**costs(job.architecture), **value(job)}), kept.append,
        lambda: True,
    )  # fmt: skip
    trials = begun(slots=1, strategy=Climber(first=1))
    while (job := trials.suggest("only")) is not None:
        trials.complete("only", Report(value(job)))
    seen = [(e.number, e.architecture, e.metrics, e.fidelity, e.ask, e.tell) for e in kept]
    assert [(e.number, e.architecture, e.metrics, e.fidelity, e.ask, e.tell) for e in trials.told] == seen
    assert len(seen) == 12


def test_a_strategy_that_waits_gives_nothing_and_is_not_done() -> None:
    trials = begun(slots=4)
    assert [trials.suggest(f"{n}") is None for n in range(4)] == [False, False, False, True]
    assert not trials.done
    for n in range(3):
        assert trials.suggest("early") is None
        trials.complete(f"{n}", Report({"accuracy_valid": 0.5}))
    assert trials.suggest("then") is not None


def test_a_strategy_with_nothing_left_is_done_when_the_last_trial_has_ended() -> None:
    trials = begun(slots=3, strategy=Climber(total=3))
    for n in range(3):
        trials.suggest(f"{n}")
    for n in range(3):
        assert not trials.done
        trials.complete(f"{n}", Report({"accuracy_valid": 0.5}))
    assert trials.done


def test_a_stopped_trial_tells_its_last_report_and_the_fidelity_reached() -> None:
    trials = begun()
    trials.suggest("a")
    trials.report("a", Report({"accuracy_valid": 0.25}, 1.0))
    trials.report("a", Report({"accuracy_valid": 0.5}, 3.0, 7.0))
    trials.complete("a")
    (told,) = trials.told
    assert (told.metrics["accuracy_valid"], told.fidelity, told.seconds, told.error) == (0.5, 3.0, 7.0, None)
    assert told.metrics["params"] == SPACE.params(told.architecture)


@pytest.mark.parametrize("metrics", [{}, {"accuracy_valid": float("nan")}, {"accuracy_valid": float("inf")}])
def test_a_trial_that_ends_without_its_metric_is_told_as_failed(metrics: dict[str, float]) -> None:
    trials = begun()
    trials.suggest("a")
    trials.complete("a", Report(metrics))
    assert "without a finite accuracy_valid" in str(trials.told[0].error)
    assert trials.told[0].metrics == {}


def test_a_failed_trial_is_told_as_failed_whatever_it_reported() -> None:
    trials = begun()
    trials.suggest("a")
    trials.report("a", Report({"accuracy_valid": 0.5}))
    trials.complete("a", error="it broke")
    assert (trials.told[0].error, dict(trials.told[0].metrics)) == ("it broke", {})


def test_a_trial_is_told_once_and_strangers_never() -> None:
    trials = begun()
    trials.suggest("a")
    trials.complete("stranger", Report({"accuracy_valid": 0.5}))
    trials.report("stranger", Report({"accuracy_valid": 0.5}))
    assert trials.told == []
    for _ in range(2):
        trials.complete("a", Report({"accuracy_valid": 0.5}))
    assert len(trials.told) == 1
    assert trials.latest == {}


def test_a_state_of_another_space_or_of_another_strategy_is_refused() -> None:
    trials = begun(slots=1)
    for n in range(4):
        trials.suggest(f"{n}")
        trials.complete(f"{n}", Report({"accuracy_valid": 0.1 * n}))
    state = trials.state()
    with pytest.raises(DamagedError, match="of another space"):
        check_state({**state, "fingerprint": "other"}, SPACE)
    for broken in ({}, [], {**state, "schema": 99}):
        with pytest.raises(DamagedError, match="not one that this version"):
            check_state(broken, SPACE)
    other = json.loads(json.dumps(state))
    other["told"][3]["architecture"] = [0, 0] if other["told"][3]["architecture"] != [0, 0] else [1, 1]
    with pytest.raises(DamagedError, match="is not what the strategy proposes"):
        loaded(other, slots=1)
