import copy
import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from nasforge import registry
from nasforge.build import Supernet
from nasforge.errors import IncompatibleError, UsageError
from nasforge.layers import Stateless
from nasforge.ops import Conv, GlobalPool, LayerNorm, Linear, Pool, Quantise, Resize, Zero
from nasforge.space import Input, SearchSpace, choice, one_of, repeat, select
from nasforge.space.choice import combine
from nasforge.space.node import Operator
from nasforge.testing.spaces import scrambled


def close(found, expected):
    assert found.shape == expected.shape
    assert torch.isfinite(expected).all()
    assert float((found - expected).detach().abs().max()) <= 1e-10 * max(1.0, float(expected.detach().abs().max()))


def one_by_one(supernet, x, architectures):
    each = len(x) // len(architectures)
    return torch.cat([supernet(x[i * each : (i + 1) * each], a) for i, a in enumerate(architectures)])


@pytest.mark.parametrize("seed", range(14))
def test_masked_equals_sliced_in_evaluation_for_random_spaces(elastic_supernet, batch, seed):
    supernet = elastic_supernet(seed).eval()
    rng = np.random.default_rng(seed)
    for count in (1, 3, 6):
        architectures = [supernet.space.sample(rng) for _ in range(count)]
        x = batch(6, seed)
        close(supernet.run_masked(x, architectures), one_by_one(supernet, x, architectures))


@pytest.mark.parametrize("seed", range(10))
def test_masked_equals_sliced_in_training_with_gradients_and_statistics(elastic_supernet, batch, seed):
    masked = elastic_supernet(seed).train()
    sliced = copy.deepcopy(masked)
    rng = np.random.default_rng(seed)
    architectures = [masked.space.sample(rng) for _ in range(3)]
    x = batch(6, seed)
    found, expected = masked.run_masked(x, architectures), one_by_one(sliced, x, architectures)
    close(found, expected)
    weights = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, one), (_, other) in zip(masked.named_parameters(), sliced.named_parameters(), strict=True):
        given = torch.zeros_like(one) if one.grad is None else one.grad
        wanted = torch.zeros_like(one) if other.grad is None else other.grad
        assert torch.allclose(given, wanted, rtol=1e-9, atol=1e-10), name
    for (name, one), (_, other) in zip(masked.named_buffers(), sliced.named_buffers(), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12), name


