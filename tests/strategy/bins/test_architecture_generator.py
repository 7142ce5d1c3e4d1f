"""The generator: valid architectures, the gradient of their cost, the masks, hitting targets without collapsing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from nasforge.build import Supernet
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, chain, choice, when
from nasforge.strategy.bins.cost_bins import coverage, make_bins
from nasforge.strategy.bins.generator import (
    ArchitectureGenerator,
    additive_fit,
    decoded,
    prefix_masks,
    straight_through,
)
from nasforge.strategy.bins.generator_learning import MaskedTask, cost_error
from nasforge.strategy.paths.expected_cost import expected_costs
from nasforge.testing.small_spaces import elastic_space, path_space, spaces_of_one_kind

SPACE = elastic_space()


def entangled_space() -> SearchSpace:
    """Return a space with a chain, a condition and a choice that is asked only then."""
    widths = chain(3, (16, 8, 4), lambda before, after: after <= before, names=["w0", "w1", "w2"])
    big = choice(0, 1, name="big")
    kernel = choice(1, 3, 5, name="kernel", when=when(big, bool))
    x = Input(3, 8, 8)
    for number, width in enumerate(widths):
        x = Conv(width, (big.map(lambda yes: 3 if yes else 1), kernel, 1)[number])(x, name=f"c{number}")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="entangled")


def make(space=SPACE, seed=0, units=16):
    return ArchitectureGenerator(space, units, np.random.default_rng(seed))


def everything():
    restricted = SPACE.restrict({"depth": [1, 3], "b1.expansion": [2, 3], "width": [8]})
    return [SPACE, path_space(3), restricted, entangled_space(), *spaces_of_one_kind().values()]


@pytest.mark.parametrize("space", everything(), ids=lambda space: space.name)
def test_what_is_drawn_is_in_the_space_and_its_shares_are_its_decisions(space):
    net, rng = make(space), np.random.default_rng(1)
    drawn = net(torch.rand(40), rng)
    for row, architecture in enumerate(drawn.architectures):
        assert space.contains(architecture)
        for choice_, share in drawn.shares.items():
            option = max(architecture.decisions[choice_], 0)
            assert share[row].detach().tolist() == [float(o == option) for o in range(space.sizes[choice_])]
    assert len(set(drawn.architectures)) > min(space.size, 8) // 2
    assert set(drawn.shares) == {i for i, options in enumerate(space.allowed) if len(options) > 1}


def test_the_entangled_space_has_all_that_may_bind_a_choice():
    space = entangled_space()
    assert any(read.relation is not None for read in space.choices)
    assert any(a.decisions[[str(c.name) for c in space.choices].index("kernel")] < 0 for a in space.enumerate())


@pytest.mark.parametrize("space", everything(), ids=lambda space: space.name)
def test_costs_of_one_hot_shares_are_the_architectures_costs(space):
    drawn = make(space)(torch.rand(30), np.random.default_rng(2))
    cost = space.cost("macs")
    found = expected_costs(cost, drawn.shares, drawn.rest)
    assert found.detach().tolist() == pytest.approx([cost(a) for a in drawn.architectures], rel=1e-5)


def test_the_gradient_of_the_cost_is_what_another_option_would_change():
    cost = SPACE.cost("macs")
    architecture = SPACE.sample(np.random.default_rng(5))
    shares = {
        i: torch.eye(size, dtype=torch.float64)[max(option, 0)][None].clone().requires_grad_()
        for i, (size, option) in enumerate(zip(SPACE.sizes, architecture.decisions, strict=True))
    }
    expected_costs(cost, shares, [0] * len(shares)).sum().backward()
    for i, share in shares.items():
        for option in range(SPACE.sizes[i]):
            changed = list(architecture.decisions)
            changed[i] = option
            rows = np.maximum(np.asarray([architecture.decisions, changed]), 0)
            before, after = cost.batch(rows)
            own = max(architecture.decisions[i], 0)
            assert float(share.grad[0, option] - share.grad[0, own]) == pytest.approx(after - before, abs=1e-6)


def test_the_cost_loss_s_gradient_in_soft_shares_is_the_finite_difference():
    cost, bins = SPACE.cost("macs"), make_bins(SPACE, SPACE.cost("macs"), coverage(SPACE, SPACE.cost("macs"), _rng()))
    logits = [torch.randn(2, size, dtype=torch.float64) for size in SPACE.sizes]
    aims = torch.tensor([0.2, 0.7], dtype=torch.float64)

    class Soft:
        def __init__(self, rows):
            self.shares = {i: torch.softmax(row, 1) for i, row in enumerate(rows)}
            self.rest = (0,) * len(rows)

    def loss(rows):
        return cost_error(cost, bins, Soft(rows), aims)

    for place in range(len(logits)):
        logits[place].requires_grad_()
        (gradient,) = torch.autograd.grad(loss(logits), logits[place])
        logits[place] = logits[place].detach()
        moved = [row.clone() for row in logits]
        moved[place][1, 0] += 1e-5
        up = float(loss(moved))
        moved[place][1, 0] -= 2e-5
        assert float(gradient[1, 0]) == pytest.approx((up - float(loss(moved))) / 2e-5, rel=1e-4, abs=1e-9)


def _rng():
    return np.random.default_rng(0)


def test_straight_through_is_hard_forward_and_soft_backward():
    logits = torch.randn(5, 4, requires_grad=True)
    values = torch.randn(4)
    hard = straight_through(logits, 0.5)
    assert torch.equal(hard.detach().round(), torch.nn.functional.one_hot(logits.argmax(1), 4).float())
    (mine,) = torch.autograd.grad((hard @ values).sum(), logits)
    (soft,) = torch.autograd.grad((torch.softmax(logits / 0.5, 1) @ values).sum(), logits)
    assert torch.allclose(mine, soft)


def test_masks_keep_the_low_units():
    assert prefix_masks(torch.eye(4)).tolist() == [[1.0] * (j + 1) + [0.0] * (3 - j) for j in range(4)]
    share = torch.tensor([[0.0, 1.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(prefix_masks(share)[0, 2], share)
    assert gradient.tolist() == [[0.0, 0.0, 1.0]]  # more of the third option is more of the third unit


# The task's loss


def task_loss(space, net, supernet, row_seed=3):
    drawn = net(torch.tensor([0.5]), np.random.default_rng(row_seed))
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = MaskedTask(supernet)(images, drawn.architectures[0], drawn.named(space, 0))
    return torch.nn.functional.cross_entropy(outputs, torch.arange(8) % 10), drawn, images


@pytest.mark.parametrize("space", [SPACE, path_space(2), entangled_space()], ids=lambda space: space.name)
def test_the_task_s_gradient_reaches_the_generator_and_leaves_the_weights_alone(space):
    net, supernet = make(space), Supernet(space, 0).train()
    with torch.no_grad():  # where gamma is zero nothing behind it has a gradient yet
        for name, parameter in supernet.named_parameters():
            if name.endswith("bn.weight"):
                parameter.fill_(1.0)
    before = copy.deepcopy(supernet.state_dict())
    loss, _, _ = task_loss(space, net, supernet)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in (net.head, net.bias, net.cell.weight_hh))
    assert all(p.grad is None and p.requires_grad for p in supernet.parameters())
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_masked_pass_is_the_drawn_architecture_s_own():
    net, supernet = make(), Supernet(SPACE, 0).train()
    loss, drawn, images = task_loss(SPACE, net, supernet)
    alone = torch.nn.functional.cross_entropy(supernet(images, drawn.architectures[0]), torch.arange(8) % 10)
    assert float(loss.detach()) == pytest.approx(float(alone.detach()), rel=1e-5)


def test_choices_that_no_mask_expresses_get_no_gradient_and_all_others_do():
    stride = choice(1, 2, name="stride")
    x = Conv(choice(4, 8, name="width"), 3, stride)(Input(3, 8, 8), name="first")
    x = Conv(8, choice(1, 3, name="kernel"))(x, name="second")
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="strided")
    supernet = Supernet(space, 0).train()
    names = [str(read.name) for read in space.choices]
    shares = {name: torch.eye(2)[0].clone().requires_grad_() for name in names}
    architecture = space.from_decisions([0] * len(names))
    outputs = MaskedTask(supernet)(torch.randn(4, 3, 8, 8), architecture, shares)
    outputs.square().sum().backward()
    assert {name for name in names if shares[name].grad is not None} == {"width", "kernel"}


# Learning costs


def trained(space, steps=200, seed=0):
    cost = space.cost("macs")
    bins = make_bins(space, cost, coverage(space, cost, _rng()))
    net, rng = make(space, seed, units=32), np.random.default_rng(seed)
    adam = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(steps):
        aims = torch.from_numpy(rng.random(16)).float()
        adam.zero_grad()
        (10.0 * cost_error(cost, bins, net(aims, rng), aims)).backward()
        adam.step()
    return net, cost, bins


def test_it_learns_to_hit_targets_and_does_not_collapse():
    net, cost, bins = trained(SPACE)
    rng, span = np.random.default_rng(9), bins.most - bins.least
    targets = np.linspace(bins.least, bins.most, 30)
    costs = np.asarray(sorted(cost(a) for a in SPACE.enumerate()))

    def missed(net):
        found = []
        for target in targets:
            drawn = decoded(net, [(target - bins.least) / span] * 8, rng)
            nearest = min(abs(cost(a) - target) for a in drawn)
            found.append(nearest - np.abs(costs - target).min())  # beyond the nearest that there is
        return float(np.mean(found)) / span

    assert missed(net) < 0.5 * missed(make(SPACE, 0, units=32))
    assert missed(net) < 0.02
    distinct = [len(set(decoded(net, [aim] * 50, rng))) for aim in (0.25, 0.5)]
    assert min(distinct) >= 5  # of some dozens of architectures about the target
    flat = bins.unevenness([cost(a) for a in decoded(net, rng.random(500).tolist(), rng)])
    assert flat < 0.5 * bins.unevenness(cost.batch(SPACE.sample_batch(500, rng)))


def test_one_generator_and_one_seed_give_the_same_architectures():
    aims = [0.1, 0.5, 0.9]
    assert decoded(make(), aims, _rng()) == decoded(make(), aims, _rng())
    assert decoded(make(), aims, _rng(), noise=0.0) == decoded(make(), aims, np.random.default_rng(8), noise=0.0)


def test_an_additive_fit_is_exact_for_additive_costs_and_misses_products():
    paths = path_space(3)
    rows = paths.integers(list(paths.enumerate()))
    exact = additive_fit(paths, paths.cost("macs"), rows)
    assert exact.batch(rows) == pytest.approx(paths.cost("macs").batch(rows), rel=1e-3)
    assert all(len(table.axes) == 1 for table in exact.tables)
    rows = SPACE.integers(list(SPACE.enumerate()))
    fitted, true = additive_fit(SPACE, SPACE.cost("macs"), rows).batch(rows), SPACE.cost("macs").batch(rows)
    assert np.abs(fitted - true).max() > 0.05 * true.max()
    assert np.corrcoef(fitted, true)[0, 1] > 0.8
