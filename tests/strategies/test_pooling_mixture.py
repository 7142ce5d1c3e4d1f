"""`pooling_mixture`: the algorithm's traps, its controls, its size limits, and which weights are judged."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from nasforge_spaces.pooling import pooling
from nasforge_strategies.pooling_mixture import PoolingMixture, Scores

from nasforge.build.modes import batch_statistics
from nasforge.errors import IncompatibleError, UsageError
from nasforge.goals import Constraint
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.run.batches import BatchStream
from nasforge.run.evaluating import Inherited
from nasforge.run.local import Job
from nasforge.run.pace import Pace
from nasforge.run.progress import Silent
from nasforge.run.shared_training import SharedTraining
from nasforge.strategy import Batch, Problem
from nasforge.strategy.balance import responsibilities
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets import digits


def problem_of(*constraints, space=None):
    space = space or pooling((3, 8, 8), 10, preset="small")
    return Problem(space, constraints=constraints, costs={name: space.cost(name) for name in ("params", "macs")})


def training_of(strategy, problem, steps=20, seed=0):
    strategy.setup(problem)
    source = digits.load(limit=600, seed=0)
    streams = [BatchStream(Loader(source, split, 32, seed, shuffle=True)) for split in ("train", "valid")]
    pace = Pace([phase.share for phase in strategy.phases()], steps, None)
    return SharedTraining(strategy, problem, Classification(), *streams, pace, seed)


def run(training):
    training.run(Silent(), lambda kind, state: None)
    return training.modules["scores"]


class Chance:
    """Draws a given architecture and a given model, and notes the probabilities of the models."""

    def __init__(self, number, model):
        self.number, self.model, self.shares = number, model, None

    def integers(self, count):
        return self.number

    def choice(self, count, p):
        self.shares = p
        return self.model


class StepContext:
    """One step of given batches."""

    def __init__(self, training, rng, step=1, progress=0.5):
        self.modules, self.rng, self.progress = training.modules, rng, progress
        self.phase_step, self.steps_per_epoch = step, 10
        self.updated: list[tuple[str, float]] = []
        self.asked: list[str] = []

    def train_batch(self):
        self.asked.append("train")
        return Batch(torch.randn(16, 3, 8, 8), torch.arange(16) % 10)

    def valid_batch(self):
        self.asked.append("valid")
        return Batch(torch.randn(16, 3, 8, 8), torch.arange(16) % 10)

    def loss(self, outputs, targets, smoothing=0.0):
        return torch.nn.functional.cross_entropy(outputs, targets)

    def metrics(self, outputs: Any, targets: Any) -> dict[str, float]:
        assert self.asked[-1] == "valid", "judged on images that it learnt from"
        return {"accuracy": 0.25}

    def backward(self, loss):
        loss.backward()

    def update(self, name, rate=1.0):
        self.updated.append((name, rate))


def test_scores_start_at_one_and_move_a_tenth_of_the_way_to_the_accuracy_on_valid():
    strategy = PoolingMixture(models=3)
    training = training_of(strategy, problem_of())
    scores = training.modules["scores"].scores
    assert torch.equal(scores, torch.ones(36, 3, dtype=torch.float64))
    context = StepContext(training, Chance(7, 2))
    strategy.step(context)
    assert context.asked == ["train", "valid"]
    assert scores[7, 2] == pytest.approx(0.9 + 0.1 * 0.25)
    scores[7, 2] = 1.0
    assert torch.equal(scores, torch.ones_like(scores))


def test_only_the_drawn_model_learns():
    strategy = PoolingMixture(models=3)
    training = training_of(strategy, problem_of())
    context = StepContext(training, Chance(0, 1))
    strategy.step(context)
    assert [name for name, _ in context.updated] == ["supernet_2"]
    learnt = [name for name in ("supernet", "supernet_2", "supernet_3") if _has_gradient(training.modules[name])]
    assert learnt == ["supernet_2"]


def _has_gradient(module):
    return any(p.grad is not None for p in module.parameters())


def test_the_learning_rate_ends_at_its_floor_and_not_at_zero():
    strategy = PoolingMixture(models=1)
    training = training_of(strategy, problem_of())
    rates = []
    for progress in (0.0, 0.5, 0.9999999):
        context = StepContext(training, Chance(0, 0), progress=progress)
        strategy.step(context)
        rates.append(context.updated[0][1])
    assert rates == pytest.approx([1.0, 0.505, 0.01])


def test_the_temperature_rises_with_the_epochs_and_divisions_are_remembered_between():
    strategy = PoolingMixture(models=4)
    training = training_of(strategy, problem_of())
    state = training.modules["scores"]
    scores = 0.6 + 0.05 * np.random.default_rng(0).standard_normal((36, 4))
    scores[:, 0] += 0.3
    state.scores.copy_(torch.from_numpy(scores))
    chance = Chance(3, 1)
    strategy.step(StepContext(training, chance, step=300, progress=0.75))  # 30 of 40 epochs
    heat = 1 + 99 * 0.75 * 40 / 39
    assert float(state.temperature) == pytest.approx(heat)
    assert np.abs(strategy._responsible().mean(axis=0) - 0.25).max() < 0.02
    divisors = state.divisors.clone()
    state.scores[3] = torch.tensor([0.95, 0.99, 0.5, 0.5], dtype=torch.float64)
    strategy.step(StepContext(training, chance, step=301, progress=0.76))
    assert torch.equal(state.divisors, divisors)
    expected = responsibilities([0.95, 0.99, 0.5, 0.5], heat, divisors.numpy())
    np.testing.assert_allclose(chance.shares, expected)


@pytest.mark.parametrize(("epochs", "length"), [(1, 60), (1, 30), (3, 20), (50, 10)])
def test_the_temperature_is_1_at_first_and_at_its_end_in_the_last_epoch_however_few_there_are(epochs, length):
    strategy = PoolingMixture(models=2, temperature=50.0)
    training = training_of(strategy, problem_of())
    total, heats = epochs * length, []
    for step in range(total):
        context = StepContext(training, Chance(0, 0), step=step, progress=step / total)
        context.steps_per_epoch = length
        if strategy._is_due(context):
            strategy._begin_round(context)
        heats.append(float(training.modules["scores"].temperature))
    assert heats[0] == 1.0
    assert heats[-1] == pytest.approx(50.0, rel=1e-3)
    assert heats == sorted(heats)
    assert len(set(heats)) >= min(20, total)


def test_a_step_sets_the_temperature_within_a_long_epoch():
    strategy = PoolingMixture(models=2)
    training = training_of(strategy, problem_of())
    state = training.modules["scores"]
    for step, progress, expected in ((0, 0.0, 1.0), (2, 0.04, 1.0), (3, 0.19, 1 + 99 * 0.2), (4, 0.195, 1 + 99 * 0.2)):
        strategy.step(StepContext(training, Chance(0, 0), step=step, progress=progress))
        assert float(state.temperature) == pytest.approx(expected)


def test_only_models_that_were_trained_on_an_architecture_answer_for_it():
    strategy = PoolingMixture(models=3)
    problem = problem_of()
    state = training_of(strategy, problem).modules["scores"]
    every = list(problem.space.enumerate())
    state.scores[:, 1] = 0.3
    state.visits[:, 1] = 4  # the others still have their first score, 1
    state.scores[5], state.visits[5] = torch.tensor([0.2, 0.4, 1.0]), torch.tensor([1, 3, 0])
    state.visits[7] = 0
    assert strategy.holders(every[0]) == ("supernet_2",)
    assert strategy.holders(every[5]) == ("supernet_2",)
    derived = strategy.derive()
    assert derived[0] == every[5]
    assert derived[-1] == every[7], "an architecture that nothing was trained on"


def test_fewer_steps_than_pairs_are_said():
    strategy = PoolingMixture(models=4)
    training = training_of(strategy, problem_of(), steps=20)
    run(training)
    assert ["trained for 20 steps, fewer than its 144 pairs" in sentence for sentence in strategy.warnings()] == [True]
    training.modules["scores"].visits[0, 0] += 124
    assert strategy.warnings() == []


def test_models_of_neighbouring_seeds_begin_differently():
    def start(seed):
        nets = training_of(PoolingMixture(models=3), problem_of(), seed=seed).modules
        return [next(nets[name].parameters()).detach() for name in ("supernet", "supernet_2", "supernet_3")]

    first = [*start(0), *start(1), *start(2)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(first, 2))


def test_without_balancing_a_model_that_is_better_everywhere_takes_all():
    strategy = PoolingMixture(models=4, assignment="unbalanced")
    training = training_of(strategy, problem_of())
    state = training.modules["scores"]
    state.scores[:, 2] += 0.3
    strategy.step(StepContext(training, Chance(0, 0), step=0, progress=0.9))
    assert strategy._responsible().mean(axis=0)[2] > 0.99
    assert not state.divisors.any()


def test_a_fixed_assignment_is_balanced_and_stays():
    strategy = PoolingMixture(models=4, assignment="fixed")
    training = training_of(strategy, problem_of())
    before = strategy._responsible()
    assert before.sum(axis=0).tolist() == [9.0] * 4
    assert set(before.ravel().tolist()) == {0.0, 1.0}
    state = run(training)
    assert np.array_equal(strategy._responsible(), before)
    trained = state.scores.numpy() != 1.0
    assert trained.any()
    assert not trained[before == 0].any(), "a model was trained on what belongs to another"


def test_a_resumed_training_has_the_same_state():
    problem = problem_of()
    whole = training_of(PoolingMixture(models=3), problem, steps=30)
    run(whole)
    kept = []

    class Killed(Exception):
        pass

    def save(kind, state):
        if state["place"][2] >= 20:
            kept.append(state)
            raise Killed

    killed = training_of(PoolingMixture(models=3), problem, steps=30)
    with pytest.raises(Killed):
        killed.run(Silent(), save, save_every=-1.0)
    resumed = training_of(PoolingMixture(models=3), problem, steps=30)
    resumed.load_state(kept[0])
    run(resumed)
    for name in whole.modules:
        expected = whole.modules[name].state_dict()
        for key, value in resumed.modules[name].state_dict().items():
            assert torch.equal(value, expected[key]), f"{name} {key}"


def test_judging_uses_the_batch_and_moves_no_statistics():
    problem = problem_of()
    training = training_of(PoolingMixture(models=1), problem)
    net, x = training.modules["supernet"], torch.randn(16, 3, 8, 8)
    architecture = problem.space.smallest()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        expected = net.train()(x, architecture)
        net.load_state_dict(before)
        for layer in net.layers.values():
            if isinstance(layer, ElasticBatchNorm):
                layer.running_mean += 5.0
        moved = {key: value.clone() for key, value in net.state_dict().items()}
        with batch_statistics(net):
            found = net(x, architecture)
    assert torch.equal(found, expected)
    assert all(torch.equal(value, moved[key]) for key, value in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_shared_evaluation_takes_the_weights_of_the_model_that_answers_for_an_architecture():
    strategy = PoolingMixture(models=4, assignment="fixed")
    problem = problem_of()
    training = training_of(strategy, problem)
    owners = training.modules["scores"].owner.tolist()
    for architecture, owner in zip(problem.space.enumerate(), owners, strict=True):
        assert strategy.holders(architecture) == ("supernet" if owner == 0 else f"supernet_{owner + 1}",)


def test_the_best_of_all_models_counts_where_it_is_asked_for():
    class Told:
        def __init__(self, value):
            self.value = value

        def evaluate(self, architecture, fidelity, seed):
            return {"accuracy_valid": self.value}

    problem = problem_of()
    strategy = PoolingMixture(models=3, judged_by="best")
    training_of(strategy, problem)
    evaluators: Any = {"supernet": Told(0.3), "supernet_2": Told(0.9), "supernet_3": Told(0.5)}
    measure = Inherited(strategy, evaluators, problem.objectives[0])
    assert measure(Job(0, problem.space.smallest(), None, 0)) == {"accuracy_valid": 0.9}


def test_all_architectures_are_derived_best_first_by_the_score_of_their_model():
    strategy = PoolingMixture(models=2, assignment="unbalanced")
    problem = problem_of()
    state = training_of(strategy, problem).modules["scores"]
    state.scores.copy_(torch.from_numpy(np.random.default_rng(0).random((36, 2))))
    state.visits.fill_(2)
    everything = list(problem.space.enumerate())
    best = state.scores.max(dim=1).values.tolist()
    derived = strategy.derive()
    assert len(derived) == 36
    values = [best[everything.index(each)] for each in derived]
    assert values == sorted(values, reverse=True)


def test_limits_leave_fewer_architectures_and_where_need_be_fewer_models():
    space = pooling((3, 8, 8), 10, preset="small")
    macs = sorted(space.macs(each) for each in space.enumerate())
    strategy = PoolingMixture(models=4)
    training = training_of(strategy, problem_of(Constraint("macs", macs[2])))
    assert training.modules["scores"].scores.shape == (3, 3)
    run(training)
    assert {space.macs(each) for each in strategy.derive()} <= set(macs[:3])


def test_more_models_than_architectures_are_refused_in_a_sentence():
    with pytest.raises(IncompatibleError, match="models=37: it has 36 architectures; give at most as many models"):
        PoolingMixture(models=37).setup(problem_of())


def test_a_space_that_is_too_large_to_list_is_refused_in_a_sentence():
    with pytest.raises(
        IncompatibleError, match=r"lists all architectures, 20 at most .*the space has 36 architectures"
    ):
        PoolingMixture(largest=20).setup(problem_of())
    PoolingMixture(largest=20, models=2).setup(problem_of(space=_restricted()))


def _restricted():
    space = pooling((3, 8, 8), 10, preset="small")
    return space.restrict({"places": list(space.choices[0].labels[:12])})


@pytest.mark.parametrize(
    "options",
    [
        {"models": 0},
        {"lr": 0.0},
        {"temperature": 0.5},
        {"keep": 1.0},
        {"floor": 1.0},
        {"warmup": -0.1},
        {"rated": 0},
        {"largest": 0},
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name_alone(options):
    (name,) = options
    with pytest.raises(UsageError, match=f"'{name}' of the strategy was given .*; expected ") as refused:
        PoolingMixture(**options).setup(problem_of())
    assert not any(other in str(refused.value) for other in {"models", "lr", "temperature", "keep", "floor"} - {name})


@pytest.mark.parametrize("options", [{"assignment": "balance"}, {"judged_by": "all"}])
def test_a_name_that_is_not_known_is_refused(options):
    with pytest.raises(UsageError, match="pooling_mixture"):
        PoolingMixture(**options)


def test_the_fixed_assignment_depends_on_the_seed():
    first, second, again = (Scores(36, 4, seed).owner for seed in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_mixture_costs_what_one_supernet_costs():
    """One training pass and one held-out pass a step, whoever of the models makes them."""
    for options in ({"models": 1}, {"models": 4}, {"models": 4, "assignment": "fixed"}):
        training = training_of(PoolingMixture(**options), problem_of(), steps=6)
        run(training)
        for cost, steps in ((training.meter.training, 6), (training.meter.rating, 0)):
            assert (cost.steps, cost.batches) == (steps, 6)
            assert (cost.forward, cost.backward) == (6, steps)
            assert cost.forward_images == cost.drawn == 6 * 32
        assert sum(training.modules["scores"].steps.tolist()) == 6
