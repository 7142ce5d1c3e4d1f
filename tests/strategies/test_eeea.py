"""EEEA: a threshold counted in the large network, policies for children, parents by fronts, nothing twice."""

import itertools
import math

import numpy as np
import pytest

from nasforge.build import Network
from nasforge.errors import InfeasibleError, UsageError
from nasforge.goals import Constraint, Objective, dominates, hypervolume
from nasforge.rng import generator
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import path_space, spaces_of_one_kind
from nasforge.testing.spaces import count

pytestmark = pytest.mark.plugins
eeea = pytest.importorskip("nasforge_strategies.eeea")
space_module = pytest.importorskip("nasforge_spaces.eeea")

SPACE = path_space(6)
SMALL = space_module.eeea((3, 8, 8), 10, blocks=3, layers=3, channels=4)
SIZE = {"blocks": 3, "layers": 8, "channels": 12}
LARGE = space_module.eeea((3, 8, 8), 10, **SIZE)
ACCURACY = (Objective("accuracy_valid"),)
PARAMS = LARGE.cost("params")


def quantile(share):
    return float(np.quantile(PARAMS.batch(LARGE.sample_batch(5000, np.random.default_rng(0))), share))


def metrics_of(space, architecture):
    """Pretend: larger networks are better, and so is one option of each choice or another."""
    decisions = architecture.decisions
    taste = sum(math.cos(7 * i + 3 * each) for i, each in enumerate(decisions)) / len(decisions)
    return {"accuracy_valid": 0.5 + 0.1 * taste + space.params(architecture) / 1e6}


def searched(strategy, rounds, space=SMALL, *, constraints=(), objectives=ACCURACY, fails=None):
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    strategy.setup(Problem(space, objectives, constraints, costs))
    told = []
    for number in range(rounds):
        proposals = strategy.ask(1, generator(0, "ask", number))
        if not proposals:
            break
        architecture = proposals[0].architecture
        error = "failed" if fails is not None and fails(number) else None
        found = {} if error else {**metrics_of(space, architecture), **{m: c(architecture) for m, c in costs.items()}}
        told.append(Evaluation(number, architecture, found, error=error))
        strategy.tell(told[-1:])
    return told


# The threshold (claim E-2)


def test_of_a_thousand_architectures_exactly_those_below_beta_are_accepted_as_the_modules_count():
    bound = quantile(0.3)
    cost = eeea.counted_in(SMALL, SIZE)
    rng = np.random.default_rng(1)
    sample = [SMALL.sample(rng) for _ in range(1000)]
    params = [cost(each) for each in sample]
    at = sorted(params)[300]
    for beta in (bound, at, at + 1):
        strategy = eeea.EEEA(beta=beta / 1e6, large=SIZE)
        strategy.setup(Problem(SMALL))
        strategy.early_exit.bound = beta
        assert [strategy.early_exit.accepts(each) for each in sample] == [own < beta for own in params]
    for architecture, own in list(zip(sample, params, strict=True))[:25]:
        assert own == count(Network(LARGE.lower(architecture))) != SMALL.params(architecture)


@pytest.mark.parametrize("given", [SIZE, LARGE])
def test_parameters_are_counted_in_the_large_network_given_as_options_or_as_a_space(given):
    bound = quantile(0.3)
    told = searched(eeea.EEEA(beta=bound / 1e6, large=given, population=12), 60)
    assert len(told) == 60
    assert all(PARAMS(each.architecture) < bound for each in told)


def test_without_large_the_searched_network_is_counted():
    strategy = eeea.EEEA(beta=0.01, population=12)
    told = searched(strategy, 40)
    assert all(SMALL.params(each.architecture) < 10_000 for each in told)
    assert 0 < strategy.early_exit.accepted < strategy.early_exit.drawn


def test_a_beta_that_nothing_is_below_ends_the_search_with_the_rate():
    with pytest.raises(InfeasibleError, match=r"0 of 20,000 .* params below 1,000: a rate of acceptance of 0 %"):
        searched(eeea.EEEA(beta=0.001), 1)


def test_a_large_space_of_other_decisions_is_refused():
    for large in ({"layers": 8}, {"layers": 8, "blocks": 4}, SPACE):
        with pytest.raises(UsageError, match="whose decisions are not those of the searched space 'eeea'"):
            searched(eeea.EEEA(beta=1, large=large), 1)
    with pytest.raises(UsageError, match="does not fit space 'eeea'"):
        searched(eeea.EEEA(beta=1, large={"layer": 8}), 1)


# Children


def above(told, bound):
    return [each for each in told if PARAMS(each.architecture) >= bound]


@pytest.mark.parametrize("policy", ["redraw", "score_zero", "allow"])
def test_children_above_beta_are_bred_again_or_not_evaluated_or_allowed(policy):
    bound = quantile(0.4)
    varied = {"population": 12, "survivors": 0.3, "mutation": 1.0, "inversion": 0.5, "generations": 8, "beside": ()}
    strategy = eeea.EEEA("paper", bound / 1e6, SIZE, policy, **varied)
    told = searched(strategy, 1000)
    born = 12 + 7 * 8
    assert not above(told[:12], bound)
    if policy == "allow":
        assert above(told, bound)
        assert len(told) == born
    elif policy == "redraw":
        assert not above(told, bound)
        assert len(told) == born
    else:
        assert not above(told, bound)
        assert 12 < len(told) < born  # the others took their places unevaluated
        assert not any(PARAMS(each.architecture) >= bound for front in strategy.fronts for each in front)


