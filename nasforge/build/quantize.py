"""INT8 networks: static QDQ, unsigned 8-bit activations, signed 8-bit weights per channel.

ONNX Runtime's default of signed activations leaves every branching block in float on x86, at up to five times the
time, so it is never used. Quantised graphs are checked for convolutions that stayed float.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from nasforge.errors import EvaluationError

Feed = Mapping[str, npt.NDArray[np.float32]]


@final
@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised file and the convolutions of its optimised graph that stayed float, with the reason."""

    path: Path
    float_convolutions: tuple[str, ...]


def quantise(source: str | Path, path: str | Path, calibration: Iterable[Feed]) -> Quantised:
    """Quantise a float32 ONNX file.

    Args:
        source: the float32 file.
        path: where the INT8 file goes.
        calibration: feeds (name -> (batch, ...)) from the training split; random ones serve for timing.

    Raises:
        EvaluationError: ONNX Runtime cannot quantise it.
    """
    from onnxruntime import quantization as tools
    from onnxruntime.quantization.shape_inference import quant_pre_process

    level = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tools announce their own deprecations
        logging.getLogger().setLevel(logging.ERROR)
        try:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            rewrite_pooling(prepared)
            tools.quantize_static(
                str(prepared),
                str(path),
                _Reader(calibration),
                quant_format=tools.QuantFormat.QDQ,
                activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QInt8,
                per_channel=True,
            )
        except Exception as error:
            raise EvaluationError(f"'{source}' cannot be quantised ({type(error).__name__}: {error}).") from error
        finally:
            logging.getLogger().setLevel(level)
        _copy_metadata(source, path)
        return Quantised(Path(path), float_convolutions(path, Path(folder)))


@final
class _Reader:
    """Feeds calibration data to ONNX Runtime."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Required by ONNX Runtime for large sets; these are small."""


def rewrite_pooling(path: Path) -> int:
    """Replace ReduceMean over height and width by GlobalAveragePool, which has an INT8 kernel.

    Returns:
        How many were replaced.
    """
    model = onnx.load(str(path))
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    replaced = 0
    for node in model.graph.node:
        if node.op_type != "ReduceMean":
            continue
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        axes = given.get("axes") or (list(constants.get(node.input[1], [])) if len(node.input) > 1 else [])
        if sorted(int(axis) % 4 for axis in axes) == [2, 3] and given.get("keepdims", 1) == 1:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
            del node.input[1:]
            replaced += 1
    if replaced:
        onnx.save(model, str(path))
    return replaced


def float_convolutions(path: str | Path, folder: Path) -> tuple[str, ...]:
    """Return the convolutions that run in float after ONNX Runtime's optimisation, with the likely reason."""
    optimised = folder / "optimised.onnx"
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(str(optimised)).graph
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type in ("Conv", "FusedConv"):
            before = makers.get(node.input[0])
            reason = f"its input comes from {before.op_type}" if before is not None else "its input is the network's"
            found.append(f"{node.name or node.output[0]}: {reason}")
    return tuple(found)


def _copy_metadata(source: str | Path, path: str | Path) -> None:
    old = onnx.load(str(source), load_external_data=False)
    texts = {entry.key: entry.value for entry in old.metadata_props}
    if texts:
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {**texts, "nasforge.precision": "int8"})
        onnx.save(model, str(path))


def random_feeds(shapes: Mapping[str, tuple[int, ...]], count: int = 2) -> list[dict[str, Any]]:
    """Return random calibration feeds: enough for timing, which does not depend on ranges."""
    rng = np.random.default_rng(0)
    return [
        {name: rng.standard_normal((1, *shape)).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]
