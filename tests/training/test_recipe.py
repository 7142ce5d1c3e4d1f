"""What a recipe adds to a training: dropped paths, an auxiliary head, averaged weights, dropout, steps of the rate."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from nasforge.build import AuxiliaryNetwork, build_network, recalibrate
from nasforge.build.network import Network
from nasforge.errors import IncompatibleError, UsageError
from nasforge.layers.drop_path import DropPath as Dropped
from nasforge.ops import Conv, DropPath, GlobalPool, Linear, drop_chance
from nasforge.rng import integer_seed
from nasforge.space import Input, SearchSpace, boundary
from nasforge.tasks import DataSource, Loader
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.training import RECIPES, TrainConfig, Training, evaluate, train
from nasforge.training.ema import warmed_up
from nasforge.training.learner import classifiers, dropping_features
from nasforge.training.recipe import expanded
from nasforge.training.schedule import steps_down

TASK = Classification()
CONFIG = TrainConfig(epochs=2, batch_size=32)
EVERYTHING = dataclasses.replace(
    CONFIG, cutout=3, dropout=0.3, drop_path_keep=0.5, auxiliary_weight=0.4, ema_decay=0.9, label_smoothing=0.1,
    schedule="steps", decay=0.5, decay_every=0.25,
)  # fmt: skip
PLAIN_STEP = dataclasses.replace(
    CONFIG, epochs=0.01, momentum=0.0, weight_decay=0.0, warmup=0.0, clip=0.0, auxiliary_weight=0.4
)


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load(limit=200)


def make_space(place: str = "auxiliary") -> SearchSpace:
    x = DropPath(0.5)(Conv(6)(Input(3, 8, 8)))
    x = DropPath(1.0)(Conv(6)(boundary(place, x)))
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))})


def network(seed: int = 0) -> Network:
    space = make_space()
    return build_network(space.lower(space.architecture({})), seed=seed)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


# ScheduledDropPath


@pytest.mark.parametrize("ramp", ["both", "time", "depth"])
def test_every_step_has_the_chance_of_its_place_on_the_ramp(source: DataSource, ramp) -> None:
    module, seen = network(), []
    config = dataclasses.replace(CONFIG, drop_path_keep=0.6, drop_path_ramp=ramp)
    paths = [part for part in module.modules() if isinstance(part, Dropped)]
    train(module, source, TASK, config, on_step=lambda *_: seen.append([path.chance for path in paths]))
    assert len(seen) == 10
    assert seen == [[drop_chance(depth, step / 10, 0.6, ramp) for depth in (0.5, 1.0)] for step in range(10)]


def test_a_training_without_the_option_drops_nothing_though_an_earlier_one_did(source: DataSource) -> None:
    module = network()
    train(module, source, TASK, dataclasses.replace(CONFIG, drop_path_keep=0.2))
    assert any(part.chance > 0 for part in module.modules() if isinstance(part, Dropped))
    train(module, source, TASK, CONFIG)
    assert all(part.chance == 0 for part in module.modules() if isinstance(part, Dropped))


@pytest.mark.parametrize("stops", [[1], [3, 7], [9, 10]])
def test_a_training_by_all_of_a_recipe_goes_on_in_other_objects_as_if_it_had_not_stopped(
    source: DataSource, stops: list[int]
) -> None:
    whole = network()
    train(whole, source, TASK, EVERYTHING, seed=4)
    state = None
    for seed, stop in enumerate([*stops, None]):
        training = Training(network(seed), source, TASK, EVERYTHING, seed=4)
        if state is not None:
            training.load_state(state)
        training.run(stop)
        buffer = io.BytesIO()
        torch.save(training.state(), buffer)
        state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    expected, found = whole.state_dict(), training.module.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


# The auxiliary head


def test_the_loss_adds_the_weighted_cross_entropy_of_the_head(source: DataSource) -> None:
    images, labels = Loader(source, "train", 32, 3, training=True).batch(0)
    with_head = AuxiliaryNetwork(network(), 10, integer_seed(3, "auxiliary"))
    found = with_head(images)
    expected = functional.cross_entropy(found.outputs, labels) + 0.4 * functional.cross_entropy(found.auxiliary, labels)
    report = train(network(), source, TASK, PLAIN_STEP, seed=3)
    assert report.loss == pytest.approx(float(expected.detach()), rel=1e-6)


def test_the_gradient_of_the_auxiliary_loss_reaches_the_trunk_with_its_weight(source: DataSource) -> None:
    images, labels = Loader(source, "train", 32, 3, training=True).batch(0)
    with_head = AuxiliaryNetwork(network(), 10, integer_seed(3, "auxiliary"))
    parts = with_head(images)
    trunk = with_head.network.module_of(0).weight
    own = torch.autograd.grad(functional.cross_entropy(parts.outputs, labels), trunk, retain_graph=True)[0]
    auxiliary = torch.autograd.grad(functional.cross_entropy(parts.auxiliary, labels), trunk)[0]
    assert float(auxiliary.norm()) > 0
    module = network()
    before = module.module_of(0).weight.detach().clone()
    train(module, source, TASK, PLAIN_STEP, seed=3)
    rate = PLAIN_STEP.lr * 0.5  # the cosine in the middle of the only step
    moved = module.module_of(0).weight.detach() - before
    torch.testing.assert_close(moved, -rate * (own + 0.4 * auxiliary), rtol=1e-3, atol=1e-6)


def test_the_head_is_no_part_of_what_was_trained(source: DataSource) -> None:
    space, module = make_space(), network()
    names = list(module.state_dict())
    train(module, source, TASK, EVERYTHING)
    assert list(module.state_dict()) == names
    assert sum(p.numel() for p in module.parameters()) == space.params(space.architecture({}))
    assert isinstance(module(torch.zeros(2, 3, 8, 8)), torch.Tensor)


def test_a_head_without_a_place_is_refused(source: DataSource) -> None:
    space = make_space("elsewhere")
    nameless = build_network(space.lower(space.architecture({})), seed=0)
    for module in (nameless, nn.Sequential(nn.Flatten(), nn.Linear(192, 10))):
        with pytest.raises(IncompatibleError, match="auxiliary"):
            Training(module, source, TASK, dataclasses.replace(CONFIG, auxiliary_weight=0.4))


# Averaged weights


def test_averaged_weights_are_the_recursion_by_hand(source: DataSource) -> None:
    module, seen = network(), []
    first = weights(module)
    config = dataclasses.replace(CONFIG, ema_decay=0.4)
    train(module, source, TASK, config, seed=2, on_step=lambda *_: seen.append(weights(module)))
    average = first
    for step, now in enumerate(seen):
        decay = min(0.4, (1 + step) / (10 + step))
        average = [decay * old + (1 - decay) * new for old, new in zip(average, now, strict=True)]
    for expected, found in zip(average, module.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(seen[-1][0], average[0])


def test_statistics_fit_the_averaged_weights(source: DataSource) -> None:
    config = dataclasses.replace(CONFIG, ema_decay=0.9)
    module = network()
    train(module, source, TASK, config, seed=2)
    found = module.state_dict()
    loader = Loader(source, "train", 32, 2, training=True)
    other = network()
    other.load_state_dict(found)
    recalibrate(other, [loader.batch(number)[0] for number in range(5)])
    for name, value in other.state_dict().items():
        torch.testing.assert_close(found[name], value)


def test_averaging_does_not_change_how_the_weights_are_trained(source: DataSource) -> None:
    seen: dict[float, list[torch.Tensor]] = {0.0: [], 0.9: []}
    for decay, kept in seen.items():
        module = network()
        config = dataclasses.replace(CONFIG, ema_decay=decay)
        train(module, source, TASK, config, on_step=lambda *_, m=module, k=kept: k.append(weights(m)[0]))  # type: ignore[misc]
    assert all(torch.equal(a, b) for a, b in zip(seen[0.0], seen[0.9], strict=True))


def test_what_is_judged_half_way_is_the_average_and_in_the_end_the_module_itself(source: DataSource) -> None:
    training = Training(network(), source, TASK, dataclasses.replace(CONFIG, ema_decay=0.9))
    training.run(5)
    half = training.judged()
    assert half is not training.module
    assert not torch.equal(weights(half)[0], weights(training.module)[0])
    training.run()
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(training.judged()(images), training.module.eval()(images))
    without = Training(network(), source, TASK, CONFIG)
    assert without.judged() is without.module


@given(st.floats(0.0, 0.9999), st.integers(0, 10_000))
def test_the_decay_warms_up_and_never_exceeds_what_was_asked_for(decay: float, step: int) -> None:
    assert 0 <= warmed_up(decay, step) <= decay
    assert warmed_up(decay, step) <= warmed_up(decay, step + 1)


# Dropout, steps of the rate


def test_features_are_dropped_before_the_classifier_while_it_trains_and_not_afterwards() -> None:
    module, x = network(), torch.randn(8, 3, 8, 8)
    expected = module.eval()(x)
    with dropping_features(module, 0.5):
        assert torch.equal(module(x), expected)
        classifiers(module)[0].train()
        assert not torch.equal(module(x), expected)
    assert torch.equal(module(x), expected)
    assert [tuple(part.weight.shape) for part in classifiers(module)] == [(10, 6)]
    with pytest.raises(IncompatibleError, match="classifier"), dropping_features(nn.Flatten(), 0.5):
        pass


@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_steps_go_down_by_the_factor_at_every_share_of_the_training(p: float, decay: float, every: float) -> None:
    assert steps_down(p, 0.0, decay, every) == decay ** math.floor(p / every)


def test_steps_of_the_rate_reach_the_optimiser(source: DataSource) -> None:
    config = dataclasses.replace(
        PLAIN_STEP, epochs=2, auxiliary_weight=0.0, schedule="steps", decay=1e-12, decay_every=0.5
    )
    seen: list[torch.Tensor] = []
    module = network()
    train(module, source, TASK, config, on_step=lambda *_: seen.append(weights(module)[0]))
    assert [torch.equal(a, b) for a, b in itertools.pairwise(seen)] == [False] * 4 + [True] * 5


# Recipes


def test_recipes_hold_the_published_constants() -> None:
    cifar, mobile, large = (RECIPES[f"nasnet_{name}"] for name in ("cifar", "mobile", "large"))
    shown = ("epochs", "batch_size", "lr", "weight_decay", "clip", "drop_path_keep", "label_smoothing", "dropout")
    assert [getattr(cifar, name) for name in shown] == [600, 32, 0.025, 5e-4, 5, 0.6, 0, 0]
    assert [getattr(mobile, name) for name in shown[1:]] == [1600, 2.0, 4e-5, 10, 1.0, 0.1, 0.5]
    assert [getattr(large, name) for name in shown[1:]] == [1600, 1.5, 5e-5, 10, 0.7, 0.1, 0.5]
    assert mobile.epochs * 1_281_167 / 1600 == pytest.approx(250_000)
    assert mobile.epochs * mobile.decay_every == pytest.approx(2.4)
    assert {each.auxiliary_weight for each in (cifar, mobile, large)} == {0.4}
    text = RECIPES["nasnet_cifar_paper"]
    assert (cifar.drop_path_ramp, text.drop_path_ramp) == ("both", "time")
    assert dataclasses.replace(text, drop_path_ramp="both") == cifar
    meal = RECIPES["meal_v2"]
    assert [getattr(meal, name) for name in shown] == [180, 512, 0.01, 0.0, 0.0, 1.0, 0.0, 0.0]
    rates = [0.01 * steps_down(epoch / 180, 0.0, meal.decay, meal.decay_every) for epoch in (0, 99, 101, 179)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_a_field_that_is_given_takes_the_place_of_the_recipes() -> None:
    found = expanded({"recipe": "nasnet_cifar", "epochs": 3, "shared_epochs": 2})
    assert found == {**dataclasses.asdict(RECIPES["nasnet_cifar"]), "epochs": 3, "shared_epochs": 2}
    with pytest.raises(UsageError, match="Did you mean 'nasnet_cifar'"):
        expanded({"recipe": "nasnet_cifra"})


@pytest.mark.parametrize(
    "field",
    [
        {"drop_path_keep": 0.0}, {"drop_path_keep": 1.5}, {"ema_decay": 1.0}, {"auxiliary_weight": -1.0},
        {"dropout": 1.0}, {"hard_weight": 1.5}, {"decay": 0.0}, {"decay_every": math.nan}, {"schedule": "cosin"},
        {"drop_path_ramp": "tiem"},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(field) -> None:
    with pytest.raises(UsageError, match=rf"training\.{next(iter(field))}"):
        TrainConfig(**field)


def test_a_network_trained_by_everything_is_judged_as_itself(source: DataSource) -> None:
    module = network()
    train(module, source, TASK, dataclasses.replace(EVERYTHING, epochs=3))
    first, second = (evaluate(module, source, TASK) for _ in range(2))
    assert first == second
