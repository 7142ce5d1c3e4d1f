"""Pooling: windows of maximum or average, and global average."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, final

from nasforge.errors import SpaceError
from nasforge.space.node import Operator, Types, output_size
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class Pool(Operator):
    """Maximum or average over k x k windows, "same" padding; padded places do not count in an average."""

    kind: Any = "max"
    kernel: Any = 3
    stride: Any = 1
    layer: ClassVar[str | None] = "nasforge.layers.pool:PoolLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the type with pooled spatial sizes."""
        if self.kind not in ("max", "avg"):
            raise SpaceError(f"Pool was given kind '{self.kind}'; expected 'max' or 'avg'")
        source = inputs[0]
        if len(source.shape) != 3:
            raise SpaceError(f"pooling was given {source}; expected (channels, height, width)")
        padding = 0 if self.kernel == self.stride else self.kernel // 2
        spatial = tuple(output_size(size, self.kernel, self.stride, padding) for size in source.spatial)
        return dataclasses.replace(source, shape=(source.channels, *spatial))

    def label(self) -> str:
        """Return e.g. `avg pool 3x3`."""
        return f"{self.kind} pool {self.kernel}x{self.kernel}"


@final
@dataclass(frozen=True)
class GlobalPool(Operator):
    """Average over all positions: (C, H, W) -> (C,), or (C, 1, 1) with `keep`."""

    keep: bool = False
    layer: ClassVar[str | None] = "nasforge.layers.pool:GlobalPoolLayer"
    keeps_zero: ClassVar[bool] = False

    def shape(self, inputs: Types) -> TensorType:
        """Return the pooled type."""
        source = inputs[0]
        if len(source.shape) != 3:
            raise SpaceError(f"global pooling was given {source}; expected (channels, height, width)")
        return dataclasses.replace(source, shape=(source.channels, 1, 1) if self.keep else (source.channels,))

    def label(self) -> str:
        """Return `global pool`."""
        return "global pool"
