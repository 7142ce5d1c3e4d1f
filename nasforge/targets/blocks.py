"""ONNX files to time: single blocks and whole networks."""

from __future__ import annotations

from pathlib import Path

from nasforge.build import build_network
from nasforge.build.onnx_export import export_onnx
from nasforge.space import Lowered


def write_network(lowered: Lowered, path: Path) -> Path:
    """Write a lowered architecture or block as float32 ONNX, with random weights."""
    network = build_network(lowered, seed=0).eval()
    return export_onnx(network, lowered.input_shapes, path, outputs=tuple(network.plan.outputs))
