"""`spos`: one path is trained a step, what it does not use stays; the evolution keeps to limits and never repeats."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from nasforge_strategies.spos import PRESETS, SPOS

from nasforge.errors import UsageError
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.batches import BatchStream
from nasforge.run.pace import Pace
from nasforge.run.progress import Silent
from nasforge.run.shared_training import SharedTraining
from nasforge.strategy import Evaluation, Problem
from nasforge.strategy.evolution.population import Sizes
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets import digits
from nasforge.testing.small_spaces import elastic_space, path_space
from nasforge.testing.strategies import StrategySuite


def problem_of(space, *constraints):
    return Problem(space, constraints=constraints, costs={name: space.cost(name) for name in ("params", "macs")})


def training_of(strategy, problem, steps, seed=0):
    strategy.setup(problem)
    source = digits.load(limit=600, seed=0)
    streams = [BatchStream(Loader(source, split, 32, seed, shuffle=True)) for split in ("train", "valid")]
    return SharedTraining(strategy, problem, Classification(), *streams, Pace([1.0], steps, None), seed)


def test_a_step_moves_the_path_drawn_and_nothing_else():
    space = path_space()
    training = training_of(SPOS(warmup=0.0), problem_of(space), 1)
    before = {name: p.detach().clone() for name, p in training.modules["supernet"].named_parameters()}
    drawn = space.sample(generator(0, "step", 0))
    training.run(Silent(), lambda kind, state: None)
    moved = {n for n, p in training.modules["supernet"].named_parameters() if not torch.equal(p, before[n])}
    chosen = space.describe(drawn)
    for number in range(3):
        for option in ("k3", "k5", "wide"):
            touched = any(f"b{number}.{option}" in name.replace("/", ".") for name in moved)
            assert touched == (chosen[f"b{number}"] == option), (number, option, sorted(moved))


def test_sliced_weights_that_a_path_did_not_use_are_neither_decayed_nor_moved():
    space = elastic_space()
    strategy = SPOS(warmup=0.0, weight_decay=0.1)
    training = training_of(strategy, problem_of(space.restrict({"width": ["4"]})), 3)
    net = training.modules["supernet"]
    stem = next(layer for key, layer in net.layers.items() if "stem" in key and layer.__class__.__name__.endswith("2d"))
    before = stem.weight.detach().clone()
    training.run(Silent(), lambda kind, state: None)
    assert torch.equal(stem.weight[4:], before[4:])
    assert not torch.equal(stem.weight[:4], before[:4])


def test_the_evolution_has_its_size_keeps_the_limits_and_never_repeats():
    space = elastic_space()
    bound = float(sorted(space.macs(each) for each in space.enumerate())[200])
    problem = problem_of(space, Constraint("macs", bound))
    strategy = SPOS(preset="paper", population=20, generations=4, crossover=8, mutation=8)
    strategy.setup(problem)
    asked = []
    for turn in range(1000):
        proposals = strategy.ask(7, generator(0, f"ask{turn}"))
        if not proposals:
            break
        asked += [each.architecture for each in proposals]
        strategy.tell(
            [Evaluation(turn, p.architecture, {"accuracy_valid": -space.macs(p.architecture)}) for p in proposals]
        )
    assert len(asked) == len(set(asked)) == 80
    assert all(problem.feasible(each) for each in asked)
    macs = [space.macs(each) for each in strategy.derive()]
    assert macs == sorted(macs), "best first"
    assert PRESETS["paper"] == Sizes(population=50, generations=20, parents=10, crossover=25, mutation=25)
    assert SPOS().mutation_probability == 0.1
    assert SPOS.retrain


@pytest.mark.parametrize(
    "options", [{"population": 7}, {"mutation_probability": 0.0}, {"tries": 0}, {"lr": -1.0}, {"parents": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="spos was given"):
        SPOS(**options)


@pytest.mark.slow
class TestGenerations(StrategySuite):
    """The suite over an evolution that has learnt several times before the suite stops it."""

    name = "spos"
    options: ClassVar[dict[str, object]] = {
        "population": 6, "generations": 6, "parents": 2, "crossover": 2, "mutation": 2,
    }  # fmt: skip
    limits = 3
