"""INT8 files: what is in them, what ONNX Runtime makes of them, and how accurate they are."""

from __future__ import annotations

import collections
import logging

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from nasforge.build import build_network, export_onnx
from nasforge.build.onnx_export import metadata_of
from nasforge.build.quantize import inspect_quantised, quantise, quantise_for_timing, rewrite_pooling
from nasforge.errors import EvaluationError
from nasforge.ops import AttentionProduct, GlobalPool
from nasforge.registry import installed, load
from nasforge.run.data import load_source
from nasforge.run.export import export_int8
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate, train

SPACES = sorted(installed("spaces"))


def written(space, architecture, path, metadata=None):
    return export_onnx(build_network(space.lower(architecture), seed=0), space.input_shapes, path, metadata or {})


def optimised(path, folder):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "seen.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return collections.Counter(node.op_type for node in onnx.load(folder / "seen.onnx").graph.node)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.plugins) for name in SPACES])
def space(request):
    return load("spaces", request.param)(input_shape=(3, 12, 12), classes=4)


def test_no_convolution_stays_float_in_any_space(space, tmp_path):
    rng = np.random.default_rng(0)
    for number, architecture in enumerate([space.smallest(), space.largest(), *(space.sample(rng) for _ in range(3))]):
        source = written(space, architecture, tmp_path / f"{number}.onnx")
        made = quantise_for_timing(source, tmp_path / f"{number}.int8.onnx")
        assert (made.float_convolutions, made.path) == ((), tmp_path / f"{number}.int8.onnx")
        assert made.sentence == f"all {made.convolutions} convolutions run in INT8"
        seen = optimised(made.path, tmp_path)
        assert not {"Conv", "FusedConv", "NhwcFusedConv"} & set(seen)
        convolutions = sum(node.op_type == "Conv" for node in onnx.load(source).graph.node)
        assert seen["QLinearConv"] == convolutions == made.convolutions
        lowered = space.lower(architecture)
        pools, attending = (
            sum(isinstance(step.op, kind) for step in lowered.steps) for kind in (GlobalPool, AttentionProduct)
        )
        heads = sum(len(nodes) for nodes in lowered.outputs.values())
        assert seen["QLinearGlobalAveragePool"] == pools >= 1
        floating = sum(seen[kind] for kind in ("BatchNormalization", "Pad", "MaxPool"))  # what nothing absorbs
        assert seen["Transpose"] <= 1 + heads + 2 * floating + 6 * attending


def test_made_up_ranges_give_the_graph_of_real_calibration(space, tmp_path):
    rng = np.random.default_rng(1)
    source = written(space, space.sample(rng), tmp_path / "float.onnx")
    images = rng.standard_normal((4, 3, 12, 12)).astype(np.float32)
    real = quantise(source, tmp_path / "real.onnx", [{"image": images}])
    quick = quantise_for_timing(source, tmp_path / "quick.onnx")
    assert optimised(real.path, tmp_path) == optimised(quick.path, tmp_path)


@pytest.mark.plugins
def test_activations_are_unsigned_and_weights_signed_per_channel(tmp_path):
    space = load("spaces", "mbconv")(input_shape=(3, 12, 12), classes=4)
    source = written(space, space.largest(), tmp_path / "float.onnx")
    graph = onnx.load(quantise_for_timing(source, tmp_path / "int8.onnx").path).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            assert held[node.input[2]].dtype == np.uint8
            assert held[node.input[1]].size == 1
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        scales = makers[node.input[1]]
        weight = held[scales.input[0]]
        assert weight.dtype == np.int8
        assert held[scales.input[1]].shape == (weight.shape[0],)
        assert not held[scales.input[2]].any()


def test_float_convolutions_are_found_whatever_fusion_calls_them(space, tmp_path):
    source = written(space, space.largest(), tmp_path / "float.onnx")
    made = inspect_quantised(source)
    found = made.float_convolutions
    named = [node.name for node in onnx.load(source).graph.node if node.op_type == "Conv"]
    assert sorted(each.partition(": ")[0] for each in found) == sorted(named)
    assert made.convolutions == len(found) > 0
    assert all("its input" in each for each in found)
    assert made.sentence.startswith(f"{len(found)} of {len(found)} convolutions stayed float: ")


def test_means_over_height_and_width_become_global_pools(tmp_path):
    def model(axes, keepdims, number):
        node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keepdims)
        inner = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 4, 4))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(axes, dtype=np.int64), "axes")],
        )
        path = tmp_path / f"{number}.onnx"
        onnx.save(helper.make_model(inner, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
        return path

    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    for number, (axes, keepdims, expected) in enumerate(
        [((2, 3), 1, 1), ((-1, -2), 1, 1), ((2, 3), 0, 0), ((1, 2), 1, 0), ((2,), 1, 0)]
    ):
        path = model(axes, keepdims, number)
        (before,) = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
        assert rewrite_pooling(path) == expected
        (after,) = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
        np.testing.assert_allclose(after, before, rtol=1e-6)
        kinds = [node.op_type for node in onnx.load(path).graph.node]
        assert kinds == (["GlobalAveragePool"] if expected else ["ReduceMean"])


def test_what_cannot_be_quantised_is_one_error_and_logging_is_as_before(tmp_path, capfd):
    path = tmp_path / "broken.onnx"
    path.write_text("no network")
    before = logging.getLogger().level
    with pytest.raises(EvaluationError, match=r"broken\.onnx"):
        quantise_for_timing(path, tmp_path / "int8.onnx")
    assert logging.getLogger().level == before
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.plugins
def test_a_quantised_network_keeps_its_metadata_and_nearly_its_accuracy(tmp_path):
    source, task = load_source("digits", {}, 0), Classification()
    space = load("spaces", "mbconv")(input_shape=tuple(source.input_shape), classes=10)
    network = build_network(space.lower(space.smallest()), seed=0)
    train(network, source.sealed(), task, TrainConfig(epochs=6.0), 0)
    network.eval()
    path = export_onnx(network, space.input_shapes, tmp_path / "float.onnx", {"classes": "[0, 1]"})
    made = export_int8(path, tmp_path / "int8.onnx", source.sealed())
    assert (made.float_convolutions, made.path) == ((), tmp_path / "int8.onnx")
    session = ort.InferenceSession(str(tmp_path / "int8.onnx"), providers=["CPUExecutionProvider"])

    def run(images):
        return torch.from_numpy(session.run(None, {"image": images.contiguous().numpy()})[0])

    exact = evaluate(network, source, task, "test")["accuracy"]
    rounded = evaluate(run, source, task, "test")["accuracy"]
    assert exact > 0.8
    assert abs(exact - rounded) < 0.03
    assert metadata_of(tmp_path / "int8.onnx") == {"classes": "[0, 1]", "nasforge.precision": '"int8"'}
