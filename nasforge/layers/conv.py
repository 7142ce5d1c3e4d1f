"""Convolution and normalisation layers whose weights are sliced: first channels, centre crop of the kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.errors import SpaceError
from nasforge.layers.base import Layer, Layout, Stateless, Variant, capacity, inputs_of, ops_of
from nasforge.layers.blend import Blend, along
from nasforge.space.node import Types

_ACTIVATIONS: Final[dict[str, type[nn.Module]]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "hsigmoid": nn.Hardsigmoid,
}


def init_conv(weight: Tensor) -> None:
    """Draw from N(0, 2 / (k k out)) of one group (He et al. 2015, fan-out)."""
    out, _, *kernel = weight.shape
    fan = math.prod(kernel) * (1 if weight.shape[1] == 1 else out)
    nn.init.normal_(weight, 0.0, math.sqrt(2.0 / fan))


@final
class ElasticConv2d(Layer):
    """One kernel for all widths and kernel sizes: first output channels, slots of the input, centre crop."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        super().__init__(variants)
        self.kernel = max(op.kernel for op in ops_of(variants))
        self.depthwise = any(op.depthwise for op in ops_of(variants))
        self.groups = max(op.groups for op in ops_of(variants))
        channels = capacity(variants)
        out = channels if self.depthwise else max(op.out for op in ops_of(variants))
        inner = 1 if self.depthwise else channels // self.groups
        self.weight = nn.Parameter(torch.empty(out, inner, self.kernel, self.kernel))
        biased = any(op.bias for op in ops_of(variants))
        self.bias = nn.Parameter(torch.zeros(out)) if biased else None
        init_conv(self.weight.data)

    @classmethod
    def check(cls, variants: Sequence[Variant]) -> None:
        """Refuse to slice the channels of groups: the first channels of a narrow group are not those of a wide one."""
        groups = max(op.groups for op in ops_of(variants))
        shapes = {
            (op.out, op.groups, types[0].channels)
            for op, types in zip(ops_of(variants), inputs_of(variants), strict=True)
        }
        if groups > 1 and (len(shapes) > 1 or capacity(variants) != next(iter(shapes))[2]):
            raise SpaceError(f"a convolution of {groups} groups cannot slice its channels")

    def taken(self, op: Any, types: Types) -> tuple[Tensor, Tensor | None]:
        """Return the kernel and the bias of a variant."""
        crop = (((self.kernel - op.kernel) // 2, op.kernel),)
        layout = types[0].layout
        out: Layout
        inner: Layout
        if self.depthwise:
            out, inner = layout, ((0, 1),)
        else:
            out = ((0, op.out),)
            inner = layout if self.groups == 1 else ((0, self.weight.shape[1]),)
        weight = self.runs(self.weight, out, inner, crop, crop)
        return weight, self.runs(self.bias, out) if op.bias and self.bias is not None else None

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Convolve with the sliced kernel."""
        weight, bias = self.taken(op, types)
        groups = types[0].channels if op.depthwise else op.groups
        padding = op.dilation * (op.kernel // 2)
        return functional.conv2d(inputs[0], weight, bias, op.stride, padding, op.dilation, groups)

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Convolve all channels; each kernel size by its share."""
        x = blend.scaled(inputs[0]) if not self.depthwise else inputs[0]
        width, out = x.shape[1], blend.output.shape[1]
        stride, dilation = blend.common("stride"), blend.common("dilation")
        blend.common("depthwise")
        groups = width if self.depthwise else blend.common("groups")
        weight = self.weight[:out] if groups > 1 else self.weight[:out, :width]
        bias = self.bias[:out] if self.bias is not None and blend.common("bias") else None

        def crop(kernel: int) -> Tensor:
            start = (self.kernel - kernel) // 2
            inner = weight[:, :, start : start + kernel, start : start + kernel]
            return functional.conv2d(x, inner, bias, stride, dilation * (kernel // 2), dilation, groups)

        return blend.sum(lambda op: op.kernel, crop)

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return an nn.Conv2d."""
        channels = types[0].channels
        module = nn.Conv2d(
            channels,
            channels if op.depthwise else op.out,
            op.kernel,
            op.stride,
            op.dilation * (op.kernel // 2),
            op.dilation,
            channels if op.depthwise else op.groups,
            op.bias,
        )
        init_conv(module.weight.data)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        return module

    @torch.no_grad()
    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the slice."""
        weight, bias = self.taken(op, types)
        assert isinstance(module, nn.Conv2d)
        module.weight.copy_(weight)
        if bias is not None and module.bias is not None:
            module.bias.copy_(bias)


@final
class ElasticBatchNorm(Layer):
    """Gamma, beta and running statistics sliced by the channel layout.

    The running statistics of shared channels mix all paths that were trained: recalibrate an extracted network
    before it is judged.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, variants: Sequence[Variant]) -> None:
        super().__init__(variants)
        channels = capacity(variants)
        zero = any(op.zero_init for op in ops_of(variants))
        affine = any(op.affine for op in ops_of(variants))
        self.weight = nn.Parameter(torch.zeros(channels) if zero else torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.tracking = True
        self.momentum: float | None = None  # in the place of the operator's, see nasforge.build.modes

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Normalise: by the batch in training, by the running statistics in evaluation."""
        layout = types[0].layout
        weight, bias = self.weight, self.bias
        if weight is not None and bias is not None:
            weight, bias = self.views.take(weight, (layout,)), self.views.take(bias, (layout,))  # type: ignore[assignment]  # slices
        mean, var = (None, None) if self.training and not self.tracking else self._statistics(layout)
        momentum = op.momentum if self.momentum is None else self.momentum
        y = functional.batch_norm(inputs[0], mean, var, weight, bias, self.training, momentum, op.eps)
        if self.training and len(layout) > 1 and mean is not None and var is not None:
            self._put_back(layout, mean, var)
        return y

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Normalise as the paths do: in training each architecture's images by their own statistics.

        The running statistics move as if the architectures had run one after another.
        """
        x, momentum, eps = inputs[0], blend.common("momentum"), blend.common("eps")
        width = x.shape[1]
        weight = self.weight[:width] if self.weight is not None else None
        bias = self.bias[:width] if self.bias is not None else None
        running = self.running_mean[:width], self.running_var[:width]
        if not self.training:
            return functional.batch_norm(x, *running, weight, bias, False, momentum, eps)
        if not blend.groups:  # given shares might rise, and no image runs it: there are no statistics
            return torch.zeros_like(x)
        parts = []
        for images in blend.groups:
            mean, var = (statistic.clone() for statistic in running)
            parts.append(functional.batch_norm(x[images], mean, var, weight, bias, True, momentum, eps))
            if self.tracking:
                active = (blend.output[images] > 0).any(dim=0)
                for statistic, new in zip(running, (mean, var), strict=True):
                    statistic.data.copy_(torch.where(active, new, statistic))
        return torch.zeros_like(x).index_copy(0, torch.cat(blend.groups), torch.cat(parts))

    def _statistics(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return running mean and variance of the channels: views of one run, copies of several."""
        return self.views.buffer(self.running_mean, layout), self.views.buffer(self.running_var, layout)

    def _put_back(self, layout: Layout, mean: Tensor, var: Tensor) -> None:
        """Write statistics, behind autograd's back as torch does: paths run before may still wait for backward."""
        start = 0
        for offset, length in layout:
            self.running_mean.data[offset : offset + length] = mean[start : start + length]
            self.running_var.data[offset : offset + length] = var[start : start + length]
            start += length

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return an nn.BatchNorm (2d for images, 1d for features)."""
        kind = nn.BatchNorm2d if len(types[0].shape) == 3 else nn.BatchNorm1d
        module = kind(types[0].channels, op.eps, op.momentum, affine=op.affine)
        if op.zero_init and op.affine:
            nn.init.zeros_(module.weight)
        return module

    @torch.no_grad()
    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the slice, statistics too."""
        layout = types[0].layout
        assert isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)
        mean, var = self._statistics(layout)
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.copy_(mean)
        module.running_var.copy_(var)
        if self.weight is not None and self.bias is not None:
            module.weight.copy_(self.runs(self.weight, layout))
            module.bias.copy_(self.runs(self.bias, layout))


@final
class ElasticLayerNorm(Layer):
    """Layer normalisation over the active channels at each position."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        super().__init__(variants)
        channels = capacity(variants)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Normalise over axis 1."""
        layout = types[0].layout
        return channel_norm(inputs[0], self.runs(self.weight, layout), self.runs(self.bias, layout), op.eps)

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Normalise over the channels that each image has."""
        x, share = inputs[0], along(blend.inputs[0], inputs[0])
        width = x.shape[1]
        count = share.sum(dim=1, keepdim=True).clamp(min=1e-12)
        centred = x - (share * x).sum(dim=1, keepdim=True) / count
        variance = (share * centred.square()).sum(dim=1, keepdim=True) / count
        y = centred * torch.rsqrt(variance + blend.common("eps"))
        return y * along(self.weight[None, :width], x) + along(self.bias[None, :width], x)

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a ChannelNorm."""
        return ChannelNorm(types[0].channels, op.eps)

    @torch.no_grad()
    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the slice."""
        assert isinstance(module, ChannelNorm)
        module.weight.copy_(self.runs(self.weight, types[0].layout))
        module.bias.copy_(self.runs(self.bias, types[0].layout))


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise (batch, C, ...) over the channels at each position."""
    moved = x.movedim(1, -1)
    return functional.layer_norm(moved, (moved.shape[-1],), weight, bias, eps).movedim(-1, 1)


@final
class ChannelNorm(nn.Module):
    """Layer normalisation over axis 1 of (batch, C, ...)."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return channel_norm(x, self.weight, self.bias, self.eps)


@final
class ActivationLayer(Stateless):
    """A pointwise nonlinearity."""

    per_channel = True

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return the torch module of the activation's name."""
        if op.kind == "none":
            return nn.Identity()
        return _ACTIVATIONS[op.kind]()
