"""Making things of architectures: networks, supernets, extracted and calibrated networks, ONNX files."""

from __future__ import annotations

from typing import Any

from nasforge.build.auxiliary import AuxiliaryNetwork, WithAuxiliary, has_auxiliary
from nasforge.build.calibrate import recalibrate
from nasforge.build.extract import extract
from nasforge.build.joint_run import JointRun
from nasforge.build.modes import frozen_statistics, without_dropout
from nasforge.build.network import Network, build_network
from nasforge.build.supernet import Supernet
from nasforge.build.transfer import transfer

__all__ = [
    "AuxiliaryNetwork",
    "JointRun",
    "Network",
    "Supernet",
    "WithAuxiliary",
    "build_network",
    "export_onnx",
    "extract",
    "frozen_statistics",
    "has_auxiliary",
    "recalibrate",
    "transfer",
    "without_dropout",
]


def __getattr__(name: str) -> Any:
    """Import the exporter only when asked for: it brings onnx."""
    if name == "export_onnx":
        from nasforge.build.onnx_export import export_onnx

        return export_onnx
    raise AttributeError(f"module 'nasforge.build' has no attribute '{name}'")
