"""Evaluators that run networks: from scratch with epochs as fidelity, and with shared weights after recalibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from nasforge.build import Supernet, build_network, extract, recalibrate
from nasforge.errors import DivergedError, SplitError, UsageError
from nasforge.evaluate import SharedEvaluator, TrainedEvaluator
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.rng import integer_seed
from nasforge.space import Input, SearchSpace, choice
from nasforge.tasks import DataSource, Loader
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.training import TrainConfig, evaluate, train

TASK = Classification()
CONFIG = TrainConfig(epochs=3, batch_size=32)


def space(name: str = "toy") -> SearchSpace:
    x = Conv(choice(4, 8, name="width"), 3)(Input(3, 8, 8), name="stem")
    x = Conv(12, choice(1, 3, name="kernel"), 2)(x, name="body")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x), name="head")}, name=name)


TOY = space()
EVERY = list(TOY.enumerate())


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load(limit=300).sealed()


@pytest.fixture(scope="module")
def supernet(source: DataSource) -> Supernet:
    """Return a supernet whose weights are those of its largest network, trained a little."""
    made = Supernet(TOY, seed=0)
    largest = TOY.largest()
    optimiser = torch.optim.SGD(made.parameters(), 0.1, 0.9)
    loader = Loader(source, "train", 32, training=True)
    for step in range(40):
        images, targets = loader.batch(step)
        loss = TASK.loss(made(images, largest), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made


# From scratch


def test_a_trained_evaluation_is_a_training_from_scratch_judged_on_valid(source: DataSource) -> None:
    found = TrainedEvaluator(TOY, TASK, source, CONFIG).evaluate(EVERY[1], seed=5)
    module = build_network(TOY.lower(EVERY[1]), seed=integer_seed(5, "weights"))
    train(module, source, TASK, CONFIG, 5)
    expected = evaluate(module, source, TASK, "valid")
    assert found["accuracy_valid"] == expected["accuracy"]
    assert found["nll_valid"] == expected["nll"]
    assert (found["params"], found["macs"]) == (TOY.params(EVERY[1]), TOY.macs(EVERY[1]))
    assert found["train_seconds"] > 0
    assert not [name for name in found if name in ("accuracy", "nll")]


def test_fidelity_is_the_number_of_epochs(source: DataSource, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def counted(module, data, task, config, seed):
        asked.append(config.epochs)
        return train(module, data, task, config, seed)

    monkeypatch.setattr("nasforge.evaluate.trained.train", counted)
    evaluator = TrainedEvaluator(TOY, TASK, source, CONFIG)
    short, long = (evaluator.evaluate(EVERY[3], fidelity) for fidelity in (0.5, 8))
    evaluator.evaluate(EVERY[3])
    assert asked == [0.5, 8, 3]
    assert long["nll_valid"] < short["nll_valid"]
    with pytest.raises(UsageError, match="epochs"):
        evaluator.evaluate(EVERY[3], 0)


def test_an_evaluation_depends_on_its_arguments_alone(source: DataSource) -> None:
    def measured(evaluator: TrainedEvaluator, seed: int) -> dict[str, float]:
        found = evaluator.evaluate(EVERY[0], 1, seed)
        found.pop("train_seconds")
        return found

    evaluator = TrainedEvaluator(TOY, TASK, source, CONFIG)
    first = measured(evaluator, 1)
    other = measured(evaluator, 2)
    torch.manual_seed(123)
    assert measured(evaluator, 1) == first != other
    assert measured(TrainedEvaluator(TOY, TASK, source, CONFIG), 1) == first


# With shared weights


def test_a_shared_evaluation_extracts_recalibrates_and_judges_on_valid(source: DataSource, supernet: Supernet) -> None:
    for architecture in EVERY:
        network = extract(supernet, architecture)
        recalibrate(network, (images for images, _ in Loader(source, "train", 240, training=True)))
        expected = evaluate(network, source, TASK, "valid")
        found = SharedEvaluator(supernet, TASK, source).evaluate(architecture)
        assert found["accuracy_valid"] == pytest.approx(expected["accuracy"], abs=1e-6)
        assert found["nll_valid"] == pytest.approx(expected["nll"], rel=1e-3)
        assert (found["params"], found["macs"]) == (TOY.params(architecture), TOY.macs(architecture))


def test_a_shared_evaluation_leaves_the_supernet_as_it_was(source: DataSource, supernet: Supernet) -> None:
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    modes = [module.training for module in supernet.modules()]
    SharedEvaluator(supernet, TASK, source).evaluate(EVERY[0])
    after = supernet.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [module.training for module in supernet.modules()] == modes


def test_the_same_shared_evaluation_gives_the_same_metrics(source: DataSource, supernet: Supernet) -> None:
    torch.manual_seed(1)
    first = SharedEvaluator(supernet, TASK, source).evaluate(EVERY[0], seed=1)
    torch.manual_seed(2)
    assert SharedEvaluator(supernet, TASK, source).evaluate(EVERY[0], 7.0, seed=2) == first


def test_recalibration_helps_a_child_whose_statistics_are_another_networks(
    source: DataSource, supernet: Supernet
) -> None:
    smallest = TOY.smallest()
    with_it = SharedEvaluator(supernet, TASK, source).evaluate(smallest)
    without = SharedEvaluator(supernet, TASK, source, images=0).evaluate(smallest)
    assert with_it["nll_valid"] < without["nll_valid"]


@pytest.mark.parametrize("augment", [True, False])
def test_recalibrated_statistics_are_those_of_the_images_trained_on(
    source: DataSource, supernet: Supernet, augment: bool
) -> None:
    network = SharedEvaluator(supernet, TASK, source, images=10_000, augment=augment).network(EVERY[0])
    assert not network.training
    (stem, norm) = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)][:2]
    assert isinstance(stem, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    images, _ = Loader(source, "train", 10_000, training=augment, shuffle=True).batch(0)
    with torch.no_grad():
        seen = stem(images)
    assert torch.allclose(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-4)
    assert torch.allclose(norm.running_var, seen.var(dim=(0, 2, 3)), rtol=1e-3)


def test_a_limit_judges_on_so_many_validation_images(source: DataSource, supernet: Supernet) -> None:
    evaluator = SharedEvaluator(supernet, TASK, source, limit=7)
    accuracy = evaluator.evaluate(EVERY[0])["accuracy_valid"]
    assert (accuracy * 7) == pytest.approx(round(accuracy * 7), abs=1e-5)
    expected = evaluate(evaluator.network(EVERY[0]), source, TASK, "valid", limit=7)
    assert accuracy == expected["accuracy"]


# Several with shared weights


@pytest.mark.parametrize("options", [{}, {"images": 0}, {"images": 500}, {"limit": 7}, {"augment": False}])
def test_several_evaluated_together_get_what_each_gets_alone(
    source: DataSource, supernet: Supernet, options: dict[str, int]
) -> None:
    evaluator = SharedEvaluator(supernet, TASK, source, **options)
    asked = [*EVERY, EVERY[1]]
    for architecture, found in zip(asked, evaluator.evaluate_many(asked), strict=True):
        expected = evaluator.evaluate(architecture)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert all(type(value) is float for value in found.values())


def test_several_evaluated_together_are_judged_one_by_one(source: DataSource, supernet: Supernet) -> None:
    evaluator = SharedEvaluator(
        supernet, TASK, source, judge=lambda network: {"size": float(len([*network.modules()]))}
    )
    assert evaluator.evaluate_many(EVERY[:2]) == [evaluator.evaluate(architecture) for architecture in EVERY[:2]]


def test_who_is_evaluated_besides_changes_nothing(source: DataSource, supernet: Supernet) -> None:
    evaluator = SharedEvaluator(supernet, TASK, source)
    tight = SharedEvaluator(supernet, TASK, source, memory=0)
    found = evaluator.evaluate_many(EVERY)
    assert [evaluator.evaluate_many([architecture])[0] for architecture in EVERY] == found
    assert tight.evaluate_many(EVERY[::-1]) == found[::-1]


# Both


class Broken:
    """A task whose judgement is no number."""

    name = "broken"

    def loss(self, outputs, targets, smoothing=0.0):
        return TASK.loss(outputs, targets, smoothing)

    def metrics(self, outputs, targets):
        return {"accuracy": 0.5, "nll": math.nan}


def test_outputs_that_are_no_numbers_are_an_error_and_not_a_result(source: DataSource, supernet: Supernet) -> None:
    for evaluator in (SharedEvaluator(supernet, Broken(), source), TrainedEvaluator(TOY, Broken(), source, CONFIG)):
        with pytest.raises(DivergedError, match="nll of the trained network is nan"):
            evaluator.evaluate(EVERY[0])


def test_no_evaluator_opens_the_test_split(supernet: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = load(limit=120)
    asked: list[str] = []
    genuine = DataSource.split

    def noted(self: DataSource, name: str):
        asked.append(name)
        return genuine(self, name)

    monkeypatch.setattr(DataSource, "split", noted)
    SharedEvaluator(supernet, TASK, opened).evaluate(EVERY[0])
    TrainedEvaluator(TOY, TASK, opened, CONFIG).evaluate(EVERY[0], 0.2)
    assert set(asked) == {"train", "valid"}
    with pytest.raises(SplitError):
        opened.sealed().split("test")


def test_metrics_are_plain_numbers(source: DataSource, supernet: Supernet) -> None:
    for found in (
        SharedEvaluator(supernet, TASK, source).evaluate(EVERY[2]),
        TrainedEvaluator(TOY, TASK, source, CONFIG).evaluate(EVERY[2], 0.2),
    ):
        assert all(type(value) is float and np.isfinite(value) for value in found.values())
