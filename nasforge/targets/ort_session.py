"""ONNX Runtime sessions as they are measured: one thread, sequential, all optimisations, inputs bound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from nasforge.errors import TargetError

ort.set_default_logger_severity(3)


def session_options(threads: int = 1) -> ort.SessionOptions:
    """Return the options of every measured session (LATENCY protocol: sequential, no spinning)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def open_session(path: str | Path, threads: int = 1) -> ort.InferenceSession:
    """Open a file on the CPU.

    Raises:
        TargetError: ONNX Runtime cannot load it.
    """
    try:
        return ort.InferenceSession(str(path), session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise TargetError(
            f"ONNX Runtime cannot load '{path}' ({type(error).__name__}: {str(error)[:300]}); give an ONNX file."
        ) from error


def file_function(path: str | Path) -> Callable[[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    """Return a function that runs a file with one input: images (batch, C, H, W) -> its outputs."""
    session = open_session(path)
    name = session.get_inputs()[0].name
    return lambda images: list(session.run(None, {name: images}))


_KINDS: Final = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
}  # fmt: skip


def random_feed(session: ort.InferenceSession, batch: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Return random inputs of a session's shapes; free axes get `batch`.

    Raises:
        TargetError: an input is no tensor of numbers.
    """
    rng = np.random.default_rng(0)
    feed = {}
    for entry in session.get_inputs():
        if entry.type not in _KINDS:
            raise TargetError(f"input '{entry.name}' is a {entry.type}; expected one of {', '.join(_KINDS)}.")
        shape = [size if isinstance(size, int) else batch for size in entry.shape]
        feed[entry.name] = np.abs(rng.standard_normal(shape)).astype(_KINDS[entry.type])
    return feed


def bound_run(session: ort.InferenceSession, batch: int = 1) -> Callable[[], None]:
    """Return a call that runs the session on a batch of images with inputs and outputs bound beforehand.

    Raises:
        TargetError: the network does not run.
    """
    binding = session.io_binding()
    for name, value in random_feed(session, batch).items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
    for entry in session.get_outputs():
        binding.bind_output(entry.name)

    def run() -> None:
        session.run_with_iobinding(binding)

    try:
        run()
    except Exception as error:
        raise TargetError(f"ONNX Runtime cannot run the network on random input ({str(error)[:300]}).") from error
    return run


def cuda_provider_missing() -> str | None:
    """Return why ONNX Runtime cannot use a GPU, None where it can."""
    if "CUDAExecutionProvider" in ort.get_available_providers():
        return None
    return "this ONNX Runtime has no CUDA provider (pip install onnxruntime-gpu)"


def cuda_run(path: str | Path, batch: int, stream: int) -> Callable[[], None]:
    """Return a call that runs a file on the first GPU, inputs and outputs on the device.

    Args:
        path: a float32 ONNX file.
        batch: images at once.
        stream: address of the CUDA stream to compute on.

    Raises:
        TargetError: ONNX Runtime cannot load it, or would run it elsewhere.
    """
    provider = ("CUDAExecutionProvider", {"device_id": "0", "user_compute_stream": str(stream)})
    try:
        session = ort.InferenceSession(str(path), session_options(), providers=[provider])
    except Exception as error:
        raise TargetError(f"ONNX Runtime cannot load '{path}' on the GPU: {error}.") from error
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise TargetError(f"ONNX Runtime would run '{path}' on {session.get_providers()[0]}; check the CUDA libraries.")
    binding = session.io_binding()
    for name, value in random_feed(session, batch).items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
    for entry in session.get_outputs():
        binding.bind_output(entry.name, "cuda")

    def run() -> None:
        session.run_with_iobinding(binding)

    return run


def runtime_version() -> str:
    """Return ONNX Runtime's version."""
    return str(ort.__version__)
