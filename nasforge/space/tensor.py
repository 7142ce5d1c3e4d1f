"""The type of a tensor in the graph: shape, channel layout and bits; no batch axis, no data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class TensorType:
    """Channels first, then the spatial sizes: (C, H, W), (C, length) or (C,).

    Attributes:
        shape: the sizes without the batch axis.
        slots: where the channels sit among those of the largest variant, as (offset, length) runs; after a
            concatenation each input keeps its own fixed place, so consumers read the right weights.
        bits: width of the numbers; 32 unless a quantiser set it.
        open: the declaration has too many combinations to list; the channels given are the most there can be.
    """

    shape: tuple[int, ...]
    slots: tuple[tuple[int, int], ...] = ()
    bits: int = 32
    open: bool = False

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def spatial(self) -> tuple[int, ...]:
        """Sizes behind the channel axis."""
        return self.shape[1:]

    @property
    def layout(self) -> tuple[tuple[int, int], ...]:
        """The (offset, length) runs of the channels; one run from 0 unless said otherwise."""
        return self.slots or ((0, self.shape[0]),)

    @property
    def capacity(self) -> int:
        """One past the last channel place in use."""
        return max(offset + length for offset, length in self.layout)

    @property
    def size(self) -> int:
        """Number of elements for one image."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))
