"""ONNX files to time: single blocks, whole networks, and the reference network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nasforge.build import build_network
from nasforge.build.onnx_export import export_onnx
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, Lowered, SearchSpace


def write_blocks(blocks: Mapping[str, Lowered], folder: Path, progress: Callable[[int], None]) -> dict[str, Path]:
    """Write one float32 ONNX file for each block, with random weights; `progress` hears how many are done."""
    files = {}
    for number, (key, lowered) in enumerate(blocks.items()):
        files[key] = write_network(lowered, folder / f"block{number}.onnx")
        progress(number + 1)
    return files


def write_network(lowered: Lowered, path: Path) -> Path:
    """Write a lowered architecture or block as float32 ONNX, with random weights."""
    network = build_network(lowered, seed=0).eval()
    return export_onnx(network, lowered.input_shapes, path, outputs=tuple(network.plan.outputs))


def reference_network(folder: Path) -> Path:
    """Write the fixed network whose time tells how quiet the host is: about four million MACs."""
    node = Input(3, 32, 32)
    for channels, stride in ((32, 2), (64, 2), (64, 1)):
        node = Conv(channels, 3, stride)(node)
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(node))}, name="reference")
    return write_network(space.lower(space.architecture({})), folder / "reference.onnx")
