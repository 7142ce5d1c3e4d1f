"""The meter: counts equal hand counts, whoever asks for passes, part by part."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from nasforge.build import JointRun, Supernet, build_network, extract, recalibrate
from nasforge.build.passes import watching
from nasforge.errors import UsageError
from nasforge.evaluate import SharedEvaluator, TrainedEvaluator
from nasforge.layers import Mixture
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Architecture, Input, SearchSpace, boundary, choice
from nasforge.tasks import DataSource
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.testing.small_spaces import elastic_space, ensemble_space, path_space
from nasforge.training import Counts, Meter, Teachers, TrainConfig, check_equal_cost, evaluate, train
from nasforge.training.meter import counted_as

IMAGES = torch.randn(4, 3, 8, 8)


def sampled(space: SearchSpace, count: int = 3, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load(limit=200)


@pytest.mark.parametrize("make", [elastic_space, path_space, ensemble_space])
def test_a_pass_of_an_architecture_costs_its_macs_for_each_image(make: type[SearchSpace]) -> None:
    space = make()
    net, counts = Supernet(space), Counts()
    drawn = sampled(space)
    with watching(counts):
        for architecture in drawn:
            net(IMAGES, architecture)
    macs = 4 * sum(space.macs(each) for each in drawn)
    assert (counts.forward, counts.forward_images, counts.forward_macs) == (3, 12, macs)
    assert (counts.backward, counts.backward_macs) == (0, 0)


def test_backward_passes_count_whoever_asks_for_them_and_as_often_as_they_run() -> None:
    space = elastic_space()
    net, counts = Supernet(space), Counts()
    architecture = space.largest()
    with watching(counts):
        net(IMAGES, architecture).sum().backward()
        (torch.autograd.grad(net(IMAGES, architecture).sum(), list(net.parameters())[:1], allow_unused=True))
        loss = net(IMAGES, architecture).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        with torch.no_grad():
            net(IMAGES, architecture)
        net(IMAGES, architecture).detach()
    macs = 4 * space.macs(architecture)
    assert (counts.forward, counts.backward, counts.backward_images) == (5, 4, 16)
    assert (counts.forward_macs, counts.backward_macs) == (5 * macs, 4 * macs)
    assert counts.image_macs == 5 * macs + 2 * 4 * macs


def test_the_heads_of_an_ensemble_are_one_pass_forward_and_back() -> None:
    space = ensemble_space()
    net, counts = Supernet(space).train(), Counts()
    with watching(counts):
        sum(head.sum() for head in net(IMAGES, space.largest())).backward()
    assert (counts.forward, counts.backward) == (1, 1)
    assert counts.backward_macs == 4 * space.macs(space.largest())


def test_counting_changes_no_gradient() -> None:
    space = elastic_space()
    plain = Supernet(space)
    counted = copy.deepcopy(plain)
    for net, counts in ((plain, None), (counted, Counts())):
        with watching(counts) if counts is not None else torch.enable_grad():
            net(IMAGES, space.largest()).square().sum().backward()
    for first, second in zip(plain.parameters(), counted.parameters(), strict=True):
        assert first.grad is second.grad is None or torch.equal(first.grad, second.grad)


def blocks() -> SearchSpace:
    x = Conv(choice(4, 8, name="first"), 3)(Input(3, 8, 8), name="one")
    x = boundary("middle", x)
    x = Conv(choice(4, 8, name="second"), 3)(x, name="two")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="blocks")


def test_parts_of_a_network_cost_their_own_macs_and_add_up_to_the_whole() -> None:
    space = blocks()
    net = Supernet(space)
    for architecture in space.enumerate():
        begin, end = Counts(), Counts()
        with watching(begin):
            middle = net.run(IMAGES, architecture, stop="middle")
        with watching(end):
            net.run(middle.detach(), architecture, start="middle").sum().backward()
        assert begin.forward_macs == 4 * 64 * 9 * 3 * middle.shape[1]
        assert begin.forward_macs + end.forward_macs == 4 * space.macs(architecture)
        assert (begin.backward, end.backward_macs) == (0, end.forward_macs)


def test_masked_passes_cost_what_their_architectures_cost_alone() -> None:
    space = elastic_space()
    counts, drawn = Counts(), sampled(space, 2)
    with watching(counts):
        Supernet(space).run_masked(IMAGES, drawn).sum().backward()
    assert counts.forward_macs == counts.backward_macs == 2 * sum(space.macs(each) for each in drawn)
    assert (counts.forward, counts.forward_images) == (1, 4)


def test_a_mixture_costs_its_support_and_no_more() -> None:
    space = path_space(layers=1)
    net, counts = Supernet(space), Counts()
    architecture = space.largest()
    alone = [space.macs(space.from_decisions([option])) for option in range(4)]
    mixture = Mixture(torch.tensor([0.5, 0.5, 0.0, 0.0]), support=(0, 1))
    with watching(counts):
        net(IMAGES, architecture, {"b0": mixture})
    rest = alone[3]  # the stem, the classifier and no operator
    assert counts.forward_macs == 4 * (alone[0] + alone[1] - rest)


def test_an_evaluation_costs_its_recalibration_and_its_validation(source: DataSource) -> None:
    space = elastic_space()
    meter, architecture = Meter(), space.largest()
    evaluator = SharedEvaluator(Supernet(space), Classification(), source, images=160)
    with meter.counting("rating"):
        evaluator.evaluate(architecture)
    valid, train = len(source.split("valid")), len(source.split("train"))
    assert meter.rating.forward_images == valid + train  # one batch of recalibration, the whole split
    assert meter.rating.forward_macs == (valid + train) * space.macs(architecture)
    assert (meter.rating.backward, meter.rating.steps) == (0, 0)
    assert set(meter.to_json()) == {"rating"}


def test_many_evaluated_at_once_cost_less_than_one_by_one_and_a_lone_one_as_much(source: DataSource) -> None:
    space = elastic_space()
    net, drawn = Supernet(space), list(space.enumerate())[:20]
    joint, single = Counts(), Counts()
    images = source.split("valid").images[:8].float()
    with watching(joint):
        list(JointRun(net, drawn).outputs(images))
    with watching(single):
        list(JointRun(net, drawn[:1]).outputs(images))
    assert single.forward_macs == 8 * space.macs(drawn[0])
    assert single.forward_macs < joint.forward_macs < 8 * sum(space.macs(each) for each in drawn)
    assert joint.forward == 20


def test_an_evaluation_by_training_keeps_training_and_rating_apart(source: DataSource) -> None:
    space = elastic_space()
    config, meter = TrainConfig(epochs=1, batch_size=32), Meter()
    architecture = space.largest()
    with meter.counting("rating"):
        TrainedEvaluator(space, Classification(), source, config).evaluate(architecture)
    steps = len(source.split("train")) // 32
    training, rating = meter.training, meter.rating
    assert (training.steps, training.drawn, training.forward, training.backward) == (steps, 32 * steps, steps, steps)
    assert training.forward_macs == training.backward_macs == 32 * steps * space.macs(architecture)
    assert (rating.forward_images, rating.backward) == (len(source.split("valid")), 0)
    assert training.seconds > 0
    assert rating.seconds > 0


def test_a_part_that_is_opened_inside_another_has_its_seconds_to_itself() -> None:
    meter = Meter()
    import time

    with meter.counting("rating"), counted_as("training"):
        time.sleep(0.05)
    assert meter.training.seconds >= 0.05
    assert abs(meter.rating.seconds) < 0.02
    with counted_as("training") as nothing:
        assert nothing is None


def test_nothing_is_counted_where_nobody_watches_and_twins_tell_too(source: DataSource) -> None:
    space, meter = elastic_space(), Meter()
    net = Supernet(space)
    net(IMAGES, space.largest())
    twin = copy.deepcopy(net)
    network = extract(net, space.largest())
    plain = build_network(space.lower(space.largest()), seed=0)
    with meter.counting("rating"):
        twin(IMAGES, space.largest())
        recalibrate(network, [IMAGES])
        evaluate(plain, source, Classification(), limit=4)
    assert meter.rating.forward_macs == 3 * 4 * space.macs(space.largest())
    net(IMAGES, space.largest())
    assert meter.rating.forward == 3


def test_plain_data_give_the_meter_back_and_meters_add_up() -> None:
    meter = Meter()
    meter.training.ran_forward(4, 100)
    meter.training.ran_backward(4, 100)
    meter.training.stepped(4)
    again = Meter.read(meter.to_json())
    assert again.to_json() == meter.to_json()
    again.add(meter)
    assert again.training.image_macs == 2 * 300
    assert Meter.read({}).to_json() == {}


def test_equal_cost_is_checked_and_not_claimed() -> None:
    costs = {}
    for name, passes in (("bignas", 100), ("uniform", 104)):
        costs[name] = Meter()
        for _ in range(passes):
            costs[name].training.ran_forward(64, 1000)
    rows = check_equal_cost(costs)
    assert [row[0] for row in rows] == ["bignas", "uniform"]
    assert rows[1][-1] == "1.040"
    with pytest.raises(UsageError, match=r"'uniform' took 104000 and 'bignas' 100000, 4.0% more"):
        check_equal_cost(costs, tolerance=0.03)
    costs["bignas"].training.steps = 10
    with pytest.raises(UsageError, match="equal steps was claimed: 'bignas' took 10 and 'uniform' 0"):
        check_equal_cost(costs, of=("image_macs", "steps"))


def test_the_passes_of_teachers_are_of_the_training_and_go_forward_alone(source: DataSource) -> None:
    space, meter = elastic_space(), Meter()
    student, *teachers = (space.smallest(), space.largest(), space.smallest())
    networks = [build_network(space.lower(each), seed=0) for each in (student, *teachers)]
    config = TrainConfig(epochs=1, batch_size=32, label_smoothing=0.0)
    with meter.counting("rating"):
        report = train(networks[0], source, Classification(), config, teacher=Teachers(networks[1:]))
    macs = [report.images * space.macs(each) for each in (student, *teachers)]
    training = meter.training
    assert (training.forward, training.backward) == (3 * report.steps, report.steps)
    assert (training.forward_macs, training.backward_macs) == (sum(macs), macs[0])
    assert meter.rating.forward == 0


def test_views_are_counted_beside_the_images_that_they_are_of() -> None:
    counts = Counts()
    counts.drew(16, views=4)
    counts.drew(16)
    assert (counts.batches, counts.drawn, counts.views) == (2, 32, 64)
    assert Counts.of(counts.to_json()) == counts
