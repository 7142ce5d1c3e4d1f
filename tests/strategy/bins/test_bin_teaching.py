"""Which way theta is sent: to the bin that was never trained; more entropy for the generator, not less."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from nasforge.build import Supernet
from nasforge.ops import Conv, GlobalPool, Linear, MBConv
from nasforge.rng import generator
from nasforge.run.shared_training import StepContext
from nasforge.run.team import Alone
from nasforge.space import Input, SearchSpace, one_of
from nasforge.strategy import Batch, Phase, Problem
from nasforge.strategy.bins.cost_bins import coverage, make_bins
from nasforge.strategy.bins.distribution import BinDistribution
from nasforge.strategy.bins.generator import ArchitectureGenerator
from nasforge.strategy.bins.generator_learning import GeneratorTeacher
from nasforge.strategy.bins.teaching import BinTeacher
from nasforge.tasks.classification import Classification
from nasforge.testing.small_spaces import elastic_space

BINS = 3


def separate_space() -> SearchSpace:
    """Return a space of three blocks that share no weights; each is the only architecture of its bin."""
    x = Conv(8, 3)(Input(3, 8, 8), name="stem")
    x = one_of([MBConv(8, 3, wide)(x, name=f"e{wide}") for wide in (1, 2, 3)], name="block", labels=("1", "2", "3"))
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="separate")


class Same:
    """A stream of one batch, which a block learns by heart: what was trained has nothing left to learn."""

    weight = 1.0

    def take(self):
        rng = np.random.default_rng(5)
        images = torch.from_numpy(rng.normal(size=(32, 3, 8, 8)).astype(np.float32))
        return Batch(images, torch.arange(32) % 10)


def context(step=0, space=None, seed=1, team=None):
    streams = Same(), Same()
    problem = Problem(space or separate_space())
    return StepContext(
        problem, {}, {}, Classification(), *streams, Phase("shift"), step, step, 10, 0.5, generator(seed, "step", step),
        team or Alone(),
    )  # fmt: skip


@cache
def trained(starved: int) -> Supernet:
    """Return a supernet of which one block was never trained."""
    net, now, rng = Supernet(separate_space(), 0).train(), context(), np.random.default_rng(0)
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    options = [number for number in range(BINS) if number != starved]
    for _ in range(150):
        images, targets = now.train_batch()
        optimiser.zero_grad()
        now.loss(net(images, draw([int(rng.choice(options))], rng)[0]), targets).backward()
        optimiser.step()
    optimiser.zero_grad()
    return net


def draw(numbers, rng):
    return [separate_space().from_decisions([number]) for number in numbers]


@pytest.mark.parametrize("starved", range(BINS))
def test_the_reward_sends_theta_to_the_bin_that_was_never_trained(starved):
    distribution = BinDistribution(BINS, 0.2, 0.5)
    teacher, now = BinTeacher(trained(starved), distribution, draw), context(space=separate_space())
    for _ in range(3):
        assert teacher.measure(now, range(BINS)) == BINS
    step = torch.optim.SGD(distribution.parameters(), 0.5)
    step.step()
    chances = distribution().detach()
    assert int(chances.argmax()) == starved
    assert float(chances[starved]) > 1.2 / BINS


@pytest.mark.parametrize("starved", range(BINS))
def test_looking_ahead_sends_theta_to_the_bin_that_was_never_trained(starved):
    distribution = BinDistribution(BINS, 0.2, 0.5)
    teacher, now = BinTeacher(trained(starved), distribution, draw), context(space=separate_space())
    total = torch.zeros(BINS)
    for _ in range(6):
        teacher.look_ahead(now, range(BINS), 0.02)
        total -= distribution.theta.grad
    assert int(total.argmax()) == starved
    assert total[starved] > 0


class Pair(Alone):
    """Stands for two workers of which the other found a size of 3."""

    def metrics(self, metrics, count):
        return {name: (value + 3.0) / 2.0 for name, value in metrics.items()}


def test_all_workers_note_the_mean_of_their_gradient_sizes():
    sizes = []
    for team in (Alone(), Pair()):
        distribution = BinDistribution(BINS, 0.2, 0.5)
        BinTeacher(trained(0), distribution, draw).measure(context(team=team), range(BINS))
        sizes.append(distribution.sizes.clone())
    assert sizes[1].tolist() == pytest.approx(((sizes[0] + 3.0) / 2.0).tolist())


# The generator's bonus


def teach(bonus, lam=0.0):
    space = elastic_space()
    cost = space.cost("macs")
    bins = make_bins(space, cost, coverage(space, cost, np.random.default_rng(0)))
    net = ArchitectureGenerator(space, 16, np.random.default_rng(0))
    with torch.no_grad():  # decided, so that there is entropy to gain and to lose
        net.bias.copy_(torch.linspace(-20.0, 20.0, len(net.bias)))
    return net, GeneratorTeacher(net, Supernet(space, 0), cost, bins, lam, bonus, 1.0)


def test_the_bonus_lowers_the_loss_by_the_entropy():
    losses = {}
    for bonus in (0.0, 0.5):
        _, teacher = teach(bonus, lam=10.0)
        losses[bonus], figures = teacher.loss(context(space=elastic_space()), [0.2, 0.5, 0.9])
    assert figures["generator_entropy"] > 0
    assert float((losses[0.5] - losses[0.0]).detach()) == pytest.approx(-0.5 * figures["generator_entropy"], rel=1e-4)


def test_learning_by_the_bonus_alone_raises_the_entropy():
    net, teacher = teach(1.0)
    adam, now, entropies = torch.optim.Adam(net.parameters(), 1e-2), context(space=elastic_space()), []
    for _ in range(30):
        loss, figures = teacher.loss(now, [0.1, 0.5, 0.9] * 4)
        adam.zero_grad()
        loss.backward()
        adam.step()
        entropies.append(figures["generator_entropy"])
    assert entropies[-1] > entropies[0] + 0.02
