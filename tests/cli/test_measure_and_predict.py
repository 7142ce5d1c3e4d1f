"""`nasforge measure` and `nasforge predict`: figures with their source, and one sentence for what cannot be done."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nasforge.cli.app import main
from nasforge.cli.target_options import target_options
from nasforge.errors import UsageError
from nasforge.testing.targets import small_space, write_networks

QUICK = ("protocol.visits=2", "protocol.runs=3", "protocol.visit_ms=1", "protocol.pause_seconds=0", "protocol.extra=0")


@pytest.fixture
def network(tmp_path):
    return str(write_networks(small_space(), tmp_path)[0])


@pytest.mark.parametrize("target", ["cpu", "int8"])
def test_an_onnx_file_is_measured_and_the_json_is_all_there_is(network, capsys, target):
    assert main(["measure", network, *QUICK, "--target", target, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == target
    assert 0 < found["latency_ms"] <= found["median_ms"]
    assert "ONNX Runtime" in found["source"]
    assert found["visits"] == 2
    said = found["quantised"]
    assert ("convolutions run in INT8" in said) if target == "int8" else said == ""


def test_an_int8_file_is_measured_as_it_is_and_said_to_hold_float_convolutions(tmp_path, capsys):
    weights = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    scale = [numpy_helper.from_array(np.asarray(v), n) for n, v in (("s", np.float32(1)), ("z", np.uint8(0)))]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="stem"),
        helper.make_node("QuantizeLinear", ["y", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["o"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, c, 4, 4)) for n, c in (("x", 3), ("o", 4))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights, *scale])
    path = tmp_path / "half.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    assert main(["measure", str(path), *QUICK, "--target", "int8"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 convolutions stayed float: stem: its input is the network's, which nothing quantises" in printed


@pytest.mark.plugins
def test_predictions_follow_the_card_and_the_batch(capsys):
    found = []
    for options in ((), ("card=a100",), ("batch=32",)):
        assert main(["predict", "proxyless-mobile", *options, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    v100, a100, batched = (each["latency_ms_predicted"] for each in found)
    assert a100 < v100 < batched
    assert "A100" in found[1]["source"]
    assert "not measured" in found[0]["source"]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("measure", "none.onnx"), 2, "'none.onnx' is not a file"),
        (("measure", "x", "--target", "cp"), 2, "Did you mean 'cpu'"),
        (("measure", "x", "protocol.vists=2"), 2, "Did you mean 'visits'"),
        (("measure", "x", "batch"), 2, "expected name=value"),
        (("predict", "net.onnx"), 2, "nasforge measure"),
        (("predict", "x", "card=rtx2080"), 2, "Did you mean 'rtx2080ti'"),
        (("predict", "x", "crd=a100"), 2, "Did you mean 'card'"),
        (("predict", "no-such-network"), 2, "no-such-network"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capsys, arguments, code, expected):
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert expected in captured.err


@pytest.mark.parametrize("target", ["cpu", "int8"])
def test_a_file_that_is_no_network_is_one_sentence(tmp_path, capsys, target):
    path = tmp_path / "text.onnx"
    path.write_text("text")
    assert main(["measure", str(path), "--target", target]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "text.onnx" in error


def test_a_target_that_is_not_here_is_one_sentence(capsys, network, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["measure", network, "--target", "gpu"]) == 1
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["a"], ["=1"], ["a..b=1"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a=[1"]])
def test_malformed_options_are_refused(words):
    with pytest.raises(UsageError):
        target_options(words)
