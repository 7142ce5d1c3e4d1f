"""Resampling layer."""

from __future__ import annotations

from typing import Any, final

from torch import nn

from nasforge.layers.base import Stateless
from nasforge.space.node import Types


@final
class ResizeLayer(Stateless):
    """Bilinear or bicubic resampling; the identity where the size is already right."""

    per_channel = True

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return nn.Upsample, or nn.Identity."""
        if types[0].spatial == (op.size, op.size):
            return nn.Identity()
        return nn.Upsample(size=(op.size, op.size), mode=op.mode, align_corners=False)
