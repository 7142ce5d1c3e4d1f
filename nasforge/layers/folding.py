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


def observe_only(x: Tensor, statistics: Statistics, momentum: float) -> None:
    """Move statistics towards those of a batch (N, C, ...) that nobody needs normalised."""
    torch.batch_norm_update_stats(x, *statistics, momentum)


def widens(conv: ElasticConv2d, op: Any, types: Types) -> bool:
    """Say whether the moments of what a convolution reads are cheaper to take than those of what it gives."""
    return op.kernel == 1 and op.stride == 1 and op.groups == 1 and not op.depthwise and op.out >= 2 * types[0].channels


def observe_moments(
    conv: ElasticConv2d,
    op: Any,
    types: Types,
    norm: ElasticBatchNorm,
    norm_op: Any,
    statistics: Statistics | None,
    momentum: float,
    x: Tensor,
) -> Tensor:
    """Do what convolving (N, C, H, W) and `observe` do, for a 1x1 convolution that `widens`.

    Mean and variance of W x follow from those of x: W m and the diagonal of W Cov(x) W', so they are known before
    anything is convolved, and the convolution normalises too. Rounding apart, it is the same.
    """
    weight, bias = conv.taken(op, types)
    rows = x.movedim(1, -1).reshape(-1, x.shape[1])
    centre = rows.mean(dim=0).double()
    covariance = (rows.T @ rows).double() / len(rows) - torch.outer(centre, centre)
    matrix = weight.flatten(1).double()
    mean, var = matrix @ centre, ((matrix @ covariance) * matrix).sum(dim=1).clamp(min=0.0)
    mean = mean if bias is None else mean + bias
    if statistics is not None:
        statistics[0].lerp_(mean.to(x.dtype), momentum)
        statistics[1].lerp_((var * (len(rows) / (len(rows) - 1))).to(x.dtype), momentum)
    return folded(conv, op, types, norm, norm_op, (mean.to(x.dtype), var.to(x.dtype)), x)


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
