"""Successive halving: rungs are fidelities that there are; the best share of each is promoted, and nobody else."""

import math
import zlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import EvaluationError, IncompatibleError, UsageError
from nasforge.run.asking import Asking, drive
from nasforge.run.local import Job, Outcome, run_job
from nasforge.strategy import Problem
from nasforge.testing.small_spaces import path_space

pytestmark = pytest.mark.plugins
successive_halving = pytest.importorskip("nasforge_strategies.successive_halving")

SPACE = path_space(4)
SPACE_OF_FOUR = path_space(1)
RULES = ("asynchronous", "synchronous")


class Shuffled:
    """Evaluates jobs some at a time; they end in another order than they began, which follows from their numbers."""

    def __init__(self, slots, seed, evaluate):
        self.slots, self.jobs, self.evaluate, self.seed = slots, [], evaluate, seed

    def submit(self, job: Job) -> None:
        assert len(self.jobs) < self.slots
        self.jobs.append(job)

    def wait(self) -> Outcome:
        first = min(self.jobs, key=lambda job: zlib.crc32(f"{self.seed}, {job.number}".encode()))
        self.jobs.remove(first)
        return run_job(self.evaluate, first)

    def close(self) -> None:
        pass


def accuracy(job):
    """Give an accuracy that depends on architecture and fidelity, and fail for every eighth architecture."""
    code = zlib.crc32(repr((job.architecture.decisions, job.fidelity)).encode())
    if zlib.crc32(repr(job.architecture.decisions).encode()) % 8 == 0:
        raise EvaluationError("this one fails")
    return {"accuracy_valid": code % 64 / 64}


def asking_of(options, limit, slots=1, seed=0, space=SPACE, **problem):
    strategy = successive_halving.SuccessiveHalving(**options)
    strategy.setup(Problem(space, **problem))
    return Asking(strategy, space, seed, slots, limit)


def searched(options, limit=150, slots=1, seed=0, stored=None, evaluate=accuracy, keep=math.inf, **given):
    told = [] if stored is None else stored
    asking = asking_of(options, limit, slots, seed, **given)
    asking.replay(told)
    drive(asking, Shuffled(slots, seed, evaluate), told.append, lambda: len(told) < keep)
    return told