def test_children_that_are_not_evaluated_fill_the_last_generation_and_no_other():
    strategy = eeea.EEEA("paper", 1.0, SIZE, "score_zero", population=6, generations=2, beside=())
    told = searched(strategy, 6)
    strategy.early_exit.bound = 0.0  # no child is small enough
    assert len(told) == 6
    assert strategy.ask(1, generator(0, "ask", 6)) == []
    assert len(strategy.fronts) == 2


def test_nothing_is_proposed_twice():
    told = searched(eeea.EEEA(population=10, mutation=0.05), 300)
    assert len({each.architecture for each in told}) == 300


def test_a_space_that_is_known_ends_the_search():
    space = spaces_of_one_kind()["subset"]
    strategy = eeea.EEEA()
    told = searched(strategy, 50, space)
    assert len(told) == space.size
    assert strategy.ask(1, np.random.default_rng(0)) == []


# Selection


def losses(told):
    return [(-each.metrics["accuracy_valid"], each.metrics["params"]) for each in told]


def test_the_parents_are_those_of_the_first_fronts_and_no_parent_is_dominated_by_one_left_out():
    strategy = eeea.EEEA("released", children="allow")
    generations = []
    join = strategy._join

    def watched(member):
        before = [*strategy._population, member]
        join(member)
        if len(before) == 40:
            generations.append((before, list(strategy._parents)))

    strategy._join = watched
    told = searched(strategy, 400)
    assert [len(before) for before, _ in generations] == [40] * 11  # 40 and 10 generations of 36 children
    assert len(told) == 40 + 10 * 36
    for before, parents in generations:
        assert len(parents) == 4
        left = [each for each in before if each not in parents]
        assert not any(dominates(one.losses, parent.losses) for one in left for parent in parents)
    for (_, parents), (before, _) in itertools.pairwise(generations):
        assert before[:4] == parents


@pytest.mark.parametrize(
    ("preset", "objectives"),
    [
        ("quick", ["accuracy_valid"]),
        ("released", ["accuracy_valid", "params"]),
        ("paper", ["accuracy_valid", "params", "macs"]),
    ],
)
def test_a_single_objective_is_joined_by_the_costs_of_the_preset(preset, objectives):
    strategy = eeea.EEEA(preset)
    searched(strategy, 3)
    assert [each.metric for each in strategy._objectives] == objectives
    given = (Objective("accuracy_valid"), Objective("macs", "minimize"))
    searched(strategy, 3, objectives=given)
    assert strategy._objectives == given


def test_the_archive_is_the_front_of_all_and_its_hypervolume_never_falls():
    strategy = eeea.EEEA("released", population=12, survivors=0.3, generations=0)
    volumes, tell = [], strategy.tell

    def watched(results):
        tell(results)
        rows = [each.losses for each in strategy.archive()]
        volumes.append(hypervolume(rows, (0.0, 1e6)))

    strategy.tell = watched
    told = searched(strategy, 80)
    rows = losses(told)
    best = {row for row in rows if not any(dominates(other, row) for other in rows)}
    assert {each.losses for each in strategy.archive()} == best
    assert volumes == sorted(volumes)
    assert len(strategy.fronts) == 1 + (80 - 12) // 8


def test_limits_on_evaluated_metrics_come_before_objectives():
    strategy = eeea.EEEA(population=10)
    costs = {"macs": SPACE.cost("macs")}
    bound = float(np.quantile(SPACE.cost("params").batch(SPACE.sample_batch(500, np.random.default_rng(0))), 0.2))
    strategy.setup(Problem(SPACE, (Objective("macs"),), (Constraint("params", bound),), costs))
    for number in range(80):
        (proposal,) = strategy.ask(1, generator(0, "ask", number))
        found = {"params": SPACE.params(proposal.architecture), "macs": costs["macs"](proposal.architecture)}
        strategy.tell([Evaluation(number, proposal.architecture, found)])
    assert all(SPACE.params(each.architecture) <= bound for each in strategy._parents)
    assert all(SPACE.params(each.architecture) <= bound for each in strategy.archive())


def test_failures_take_places_but_are_no_parents_while_there_are_others():
    strategy = eeea.EEEA(population=8)
    searched(strategy, 60, fails=lambda number: number % 3 == 0)
    assert all(np.isfinite(each.losses).all() for each in strategy._parents)
    searched(strategy, 60, fails=lambda number: True)
    assert strategy.archive() == ()


def test_generations_end_the_search_after_as_many_as_the_article_evaluates():
    for preset in ("released", "paper"):
        assert len(searched(eeea.EEEA(preset, children="allow"), 2000)) == 40 + 29 * 36


def test_two_objectives_are_searched_better_than_by_chance():
    goals = (Objective("accuracy_valid"), Objective("params", "minimize"))
    found = losses(searched(eeea.EEEA(), 150, objectives=goals))
    rng = np.random.default_rng(3)
    drawn = [SMALL.sample(rng) for _ in range(150)]
    random = [(-metrics_of(SMALL, each)["accuracy_valid"], SMALL.params(each)) for each in drawn]
    reference = tuple(np.median(random, axis=0))
    assert hypervolume(found, reference) > 1.1 * hypervolume(random, reference)


@pytest.mark.parametrize(
    "options",
    [
        {"population": 1},
        {"survivors": 1.5},
        {"mutation": -0.1},
        {"beta": -1},
        {"beta": math.inf},
        {"beta": math.nan},
        {"redraws": 0},
        {"generations": -1},
        {"children": "redrw"},
        {"inverted": "copi"},
        {"preset": "papr"},
        {"large": 20},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        eeea.EEEA(**options)


def test_only_the_option_that_is_impossible_is_named():
    with pytest.raises(UsageError, match=r"^eeea was given mutation=1\.5 and beta=-1; expected"):
        eeea.EEEA(beta=-1, mutation=1.5)
