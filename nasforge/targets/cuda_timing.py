"""Timing ONNX files on a GPU: inputs and outputs stay on the device, CUDA events on the stream that computes.

ONNX Runtime is given a stream of torch's, so that the events enclose the kernels and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from nasforge.targets.base import Progress
from nasforge.targets.ort_session import cuda_run, runtime_version
from nasforge.targets.timing import Protocol


def device_facts() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the first GPU is, and the runtime that uses it, as plain data."""
    properties: Any = torch.cuda.get_device_properties(0)
    device = {
        "model": torch.cuda.get_device_name(),
        "memory_bytes": int(properties.total_memory),
        "capability": f"{properties.major}.{properties.minor}",
    }
    runtime = {
        "onnxruntime": runtime_version(),
        "provider": "CUDAExecutionProvider",
        "cuda": str(torch.version.cuda),
    }
    return device, runtime


def time_on_gpu(
    paths: Sequence[str | Path], batch: int, protocol: Protocol, progress: Progress | None = None
) -> tuple[list[list[list[float]]], str]:
    """Time files by visits, interleaved.

    Args:
        paths: float32 ONNX files.
        batch: images at once.
        protocol: visits, runs and warm-up count; the gate does not apply to a GPU.
        progress: hears how many visits are done.

    Returns:
        Milliseconds of whole batches by file and visit, and the GPU's name.
    """
    make_stream: Any = torch.cuda.Stream  # untyped in torch
    stream = make_stream()
    runs = [cuda_run(path, batch, int(stream.cuda_stream)) for path in paths]
    readings: list[list[list[float]]] = [[] for _ in runs]
    total = protocol.visits * len(runs)
    for visit in range(protocol.visits):
        for number, run in enumerate(runs):
            readings[number].append(_visit(run, stream, protocol))
            if progress is not None:
                progress(visit * len(runs) + number + 1, total)
    return readings, torch.cuda.get_device_name()


def _visit(run: Callable[[], None], stream: Any, protocol: Protocol) -> list[float]:
    for _ in range(protocol.warm_up):
        run()
    event: Any = torch.cuda.Event  # untyped in torch
    times: list[float] = []
    while len(times) < protocol.runs:
        begin, end = event(enable_timing=True), event(enable_timing=True)
        begin.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        times.append(float(begin.elapsed_time(end)))
    return times
