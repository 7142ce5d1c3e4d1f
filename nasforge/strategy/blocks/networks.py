"""The two networks of block-wise bootstrapping: one that learns, and its target, which follows it.

Each has a supernet and, at the end of each block, a lift and a projector; predictors are of the online side alone,
for without that asymmetry both sides could agree on saying nothing (BYOL, Grill et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import nn

from nasforge.build import Supernet
from nasforge.rng import integer_seed
from nasforge.space import SearchSpace
from nasforge.strategy.blocks.paths import Block
from nasforge.strategy.blocks.rating import Side
from nasforge.training.bootstrap import Lift, Projector, perceptron
from nasforge.training.ema import EMATwin


@final
class TwoNetworks:
    """Both sides, made from a seed.

    Args:
        space: of the supernets.
        blocks: its blocks.
        seed: of the supernet and, in a stream of its own, of the heads.
        lift: channels that maps of several shapes are brought to.
        hidden: features inside of projectors and predictors.
        outputs: D, features of an embedding (N, D).

    Attributes:
        online: what learns.
        predictors: of the online side, one for each block, (N, D) -> (N, D).
        target: the twin, whose parameters have no gradient and whose statistics are its own.
    """

    def __init__(
        self, space: SearchSpace, blocks: Sequence[Block], seed: int, lift: int, hidden: int, outputs: int
    ) -> None:
        """Make the online side, and copy it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(integer_seed(seed, "heads"))
            lifts = [Lift(block.shapes, lift) for block in blocks]
            projectors = [Projector(each.width, hidden, outputs) for each in lifts]
            predictors = [perceptron(outputs, hidden, outputs) for _ in blocks]
        self.online = Side(Supernet(space, seed), nn.ModuleList(lifts), nn.ModuleList(projectors))
        self.predictors = nn.ModuleList(predictors)
        self._followed = nn.ModuleList([self.online.supernet, self.online.projectors])
        self._twin, self._lift_twin = EMATwin(self._followed, buffers="own"), EMATwin(self.online.lifts, buffers="own")
        supernet, twins = self._twin.module.children()
        self.target = Side(supernet, self._lift_twin.module, twins)  # type: ignore[arg-type]  # copies of the online ones

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All modules by name: `supernet`, `lifts`, `projectors`, `predictors`, and those of the target."""
        online, target = self.online, self.target
        return {
            "supernet": online.supernet,
            "lifts": online.lifts,
            "projectors": online.projectors,
            "predictors": self.predictors,
            "target": target.supernet,
            "target_lifts": target.lifts,
            "target_projectors": target.projectors,
        }

    def follow(self, momentum: float) -> None:
        """Move the target's supernet and projectors: momentum x target + (1 - momentum) x online."""
        self._twin.update(self._followed, momentum)

    def follow_lifts(self, momentum: float) -> None:
        """Move the target's lifts in the same way."""
        self._lift_twin.update(self.online.lifts, momentum)


__all__ = ["TwoNetworks"]
