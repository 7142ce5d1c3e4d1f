"""Dropping whole paths in training; the training loop says how likely, step by step."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from nasforge.ops.drop_path import drop_chance


@final
class DropPath(nn.Module):
    """Zero for some images of the batch, divided by the share kept for the others; the identity in evaluation.

    Attributes:
        depth: how deep the path lies, (l + 1) / L.
        chance: to be dropped now; 0, so that nothing is, until `schedule_drop_path` sets it.
    """

    def __init__(self, depth: float) -> None:
        """Take the depth of the path."""
        super().__init__()
        self.depth, self.chance = depth, 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Drop the path of (batch, ...), for each image anew."""
        return drop_path(x, self.chance) if self.training else x

    def extra_repr(self) -> str:
        """Return the depth."""
        return f"depth={self.depth:g}"


@final
class PathDropping(nn.Module):
    """How likely a supernet drops its deepest path now (`chance`); a module only so that it is found in others."""

    def __init__(self) -> None:
        """Drop nothing."""
        super().__init__()
        self.chance = 0.0


def drop_path(x: Tensor, chance: float) -> Tensor:
    """Return x, (batch, ...), zero for images drawn with `chance`, divided by 1 - chance for the others.

    The mask is one number per image; torch's global generator draws it.
    """
    if chance <= 0.0:
        return x
    keep = 1.0 - chance
    mask = torch.rand([len(x), *[1] * (x.dim() - 1)], device=x.device) < keep
    return x * (mask.to(x.dtype) / keep)


def schedule_drop_path(module: nn.Module, progress: float, final_keep: float, ramp: str = "both") -> None:
    """Set the chance of every path of a network for the next step of its training (ScheduledDropPath).

    Args:
        module: a network, or a module that holds one.
        progress: share of the training that is done, 0 to 1.
        final_keep: share of images that the deepest path keeps at the end.
        ramp: see `nasforge.ops.drop_path.drop_chance`.
    """
    for part in module.modules():
        if isinstance(part, DropPath):
            part.chance = drop_chance(part.depth, progress, final_keep, ramp)
