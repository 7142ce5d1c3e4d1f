"""Operators against arithmetic done by hand: shapes, parameters, operations, keys, labels; and their refusals."""

import dataclasses

import pytest

from nasforge import ops
from nasforge.errors import SpaceError
from nasforge.ops import (
    Activation,
    BasicBlock,
    BatchNorm,
    Bottleneck,
    Conv,
    Conv2d,
    GlobalPool,
    LayerNorm,
    Linear,
    MBConv,
    Pool,
    Resize,
    SeparableConv,
    SqueezeExcite,
    Zero,
)
from nasforge.space import Body, Operator, TensorType

IMAGE = (TensorType((12, 9, 7)),)


def facts(op, kinds=IMAGE):
    return op.shape(kinds).shape, op.params(kinds), op.macs(kinds)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Conv2d(20, 3), ((20, 9, 7), 20 * 12 * 9, 20 * 12 * 9 * 63)),
        (Conv2d(20, 3, 2), ((20, 5, 4), 20 * 12 * 9, 20 * 12 * 9 * 20)),
        (Conv2d(20, 1, 2, bias=True), ((20, 5, 4), 20 * 12 + 20, 20 * 12 * 20)),
        (Conv2d(20, 5, groups=4), ((20, 9, 7), 20 * 3 * 25, 20 * 3 * 25 * 63)),
        (Conv2d(20, 3, dilation=2), ((20, 9, 7), 20 * 12 * 9, 20 * 12 * 9 * 63)),
        (Conv2d(0, 7, 2, depthwise=True), ((12, 5, 4), 12 * 49, 12 * 49 * 20)),
        (BatchNorm(), ((12, 9, 7), 24, 0)),
        (BatchNorm(affine=False), ((12, 9, 7), 0, 0)),
        (LayerNorm(), ((12, 9, 7), 24, 0)),
        (Activation("relu"), ((12, 9, 7), 0, 0)),
        (Pool("max", 3, 2), ((12, 5, 4), 0, 0)),
        (Pool("avg", 2, 2), ((12, 4, 3), 0, 0)),
        (GlobalPool(), ((12,), 0, 0)),
        (GlobalPool(keep=True), ((12, 1, 1), 0, 0)),
        (Resize(5), ((12, 5, 5), 0, 0)),
        (Resize(5, "bicubic"), ((12, 5, 5), 0, 0)),
        (Zero(), ((12, 9, 7), 0, 0)),
        (Zero(6, 2), ((6, 5, 4), 0, 0)),
        (Conv(20, 3, 2), ((20, 5, 4), 20 * 12 * 9 + 40, 20 * 12 * 9 * 20)),
        (Conv(20, 3, norm=False, bias=True), ((20, 9, 7), 20 * 12 * 9 + 20, 20 * 12 * 9 * 63)),
        (
            SeparableConv(20, 3, 2, repeats=2),
            ((20, 5, 4), 12 * 9 + 12 * 20 + 40 + 20 * 9 + 400 + 40, (12 * 9 + 12 * 20 + 20 * 9 + 400) * 20),
        ),
        (
            MBConv(16, 5, 3, 2),
            (
                (16, 5, 4),
                12 * 36 + 72 + 36 * 25 + 72 + 36 * 16 + 32,
                12 * 36 * 63 + (36 * 25 + 36 * 16) * 20,
            ),
        ),
        (MBConv(16, 3, 1), ((16, 9, 7), 12 * 9 + 24 + 12 * 16 + 32, (12 * 9 + 12 * 16) * 63)),
        (
            BasicBlock(20, 3, 2),
            ((20, 5, 4), 9 * (12 * 20 + 20 * 20) + 80, 9 * (12 * 20 + 20 * 20) * 20),
        ),
        (
            Bottleneck(20, 5, 0.25, 2, divisor=4),  # 5 hidden channels, rounded up to 8
            ((20, 5, 4), 12 * 8 + 25 * 64 + 8 * 20 + 16 + 16 + 40, 12 * 8 * 63 + (25 * 64 + 8 * 20) * 20),
        ),
        (Bottleneck(4, ratio=0.1), ((4, 9, 7), 12 + 9 + 4 + 2 + 2 + 8, (12 + 9 + 4) * 63)),
        (SqueezeExcite(0.25), ((12, 9, 7), 12 * 8 + 8 + 8 * 12 + 12, 2 * 12 * 8)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Operator) else "",
)
def test_shape_params_and_macs_are_as_counted_by_hand(op, expected):
    assert facts(op) == expected


def test_a_linear_layer_counts_its_bias():
    assert facts(Linear(5), (TensorType((12,)),)) == ((5,), 65, 60)
    assert facts(Linear(5, bias=False), (TensorType((12,)),)) == ((5,), 60, 60)


