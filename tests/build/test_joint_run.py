"""Many architectures run as one graph: what each alone gives, each different computation once, memory bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasforge.build import JointRun, Supernet, extract, recalibrate
from nasforge.errors import IncompatibleError, UsageError
from nasforge.layers.base import Stateless
from nasforge.ops import BatchNorm, Conv, Conv2d, GlobalPool, Identity, Linear, MBConv, Pool, Resize, residual
from nasforge.space import Architecture, Input, SearchSpace, choice, one_of, repeat
from nasforge.space.node import Operator
from nasforge.testing.spaces import scrambled


def resolution_space() -> SearchSpace:
    """Resolution, width, kernel, squeeze-excite and depth."""
    x = Resize(choice(5, 6, 8, name="resolution"))(Input(3, 8, 8), name="resize")
    x = Conv(choice(4, 6, name="stem"), 3, act="swish")(x, name="stem")
    width = choice(4, 8, name="width")

    def block(source, place):
        kernel = choice(3, 5, name=f"b{place}.kernel")
        body = MBConv(width, kernel, 2, stride=2 if place == 0 else 1, se=0.25, act="swish")(source, name=f"b{place}")
        return body if place == 0 else residual(body, source, name=f"sum{place}")

    x = repeat(block, x, depth=choice(1, 2, 3, name="depth"))
    return SearchSpace({"logits": Linear(4)(GlobalPool()(x), name="head")}, name="resolutions")


def ensemble_space() -> SearchSpace:
    """Two heads behind branches that may be equal, on a trunk; and a second output."""
    x = Conv(choice(4, 6, name="trunk"), 3)(Input(3, 8, 8), name="trunk")
    heads = []
    for number in range(2):
        path = Conv(6, choice(1, 3, name=f"kernel{number}"))(x, name=f"branch{number}", weights="branch")
        path = one_of([Pool("max", 3, 1)(path), Identity()(path)], name=f"after{number}")
        heads.append(Linear(3)(GlobalPool()(path), name=f"head{number}"))
    bare = BatchNorm()(Conv2d(4, 1)(x, name="plain"), name="norm")
    return SearchSpace({"logits": heads, "other": Linear(2)(GlobalPool()(bare), name="other")}, name="ensembles")


SPACES = [resolution_space(), ensemble_space()]
SUPERNETS = [scrambled(Supernet(space).double()) for space in SPACES]


def batch(seed: int, count: int = 6) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def run_all(run: JointRun, batches: int = 2) -> dict[int, object]:
    for seed in range(batches):
        run.calibrate(batch(seed))
    return dict(run.outputs(batch(9, 5)))


def same(first: object, second: object, tolerance: float = 0.0) -> None:
    if isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys()
        for key, value in first.items():
            same(value, second[key], tolerance)
        return
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@settings(max_examples=15, deadline=None)
@given(kind=st.integers(0, 1), seed=st.integers(0, 10**6), count=st.integers(1, 12), batches=st.integers(0, 3))
def test_each_gives_what_its_own_recalibrated_network_gives(kind: int, seed: int, count: int, batches: int) -> None:
    space, supernet = SPACES[kind], SUPERNETS[kind]
    rng = np.random.default_rng(seed)
    architectures = [space.sample(rng) for _ in range(count)]
    found = run_all(JointRun(supernet, architectures), batches)
    assert sorted(found) == list(range(count))
    for place, architecture in enumerate(architectures):
        network = extract(supernet, architecture).eval()
        if batches:
            recalibrate(network, map(batch, range(batches)))
        with torch.no_grad():
            same(found[place], network(batch(9, 5)), 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_each_gives_the_same_on_random_graphs(elastic_space, elastic_supernet, seed: int) -> None:
    space, supernet = elastic_space(seed), elastic_supernet(seed)
    rng = np.random.default_rng(seed)
    architectures = [space.sample(rng) for _ in range(12)]
    x = batch(seed)[:, :, :6, :6].contiguous()
    run = JointRun(supernet, architectures)
    run.calibrate(x)
    found = dict(run.outputs(x))
    assert sorted(found) == list(range(len(architectures)))
    for place, outputs in found.items():
        network = extract(supernet, architectures[place]).eval()
        recalibrate(network, [x])
        with torch.no_grad():
            same(outputs, network(x), 1e-9)


@settings(max_examples=8, deadline=None)
@given(kind=st.integers(0, 1), seed=st.integers(0, 10**6), share=st.floats(0.0, 1.0))
def test_a_bound_on_memory_is_kept_and_changes_nothing(kind: int, seed: int, share: float) -> None:
    space, supernet = SPACES[kind], SUPERNETS[kind]
    rng = np.random.default_rng(seed)
    architectures = [space.sample(rng) for _ in range(10)]
    free = JointRun(supernet, architectures)
    expected = run_all(free)
    largest = 6 * 8 * 8 * 8 * 16  # bytes of a value: images, double, pixels, channels
    bound = int(share * free.peak_bytes)
    tight = JointRun(supernet, architectures, memory=bound)
    found = run_all(tight)
    for place, outputs in expected.items():
        same(found[place], outputs)
    assert tight.peak_bytes <= free.peak_bytes + 4 * largest
    assert tight.computed >= free.computed
    assert tight.kept_bytes <= max(bound, largest)


def test_what_architectures_share_is_computed_once() -> None:
    space, supernet = SPACES[0], SUPERNETS[0]
    twins = [space.largest(), space.largest(), space.smallest()]
    alone = [computed(supernet, [architecture]) for architecture in twins[1:]]
    assert computed(supernet, twins) == sum(alone)
    deeper = space.architecture({**space.describe(space.largest()), "depth": 2})
    pool_and_head = 2
    assert computed(supernet, [space.largest(), deeper]) == alone[0] + pool_and_head


def computed(supernet: Supernet, architectures: list[Architecture]) -> int:
    run = JointRun(supernet, architectures)
    assert len(dict(run.outputs(batch(0)))) == len(architectures)
    return run.computed


def test_calibration_ends_at_the_last_normalisation() -> None:
    space, supernet = SPACES[0], SUPERNETS[0]
    run = JointRun(supernet, [space.largest()])
    run.calibrate(batch(0))
    sum_pool_and_head = 3
    assert run.computed == computed(supernet, [space.largest()]) - sum_pool_and_head


def test_who_else_is_run_changes_no_bit() -> None:
    space, supernet = SPACES[0], SUPERNETS[0]
    rng = np.random.default_rng(1)
    architectures = [space.sample(rng) for _ in range(8)]
    together = run_all(JointRun(supernet, architectures))
    for place, architecture in enumerate(architectures):
        same(run_all(JointRun(supernet, [architecture]))[0], together[place])


def test_the_supernet_stays_as_it_is() -> None:
    space, supernet = SPACES[1], SUPERNETS[1]
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    modes = [module.training for module in supernet.modules()]
    run_all(JointRun(supernet, [space.smallest(), space.largest()]))
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert [module.training for module in supernet.modules()] == modes


def test_other_inputs_than_the_networks_take_are_refused() -> None:
    run = JointRun(SUPERNETS[0], [SPACES[0].smallest()])
    with pytest.raises(UsageError, match="expected the inputs"):
        run.calibrate({"sound": batch(0)})


class ClosedLayer(Stateless):
    """Normalises inside."""

    @classmethod
    def plain(cls, op, types):
        return nn.BatchNorm2d(types[0].channels, affine=False)


@dataclass(frozen=True)
class Closed(Operator):
    """Whose layer that is."""

    layer: ClassVar[str | None] = f"{__name__}:ClosedLayer"

    def shape(self, inputs):
        return inputs[0]


def test_a_layer_with_statistics_of_its_own_is_refused() -> None:
    x = Closed()(Conv(choice(4, 8, name="width"))(Input(3, 8, 8), name="stem"), name="closed")
    space = SearchSpace({"logits": Linear(2)(GlobalPool()(x), name="head")}, name="closed")
    with pytest.raises(IncompatibleError, match=r"'closed' keeps statistics inside ClosedLayer.*one by one"):
        JointRun(Supernet(space), [space.smallest()])
