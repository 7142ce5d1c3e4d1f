"""ONNX files to time: single blocks, whole networks, and the reference network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nasforge.build import build_network
from nasforge.build.onnx_export import export_onnx
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Architecture, Input, Lowered, SearchSpace


def write_blocks(blocks: Mapping[str, Lowered], folder: Path, progress: Callable[[float], None]) -> dict[str, Path]:
    """Write one float32 ONNX file for each block, with random weights."""
    files = {}
    for number, (key, lowered) in enumerate(blocks.items()):
        network = build_network(lowered, seed=0).eval()
        files[key] = export_onnx(network, lowered.input_shapes, folder / f"block{number}.onnx", outputs=("output",))
        progress((number + 1) / len(blocks))
    return files


def write_network(space: SearchSpace, architecture: Architecture, path: Path) -> Path:
    """Write an architecture as float32 ONNX, with random weights."""
    network = build_network(space.lower(architecture), seed=0).eval()
    return export_onnx(network, space.input_shapes, path, outputs=tuple(network.plan.outputs))


def reference_network(folder: Path) -> Path:
    """Write the fixed network whose time tells how quiet the host is."""
    x = Input(3, 32, 32)
    node = x
    for channels, stride in ((16, 2), (32, 2), (32, 1)):
        node = Conv(channels, 3, stride)(node)
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(node))}, name="reference")
    return write_network(space, space.architecture({}), folder / "reference.onnx")