def losses_before(told, tell, fidelity):
    """Return loss, place and architecture of what was told at a fidelity before a tell, best first."""
    at = [each for each in told if each.fidelity == fidelity and each.tell < tell]
    rows = [
        (math.inf if each.error else -each.metrics["accuracy_valid"], place, each.architecture)
        for place, each in enumerate(at)
    ]
    return sorted(rows, key=lambda row: row[:2])


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(2, 4), st.sampled_from([1, 2, 5]), st.integers(0, 5))
def test_whoever_is_promoted_was_in_the_best_share_of_its_rung(eta, rungs, slots, seed):
    told = searched({"eta": eta, "rungs": rungs}, slots=slots, seed=seed)
    fidelities = sorted({each.fidelity for each in told})
    for each in told:
        below = fidelities.index(each.fidelity) - 1
        if below >= 0:
            rung = losses_before(told, each.ask, fidelities[below])
            best = [architecture for _, _, architecture in rung[: len(rung) // eta]]
            assert each.architecture in best


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(RULES), st.integers(2, 4), st.sampled_from([1, 3]), st.integers(0, 5))
def test_fidelities_of_an_architecture_ascend_and_failures_are_never_promoted(rule, eta, slots, seed):
    told = searched({"eta": eta, "rule": rule}, slots=slots, seed=seed)
    assert any(each.error for each in told)
    rungs = [1.0 / eta**2, 1.0 / eta, 1.0]
    for architecture in {each.architecture for each in told}:
        own = [each for each in told if each.architecture == architecture]
        assert [each.fidelity for each in own] == pytest.approx(rungs[: len(own)])
        assert not any(each.error for each in own[:-1])


@pytest.mark.parametrize("eta", [2, 3])
def test_a_promotion_is_never_put_off_for_a_new_architecture(eta):
    told = searched({"eta": eta})
    for each in told:
        if each.fidelity == min(other.fidelity for other in told):
            for fidelity in (1.0 / eta, 1.0 / eta**2):
                rung = losses_before(told, each.ask, fidelity)
                best = [row for row in rung[: len(rung) // eta] if math.isfinite(row[0])]
                above = {other.architecture for other in told if other.fidelity > fidelity and other.ask < each.ask}
                assert all(architecture in above for _, _, architecture in best)


@pytest.mark.parametrize("slots", [1, 4])
def test_synchronous_rungs_hold_exactly_one_eta_th_of_the_rung_below(slots):
    def sure(job):
        return {"accuracy_valid": zlib.crc32(repr(job.architecture.decisions).encode()) / 2**32}

    told = searched({"rule": "synchronous", "eta": 3}, limit=2 * 13, slots=slots, evaluate=sure)
    for bracket in (told[:13], told[13:]):
        assert [each.fidelity for each in bracket] == pytest.approx([1 / 9] * 9 + [1 / 3] * 3 + [1.0])
        ranking = sorted(bracket[:9], key=lambda each: -each.metrics["accuracy_valid"])
        assert {each.architecture for each in bracket[9:12]} == {each.architecture for each in ranking[:3]}
        assert bracket[12].architecture == ranking[0].architecture


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("slots", [1, 4])
def test_a_resumed_search_equals_one_that_was_not_interrupted(rule, slots):
    def bare(told):
        return [(e.number, e.architecture, e.fidelity, dict(e.metrics), e.ask, e.tell) for e in told]

    whole = searched({"rule": rule}, 60, slots)
    for cut in (1, 20, 43):
        assert bare(searched({"rule": rule}, 60, slots, stored=whole[:cut])) == bare(whole)


@pytest.mark.parametrize("rule", RULES)
def test_an_exhausted_space_ends_the_search_after_the_last_promotion(rule):
    told = searched(
        {"eta": 2, "rungs": 2, "rule": rule}, space=SPACE_OF_FOUR, evaluate=lambda job: {"accuracy_valid": 1.0}
    )
    assert len(told) == 4 + 2
    assert Counter(each.fidelity for each in told) == {0.5: 4, 1.0: 2}


def test_rungs_are_the_fidelities_that_the_evaluator_knows():
    known = {"fidelities": (12.0, 50.0, 200.0), "full_fidelity": 200.0}
    for options, expected in (
        ({"eta": 4}, {12.0, 50.0, 200.0}),
        ({"eta": 5}, {12.0, 200.0}),
        ({"eta": 4, "rungs": 2}, {50.0, 200.0}),
        ({"eta": 4, "minimum": 20.0}, {50.0, 200.0}),
    ):
        assert {each.fidelity for each in searched(options, **known)} == expected


def test_a_small_budget_leaves_out_the_lowest_rungs_so_that_the_top_is_reached():
    for budget in (1, 4, 13, 40):
        told = searched({"rungs": 9}, budget, budget=budget, evaluate=lambda job: {"accuracy_valid": 0.5})
        assert max(each.fidelity for each in told) == 1.0
        assert min(each.fidelity for each in told) == pytest.approx(3.0 ** -math.floor(math.log(2 * budget + 1, 3) - 1))


@pytest.mark.parametrize("known", [(), (1.0,), (0.5, 1.0)])
def test_evaluations_of_one_fidelity_are_refused_and_all_are_named(known):
    strategy = successive_halving.SuccessiveHalving()
    problem = Problem(SPACE, fidelities=known, evaluated_by="table:mine.csv")
    with pytest.raises(IncompatibleError, match=r"'successive_halving'.*table:mine\.csv in space 'paths' has"):
        strategy.setup(problem)


@pytest.mark.parametrize(
    "options", [{"eta": 1}, {"rungs": 1}, {"minimum": -1.0}, {"minimum": math.nan}, {"rule": "slow"}, {"tries": 0}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="successive_halving"):
        successive_halving.SuccessiveHalving(**options)
