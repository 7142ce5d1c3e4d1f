"""PathSGD against SGD written out with masks: what a path did not use stays as it is, to the last bit."""

import copy

import numpy as np
import pytest
import torch

from nasforge.build import Supernet
from nasforge.ops import Concat, Conv, Conv2d, GlobalPool, Linear, MBConv, residual
from nasforge.space import Input, SearchSpace, choice, repeat
from nasforge.testing.spaces import scrambled
from nasforge.training import TrainConfig
from nasforge.training.optimiser import make_sgd
from nasforge.training.path_sgd import PathSGD, merge_views

CONFIG = TrainConfig(lr=0.05, momentum=0.9, weight_decay=1e-2)


def elastic():
    width = choice(3, 6, name="width")

    def block(x, place):
        made = MBConv(width, choice(3, 5, name=f"k{place}"), choice(1.5, 2, name=f"e{place}"))(x, name=f"b{place}")
        return made if place == 0 else residual(made, x, name=f"sum{place}")

    x = repeat(block, Conv(4, 3)(Input(3, 6, 6), name="stem"), depth=choice(1, 2, name="depth"))
    joined = Concat()(x, Conv(choice(2, 4, name="side"), 1)(x, name="side"), name="join")
    x = Conv2d(0, 3, depthwise=True, bias=True)(joined, name="dw")
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")})


def fresh():
    return scrambled(Supernet(elastic(), seed=0).double()).train()


def images(step=0):
    return torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(step))


def loss(supernet, architecture, step):
    return supernet(images(step), architecture).square().mean()


def paths(count, seed=0):
    space, rng = elastic(), np.random.default_rng(seed)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(count - 2))]


def used_masks(supernet, architectures):
    """Return by parameter name what these paths read: extraction of a supernet whose weights number their places."""
    masks = {}
    for architecture in architectures:
        probe = copy.deepcopy(supernet)
        with probe.recording() as views:
            probe(images(), architecture)
        names = {id(p): name for name, p in probe.named_parameters()}
        sliced = {id(parameter) for parameter, _, _ in views.used.values()}
        for parameter, index, _ in views.used.values():
            masks.setdefault(names[id(parameter)], torch.zeros_like(parameter, dtype=torch.bool))[index] = True
        probe2 = copy.deepcopy(supernet)
        probe2(images(), architecture).sum().backward()
        for name, parameter in probe2.named_parameters():
            twin = dict(probe.named_parameters())[name]
            if parameter.grad is not None and id(twin) not in sliced:
                masks[name] = torch.ones_like(parameter, dtype=torch.bool)
    return masks


class MaskedSGD:
    """SGD with Nesterov momentum by its formula, on masked places only."""

    def __init__(self, supernet):
        self.supernet = supernet
        self.momentum = {name: torch.zeros_like(p) for name, p in supernet.named_parameters()}

    @torch.no_grad()
    def step(self, masks):
        for name, parameter in self.supernet.named_parameters():
            if name not in masks:
                assert parameter.grad is None or not parameter.grad.any()
                continue
            mask = masks[name]
            decay = CONFIG.weight_decay if parameter.dim() > 1 else 0.0
            gradient = parameter.grad + decay * parameter
            buffer = torch.where(mask, CONFIG.momentum * self.momentum[name] + gradient, self.momentum[name])
            self.momentum[name] = buffer
            moved = parameter - CONFIG.lr * (gradient + CONFIG.momentum * buffer)
            parameter.copy_(torch.where(mask, moved, parameter))
            parameter.grad = None


def equal(one, other):
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-12), name


