"""The sandwich step: the plain sum of all passes, a teacher that learns nothing from it, dropout for the biggest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasforge.build import Supernet
from nasforge.layers.linear import ElasticLinear
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Batch
from nasforge.strategy.sandwich import Sandwich, sandwich_gradients, sandwich_step
from nasforge.testing.small_spaces import elastic_space
from nasforge.training import soft_cross_entropy

IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(12) % 10


class Context:
    """One batch of 8 x 8 images, cross-entropy, and a record of the updates."""

    def __init__(self, net, scale=1.0):
        self.net, self.scale = net, scale
        self.updates = []

    def train_batch(self):
        return Batch(IMAGES, TARGETS)

    def loss(self, outputs, targets, smoothing=0.0):
        return self.scale * functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def backward(self, loss):
        loss.backward()

    def update(self, optimiser, rate=1.0):
        self.updates.append((optimiser, rate))


def made(seed=0):
    net = Supernet(elastic_space(), seed).train()
    rng = np.random.default_rng(seed)
    children = [*(net.space.sample(rng) for _ in range(3)), net.space.smallest()]
    return net, children


def gradients(net):
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("distil", [soft_cross_entropy, None])
def test_gradients_are_the_plain_sum_of_all_losses_and_none_goes_through_the_teacher(distil):
    net, children = made()
    context = Context(net)
    images, targets = context.train_batch()
    outputs = net(images, net.space.largest())
    losses = [functional.cross_entropy(outputs, targets, label_smoothing=0.2)]
    teacher = torch.softmax(outputs.detach(), 1)
    for child in children:
        logits = net(images, child)
        soft = -(teacher * torch.log_softmax(logits, 1)).sum(1).mean()
        losses.append(functional.cross_entropy(logits, targets) if distil is None else soft)
    sum(losses).backward()
    expected = gradients(net)
    net.zero_grad(set_to_none=True)
    found = sandwich_gradients(
        context, net, net.space.largest(), children, Batch(images, targets), smoothing=0.2, distil=distil
    )
    for name, gradient in gradients(net).items():
        assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-6), name
    assert context.updates == []
    assert [found.biggest, *found.children] == pytest.approx([float(loss.detach()) for loss in losses], rel=1e-5)


def test_where_labels_weigh_nothing_only_distilled_children_learn():
    for distil, learns in ((soft_cross_entropy, True), (None, False)):
        net, children = made()
        context = Context(net, scale=0.0)
        sandwich_step(context, net, net.space.largest(), children, distil=distil)
        assert any(bool(gradient.any()) for gradient in gradients(net).values()) is learns


def test_a_step_moves_the_weights_once_with_the_named_optimiser():
    net, children = made()
    context = Context(net)
    sandwich_step(context, net, net.space.largest(), children, optimiser="slow", rate=0.25)
    assert context.updates == [("slow", 0.25)]


def test_each_child_gets_its_own_inputs_and_the_teacher_is_judged_on_its_own():
    net, children = made()
    seen = []

    def inputs(images, architecture):
        seen.append(architecture)
        return images * len(seen)

    ran = []
    net.register_forward_pre_hook(lambda module, args: ran.append((args[1], float(args[0].abs().max()))))
    context = Context(net)
    peak = float(context.train_batch().images.abs().max())
    sandwich_step(context, net, net.space.largest(), children, inputs=inputs)
    assert seen == [net.space.largest(), *children] == [architecture for architecture, _ in ran]
    assert [each for _, each in ran] == pytest.approx([peak * number for number in range(1, len(children) + 2)])


def test_dropout_is_on_for_the_biggest_alone_and_back_on_after_the_step():
    x = Conv(choice(4, 8, name="width"), 3)(Input(3, 8, 8), name="conv")
    space = SearchSpace({"logits": Linear(10, dropout=0.5)(GlobalPool()(x), name="classifier")})
    net = Supernet(space).train()
    heads = [module for module in net.modules() if isinstance(module, ElasticLinear)]
    dropping = []
    net.register_forward_pre_hook(lambda *_: dropping.append([head.dropping for head in heads]))
    sandwich_step(Context(net), net, space.largest(), [space.smallest(), space.smallest()])
    assert dropping == [[True], [False], [False]]
    assert all(head.dropping for head in heads)


def test_decay_in_the_optimiser_is_that_of_the_biggest_child_s_loss_alone():
    net, children = made()
    context = Context(net)
    decay, lr = 0.01, 0.1
    optimiser = torch.optim.SGD(net.parameters(), lr, weight_decay=decay)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    sandwich_step(context, net, net.space.largest(), children)
    plain = gradients(net)
    optimiser.step()
    for name, parameter in net.named_parameters():
        # the gradient of loss(biggest) + decay/2 |w|^2 + sum of loss(child), once
        assert torch.allclose(parameter, before[name] - lr * (plain[name] + decay * before[name]), atol=1e-7), name


def test_figures_are_the_biggest_one_s_loss_and_the_mean_of_the_others():
    assert Sandwich(2.0, (1.0, 4.0)).figures() == {"loss": 2.0, "children_loss": 2.5}
    assert Sandwich(2.0, ()).figures() == {"loss": 2.0}
