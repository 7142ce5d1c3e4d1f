"""ProxylessNAS by REINFORCE: reward, baseline, gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nasforge.errors import UsageError
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.progress import Silent
from nasforge.strategy import Problem
from nasforge.testing.shared_weights import differences
from nasforge.testing.small_spaces import path_space
from nasforge.testing.trial import Trial

pytestmark = pytest.mark.plugins
rl = pytest.importorskip("nasforge_strategies.proxyless_rl")


class Context:
    """A context that gives accuracies of its own and notes gradients."""

    def __init__(self, training, accuracy=lambda outputs: 0.5, seed=0):
        self.rng = np.random.default_rng(seed)
        self.training, self._accuracy = training, accuracy
        self.valid_taken, self.judged = 0, []
        self.gradients: list[torch.Tensor] = []

    def valid_batch(self):
        self.valid_taken += 1
        return self.training._valid.take()

    def metrics(self, outputs, targets):
        assert not outputs.requires_grad
        self.judged.append(id(targets))
        return {"accuracy": self._accuracy(outputs)}

    def backward(self, loss):
        loss.backward()

    def update(self, name, rate=1.0):
        assert name == "paths"
        self.gradients = [alpha.grad.clone() for alpha in self.training.modules["paths"].alphas]
        self.training.optimisers[name].step()
        self.training.optimisers[name].zero_grad(set_to_none=True)


def make(**options):
    strategy, training = Trial("proxyless_rl", options, path_space(2), 8, 10).training()
    for module in training.modules.values():
        module.train()
    return strategy, training


def test_the_reward_is_accuracy_times_the_cost_ratio_to_the_power_w():
    for w in (0.0, 0.1, 0.7):
        strategy, _ = make(w=w, ref=1234.0)
        architecture = strategy.problem.space.largest()
        cost = strategy.problem.space.macs(architecture)
        assert strategy.reward(0.8, architecture) == pytest.approx(0.8 * (1234.0 / cost) ** w)
    assert make(w=0.0)[0].reward(0.8, architecture) == 0.8


def test_the_reference_is_the_limit_or_the_median_of_random_architectures():
    strategy, _training = make()
    space = strategy.problem.space
    rows = space.sample_batch(100, generator(0, "reference"))
    assert strategy._reference == float(np.median(space.cost("macs").batch(rows)))
    bound = (Constraint("macs", 77_777.0),)
    limited = Problem(space, constraints=bound, costs=strategy.problem.costs)
    strategy.setup(limited)
    strategy.modules(limited, 0)
    assert strategy._reference == 77_777.0


@pytest.mark.parametrize("decay", [0.01, 0.99])
def test_the_baseline_starts_at_the_first_mean_and_then_moves_by_one_minus_decay(decay):
    baseline = rl.Baseline()
    assert baseline.update(0.5, decay) == 0.5
    assert baseline.update(0.9, decay) == pytest.approx(0.5 + (1 - decay) * 0.4)


def test_the_baseline_survives_a_checkpoint():
    _, training = make()
    training.run(Silent(), lambda kind, state: None)
    kept = float(training.modules["baseline"].value)
    assert not math.isnan(kept)
    other, again = make()
    again.load_state(training.state())
    assert float(other._baseline.value) == kept


def test_the_gradient_is_the_mean_of_advantage_times_that_of_minus_log_p():
    rewards = iter([0.1, 0.9, 0.4, 0.4, 0.6])
    strategy, training = make(networks=5, decay=0.5, w=0.0)
    strategy._baseline.update(0.3, 0.5)
    context = Context(training, lambda outputs: next(rewards))
    p = training.modules["paths"].probabilities()
    rng = np.random.default_rng(0)
    drawn = [training.modules["paths"].draw(rng).decisions for _ in range(5)]
    strategy._update(context)
    given = np.asarray([0.1, 0.9, 0.4, 0.4, 0.6])
    baseline = 0.3 + 0.5 * (given.mean() - 0.3)  # moved before the advantage is taken
    for choice, gradient in enumerate(context.gradients):
        rows = [(r - baseline) * (p[choice] - np.eye(4)[d[choice]]) for r, d in zip(given, drawn, strict=True)]
        assert gradient.numpy() == pytest.approx(np.mean(rows, axis=0), abs=1e-6)


def test_all_networks_of_an_update_are_judged_on_the_same_valid_batches():
    strategy, training = make(networks=3, batches=2)
    context = Context(training)
    strategy._update(context)
    assert context.valid_taken == 2
    assert context.judged == context.judged[:2] * 3
    assert len(set(context.judged)) == 2


def test_an_update_moves_no_weight_and_no_running_statistic():
    strategy, training = make()
    net = training.modules["supernet"]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    strategy._update(Context(training))
    assert differences(before, net.state_dict()) == []
    assert all(parameter.grad is None for parameter in net.parameters())


def test_what_is_rewarded_becomes_likely():
    strategy, training = make(networks=8, arch_lr=0.1, w=0.0)
    space = strategy.problem.space
    paths = training.modules["paths"]
    draw, drawn = paths.draw, []
    paths.draw = lambda rng: (drawn.append(draw(rng)), drawn[-1])[1]
    for seed in range(60):
        drawn.clear()
        context = Context(training, lambda outputs: 0.0, seed)
        strategy._accuracy = lambda c, architecture, batches: float(architecture.decisions[0] == 2)
        strategy._update(context)
    assert int(np.argmax(paths.probabilities()[0])) == 2
    assert paths.probabilities()[0][2] > 0.8
    assert strategy.derive()[0].decisions[0] == 2
    assert space.contains(strategy.derive()[0])


def test_presets_hold_the_constants_of_article_and_released_code():
    released = rl.PRESETS["released"]
    assert (released.networks, released.w, released.decay, released.arch_lr) == (10, 0.1, 0.01, 1e-3)
    assert rl.PRESETS["paper"].decay == 0.99
    assert rl.ProxylessRL(preset="released", networks=3)._set.networks == 3


@pytest.mark.parametrize(
    "options", [{"networks": 1}, {"batches": 0}, {"decay": 1.0}, {"warmup": 1.0}, {"finalists": 0}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        rl.ProxylessRL(**options)
