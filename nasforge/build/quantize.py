"""INT8 networks: static QDQ, unsigned 8-bit activations, signed 8-bit weights per channel.

ONNX Runtime's default of signed activations leaves every branching block in float on x86, at up to five times the
time, so it is never used. Quantised graphs are checked for convolutions that stayed float.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from nasforge.errors import EvaluationError

Feed = Mapping[str, npt.NDArray[np.float32]]
Ranges = Mapping[str, tuple[float, float]]
FLOAT_CONVOLUTIONS: Final = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose"})
"""What a convolution that runs in float is called after ONNX Runtime's optimisation, in whatever domain."""
INT8_CONVOLUTIONS: Final = frozenset({"QLinearConv", "ConvInteger"})
_NOT_NEGATIVE: Final = {"Relu": 6.0, "Clip": 6.0, "HardSigmoid": 1.0, "Sigmoid": 1.0}


@final
@dataclass(frozen=True, slots=True)
class Quantised:
    """An INT8 file as ONNX Runtime runs it on this machine.

    Attributes:
        path: the file.
        float_convolutions: the convolutions of its optimised graph that stayed float, with the reason.
        convolutions: how many there are in all.
    """

    path: Path
    float_convolutions: tuple[str, ...]
    convolutions: int

    @property
    def sentence(self) -> str:
        """How many convolutions stayed float, and why."""
        if not self.float_convolutions:
            return f"all {self.convolutions} convolutions run in INT8"
        which = "; ".join(self.float_convolutions)
        return f"{len(self.float_convolutions)} of {self.convolutions} convolutions stayed float: {which}"


def quantise(source: str | Path, path: str | Path, calibration: Iterable[Feed]) -> Quantised:
    """Quantise a float32 ONNX file with ranges seen on calibration data.

    Args:
        source: the float32 file.
        path: where the INT8 file goes.
        calibration: feeds (name -> (batch, ...)) from the training split.

    Raises:
        EvaluationError: ONNX Runtime cannot quantise it.
    """
    return _quantise(source, path, lambda prepared, folder: _seen_ranges(prepared, folder, calibration))


def quantise_for_timing(source: str | Path, path: str | Path) -> Quantised:
    """Quantise a float32 ONNX file with made-up ranges: same graph, same latency, meaningless outputs.

    Raises:
        EvaluationError: ONNX Runtime cannot quantise it.
    """
    return _quantise(source, path, lambda prepared, folder: _made_up_ranges(prepared))


def _quantise(source: str | Path, path: str | Path, find_ranges: Callable[[Path, Path], Ranges]) -> Quantised:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name, _quiet():
        folder = Path(name)
        prepared = folder / "prepared.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            rewrite_pooling(prepared)
            _insert_scales(prepared, find_ranges(prepared, folder), Path(path))
        except Exception as error:
            raise EvaluationError(f"'{source}' cannot be quantised ({type(error).__name__}: {error}).") from error
        _copy_metadata(source, path)
        return inspect_quantised(path)


def _insert_scales(prepared: Path, ranges: Ranges, path: Path) -> None:
    """Write the QDQ graph.

    Pools are quantised even where nothing before them is: a block alone then computes what it computes in a network.
    """
    from onnxruntime import quantization as tools
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    limits = {name: tuple(np.asarray(end, dtype=np.float32) for end in ends) for name, ends in ranges.items()}
    quantizer = QDQQuantizer(
        load_model_with_shape_infer(prepared),
        per_channel=True,
        reduce_range=False,
        weight_qType=tools.QuantType.QInt8,
        activation_qType=tools.QuantType.QUInt8,
        tensors_range=TensorsData(tools.CalibrationMethod.MinMax, limits),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}),
        extra_options={"ForceQuantizeNoInputCheck": True},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(path), False)


def _seen_ranges(prepared: Path, folder: Path, calibration: Iterable[Feed]) -> dict[str, tuple[float, float]]:
    from onnxruntime.quantization.calibrate import create_calibrator

    augmented = folder / "augmented.onnx"
    calibrator = create_calibrator(
        prepared, [], augmented_model_path=str(augmented), providers=["CPUExecutionProvider"]
    )
    calibrator.collect_data(_Reader(calibration))
    found = calibrator.compute_data()
    names = list(found.keys())  # it is no mapping
    return {name: (float(np.min(found[name].lowest)), float(np.max(found[name].highest))) for name in names}


def _made_up_ranges(prepared: Path) -> dict[str, tuple[float, float]]:
    graph = onnx.load(str(prepared)).graph
    ranges = {entry.name: (-3.0, 3.0) for entry in graph.input}
    for node in graph.node:
        high = _NOT_NEGATIVE.get(node.op_type)
        ranges.update(dict.fromkeys(node.output, (-3.0, 3.0) if high is None else (0.0, high)))
    return ranges


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantisation tools: they announce their own deprecations, and ask for what was done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


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


def is_quantised(path: str | Path) -> bool:
    """Say whether a file holds anything that is quantised."""
    return any(node.op_type == "QuantizeLinear" for node in onnx.load(str(path), load_external_data=False).graph.node)


def inspect_quantised(path: str | Path) -> Quantised:
    """Have ONNX Runtime optimise a file, and see which convolutions run in float, with the likely reason."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED  # what follows is layout
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 3
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(str(optimised), load_external_data=False).graph
    left = tuple(
        f"{node.name or node.output[0]}: {_reason(node, graph)}"
        for node in graph.node
        if node.op_type in FLOAT_CONVOLUTIONS
    )
    whole = sum(node.op_type in INT8_CONVOLUTIONS for node in graph.node)
    return Quantised(Path(path), left, len(left) + whole)


def _reason(node: Any, graph: Any) -> str:
    """Return what keeps a convolution from the INT8 kernel, which needs images, weights and outputs in 8 bits."""
    makers = {name: each for each in graph.node for name in each.output}
    image, weights = (makers.get(name) for name in node.input[:2])
    if image is None:
        return "its input is the network's, which nothing quantises"
    if image.op_type != "DequantizeLinear":
        return f"its input comes from {image.op_type} in float"
    if weights is None or weights.op_type != "DequantizeLinear":
        return "its weights are float"
    readers = sorted({each.op_type for each in graph.node if node.output[0] in each.input})
    if readers != ["QuantizeLinear"]:
        return f"its output is read in float by {' and '.join(readers) or 'the network itself'}"
    return "ONNX Runtime has no INT8 kernel of its shape or types on this processor"


def _copy_metadata(source: str | Path, path: str | Path) -> None:
    old = onnx.load(str(source), load_external_data=False)
    texts = {entry.key: entry.value for entry in old.metadata_props}
    if texts:
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {**texts, "nasforge.precision": json.dumps("int8")})
        onnx.save(model, str(path))
