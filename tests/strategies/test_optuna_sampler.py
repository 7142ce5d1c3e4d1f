"""The Optuna adapter: conditional choices, limits, several objectives, failures, every sampler by name."""

import subprocess
import sys

import numpy as np
import pytest

from nasforge.errors import UsageError
from nasforge.goals import Constraint, Objective
from nasforge.rng import generator
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import elastic_space, path_space

pytestmark = pytest.mark.plugins
adapter = pytest.importorskip("nasforge_strategies.optuna_sampler")

SPACE = elastic_space()
COSTS = {metric: SPACE.cost(metric) for metric in ("params", "macs")}
ONE = (Objective("params"),)
BOTH = (Objective("params"), Objective("macs", "minimize"))


def searched(strategy, rounds, objectives=ONE, constraints=(), costs=COSTS, space=SPACE):
    strategy.setup(Problem(space, objectives, constraints, costs))
    told = []
    for number in range(rounds):
        (proposal,) = strategy.ask(1, generator(0, "ask", number))
        found = {metric: float(space.cost(metric)(proposal.architecture)) for metric in COSTS}
        told.append(Evaluation(number, proposal.architecture, found))
        strategy.tell(told[-1:])
    return told


@pytest.mark.parametrize("name", ["tpe", "random", "nsgaii", "NSGAIIISampler", "nsga-iii", "qmc", "bruteforce"])
def test_samplers_go_by_name_and_only_active_choices_are_parameters(name):
    strategy = adapter.OptunaSampler(sampler=name)
    told = searched(strategy, 15)
    for each, trial in zip(told, strategy._study.trials, strict=True):
        assert {key.split("[")[0] for key in trial.params} == set(SPACE.describe(each.architecture))
        assert trial.values == [-each.metrics["params"]]


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "nsgaiii"])
def test_limits_hold_with_several_objectives_and_the_sampler_hears_of_violations(name):
    bound = float(np.quantile(COSTS["macs"].batch(SPACE.sample_batch(500, np.random.default_rng(0))), 0.1))
    strategy = adapter.OptunaSampler(sampler=name)
    told = searched(strategy, 30, BOTH, (Constraint("macs", bound),))
    assert all(SPACE.macs(each.architecture) <= bound for each in told)
    beyond = [t for t in strategy._study.trials if t.user_attrs["violations"][0] > 0]
    assert beyond
    assert not any(trial.state.name == "COMPLETE" for trial in beyond)


def test_limits_on_evaluated_metrics_reach_the_sampler():
    bound = float(np.median(COSTS["params"].batch(SPACE.sample_batch(500, np.random.default_rng(0)))))
    strategy = adapter.OptunaSampler(sampler="tpe")
    told = searched(strategy, 30, constraints=(Constraint("params", bound),), costs={})
    for each, trial in zip(told, strategy._study.trials, strict=True):
        assert (trial.user_attrs["violations"][0] > 0) == (each.metrics["params"] > bound)
        heard = [value for key, value in trial.system_attrs.items() if key.startswith("constraints")]
        assert heard in ([trial.user_attrs["violations"]], trial.user_attrs["violations"])


def test_tpe_gets_better_than_chance():
    space = path_space(6)
    told = searched(adapter.OptunaSampler(arguments={"n_startup_trials": 10}), 80, space=space, costs={})
    early, late = ([each.metrics["params"] for each in part] for part in (told[:10], told[-20:]))
    assert np.mean(late) > np.max(early)


@pytest.mark.parametrize(("options", "message"), [({"sampler": "tpee"}, "tpe"), ({"sampler": "grid"}, "available")])
def test_unknown_samplers_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        adapter.OptunaSampler(**options).setup(Problem(SPACE))


def test_unknown_arguments_are_refused():
    strategy = adapter.OptunaSampler(arguments={"n_startup": 3})
    strategy.setup(Problem(SPACE))
    with pytest.raises(UsageError, match="n_startup_trials"):
        strategy.ask(1, np.random.default_rng(0))


def test_naming_the_strategy_does_not_import_optuna():
    code = "import sys, nasforge_strategies.optuna_sampler; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