@pytest.mark.parametrize("group", [1, 3])
def test_the_trajectory_is_that_of_sgd_restricted_by_masks(group):
    supernet, expected = fresh(), fresh()
    optimiser, masked = PathSGD(supernet, CONFIG), MaskedSGD(expected)
    chosen = paths(18)
    for step in range(0, len(chosen), group):
        together = chosen[step : step + group]
        for architecture in together:
            with supernet.recording():
                loss(supernet, architecture, step).backward()
            loss(expected, architecture, step).backward()
        masks = used_masks(expected, together)
        optimiser.step()
        optimiser.zero_grad()
        masked.step(masks)
        equal(supernet, expected)


def test_gradients_through_leaf_views_equal_those_of_plain_slicing_to_the_last_bit():
    for architecture in paths(6):
        views_net, plain = fresh(), fresh()
        with views_net.recording() as views:
            loss(views_net, architecture, 0).backward()
        merge_views(views)
        assert not views.used
        loss(plain, architecture, 0).backward()
        for (name, a), (_, b) in zip(views_net.named_parameters(), plain.named_parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            assert a.grad is None or torch.equal(a.grad, b.grad), name


def test_merged_gradients_of_several_paths_are_their_sum():
    merged, plain = fresh(), fresh()
    with merged.recording() as views:
        for architecture in paths(4):
            loss(merged, architecture, 0).backward()
    merge_views(views)
    for architecture in paths(4):
        loss(plain, architecture, 0).backward()
    for (name, a), (_, b) in zip(merged.named_parameters(), plain.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-12, atol=1e-14), name


def test_what_a_path_does_not_use_keeps_every_bit_of_weight_and_momentum():
    supernet = fresh()
    optimiser = PathSGD(supernet, CONFIG)
    small, large = paths(2)
    for architecture in (large, large, small):  # momentum everywhere, then a small path
        before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
        momenta = {
            name: optimiser.state[p]["momentum_buffer"].clone()
            for name, p in supernet.named_parameters()
            if p in optimiser.state
        }
        with supernet.recording():
            loss(supernet, architecture, 0).backward()
        optimiser.step()
        optimiser.zero_grad()
    masks = used_masks(supernet, [small])
    untouched = 0
    for name, parameter in supernet.named_parameters():
        rest = ~masks.get(name, torch.zeros_like(parameter, dtype=torch.bool))
        untouched += int(rest.sum())
        assert torch.equal(parameter[rest], before[name][rest]), name
        assert torch.equal(optimiser.state[parameter]["momentum_buffer"][rest], momenta[name][rest]), name
        used = ~rest
        assert not used.any() or not torch.equal(parameter[used], before[name][used]), name
    assert untouched > 100


def test_a_resumed_optimiser_goes_on_as_if_never_stopped():
    def run(supernet, optimiser, chosen, start):
        for step, architecture in enumerate(chosen, start=start):
            with supernet.recording():
                loss(supernet, architecture, step).backward()
            optimiser.step()
            optimiser.zero_grad()

    chosen = paths(10)
    whole = fresh()
    run(whole, PathSGD(whole, CONFIG), chosen, 0)
    first = fresh()
    optimiser = PathSGD(first, CONFIG)
    run(first, optimiser, chosen[:5], 0)
    weights, state = copy.deepcopy(first.state_dict()), copy.deepcopy(optimiser.state_dict())
    second = Supernet(elastic(), seed=3).double().train()
    resumed = PathSGD(second, CONFIG)
    with second.recording():  # a view and its momentum are kept from before the state is loaded
        loss(second, chosen[0], 0).backward()
    resumed.step()
    resumed.zero_grad()
    second.load_state_dict(weights)
    resumed.load_state_dict(state)
    run(second, resumed, chosen[5:], 5)
    for (name, a), (_, b) in zip(whole.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_without_recording_it_is_plain_sgd():
    one, other = fresh(), fresh()
    optimisers = PathSGD(one, CONFIG), make_sgd(other, CONFIG)
    for step, architecture in enumerate(paths(5)):
        for net, optimiser in zip((one, other), optimisers, strict=True):
            loss(net, architecture, step).backward()
            optimiser.step()
            optimiser.zero_grad()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
