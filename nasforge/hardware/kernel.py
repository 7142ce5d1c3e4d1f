"""The kernels that a runtime runs for a network, as far as latency depends on them.

Normalisation and the cheap activations are part of the convolution before them in every inference runtime, so they are
no kernels here. What is left is told apart by kind, by size (calls, MACs, bytes) and by where it lies (resolution and
channels): enough to learn a device from whole networks, and to recognise the same kernel in another space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space import Lowered, Operator, Types

FUSED: Final = frozenset({"BatchNorm", "Identity", "Zero"})
FUSED_ACTIVATIONS: Final = frozenset({"none", "relu", "relu6"})
ALIGNMENTS: Final = (32, 16, 8)


@final
@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel.

    Attributes:
        family: `dense`, `pointwise`, `depthwise`, `linear`, `add`, `pool`, ...
        kind: the family with the size of its window and its groups, such as `depthwise5`.
        macs: multiply-accumulates.
        moved: bytes of inputs, output and weights in float32.
        resolution: height of the output.
        channels: of the output.
        alignment: the largest of 32, 16 and 8 that divides the channels, else 1.
    """

    family: str
    kind: str
    macs: int
    moved: int
    resolution: int
    channels: int
    alignment: int

    def to_json(self) -> list[Any]:
        """Return the fields in order."""
        return [self.family, self.kind, self.macs, self.moved, self.resolution, self.channels, self.alignment]


def kernels_of(op: Operator, inputs: Types) -> list[Kernel]:
    """Return the kernels that an operator runs for input types; none for the network's input."""
    if not inputs:
        return []
    return [kernel(leaf, types) for leaf, types in op.primitives(inputs) if types and not _is_fused(leaf)]


def network_kernels(network: Lowered) -> list[list[Kernel]]:
    """Return the kernels of each node of a network."""
    return [kernels_of(node.op, node.input_types) for node in network.nodes]


def kernel(op: Operator, inputs: Types) -> Kernel:
    """Describe a leaf operator as a kernel."""
    output = op.shape(inputs)
    family, kind = _names(op)
    channels = output.channels
    moved = 4 * (sum(source.size for source in inputs) + output.size + op.params(inputs))
    resolution = max(*output.spatial[:1], 1, 1)
    return Kernel(family, kind, op.macs(inputs), moved, resolution, channels, _alignment(channels))


def positions(kernels: Sequence[Kernel]) -> npt.NDArray[np.float64]:
    """Return the logarithms (base 2) of resolution and channels, (2, k)."""
    sizes = [[each.resolution for each in kernels], [max(each.channels, 1) for each in kernels]]
    return np.log2(np.asarray(sizes, dtype=np.float64))


def _alignment(channels: int) -> int:
    return next((size for size in ALIGNMENTS if channels % size == 0), 1)


def _is_fused(op: Operator) -> bool:
    name = type(op).__name__
    return name in FUSED or (name == "Activation" and getattr(op, "kind", "") in FUSED_ACTIVATIONS)


def _names(op: Operator) -> tuple[str, str]:
    """Return family and kind."""
    name, window = type(op).__name__, getattr(op, "kernel", None)
    if name == "Conv2d":
        if getattr(op, "depthwise", False):
            return "depthwise", f"depthwise{window}"
        family = "pointwise" if window == 1 else "dense"
        groups = getattr(op, "groups", 1)
        return family, f"{family}{window}" + ("_grouped" if groups > 1 else "")
    detail = window if isinstance(window, int) else getattr(op, "kind", "")
    return name.lower(), f"{name.lower()}{detail}"
