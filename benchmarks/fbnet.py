"""FBNet's space as a nasforge graph, and the latencies that HELP published of 5,000 of its networks.

The space is that of Wu et al. 2019, table 1, as HW-NAS-Bench codes it for CIFAR-100: input of 32 pixels, 22 places of
nine candidates (kernel 3 or 5 with expansion 1, expansion 1 in two groups, 3, 6; skip), seven stages. A skip that
cannot be the identity is a strided 1x1 convolution with normalisation and ReLU. Parameters equal the table's column in
all 5,000 rows. The table's `flops` are MACs, two for each element that a normalisation puts out, one for each element
that the global pool takes in, and one for each element that an activation puts out, but only the second of a block
(`table_flops`, equal in all rows; MACs alone correlate at .9996).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.evaluate.published import data_file
from nasforge.ops import Activation, BatchNorm, Conv, Conv2d, GlobalPool, Identity, Linear, residual
from nasforge.space import Architecture, Body, Input, Node, Operator, SearchSpace, TensorType, Types, one_of

STAGES: Final = ((16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
"""Channels, places, stride of the first."""
CANDIDATES: Final = tuple((k, e, g) for k in (3, 5) for e, g in ((1, 1), (1, 2), (3, 1), (6, 1)))
"""Kernel, expansion, groups of the table's blocks 0 to 7; 8 is the skip."""
LABELS: Final = (*(f"k{k}e{e}" + (f"g{g}" if g > 1 else "") for k, e, g in CANDIDATES), "skip")
DEVICES: Final = ("1080ti_1", "1080ti_32", "1080ti_64", "2080ti_1", "2080ti_32", "2080ti_64", "gold_6226", "pixel3")
"""Latency columns: a device, and the batch of GPUs; all in milliseconds."""
TABLE: Final = "fbnet_latency/fbnet5000.npz"


@final
@dataclass(frozen=True)
class ChannelShuffle(Operator):
    """Interleave the channels of groups, so that the next grouped convolution sees all of them."""

    groups: int = 2
    layer: ClassVar[str | None] = "fbnet_layers:ShuffleLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        return inputs[0]


@final
@dataclass(frozen=True)
class FBNetBlock(Operator):
    """1x1 convolution, depthwise k x k, 1x1 convolution; grouped 1x1 convolutions are followed by a shuffle."""

    out: int
    kernel: int = 3
    expansion: int = 1
    groups: int = 1
    stride: int = 1

    def expand(self, body: Body) -> int:
        """Expand to expand, depthwise, project; the first is there for expansion 1 too."""
        x = body.add("expand", Conv2d(body.type(-1).channels * self.expansion, 1, groups=self.groups), -1)
        x = body.add("expand_act", Activation("relu"), body.add("expand_bn", BatchNorm(), x))
        if self.groups > 1:
            x = body.add("expand_shuffle", ChannelShuffle(self.groups), x)
        x = body.add("dw", Conv2d(0, self.kernel, self.stride, depthwise=True), x)
        x = body.add("dw_act", Activation("relu"), body.add("dw_bn", BatchNorm(), x))
        x = body.add("project_bn", BatchNorm(), body.add("project", Conv2d(self.out, 1, groups=self.groups), x))
        return body.add("project_shuffle", ChannelShuffle(self.groups), x) if self.groups > 1 else x


def fbnet(size: int = 32, classes: int = 100, head: int = 1504) -> SearchSpace:
    """Declare the space; the defaults are what the table was measured with."""
    x, channels, place = Conv(16, 3)(Input(3, size, size), name="stem"), 16, 0
    for out, places, first in STAGES:
        for layer in range(places):
            x = _place(x, channels, out, first if layer == 0 else 1, f"p{place}")
            channels, place = out, place + 1
    x = Conv(head, 1)(x, name="head")
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x), name="classifier")}, name="fbnet")


def _place(x: Node, channels: int, out: int, stride: int, name: str) -> Node:
    same = stride == 1 and channels == out
    candidates = []
    for label, (kernel, expansion, groups) in zip(LABELS, CANDIDATES, strict=False):
        block = FBNetBlock(out, kernel, expansion, groups, stride)(x, name=f"{name}.{label}")
        candidates.append(residual(block, x, name=f"{name}.{label}.sum") if same else block)
    skip = Identity() if same else Conv(out, 1, stride)
    return one_of([*candidates, skip(x, name=f"{name}.skip")], name=name, labels=LABELS)


@final
@dataclass(frozen=True)
class FBNetTable:
    """The published networks.

    Attributes:
        space: as declared here.
        decisions: (n, 22), rows of the space's decisions.
        latency_ms: (n,) by column, see `DEVICES`.
        flops: (n,), as the table counts them.
        params: (n,).
    """

    space: SearchSpace
    decisions: npt.NDArray[np.int16]
    latency_ms: Mapping[str, npt.NDArray[np.float64]]
    flops: npt.NDArray[np.float64]
    params: npt.NDArray[np.float64]

    def architecture(self, row: int) -> Architecture:
        """Return the architecture of a row."""
        return self.space.from_decisions(self.decisions[row])


def read_table() -> FBNetTable:
    """Read the table of $NASFORGE_DATA.

    Raises:
        DataError: the variable is not set, or the file is not there.
    """
    with np.load(data_file(TABLE), allow_pickle=False) as file:
        columns: dict[str, Any] = {name: file[name] for name in file.files}
    latency_ms = {device: columns[f"lat_{device}"].astype(np.float64) for device in DEVICES}
    numbers = (columns["zc_flops"].astype(np.float64), columns["zc_params"].astype(np.float64))
    return FBNetTable(fbnet(), columns["arch"].astype(np.int16), latency_ms, *numbers)


def table_flops(op: Operator, types: Types) -> int:
    """Count the operations of a node as the table's `flops` column does: `space.additive("flops", table_flops)`."""
    parts = op.primitives(types)
    total = op.macs(types) + sum(2 * leaf.shape(given).size for leaf, given in parts if isinstance(leaf, BatchNorm))
    activated = [leaf.shape(given).size for leaf, given in parts if isinstance(leaf, Activation)]
    return total + sum(activated[-1:]) + (types[0].size if isinstance(op, GlobalPool) else 0)