def test_squeeze_excite_in_mbconv_is_sized_by_the_hidden_channels():
    plain, excited = MBConv(16, 3, 4), MBConv(16, 3, 4, se=0.25)
    assert excited.params(IMAGE) - plain.params(IMAGE) == 48 * 16 + 16 + 16 * 48 + 48
    assert excited.macs(IMAGE) - plain.macs(IMAGE) == 2 * 48 * 16


def test_hidden_channels_round_to_the_divisor_only_when_asked():
    def hidden(op):
        return next(part.out for part, _ in op.primitives(IMAGE) if isinstance(part, Conv2d))

    assert hidden(MBConv(16, 3, 3)) == 36
    assert hidden(MBConv(16, 3, 3, divisor=8)) == 40


def test_activation_bytes_are_four_a_number_of_every_layer():
    assert Conv(20, 3).activation_bytes(IMAGE) == 3 * 4 * 20 * 63
    assert Activation("relu").activation_bytes(IMAGE) == 4 * 12 * 63


def test_conv_orders_its_layers_as_declared():
    def order(op):
        return [type(part).__name__ for part, _ in op.primitives(IMAGE)]

    assert order(Conv(4)) == ["Conv2d", "BatchNorm", "Activation"]
    assert order(Conv(4, order="act-conv-bn")) == ["Activation", "Conv2d", "BatchNorm"]
    assert order(Conv(4, act="none", norm=False)) == ["Conv2d"]
    assert order(MBConv(4, 3, 1)) == ["Conv2d", "BatchNorm", "Activation", "Conv2d", "BatchNorm"]


def test_bitops_multiply_weight_and_activation_bits():
    four = (TensorType((12, 9, 7), bits=4),)
    assert Conv2d(20, 3, weight_bits=2).bitops(four) == Conv2d(20, 3).macs(four) * 8
    assert Conv2d(20, 3).bitops(IMAGE) == Conv2d(20, 3).macs(IMAGE) * 1024


@pytest.mark.parametrize(
    ("op", "kinds", "sentence"),
    [
        (Conv(4, order="bn-conv"), IMAGE, "order 'bn-conv'; expected 'conv-bn-act' or 'act-conv-bn'"),
        (Activation("rellu"), IMAGE, "activation 'rellu' is unknown.*Did you mean 'relu'"),
        (Pool("min"), IMAGE, "kind 'min'; expected 'max' or 'avg'"),
        (Pool("max"), (TensorType((12,)),), r"pooling was given 12; expected \(channels, height, width\)"),
        (GlobalPool(), (TensorType((12,)),), "global pooling was given 12"),
        (Resize(4), (TensorType((12,)),), "resizing was given 12"),
        (Resize(4, "bicubik"), IMAGE, "way of resizing 'bicubik'"),
        (Conv2d(5, groups=5), IMAGE, "of 5 groups was given 12 -> 5 channels: choose widths that 5 divides"),
        (Linear(4), IMAGE, r"a linear layer was given 12x9x7; put GlobalPool\(\) before it"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_sentence(op, kinds, sentence):
    with pytest.raises(SpaceError, match=sentence):
        op.shape(kinds)


OPERATORS = [value for name, value in vars(ops).items() if isinstance(value, type) and issubclass(value, Operator)]


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
def test_every_operator_is_a_frozen_dataclass_that_is_leaf_composite_or_alias(kind):
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert (kind.layer is not None) + (kind.expand is not Operator.expand) + bool(kind.aliases is True) == 1


def test_keys_hold_what_costs_time_and_identities_all_that_trains():
    plain, other = Conv(4), Conv(4, eps=1e-3)
    assert plain.key(IMAGE) == other.key(IMAGE) == "conv-i12x9x7-out4"
    assert plain.identity(IMAGE) != other.identity(IMAGE)
    assert Conv(4, kernel=5).key(IMAGE) != plain.key(IMAGE)


def test_a_composite_within_a_composite_keeps_names_apart_and_inputs_right():
    body = Body((TensorType((8, 4, 4)),))
    result = body.add("block", MBConv(8, 3, 2, se=0.5), -1)
    names = [part.name for part in body.parts]
    assert len(set(names)) == len(names)
    assert "block.se.scale" in names
    assert body.type(result).shape == (8, 4, 4)
    scale = body.parts[names.index("block.se.scale")]
    assert [names[i] for i in scale.inputs] == ["block.dw_act", "block.se.gate"]


@pytest.mark.parametrize(
    ("op", "label"),
    [
        (Conv(4, 5), "conv 5x5"),
        (Conv2d(0, 3, depthwise=True), "dw 3x3"),
        (MBConv(4, 7, 6), "MBConv 7x7 e6"),
        (BasicBlock(4), "basic 3x3"),
        (Bottleneck(4, ratio=0.5), "bottleneck 3x3 r0.5"),
        (SeparableConv(4, 5), "sep 5x5"),
        (Pool("avg"), "avg pool 3x3"),
        (Linear(10), "linear 10"),
        (Zero(), "zero"),
    ],
)
def test_labels_are_short_and_say_what_it_is(op, label):
    assert op.label() == label
