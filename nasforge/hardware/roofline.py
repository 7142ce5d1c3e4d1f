"""An analytic latency model of named GPUs: per operator, the larger of arithmetic and memory time, plus a launch.

It serves where no such GPU is at hand. Peak rates and bandwidths are the makers' published figures; the
efficiencies are assumptions, the same for all cards, not fitted to any measurement, and the source says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.space import Operator, Types


@final
@dataclass(frozen=True, slots=True)
class Card:
    """A GPU by its published figures.

    Attributes:
        name: the maker's name.
        tflops: peak float32 rate without tensor cores, 10^12 operations a second.
        bandwidth_gbs: memory bandwidth, 10^9 bytes a second.
    """

    name: str
    tflops: float
    bandwidth_gbs: float


CARDS: Final[dict[str, Card]] = {
    "v100": Card("NVIDIA Tesla V100 SXM2", 15.7, 900.0),
    "gtx1080ti": Card("NVIDIA GeForce GTX 1080 Ti", 11.3, 484.0),
    "rtx2080ti": Card("NVIDIA GeForce RTX 2080 Ti", 13.4, 616.0),
    "a100": Card("NVIDIA A100 SXM4 40GB", 19.5, 1555.0),
    "rtx4090": Card("NVIDIA GeForce RTX 4090", 82.6, 1008.0),
    "t4": Card("NVIDIA T4", 8.1, 320.0),
    "rtx3090": Card("NVIDIA GeForce RTX 3090", 35.6, 936.0),
    "a10": Card("NVIDIA A10", 31.2, 600.0),
    "l4": Card("NVIDIA L4", 30.3, 300.0),
    "l40s": Card("NVIDIA L40S", 91.6, 864.0),
    "h100": Card("NVIDIA H100 SXM5 80GB", 67.0, 3350.0),
    "orin_agx": Card("NVIDIA Jetson AGX Orin 64GB", 5.3, 204.8),
}
DEFAULT_CARD: Final = "v100"
DENSE_EFFICIENCY: Final = 0.5
"""Assumed share of peak that dense convolutions reach."""
MEMORY_EFFICIENCY: Final = 0.7
"""Assumed share of the bandwidth that memory-bound kernels reach."""
LAUNCH_MS: Final = 0.004
"""Assumed time to launch one kernel."""
_FUSED: Final = frozenset({"BatchNorm", "Activation"})


def card(name: str) -> Card:
    """Return a card by its short name.

    Raises:
        UsageError: unknown name.
    """
    if name not in CARDS:
        raise UsageError(unknown_name_sentence("GPU", name, CARDS))
    return CARDS[name]


def node_ms(device: Card, op: Operator, inputs: Types, batch: int = 1, *, fused: bool = True) -> float:
    """Return the modelled milliseconds of one operator.

    Args:
        device: the card.
        op: an operator with concrete fields.
        inputs: the types of its inputs.
        batch: images at once.
        fused: whether normalisation and activation are part of the kernel before them, as inference runtimes do it;
            without, each is a kernel of its own, as in a framework that runs layer by layer.
    """
    if not inputs:
        return 0.0
    parts = [(leaf, types) for leaf, types in op.primitives(inputs) if types]
    kernels = [part for part in parts if not (fused and type(part[0]).__name__ in _FUSED)]
    return sum(_leaf_ms(device, leaf, types, batch) for leaf, types in kernels)


def _leaf_ms(device: Card, op: Operator, inputs: Types, batch: int) -> float:
    arithmetic = 2.0 * op.macs(inputs) * batch / (device.tflops * 1e9 * DENSE_EFFICIENCY)
    moved = 4.0 * (batch * (sum(kind.size for kind in inputs) + op.shape(inputs).size) + op.params(inputs))
    memory = moved / (device.bandwidth_gbs * 1e6 * MEMORY_EFFICIENCY)
    return LAUNCH_MS + max(arithmetic, memory)


def provenance(device: Card, batch: int, *, fused: bool = True) -> dict[str, Any]:
    """Return what the result file says of this model."""
    return {
        "kind": "analytic roofline",
        "device": device.name,
        "batch": batch,
        "fused": fused,
        "tflops_fp32": device.tflops,
        "bandwidth_gbs": device.bandwidth_gbs,
        "assumed": {"dense": DENSE_EFFICIENCY, "memory": MEMORY_EFFICIENCY, "launch_ms": LAUNCH_MS},
    }
