"""Where training may drop whole paths, and how likely at which depth (Zoph et al. 2018, ScheduledDropPath).

The mark computes nothing: it is no part of costs, latency keys, identity or exported files of a network, and a network
drops nothing unless its training asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.space.node import Operator, Types
from nasforge.space.tensor import TensorType

RAMPS: Final = ("both", "time", "depth")
"""What the chance to be dropped grows with: the released code's default is both, the paper speaks of time."""


@final
@dataclass(frozen=True)
class DropPath(Operator):
    """Mark the input as a path that training may drop; pass it on.

    Attributes:
        drop_depth: how deep the path lies, (l + 1) / L in cell l of L counted from 0; 0 for one that is never dropped.
    """

    drop_depth: Any = 1.0
    aliases: ClassVar[bool] = True

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        if not 0 <= self.drop_depth <= 1:
            raise SpaceError(f"DropPath was given the depth {self.drop_depth}; expected 0 to 1")
        return inputs[0]

    def label(self) -> str:
        """Return `drop path`."""
        return "drop path"


def drop_chance(depth: float, progress: float, final_keep: float, ramp: str = "both") -> float:
    """Return the chance that a path is dropped, 1 - keep(l, t) = min(1, t/T) (l+1)/L (1 - final_keep).

    Args:
        depth: (l + 1) / L.
        progress: t / T, the share of training that is done.
        final_keep: share of images that the deepest path keeps at the end of training, in (0, 1].
        ramp: one of `RAMPS`: grow over both as above, over time alone (every path as the deepest), or over depth
            alone (all the time as at the end).

    Raises:
        SpaceError: an unknown ramp, or a share outside (0, 1].
    """
    if ramp not in RAMPS:
        raise SpaceError(unknown_name_sentence("drop-path ramp", ramp, RAMPS))
    if not 0 < final_keep <= 1:
        raise SpaceError(f"drop path was given the share {final_keep} to keep; expected more than 0 and at most 1.")
    over_time = 1.0 if ramp == "depth" else min(1.0, progress)
    return over_time * (1.0 if ramp == "time" else depth) * (1.0 - final_keep)
