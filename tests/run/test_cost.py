"""What a search costs is counted by the loop: hand counts of strategies, resumed, over processes, in `result.json`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import nasforge
from nasforge.run.batches import BatchStream
from nasforge.run.options import make_strategy
from nasforge.run.pace import Pace
from nasforge.run.progress import Listener, Silent
from nasforge.run.shared_training import SharedTraining
from nasforge.strategy import Problem, WeightSharing
from nasforge.tasks import DataSource, Loader
from nasforge.tasks.classification import Classification
from nasforge.testing.small_spaces import elastic_space, path_space

pytestmark = pytest.mark.plugins
BATCH, STEPS = 16, 6
Search = Callable[..., nasforge.SearchResult]


class Stopped(Listener):
    """Stops a training with Ctrl-C after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def progress(self, done: float, figures: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def training_of(name: str, source: DataSource, **options: Any) -> SharedTraining:
    strategy = make_strategy(name, options)
    assert isinstance(strategy, WeightSharing)
    space = elastic_space() if name == "bignas" else path_space()
    problem = Problem(space, costs={"macs": space.cost("macs")}, reference_cost="macs")
    strategy.setup(problem)
    sealed = source.sealed()
    train = BatchStream(Loader(sealed, "train", BATCH, 0, training=True))
    valid = BatchStream(Loader(sealed, "valid", BATCH, 0, shuffle=True))
    pace = Pace([phase.share for phase in strategy.phases()], STEPS, None)
    return SharedTraining(strategy, problem, Classification(), train, valid, pace, 0)


def keep(kind: str, state: Any) -> None:
    """Keep nothing."""


def test_a_step_of_bignas_is_one_batch_and_four_passes_there_and_back(small_source: DataSource) -> None:
    training = training_of("bignas", small_source, children=2)
    training.run(Silent(), keep)
    counts = training.meter.training
    assert (counts.steps, counts.batches, counts.drawn) == (STEPS, STEPS, STEPS * BATCH)
    assert (counts.forward, counts.backward) == (4 * STEPS, 4 * STEPS)
    assert counts.forward_images == 4 * STEPS * BATCH
    space = elastic_space()
    fixed = space.macs(space.largest()) + space.macs(space.smallest())
    assert counts.forward_macs == counts.backward_macs > STEPS * BATCH * fixed
    assert counts.forward_macs < STEPS * BATCH * (fixed + 2 * space.macs(space.largest()))
    assert 0 < counts.seconds <= training.elapsed + 0.05


def test_proxyless_warms_up_by_one_pass_and_takes_valid_batches_for_its_architecture(
    small_source: DataSource,
) -> None:
    training = training_of("proxyless", small_source, warmup=0.5, arch_every=1, arch_after=0.0)
    training.run(Silent(), keep)
    counts = training.meter.training
    arch = training._valid.taken
    assert arch > 0
    assert counts.steps == STEPS
    assert counts.batches == STEPS + arch
    assert (counts.forward, counts.backward) == (STEPS + arch, STEPS + arch)


@pytest.mark.parametrize("name", ["bignas", "proxyless", "pooling_mixture"])
def test_a_resumed_training_has_cost_what_an_undisturbed_one_has(name: str, small_source: DataSource) -> None:
    whole = training_of(name, small_source)
    whole.run(Silent(), keep)
    kept: list[Any] = []
    first = training_of(name, small_source)
    with pytest.raises(KeyboardInterrupt):
        first.run(Stopped(3), lambda kind, state: kept.append(copy.deepcopy(state)), save_every=0.0)
    second = training_of(name, small_source)
    second.load_state(kept[-1])
    assert 0 < second.step < STEPS
    second.run(Silent(), keep)
    for part in ("training", "rating"):
        counts, expected = second.meter.of(part).to_json(), whole.meter.of(part).to_json()
        assert {**counts, "seconds": 0} == {**expected, "seconds": 0}
    assert bool(whole.meter.rating.forward) == (name == "pooling_mixture")


def test_a_checkpoint_from_before_costs_were_counted_goes_on(small_source: DataSource) -> None:
    training = training_of("bignas", small_source)
    state = training.state()
    del state["cost"]
    training.load_state(state)
    training.run(Silent(), keep)
    assert training.meter.training.steps == STEPS


def test_result_has_the_cost_of_training_and_of_rating(search_small: Search, small_source: DataSource) -> None:
    result = search_small(budget="3-evaluations", retrain=False)
    cost = result.document["cost"]
    steps = len(small_source.split("train")) // 64
    evaluations = result.document["evaluations"]
    assert cost["training"]["steps"] == steps * evaluations
    assert cost["training"]["forward"] == cost["training"]["backward"] == steps * evaluations
    assert cost["rating"]["forward_images"] == evaluations * len(small_source.split("valid"))
    assert cost["rating"]["backward"] == 0
    assert cost["training"]["seconds"] > 0


def test_what_is_known_already_costs_nothing_again(search_small: Search, small_source: DataSource) -> None:
    result = search_small(budget="40-evaluations", retrain=False)  # of twelve networks
    cost = result.document["cost"]
    assert result.document["evaluations"] > 12 or cost["rating"]["forward_images"] == result.document[
        "evaluations"
    ] * len(small_source.split("valid"))
    assert cost["rating"]["forward_images"] <= 12 * len(small_source.split("valid"))
