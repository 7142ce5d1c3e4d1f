"""A model of a GPU's kernels: what an operator runs, and how long it takes at any batch size.

A framework that runs layer by layer queues kernels from the host while the card works off the queue, so an operator
takes the larger of two sums over its kernels: the host's dispatch, and the card's arithmetic or memory time. The larger
of two times is the p-norm of both, smooth for fitting and for hosts that are not quite hidden. Small kernels use a card
badly: each needs as long as if it had some more outputs. Every term grows with the batch, so latencies do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.hardware.roofline import Card
from nasforge.ops import Activation, Add, BatchNorm, Conv2d, GlobalPool, Linear, Multiply, Pool
from nasforge.space import Operator, Types

Floats = npt.NDArray[np.float64]
KINDS: Final = (
    "dense", "pointwise", "grouped", "depthwise", "depthwise_large", "linear",
    "normalisation", "activation", "add", "pool", "other",
)  # fmt: skip
"""Kinds of kernel that have coefficients of their own; `other` is any operator not listed."""
ARITHMETIC: Final = KINDS[:6]
"""Kinds whose multiply-accumulates are counted."""
_BY_CLASS: Final[Mapping[type[Operator], str]] = {
    BatchNorm: "normalisation", Activation: "activation", Add: "add", Multiply: "add", Pool: "pool",
    GlobalPool: "pool", Linear: "linear",
}  # fmt: skip


def kernel_kind(op: Operator, inputs: Types) -> str:
    """Return the kind of a leaf operator's kernel."""
    if not isinstance(op, Conv2d):
        return _BY_CLASS.get(type(op), "other")
    if op.depthwise or (op.groups > 1 and op.groups == inputs[0].channels):
        return "depthwise" if op.kernel <= 3 else "depthwise_large"
    if op.groups > 1:
        return "grouped"
    return "pointwise" if op.kernel == 1 else "dense"


@final
@dataclass(frozen=True, slots=True)
class Work:
    """The kernels of some nodes, as columns.

    Attributes:
        node: (kernels,) the node that a kernel belongs to.
        kind: (kernels,) position in `KINDS`.
        operations: (kernels,) two for each multiply-accumulate of one image.
        image_bytes: (kernels,) float32 bytes read and written for one image.
        weight_bytes: (kernels,) float32 bytes of weights, read once.
        outputs: (kernels,) elements of the output for one image.
        nodes: number of nodes.
    """

    node: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    operations: Floats
    image_bytes: Floats
    weight_bytes: Floats
    outputs: Floats
    nodes: int


def work_of(nodes: Iterable[tuple[Operator, Types]]) -> Work:
    """Return the kernels that nodes run, layer by layer, nothing fused."""
    rows: list[tuple[float, ...]] = []
    count = 0
    for number, (op, inputs) in enumerate(nodes):
        count += 1
        for leaf, types in op.primitives(inputs) if inputs else ():
            if not types:
                continue
            kind = kernel_kind(leaf, types)
            operations = 2.0 * leaf.macs(types) if kind in ARITHMETIC or kind == "other" else 0.0
            result = leaf.shape(types)
            moved = 4.0 * (sum(each.size for each in types) + result.size)
            weights = 4.0 * leaf.params(types)
            rows.append((number, KINDS.index(kind), operations, moved, weights, result.size))
    columns = np.asarray(rows, dtype=float).reshape(-1, 6).T
    operations, moved_bytes, weight_bytes, outputs = columns[2:]
    places = columns[:2].astype(np.int64)
    return Work(places[0], places[1], operations, moved_bytes, weight_bytes, outputs, count)


@final
@dataclass(frozen=True, slots=True)
class KernelModel:
    """Coefficients of one card; all are positive.

    Attributes:
        card: its published figures.
        launch_ms: host milliseconds to dispatch one kernel, by kind.
        arithmetic: share of the peak rate that kernels with enough outputs reach, by kind.
        memory: share of the bandwidth that kernels reach, by kind.
        call_ms: host milliseconds that every network costs once, for its call and for waiting for its end.
        half_outputs: outputs of a kernel at which it reaches half of `arithmetic`.
        sharpness: p of the norm that stands for the larger of two times; infinite would be the larger itself.
    """

    card: Card
    launch_ms: Mapping[str, float]
    arithmetic: Mapping[str, float]
    memory: Mapping[str, float]
    call_ms: float
    half_outputs: float
    sharpness: float

    def node_ms(self, op: Operator, inputs: Types, batch: int = 1, launch_factor: float = 1.0) -> float:
        """Return the modelled milliseconds of one operator for a whole batch; 0 for an input."""
        return float(self.milliseconds(work_of([(op, inputs)]), batch, launch_factor)[0]) if inputs else 0.0

    def milliseconds(self, work: Work, batch: int, launch_factor: float = 1.0) -> Floats:
        """Return the milliseconds of each node, shape (nodes,).

        Args:
            work: the nodes' kernels.
            batch: images at once.
            launch_factor: of a host that dispatches slower (above 1) or faster.
        """
        launch, arithmetic, memory = (
            np.asarray([table[kind] for kind in KINDS]) for table in (self.launch_ms, self.arithmetic, self.memory)
        )
        rate = self.card.tflops * 1e9 * arithmetic[work.kind]
        counted = work.operations * (batch + self.half_outputs / np.maximum(work.outputs, 1.0))
        moved = work.image_bytes * batch + work.weight_bytes
        card_ms = _larger(counted / rate, moved / (self.card.bandwidth_gbs * 1e6 * memory[work.kind]), self.sharpness)
        host_ms = launch_factor * launch[work.kind]
        host, execution = (np.bincount(work.node, each, minlength=work.nodes) for each in (host_ms, card_ms))
        return _larger(host.astype(float), execution.astype(float), self.sharpness)

    def to_json(self) -> dict[str, Any]:
        """Return the coefficients as plain data."""
        return {
            "launch_ms": dict(self.launch_ms),
            "arithmetic": dict(self.arithmetic),
            "memory": dict(self.memory),
            "call_ms": self.call_ms,
            "half_outputs": self.half_outputs,
            "sharpness": self.sharpness,
        }


def _larger(first: Floats, second: Floats, sharpness: float) -> Floats:
    """Return the p-norm of two times, without overflow."""
    high, low = np.maximum(first, second), np.minimum(first, second)
    ratio = np.divide(low, high, out=np.zeros_like(high), where=high > 0.0)
    result: Floats = high * (1.0 + ratio**sharpness) ** (1.0 / sharpness)
    return result


def make_model(card: Card, coefficients: Mapping[str, Any]) -> KernelModel:
    """Return a model from plain data; kinds that are missing take the coefficients of `other`.

    Raises:
        ValueError: a coefficient is missing or not positive.
    """
    tables: list[dict[str, float]] = []
    for name in ("launch_ms", "arithmetic", "memory"):
        table = {kind: float(value) for kind, value in coefficients[name].items()}
        tables.append({kind: table.get(kind, table["other"]) for kind in KINDS})
    scalars = [float(coefficients[name]) for name in ("call_ms", "half_outputs", "sharpness")]
    values: Sequence[float] = [*scalars, *(value for table in tables for value in table.values())]
    if not all(0.0 < value < float("inf") for value in values):
        raise ValueError("a coefficient is not positive")
    launch, arithmetic, memory = tables
    return KernelModel(card, launch, arithmetic, memory, *scalars)
