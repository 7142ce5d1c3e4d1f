"""The targets `cpu` and `int8`: profiles are built, kept, used again; files are measured or refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nasforge.errors import TargetError
from nasforge.hardware import device
from nasforge.hardware.profile import checksum, read_profile
from nasforge.targets import ort_target, profiling, references
from nasforge.targets.blocks import write_network
from nasforge.targets.ort_cpu import OrtCpu
from nasforge.targets.ort_int8 import OrtInt8


@pytest.fixture
def built(monkeypatch):
    """Count the profiles that are really measured."""
    counted, original = [], ort_target.build_profile

    def build(target, space, *rest):
        counted.append(space.name)
        return original(target, space, *rest)

    monkeypatch.setattr(ort_target, "build_profile", build)
    return counted


def rewrite(path, **changes):
    """Change a profile as one who knows its checksum would."""
    data = json.loads(path.read_text())
    data.update(changes)
    data["sha256"] = checksum(data)
    path.write_text(json.dumps(data))


def test_a_profile_is_measured_once_and_used_again(cache, tiny, make_space, built):
    first, second = (OrtCpu(tiny).predictor(make_space()) for _ in range(2))
    assert len(built) == 1
    assert len(list(cache.iterdir())) == 1
    rows = make_space().integers(list(make_space().enumerate()))
    assert first.cost.batch(rows).tolist() == second.cost.batch(rows).tolist()
    assert (first.source, first.profile) == (second.source, second.profile)


def test_what_decides_the_figures_decides_the_file(cache, tiny, make_space, monkeypatch):
    target = OrtCpu(tiny)
    paths = [target.profile_path(make_space())]
    assert target.profile_path(make_space()) == paths[0]
    paths.append(target.profile_path(make_space(12)))
    paths.append(OrtInt8(tiny).profile_path(make_space()))
    paths.append(OrtCpu(tiny, threads=2).profile_path(make_space()))
    paths.append(OrtCpu(tiny, batch=2).profile_path(make_space()))
    monkeypatch.setattr(ort_target, "runtime_version", lambda: "0.1")
    paths.append(target.profile_path(make_space()))
    monkeypatch.undo()
    monkeypatch.setenv("NASFORGE_CACHE", str(cache))
    other = device.Device("other", "1/2/3", (), 1, hypervisor=False)
    monkeypatch.setattr(ort_target, "this_cpu", lambda: other)
    paths.append(target.profile_path(make_space()))
    assert len({path.name for path in paths}) == len(paths)


def test_a_damaged_profile_is_measured_again(cache, tiny, make_space, built):
    OrtCpu(tiny).predictor(make_space())
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    assert "edited or damaged" in OrtCpu(tiny).predictor(make_space()).source
    assert len(built) == 2
    assert read_profile(path).precision == "float32"
    assert "edited or damaged" not in OrtCpu(tiny).predictor(make_space()).source


@pytest.mark.parametrize("change", [{"device_key": "another"}, {"precision": "int8"}, {"protocol": {"visits": 1}}])
def test_a_cached_profile_of_another_machine_or_of_fewer_visits_is_measured_again(
    cache, tiny, make_space, built, change
):
    OrtCpu(tiny).predictor(make_space())
    (path,) = cache.iterdir()
    rewrite(path, **change)
    OrtCpu(tiny).predictor(make_space())
    assert len(built) == 2
    assert (read_profile(path).device_key, read_profile(path).precision) == (device.this_cpu().key, "float32")


def test_a_profile_says_where_how_and_how_well_it_was_measured(cache, tiny, make_space):
    space = make_space()
    predictor = OrtCpu(tiny).predictor(space)
    (path,) = cache.iterdir()
    profile = read_profile(path)
    assert set(profile.entries) == set(space.node_variants())
    assert all(value > 0 for value in profile.entries.values())
    assert profile.runtime["threads"] == profile.runtime["batch"] == 1
    assert profile.protocol["visits"] == tiny["visits"]
    assert profile.validation["n"] == 3  # half of the six architectures
    assert 0.0 <= profile.noise["accepted"] <= 1.0
    assert profile.space["input_shapes"] == {"image": [3, 8, 8]}
    assert predictor.validated == profile.validation
    assert device.this_cpu().model in predictor.source


def test_the_held_out_networks_take_no_part_in_fitting(monkeypatch, tiny, make_space):
    seen, space = [], make_space()
    original = profiling.fit_correction

    def fit(profile, networks, measured_ms):
        seen.extend(network.network_id for network in networks)
        return original(profile, networks, measured_ms)

    monkeypatch.setattr(profiling, "fit_correction", fit)
    target = OrtCpu(tiny)
    profile = ort_target.build_profile(target, space, target.effort, lambda share: None)
    assert len(set(seen)) == space.size - profile.validation["n"]


def test_int8_measures_a_quantised_graph_and_runs_quantised_files_as_they_are(tmp_path, make_space):
    space = make_space()
    source = write_network(space.lower(space.largest()), tmp_path / "float.onnx")
    target = OrtInt8()
    prepared = target.prepare(source, tmp_path)
    assert prepared != source
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(prepared).graph.node)
    assert target.prepare(prepared, tmp_path) == prepared
    assert OrtCpu().prepare(source, tmp_path) == source


def test_the_reference_networks_are_of_two_kinds_and_of_about_four_million_macs(tmp_path):
    found = references.reference_networks(tmp_path)
    kinds = {name: [node.op_type for node in onnx.load(path).graph.node].count("Conv") for name, path in found.items()}
    assert kinds == {"plain": 3, "mbconv": 10}


def single_node(path, kind, inputs=(1, 4), element=TensorProto.FLOAT, operator="Identity"):
    node = helper.make_node(operator, ["x"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", element, inputs)],
        [helper.make_tensor_value_info("y", kind, inputs)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("element", [TensorProto.INT64, TensorProto.UINT8, TensorProto.DOUBLE])
def test_files_with_inputs_of_other_numbers_are_measured(tmp_path, tiny, element):
    path = single_node(tmp_path / "m.onnx", element, element=element)
    assert OrtCpu(tiny).measure(path).latency_ms > 0


def test_a_file_whose_inputs_are_no_numbers_is_refused(tmp_path, tiny):
    path = single_node(tmp_path / "m.onnx", TensorProto.STRING, element=TensorProto.STRING)
    with pytest.raises(TargetError, match="tensor\\(string\\)"):
        OrtCpu(tiny).measure(path)


@pytest.mark.parametrize("target", [OrtCpu, OrtInt8])
@pytest.mark.parametrize("content", [b"", b"text", np.arange(100, dtype=np.uint8).tobytes()])
def test_what_is_no_network_is_refused_by_name(tmp_path, tiny, target, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(TargetError, match=r"broken\.onnx"):
        target(tiny).measure(path)
