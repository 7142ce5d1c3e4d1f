"""Attention against its formula and torch's own, slices and masks of heads, position encodings, patches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nasforge.build import Supernet, build_network, extract
from nasforge.errors import IncompatibleError, SpaceError
from nasforge.layers.attention import attend
from nasforge.ops import (
    AttentionProduct,
    BatchNorm,
    Conv,
    GlobalPool,
    Linear,
    Patches,
    PositionEncoding,
    SelfAttention,
)
from nasforge.space import Input, SearchSpace, TensorType, choice
from nasforge.space.lower import alone
from nasforge.testing.spaces import assert_close, count, scrambled


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


sizes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def heads_of(x, heads, dim):
    """Return query, key and value, (batch, heads, positions, dim) each, out of the channels of the projection."""
    flat = x.reshape(len(x), heads, 3, dim, -1)
    return (flat[:, :, part].transpose(-2, -1) for part in range(3))


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_attention_equals_that_of_torch(size):
    heads, dim, height, width = size
    x = draw(2, 3 * heads * dim, height, width)
    query, key, value = heads_of(x, heads, dim)
    expected = functional.scaled_dot_product_attention(query, key, value)  # (batch, heads, positions, dim)
    found = attend(x, heads, dim)
    assert_close(found, expected.transpose(-2, -1).reshape(2, heads * dim, height, width), 1e-12)


def test_attention_is_its_formula_position_by_position():
    x = draw(1, 3 * 2, 2, 3) * 3
    query, key, value = x[0].reshape(3, 2, 6)
    rows = []
    for i in range(6):
        weights = torch.tensor([float(query[:, i] @ key[:, j]) / 2**0.5 for j in range(6)]).double().exp()
        rows.append(sum(weights[j] * value[:, j] for j in range(6)) / weights.sum())
    assert_close(attend(x, 1, 2), torch.stack(rows, dim=1).reshape(1, 2, 2, 3), 1e-6)


def test_what_all_positions_agree_on_passes_through_because_weights_sum_to_one_over_the_keys():
    x = draw(2, 3 * 4, 3, 3) * 4
    x[:, 8:] = x[:, 8:, :1, :1]  # the same value everywhere
    assert_close(attend(x, 1, 4), x[:, 8:], 1e-12)
    query, key, value = heads_of(x, 1, 4)
    wrong = (query @ key.transpose(-2, -1) / 2).softmax(dim=-2) @ value  # normalised over the queries
    assert (wrong.transpose(-2, -1).reshape(2, 4, 3, 3) - x[:, 8:]).abs().max() > 0.1


def test_attention_knows_no_positions_and_a_position_encoding_does():
    x = draw(1, 6, 4, 4)
    place = torch.randperm(16, generator=torch.Generator().manual_seed(1))

    def shuffled(y):
        return y.flatten(2)[:, :, place].reshape(y.shape)

    def run(op, given):
        return build_network(alone(op, (TensorType((6, 4, 4)),)), seed=0).double().eval()(given)

    with torch.no_grad():
        assert_close(run(SelfAttention(2, 3), shuffled(x)), shuffled(run(SelfAttention(2, 3), x)), 1e-12)
        encoded = run(PositionEncoding(), x)
        assert (run(PositionEncoding(), shuffled(x)) - shuffled(encoded)).abs().max() > 0.1


@pytest.mark.parametrize(
    "op", [SelfAttention(2, 5), PositionEncoding(), PositionEncoding(stride=2), Patches(2), Patches(1)]
)
def test_costs_are_those_that_torch_counts(op):
    types = (TensorType((6, 4, 8)),)
    network = build_network(alone(op, types), seed=0)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        found = network(torch.zeros(1, 6, 4, 8))
    assert found.shape[1:] == op.shape(types).shape
    assert counter.get_total_flops() == 2 * op.macs(types)
    assert count(network) == op.params(types)


def test_the_macs_of_attention_hold_both_products():
    types = (TensorType((16, 7, 7)),)
    assert AttentionProduct(2, 8).macs((TensorType((48, 7, 7)),)) == 2 * 16 * 49**2
    assert SelfAttention(2, 8).macs(types) == 16 * 48 * 49 + 2 * 16 * 49**2
    assert SelfAttention(2, 8).params(types) == 16 * 48


def with_heads(heads, dim=3):
    x = Conv(6, 3)(Input(3, 4, 4))
    x = BatchNorm()(SelfAttention(heads, dim)(x, name="attention"))
    return SearchSpace({"logits": Linear(5)(GlobalPool()(x))})


def test_fewer_heads_are_the_first_heads():
    space = with_heads(choice(1, 2, 4, name="heads"))
    supernet = scrambled(Supernet(space).double()).eval()
    qkv = supernet.layers["attention:qkv"].weight
    x = draw(2, 6, 4, 4, seed=1)
    for architecture in space.enumerate():
        heads = int(space.describe(architecture)["heads"])
        lowered = space.lower(architecture)
        (step,) = [step for step in lowered.steps if isinstance(step.op, AttentionProduct)]
        (before,) = [step for step in lowered.steps if step.part == "qkv"]
        projected = supernet.layer_of(before)(before.op, before.input_types, x)
        assert_close(projected, functional.conv2d(x, qkv[: 9 * heads]), 1e-12)
        found = supernet.layer_of(step)(step.op, step.input_types, projected)
        apart = [attend(projected[:, 9 * head : 9 * (head + 1)], 1, 3) for head in range(heads)]
        assert_close(found, torch.cat(apart, dim=1), 1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_heads_run_masked_as_they_run_sliced(training):
    space = with_heads(choice(1, 2, 4, name="heads"))
    supernet = scrambled(Supernet(space).double()).train(training)
    architectures = list(space.enumerate())
    x = draw(6, 3, 4, 4)
    with torch.no_grad():
        found = supernet.run_masked(x, architectures)
        for place, architecture in enumerate(architectures):
            images = slice(2 * place, 2 * place + 2)
            assert_close(found[images], supernet(x[images], architecture), 1e-12)


def test_heads_of_several_sizes_share_no_weights():
    with pytest.raises(SpaceError, match=r"heads of several sizes.*'dim' share='none'"):
        Supernet(with_heads(2, choice(3, 6, name="dim")))
    space = with_heads(2, choice(3, 6, name="dim", share="none"))
    supernet = scrambled(Supernet(space).double()).eval()
    for architecture in space.enumerate():
        x = draw(2, 3, 4, 4)
        assert_close(extract(supernet, architecture)(x), supernet(x, architecture), 1e-12)


def test_attention_refuses_channels_that_are_no_heads():
    with pytest.raises(SpaceError, match="attention of 2 heads of 4 was given 23x4x4; expected a map of 24 channels"):
        AttentionProduct(2, 4).shape((TensorType((23, 4, 4)),))


def test_patches_read_every_pixel_once():
    op, types = Patches(2), (TensorType((3, 4, 6)),)
    network = build_network(alone(op, types), seed=0).double()
    (weight,) = network.parameters()
    x = draw(2, 3, 4, 6)
    windows = x.reshape(2, 3, 2, 2, 3, 2)  # (batch, channels, rows, y, columns, x)
    assert_close(network(x), torch.einsum("bcrysx,cyx->bcrs", windows, weight[:, 0]), 1e-12)
    with pytest.raises(SpaceError, match="patches of 2x2 were given 3x4x5; expected a height and width that 2 divides"):
        op.shape((TensorType((3, 4, 5)),))


def test_patches_slice_and_mask_their_channels():
    def space_of(size):
        x = Patches(size)(Conv(choice(2, 4, name="width"), 3)(Input(3, 4, 4)))
        return SearchSpace({"logits": Linear(5)(GlobalPool()(x))})

    space = space_of(2)
    supernet = scrambled(Supernet(space).double()).eval()
    x = draw(4, 3, 4, 4)
    found = supernet.run_masked(x, list(space.enumerate()))
    for place, architecture in enumerate(space.enumerate()):
        images = slice(2 * place, 2 * place + 2)
        assert_close(found[images], supernet(x[images], architecture), 1e-12)
    with pytest.raises(SpaceError, match=r"windows of several sizes.*'size' share='none'"):
        Supernet(space_of(choice(1, 2, name="size")))
    own = space_of(choice(1, 2, name="size", share="none"))
    pair = [own.architecture({"width": "2", "size": size}) for size in ("1", "2")]
    with pytest.raises(IncompatibleError, match="pixels in one batch"):
        Supernet(own).double().run_masked(x, pair)
