"""Elastic layers against the same computation written with slices by hand, gradients included."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nasforge.errors import SpaceError
from nasforge.layers import LeafViews, Stateless, layer_class
from nasforge.layers.conv import ElasticBatchNorm, ElasticConv2d, ElasticLayerNorm
from nasforge.layers.linear import ElasticLinear
from nasforge.ops import BatchNorm, Conv2d, LayerNorm, Linear
from nasforge.space.node import Operator
from nasforge.space.tensor import TensorType

runs = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=3)


def layout_of(gaps):
    found, start = [], 0
    for gap, length in gaps:
        found.append((start + gap, length))
        start += gap + length
    return tuple(found)


def places(layout):
    return [offset + i for offset, length in layout for i in range(length)]


def typed(layout, *spatial):
    return TensorType((sum(n for _, n in layout), *spatial), layout)


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=40, deadline=None)
@given(runs, st.sampled_from((1, 3, 5)), st.integers(1, 4), st.booleans(), st.booleans())
def test_a_convolution_reads_its_slots_and_gives_their_gradients(gaps, kernel, out, depthwise, recording):
    layout = layout_of(gaps)
    source = typed(layout, 6, 6)
    op = Conv2d(0 if depthwise else out, kernel, depthwise=depthwise, bias=True)
    widest = TensorType((12, 6, 6)), Conv2d(0 if depthwise else 4, 5, depthwise=depthwise, bias=True)
    layer = ElasticConv2d([(op, (source,)), (widest[1], (widest[0],))]).double()
    layer.views.recording = recording
    torch.nn.init.normal_(layer.bias)
    x = draw(2, source.channels, 6, 6)
    taken, margin = places(layout), (5 - kernel) // 2
    weight, bias = layer.weight.detach().clone().requires_grad_(), layer.bias.detach().clone().requires_grad_()
    crop = slice(margin, margin + kernel)
    own = weight[taken][:, :, crop, crop] if depthwise else weight[:out][:, taken][:, :, crop, crop]
    own_bias = bias[taken] if depthwise else bias[:out]
    expected = functional.conv2d(x, own, own_bias, padding=kernel // 2, groups=len(taken) if depthwise else 1)
    found = layer(op, (source,), x)
    assert torch.allclose(found, expected, rtol=1e-12)
    found.square().sum().backward()
    expected.square().sum().backward()
    gathered = gradients(layer)
    assert torch.allclose(gathered["weight"], weight.grad, rtol=1e-12, atol=1e-14)
    assert torch.allclose(gathered["bias"], bias.grad, rtol=1e-12, atol=1e-14)


def gradients(layer):
    """Return full gradients, those of leaf views put in their places."""
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in layer.named_parameters()}
    names = {id(p): name for name, p in layer.named_parameters()}
    for parameter, index, view in layer.views.used.values():
        found[names[id(parameter)]][index] += view.grad
    return found


@settings(max_examples=30, deadline=None)
@given(runs)
def test_batch_norm_keeps_and_uses_the_statistics_of_its_slots(gaps):
    layout = layout_of(gaps)
    source, taken = typed(layout, 4, 4), places(layout)
    layer = ElasticBatchNorm([(BatchNorm(), (source,)), (BatchNorm(), (TensorType((12, 4, 4)),))]).double()
    for tensor in layer.parameters():
        torch.nn.init.normal_(tensor)
    plain = torch.nn.BatchNorm2d(len(taken)).double()
    plain.weight.data.copy_(layer.weight[taken])
    plain.bias.data.copy_(layer.bias[taken])
    for turn in range(3):
        x = draw(3, len(taken), 4, 4) + turn
        assert torch.allclose(layer(BatchNorm(), (source,), x), plain(x), rtol=1e-12)
    assert torch.allclose(layer.running_mean[taken], plain.running_mean, rtol=1e-12)
    assert torch.allclose(layer.running_var[taken], plain.running_var, rtol=1e-12)
    rest = [place for place in range(12) if place not in taken]
    assert torch.equal(layer.running_mean[rest], torch.zeros(len(rest), dtype=torch.float64))
    assert torch.equal(layer.running_var[rest], torch.ones(len(rest), dtype=torch.float64))
    layer.eval(), plain.eval()
    assert torch.allclose(layer(BatchNorm(), (source,), x), plain(x), rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(runs, st.integers(1, 5))
def test_linear_and_layer_norm_read_their_slots(gaps, out):
    layout = layout_of(gaps)
    source, taken = typed(layout), places(layout)
    linear = ElasticLinear([(Linear(out), (source,)), (Linear(5), (TensorType((12,)),))]).double()
    norm = ElasticLayerNorm([(LayerNorm(), (source,)), (LayerNorm(), (TensorType((12,)),))]).double()
    for tensor in (*linear.parameters(), *norm.parameters()):
        torch.nn.init.normal_(tensor)
    x = draw(3, len(taken))
    expected = x @ linear.weight[:out][:, taken].T + linear.bias[:out]
    assert torch.allclose(linear(Linear(out), (source,), x), expected, rtol=1e-12)
    normalised = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    assert torch.allclose(norm(LayerNorm(), (source,), x), normalised * norm.weight[taken] + norm.bias[taken])


def test_a_grouped_convolution_of_elastic_channels_is_refused():
    kinds = [(Conv2d(4, groups=2), (TensorType((4, 4, 4)),)), (Conv2d(8, groups=2), (TensorType((4, 4, 4)),))]
    with pytest.raises(SpaceError, match="2 groups cannot slice"):
        ElasticConv2d.check(kinds)
    gaps = [(Conv2d(4, groups=2), (TensorType((4, 4, 4), ((0, 2), (3, 2))),))]
    with pytest.raises(SpaceError, match="2 groups cannot slice"):
        ElasticConv2d.check(gaps)


def whole(size):
    return ((0, size),)


def test_leaf_views_share_storage_and_the_whole_is_the_parameter_itself():
    views = LeafViews()
    parameter = torch.nn.Parameter(torch.randn(4, 6))
    assert views.take(parameter, (whole(4), whole(6))) is parameter
    plain = views.take(parameter, (((1, 2),), whole(6)))
    assert not plain.is_leaf
    views.recording = True
    view = views.take(parameter, (((1, 2),), whole(6)))
    assert view.is_leaf
    assert view.requires_grad
    assert views.take(parameter, (((1, 2),), whole(6))) is view
    with torch.no_grad():
        parameter.fill_(7.0)
    assert (view == 7.0).all()
    assert len(views.used) == 1
    assert views.take(parameter, (whole(4), whole(6))) is parameter
    assert len(views.used) == 1


def test_leaf_views_follow_a_parameter_to_new_storage_and_its_need_of_a_gradient():
    layer = torch.nn.Linear(6, 4)
    views = LeafViews()
    views.recording = True
    index = (((0, 2),), whole(6))
    first = views.take(layer.weight, index)
    layer.double()
    second = views.take(layer.weight, index)
    assert second.dtype == torch.float64
    assert second is not first
    layer.requires_grad_(False)
    assert not views.take(layer.weight, index).requires_grad
    layer.requires_grad_(True)
    assert views.take(layer.weight, index).requires_grad
    assert copy.deepcopy(views).used == {}


def test_layers_that_do_not_load_are_refused_by_name():
    class Nameless(Operator):
        layer = None

        def shape(self, inputs):
            return inputs[0]

    class Missing(Nameless):
        layer = "nasforge.layers.conv:NoSuchLayer"

    class NoLayer(Nameless):
        layer = "torch.nn:Linear"

    for op, text in ((Nameless, "Nameless"), (Missing, "NoSuchLayer"), (NoLayer, "no nasforge.layers.Layer")):
        with pytest.raises(SpaceError, match=text):
            layer_class(op())
    assert issubclass(layer_class(Conv2d(1)), ElasticConv2d)
    assert not issubclass(ElasticConv2d, Stateless)
