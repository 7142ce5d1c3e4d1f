"""Several variants of one layer in one batch: which image runs which, and which channels that leaves.

Masked tensors are as wide as the widest variant, each channel at its place in the shared weights; the places that an
image's variant lacks are zero. Shares say how much of a variant, channel or candidate an image has: 0 or 1 for
architectures, anything that a gradient may flow to where the caller gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from nasforge.errors import IncompatibleError
from nasforge.space.node import Types


@final
@dataclass(frozen=True, slots=True)
class Blend:
    """What a layer must know to run several of its variants in one batch.

    Attributes:
        name: of the layer, for errors.
        ops: the operator of each variant.
        types: the input types of each variant.
        shares: of each variant in each image, shape (batch, variants).
        inputs: for each input the share of every channel place, shape (batch, width).
        output: the same for the output.
        groups: for each architecture the numbers of its images that run this layer.
        soft: whether shares may be something else than 0 and 1, so that `scaled` has something to do.
    """

    name: str
    ops: tuple[Any, ...]
    types: tuple[Types, ...]
    shares: Tensor
    inputs: tuple[Tensor, ...]
    output: Tensor
    groups: tuple[Tensor, ...]
    soft: bool

    def common(self, field: str) -> Any:
        """Return a field of the operators, which must agree.

        Raises:
            IncompatibleError: the variants differ in it.
        """
        values = list(dict.fromkeys(getattr(op, field) for op in self.ops))
        if len(values) > 1:
            raise IncompatibleError(
                f"layer '{self.name}' has {field} {' and '.join(map(str, values))} in one batch, which no mask can "
                "express; run these architectures one by one."
            )
        return values[0]

    def by(self, key: Callable[[Any], Hashable]) -> dict[Any, Tensor]:
        """Return the share of every value of `key(operator)`, shape (batch,)."""
        found: dict[Any, list[int]] = {}
        for place, op in enumerate(self.ops):
            found.setdefault(key(op), []).append(place)
        return {value: self.shares[:, places].sum(dim=1) for value, places in found.items()}

    def sum(self, key: Callable[[Any], Hashable], run: Callable[[Any], Tensor]) -> Tensor:
        """Return `run(value)` of all values of `key(operator)`, weighted by their shares in each image."""
        found = self.by(key)
        if len(found) == 1:
            return run(next(iter(found)))
        return torch.stack([along(share, y := run(value)) * y for value, share in found.items()]).sum(dim=0)

    def scaled(self, x: Tensor, place: int = 0) -> Tensor:
        """Weight an input's channels by their shares: where channels are mixed, and nowhere else."""
        return x * along(self.inputs[place], x) if self.soft else x


def along(share: Tensor, x: Tensor) -> Tensor:
    """Give a share of images (batch,) or of channels (batch, width) the axes of `x`, (batch, width, ...)."""
    return share.reshape(*share.shape, *[1] * (x.dim() - share.dim()))


def widened(x: Tensor, width: int, offset: int = 0) -> Tensor:
    """Return `x` (batch, channels, ...) with zeros before and behind its channels."""
    behind = width - offset - x.shape[1]
    return functional.pad(x, (0, 0) * (x.dim() - 2) + (offset, behind)) if offset or behind else x
