"""Batch normalisation outside a network's own pass: observing statistics that are kept elsewhere, folding them away.

Whoever runs many architectures on shared weights keeps statistics for each of them beside the layer, which has one set.
Once they are known, normalising is a scale and a shift of each channel, and a convolution in front takes them into its
own weights (Jacob et al. 2018, section 3.2): the normalisation costs nothing then.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasforge.layers.conv import ElasticBatchNorm, ElasticConv2d
from nasforge.space.node import Types

Statistics = tuple[Tensor, Tensor]
"""Running mean and variance, (channels,) each."""


def fresh_statistics(layer: ElasticBatchNorm, types: Types) -> Statistics:
    """Return statistics that nothing was observed for."""
    channels = types[0].channels
    return layer.running_mean.new_zeros(channels), layer.running_var.new_ones(channels)


def kept_statistics(layer: ElasticBatchNorm, types: Types) -> Statistics:
    """Return those of the layer, sliced."""
    layout = types[0].layout
    return layer.views.buffer(layer.running_mean, layout), layer.views.buffer(layer.running_var, layout)


def observe(
    layer: ElasticBatchNorm, op: Any, types: Types, x: Tensor, statistics: Statistics | None, momentum: float
) -> Tensor:
    """Normalise a batch (N, C, ...) by its own statistics; those given move towards them by `momentum`."""
    mean, var = statistics or (None, None)
    return functional.batch_norm(x, mean, var, *_affine(layer, types), True, momentum, op.eps)


def normalise(layer: ElasticBatchNorm, op: Any, types: Types, x: Tensor, statistics: Statistics) -> Tensor:
    """Normalise a batch (N, C, ...) by the statistics given."""
    return functional.batch_norm(x, *statistics, *_affine(layer, types), False, op.momentum, op.eps)


def folded(
    conv: ElasticConv2d, op: Any, types: Types, norm: ElasticBatchNorm, norm_op: Any, statistics: Statistics, x: Tensor
) -> Tensor:
    """Convolve (N, C, H, W) with weights that normalise by the statistics given as well."""
    weight, bias = conv.taken(op, types)
    mean, var = statistics
    scale = torch.rsqrt(var + norm_op.eps)
    gamma, beta = _affine(norm, (norm_op.shape((op.shape(types),)),))
    if gamma is not None:
        scale = scale * gamma
    shift = -mean * scale if bias is None else (bias - mean) * scale
    if beta is not None:
        shift = shift + beta
    groups = types[0].channels if op.depthwise else op.groups
    padding = op.dilation * (op.kernel // 2)
    return functional.conv2d(x, weight * scale[:, None, None, None], shift, op.stride, padding, op.dilation, groups)


def _affine(layer: ElasticBatchNorm, types: Types) -> tuple[Tensor | None, Tensor | None]:
    if layer.weight is None or layer.bias is None:
        return None, None
    layout = types[0].layout
    return layer.runs(layer.weight, layout), layer.runs(layer.bias, layout)