@pytest.mark.plugins
@pytest.mark.parametrize(("name", "fixed"), [("nb201", {}), ("mbconv", {}), ("mbconv_elastic", {"resolution": ["1"]})])
def test_masked_equals_sliced_for_the_spaces_that_ship(name, fixed):
    space = registry.load("spaces", name)(input_shape=(3, 12, 12), classes=4).restrict(fixed)
    supernet = scrambled(Supernet(space).double()).train()
    twin = copy.deepcopy(supernet)
    rng = np.random.default_rng(0)
    x = torch.randn(6, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    architectures = [space.sample(rng) for _ in range(3)]
    with torch.no_grad():
        close(supernet.run_masked(x, architectures), one_by_one(twin, x, architectures))
        supernet.eval()
        close(supernet.run_masked(x, architectures), one_by_one(supernet, x, architectures))


def test_layer_norm_masked_equals_sliced_over_active_channels():
    x = Conv(choice(2, 5, 8, name="width"), 1, norm=False, act="none")(Input(3, 4, 4), name="conv")
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(LayerNorm()(x, name="norm")), name="head")})
    supernet = scrambled(Supernet(space).double()).eval()
    images = torch.randn(3, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    architectures = [space.architecture({"width": width}) for width in (2, 5, 8)]
    close(supernet.run_masked(images, architectures), one_by_one(supernet, images, architectures))


def test_an_image_is_not_changed_by_the_architectures_of_others(elastic_supernet, batch):
    supernet = elastic_supernet(3).eval()
    rng = np.random.default_rng(0)
    first, *others = (supernet.space.sample(rng) for _ in range(4))
    x = batch(3)
    results = [supernet.run_masked(x, [first, others[0], other])[0] for other in others]
    close(torch.stack(results), results[0].expand(3, -1))


def test_one_hot_shares_equal_the_path_and_give_the_gates_inner_products():
    source = Input(3, 4, 4)
    made = [Conv(4, 1)(source, name="a"), Conv(4, 3)(source, name="b"), Zero(out=4)(source, name="zero")]
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(one_of(made, name="op")), name="head")})
    supernet = scrambled(Supernet(space).double()).eval()
    x = torch.randn(4, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    architecture = space.architecture({"op": "a"})
    gates = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    found = supernet.run_masked(x, [architecture], {"op": gates})
    close(found, supernet(x, architecture))
    (gradient,) = torch.autograd.grad(found.square().sum(), gates)
    head = supernet.layers["head"].weight
    outputs = [supernet.layers["head"].bias + 0 * found, found]
    slope = 2 * found.detach()
    for place, name in enumerate(("a", "b")):
        alone = supernet(x, space.architecture({"op": name}))
        expected = (slope * (alone - outputs[0])).sum()  # the head is linear in what the gate scales
        assert torch.allclose(gradient[place], expected, rtol=1e-10)
    assert gradient[2] == 0
    assert head.shape == (3, 4)


def numeric_gradient(function, at, step=1e-6):
    slopes = []
    for place in range(len(at)):
        moved = [at.clone(), at.clone()]
        moved[0][place] += step
        moved[1][place] -= step
        slopes.append((function(moved[0]) - function(moved[1])) / (2 * step))
    return torch.stack(slopes)


@pytest.mark.parametrize("name", ["width", "kernel", "depth", "own"])
def test_gradients_reach_every_kind_of_decision_and_are_those_of_the_numbers_given(name):
    def block(source, place):
        return Conv(width, choice(1, 3, 5, name=f"k{place}"), act="none")(source, name=f"b{place}")

    width = choice(2, 3, 4, name="width")
    x = Conv(width, choice(1, 3, 5, name="kernel"))(Input(3, 4, 4), name="stem")
    x = repeat(block, x, depth=choice(0, 1, 2, name="depth"))
    x = Conv(4, choice(1, 3, 5, name="own", share="none"), act="none")(x, name="own_conv")
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")})
    supernet = scrambled(Supernet(space).double()).train()
    images = torch.randn(4, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    architecture = space.architecture({"width": 3, "kernel": 3, "own": 3, "depth": 1, "k0": 3})

    def loss(shares):
        return supernet.run_masked(images, [architecture], {name: shares}).square().sum()

    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(shares), shares)
    with torch.no_grad():
        expected = numeric_gradient(loss, shares.detach())
    assert torch.allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    assert (gradient.abs() > 1e-8).all()


def test_shares_of_single_images_mix_each_image_alone():
    width = choice(2, 4, name="width")
    x = Conv(width, 1)(Input(3, 4, 4), name="stem")
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")})
    supernet = scrambled(Supernet(space).double()).eval()
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    architectures = [space.architecture({"width": w}) for w in (2, 4)]
    shares = torch.eye(2, dtype=torch.float64)
    close(
        supernet.run_masked(images, architectures[:1], {"width": shares}), one_by_one(supernet, images, architectures)
    )


def test_resolutions_and_strides_that_differ_are_refused_by_name():
    x = Resize(choice(4, 6, name="size"))(Input(3, 6, 6), name="resize")
    sized = SearchSpace({"logits": Linear(2)(GlobalPool()(Conv(2)(x, name="c")), name="head")})
    y = Conv(2, 3, choice(1, 2, name="stride"))(Input(3, 6, 6), name="strided")
    strided = SearchSpace({"logits": Linear(2)(GlobalPool()(y), name="head")})
    for space, culprit in ((sized, "resize"), (strided, "strided")):
        both = list(space.enumerate())
        supernet = Supernet(space)
        with pytest.raises(IncompatibleError, match=f"'{culprit}.*pixels in one batch"):
            supernet.run_masked(torch.zeros(2, 3, 6, 6), both)
        supernet.eval().run_masked(torch.zeros(2, 3, 6, 6), both[:1])  # one of them is fine


def test_a_layer_that_cannot_be_masked_is_refused_by_name():
    x = Quantise(choice(4, 8, name="bits"))(Conv(2)(Input(3, 4, 4), name="c"), name="quantiser")
    space = SearchSpace({"logits": Linear(2)(GlobalPool()(x), name="head")})
    with pytest.raises(IncompatibleError, match=r"layer 'quantiser' cannot run masked: QuantiseLayer"):
        Supernet(space).run_masked(torch.zeros(2, 3, 4, 4), [space.largest()])


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


class DoubleLayer(Stateless):
    per_channel = True

    @classmethod
    def plain(cls, op, types):
        return Doubled()


@dataclasses.dataclass(frozen=True)
class Double(Operator):
    layer: ClassVar[Any] = f"{__name__}:DoubleLayer"

    def shape(self, inputs):
        return inputs[0]


def test_a_custom_layer_runs_masked_once_it_says_how(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _module())
    x = Double()(Conv(choice(2, 4, name="width"), 1)(Input(3, 4, 4), name="c"), name="twice")
    space = SearchSpace({"logits": Linear(2)(GlobalPool()(x), name="head")})
    supernet = Supernet(space).double().eval()
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    close(supernet.run_masked(images, list(space.enumerate())), one_by_one(supernet, images, list(space.enumerate())))
    monkeypatch.setattr(DoubleLayer, "per_channel", False)
    with pytest.raises(IncompatibleError, match="'twice' cannot run masked: DoubleLayer"):
        supernet.run_masked(images, [space.largest()])


def _module():
    import types

    module = types.ModuleType(__name__)
    module.DoubleLayer = DoubleLayer
    return module


def test_wrong_numbers_of_architectures_and_wrong_shares_are_refused():
    x = Conv(choice(2, 4, name="width"), 1)(Input(3, 4, 4), name="c")
    space = SearchSpace({"logits": Linear(2)(GlobalPool()(x), name="head")})
    supernet, images, one = Supernet(space), torch.zeros(4, 3, 4, 4), space.largest()
    for wrong in ([], [one] * 3):
        with pytest.raises(UsageError, match="architectures"):
            supernet.run_masked(images, wrong)
    with pytest.raises(UsageError, match="'width' was given shares of shape"):
        supernet.run_masked(images, [one], {"width": torch.ones(3)})
    with pytest.raises(UsageError, match="Did you mean 'width'"):
        supernet.run_masked(images, [one], {"widht": torch.ones(2)})


def test_a_select_that_reads_several_choices_takes_no_shares():
    x = Input(3, 4, 4)
    first, second = choice(0, 1, name="first"), choice(0, 1, name="second")
    chosen = select(
        combine(lambda a, b: (a + b) % 2, first, second), [Conv(2, 1)(x, name="a"), Pool()(Conv(2)(x, name="b"))]
    )
    space = SearchSpace({"logits": Linear(2)(GlobalPool()(chosen), name="head")})
    with pytest.raises(IncompatibleError, match="'first' cannot be given by shares"):
        Supernet(space).run_masked(torch.zeros(2, 3, 4, 4), [space.largest()], {"first": torch.ones(2)})
