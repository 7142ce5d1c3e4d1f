"""Pooling layers."""

from __future__ import annotations

from typing import Any, final

from torch import nn

from nasforge.layers.base import Stateless
from nasforge.space.node import Types


@final
class PoolLayer(Stateless):
    """Maximum or average over windows; padded places do not count."""

    per_channel = True

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return nn.MaxPool2d or nn.AvgPool2d."""
        padding = 0 if op.kernel == op.stride else op.kernel // 2
        if op.kind == "max":
            return nn.MaxPool2d(op.kernel, op.stride, padding)
        return nn.AvgPool2d(op.kernel, op.stride, padding, count_include_pad=False)


@final
class GlobalPoolLayer(Stateless):
    """Average over all positions."""

    per_channel = True

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return adaptive pooling to 1 x 1, flattened unless kept."""
        pool = nn.AdaptiveAvgPool2d(1)
        return pool if op.keep else nn.Sequential(pool, nn.Flatten())
