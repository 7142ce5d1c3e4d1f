"""The controller decides any space: its log-probabilities are those of what it draws, impossible options have none."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, chain, choice
from nasforge.strategy.reinforcement.controller import Controller
from nasforge.testing.enumeration import brute_force
from nasforge.testing.small_spaces import elastic_space, path_space


def linked_space():
    kernels = chain(3, (1, 3, 5), lambda before, after: after >= before, names=("a", "b", "c"))
    x = Input(3, 8, 8)
    for kernel in kernels:
        x = Conv(4, kernel)(x, name=f"conv.{kernel.name}")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="linked")


def everything(space):
    """Return all architectures, found without the moves that the controller relies on."""
    found = map(space.from_decisions, sorted(brute_force(space)))
    return [each for each in found if space.contains(each)]


SPACES = {
    "conditional": elastic_space(),
    "paths": path_space(2),
    "linked": linked_space(),
    "restricted": path_space(3).restrict({"b0": ["k3", "zero"], "b2": ["wide"]}),
}


def controller(space, *, span=0.1, units=12, heads="kind", seed=0):
    return Controller(space, units, span, heads, np.random.default_rng(seed))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("heads", ["kind", "choice"])
def test_the_probabilities_of_all_architectures_add_up_to_one(name, heads):
    space = SPACES[name]
    made = controller(space, span=1.5, heads=heads)
    every = list(everything(space))
    assert len(every) == space.size
    logs = made(made.encode(every))[0].detach()
    assert float(logs.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(logs.exp().max()) > 2 / len(every)  # far from uniform, so this says something


@pytest.mark.parametrize("name", SPACES)
def test_a_draw_has_the_log_probability_that_training_sees(name):
    space = SPACES[name]
    made = controller(space, span=1.5)
    policy = made.policy()
    rng = np.random.default_rng(1)
    drawn = [policy.draw(rng) for _ in range(30)]
    logs, _ = made(made.encode([architecture for architecture, _ in drawn]))
    assert logs.detach().numpy() == pytest.approx([log for _, log in drawn], abs=1e-4)
    assert all(policy.log_probability(architecture) == log for architecture, log in drawn)


@pytest.mark.parametrize("name", SPACES)
def test_draws_follow_the_probabilities(name):
    space = SPACES[name]
    policy = controller(space, span=1.2, units=6).policy()
    rng = np.random.default_rng(0)
    draws = [policy.draw(rng)[0] for _ in range(3000)]
    assert all(space.contains(each) for each in draws[:100])
    for architecture in sorted(set(draws), key=draws.count)[-5:]:
        p = math.exp(policy.log_probability(architecture))
        assert draws.count(architecture) / len(draws) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / len(draws)))


@pytest.mark.parametrize("heads", ["kind", "choice"])
def test_a_fresh_controller_is_nearly_uniform_at_each_step(heads):
    space = path_space(6)
    made = Controller(space, 100, 0.1, heads, np.random.default_rng(3))
    policy, rng = made.policy(), np.random.default_rng(0)
    drawn = [policy.draw(rng) for _ in range(50)]
    for _, log in drawn:
        assert log / 6 == pytest.approx(math.log(1 / 4), abs=0.1)
    _, entropies = made(made.encode([architecture for architecture, _ in drawn]))
    assert entropies.detach().numpy() == pytest.approx(math.log(4), abs=0.01)


def test_what_is_inactive_or_has_one_option_is_no_step():
    space = elastic_space()
    made = controller(space)
    for architecture in everything(space):
        active = sum(option >= 0 for option in architecture.decisions)
        assert len(made.steps(architecture)) == active
    restricted = SPACES["restricted"]
    made = controller(restricted)
    assert {len(made.steps(each)) for each in everything(restricted)} == {2}
    linked = SPACES["linked"]
    made = controller(linked)
    last = linked.architecture({"a": "5", "b": "5", "c": "5"})
    assert len(made.steps(last)) == 1
    assert made.policy().log_probability(last) == pytest.approx(math.log(1 / 3), abs=0.1)


def test_shorter_architectures_of_a_batch_are_not_changed_by_filling():
    space = elastic_space()
    made = controller(space, span=1.0)
    every = sorted(everything(space), key=lambda each: sum(option >= 0 for option in each.decisions))
    pair = [every[0], every[-1]]
    together, entropies = (each.detach() for each in made(made.encode(pair)))
    for place, architecture in enumerate(pair):
        alone, entropy = (each.detach() for each in made(made.encode([architecture])))
        assert float(together[place]) == pytest.approx(float(alone[0]), abs=1e-6)
        assert float(entropies[place]) == pytest.approx(float(entropy[0]), abs=1e-6)


def test_heads_are_shared_by_kind_and_number_of_options_or_not_at_all():
    space = elastic_space()
    kinds = {(read.kind, len(read.options)): len(read.options) for read in space.choices}
    assert len(controller(space, heads="kind").head) == sum(kinds.values())
    assert len(controller(space, heads="choice").head) == sum(space.sizes)


def test_options_that_were_never_possible_get_no_gradient():
    space = SPACES["restricted"]
    made = controller(space, heads="choice")
    logs, entropies = made(made.encode(list(everything(space))))
    (logs.sum() + entropies.sum()).backward()
    kept = {row for each in everything(space) for step in made.steps(each) for row in step.possible}
    for row, gradient in enumerate(made.head.grad):
        assert bool(gradient.abs().sum() > 0) == (row in kept)
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in made.parameters())


def test_weights_come_from_the_given_generator_alone_and_within_the_span():
    before = torch.get_rng_state()
    first, second, other = (controller(path_space(2), span=0.3, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    for (name, one), (_, two) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(one, two), name
        assert float(one.detach().abs().max()) <= 0.3
    assert not torch.equal(first.head, other.head)


@settings(deadline=None, max_examples=25)
@given(name=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 10**6))
def test_every_draw_is_an_architecture_of_the_space(name, seed):
    space = SPACES[name]
    architecture, log = controller(space, span=2.0, seed=seed).policy().draw(np.random.default_rng(seed))
    assert space.contains(architecture)
    assert log <= 1e-6


def test_steps_of_a_kind_with_more_options_are_told_apart():
    x = Conv(choice(4, 8, name="two"), choice(1, 3, 5, name="three"))(Input(3, 8, 8), name="conv")
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="two kinds")
    made = controller(space)
    rows = [
        set(itertools.chain.from_iterable(step.possible for step in made.steps(each))) for each in everything(space)
    ]
    assert {frozenset(each) for each in rows} == {frozenset(range(5))}
    assert {field.name for field in dataclasses.fields(made.steps(space.smallest())[0])} == {"taken", "possible"}
