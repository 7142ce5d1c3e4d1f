"""Convolutions that stay float in a quantised file are found, each with what keeps it from the INT8 kernel."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nasforge.build.quantize import inspect_quantised, is_quantised

SCALES = {"scale": np.float32(0.02), "zero": np.uint8(0), "signed": np.int8(0)}


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def write(path, nodes, output):
    weights = np.random.default_rng(0).integers(-9, 9, (16, 16, 3, 3))
    held = {**SCALES, "w8": weights.astype(np.int8), "w": (weights * 0.1).astype(np.float32)}
    shape = (1, 16, 8, 8)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


IMAGE = [node("QuantizeLinear", "x scale zero", "xq"), node("DequantizeLinear", "xq scale zero", "xd")]
WEIGHTS = [node("DequantizeLinear", "w8 scale signed", "wd")]
COMPUTED = [node("ReduceMean", "x", "m"), node("Mul", "w m", "wx")]
OUTPUT = [node("QuantizeLinear", "y scale zero", "yq"), node("DequantizeLinear", "yq scale zero", "z")]


def conv(inputs):
    return node("Conv", inputs, "y", pads=[1, 1, 1, 1])


def test_one_with_eight_bits_all_round_runs_in_int8(tmp_path):
    made = inspect_quantised(write(tmp_path / "a.onnx", [*IMAGE, *WEIGHTS, conv("xd wd"), *OUTPUT], "z"))
    assert (made.float_convolutions, made.convolutions) == ((), 1)
    assert made.sentence == "all 1 convolutions run in INT8"


@pytest.mark.parametrize(
    ("nodes", "output", "reason"),
    [
        ([*WEIGHTS, conv("x wd"), *OUTPUT], "z", "its input is the network's, which nothing quantises"),
        ([node("Erf", "x", "e"), *WEIGHTS, conv("e wd"), *OUTPUT], "z", "its input comes from Erf in float"),
        ([*IMAGE, *COMPUTED, conv("xd wx"), *OUTPUT], "z", "its weights are float"),
        ([*IMAGE, *WEIGHTS, conv("xd wd")], "y", "its output is read in float by the network itself"),
        ([*IMAGE, *WEIGHTS, conv("xd wd"), node("Erf", "y", "z")], "z", "its output is read in float by Erf"),
    ],
)
def test_one_that_stays_float_says_why(tmp_path, nodes, output, reason):
    made = inspect_quantised(write(tmp_path / "a.onnx", nodes, output))
    assert made.convolutions == 1
    assert made.sentence == f"1 of 1 convolutions stayed float: {made.float_convolutions[0]}"
    assert made.float_convolutions[0].endswith(f": {reason}")


def test_whether_a_file_is_quantised_is_seen_in_its_nodes(tmp_path):
    assert is_quantised(write(tmp_path / "a.onnx", [*IMAGE, *WEIGHTS, conv("xd wd")], "y"))
    assert not is_quantised(write(tmp_path / "b.onnx", [conv("x w")], "y"))
