"""What a runtime spares of a graph: repeats of weightless work and constants, for one network and for many at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.hardware import cost as costs
from nasforge.hardware.cost import SparedCost, cost_as_run
from nasforge.ops import Add, Conv, GlobalPool, Identity, Linear, Pool, Zero
from nasforge.space import Input, SearchSpace, one_of
from nasforge.space.lower import Zeros
from nasforge.space.repeats import spared


def declare():
    """Three edges into a sum, each zero, identity, pooling or a convolution, twice in a row, and a plain tail."""
    x = Conv(4, 3)(Input(3, 8, 8), name="stem")
    for cell in range(2):
        states = [x]
        for to in (1, 2):
            edges = [
                one_of(
                    [Zero()(s), Identity()(s), Pool("avg", 3)(s), Conv(4, 3)(s, name=f"c{cell}e{to}{i}")],
                    name=f"cell{cell}.{to}<-{i}",
                    labels=["none", "skip", "pool", "conv"],
                )
                for i, s in enumerate(states)
            ]
            states.append(Add()(*edges, name=f"c{cell}s{to}"))
        x = states[-1]
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x))}, name="branches")


SPACE = declare()


def price(op, types):
    return 0.0 if not types or isinstance(op, Zeros) else 1.0 + len(type(op).__name__) + 1e-3 * types[0].shape[0]


def architecture(first, second):
    names = ["1<-0", "2<-0", "2<-1"]
    cells = enumerate((first, second))
    return SPACE.architecture({f"cell{c}.{n}": label for c, row in cells for n, label in zip(names, row, strict=True)})


def spared_names(*cells):
    lowered = SPACE.lower(architecture(*cells))
    return [type(lowered.nodes[i].op).__name__ for i in sorted(spared(lowered))]


PLAIN = ("conv", "none", "conv")


def test_the_same_pooling_of_one_state_is_run_once():
    assert spared_names(("skip", "pool", "pool"), PLAIN) == ["Pool"]


def test_what_follows_two_equal_values_is_equal_too():
    assert spared_names(("pool", "pool", "none"), PLAIN) == []
    assert spared_names(("pool", "pool", "pool"), PLAIN) == ["Pool"]  # 1 is pool(0); 2 = pool(0) + pool(1)


def test_convolutions_of_one_state_have_weights_of_their_own():
    assert spared_names(("conv", "conv", "skip"), PLAIN) == []


def test_what_no_image_reaches_is_constant():
    lowered = SPACE.lower(architecture(("none", "none", "none"), PLAIN))
    left = spared(lowered)
    assert {i for i, node in enumerate(lowered.nodes) if node.inputs} == left


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6), st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_many_at_once_are_as_one_by_one(row, seed):
    rows = np.asarray([row, *SPACE.sample_batch(3, np.random.default_rng(seed))])
    found = SPACE.repeats.batch(rows, price)
    for decisions, value in zip(rows, found, strict=True):
        lowered = SPACE.lower(SPACE.from_decisions(decisions))
        nodes = [lowered.nodes[index] for index in spared(lowered)]
        assert value == pytest.approx(sum(price(node.op, node.input_types) for node in nodes))


@pytest.mark.parametrize("cells", [costs.MOST_CELLS, 1])
def test_the_cost_as_run_is_the_sum_over_what_is_run(cells, monkeypatch):
    monkeypatch.setattr(costs, "MOST_CELLS", cells)
    cost = cost_as_run("ms", SPACE, price, offset=0.5)
    assert isinstance(cost, SparedCost) == (cells == 1)
    rows = SPACE.sample_batch(60, np.random.default_rng(3))
    for decisions, value in zip(rows, cost.batch(rows), strict=True):
        each = SPACE.from_decisions(decisions)
        lowered = SPACE.lower(each)
        left = spared(lowered)
        run = sum(price(node.op, node.input_types) for i, node in enumerate(lowered.nodes) if i not in left)
        assert value == pytest.approx(0.5 + run)
        assert cost(each) == pytest.approx(value)


def test_a_space_without_branches_spares_nothing_and_stays_additive():
    image = Input(3, 8, 8)
    x = one_of([Conv(4, 3)(image), Conv(4, 1)(image)], name="a")
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(Pool("avg", 3)(Pool("avg", 3)(x))))}, name="chain")
    assert space.repeats is None
    assert cost_as_run("ms", space, price).tables
