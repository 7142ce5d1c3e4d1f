"""The target `int8` beside float32, and on processors without INT8 instructions."""

from __future__ import annotations

import dataclasses

import pytest

from nasforge.build.quantize import quantise_for_timing
from nasforge.cli.app import main
from nasforge.hardware import device
from nasforge.targets import ort_int8
from nasforge.targets.blocks import write_network
from nasforge.targets.ort_cpu import OrtCpu
from nasforge.targets.ort_int8 import OrtInt8


@pytest.fixture
def files(tmp_path, make_space):
    space = make_space()
    exact = write_network(space.lower(space.largest()), tmp_path / "float.onnx")
    return quantise_for_timing(exact, tmp_path / "int8.onnx").path, exact


@pytest.fixture
def old_processor(monkeypatch):
    plain = dataclasses.replace(device.this_cpu(), features=("avx2",))
    monkeypatch.setattr(ort_int8, "this_cpu", lambda: plain)


def test_both_files_are_measured_each_in_its_own_precision(files, tiny):
    rounded, exact = OrtInt8(tiny).measure_beside(*files)
    assert exact is not None
    assert rounded.latency_ms > 0 < exact.latency_ms
    assert (", int8, " in rounded.source, ", float32, " in exact.source) == (True, True)
    assert rounded.quantised.startswith("all ")
    assert exact.quantised == ""


def test_a_target_of_float32_has_nothing_to_measure_beside(files, tiny):
    rounded, exact = OrtCpu(tiny).measure_beside(files[1], files[1])
    assert rounded.latency_ms > 0
    assert exact is None


@pytest.mark.parametrize(
    ("features", "expected"),
    [(("avx2", "avx512f"), False), (("avx2", "avx_vnni"), True), (("avx512_vnni",), True), (("asimddp",), True)],
)
def test_instructions_for_8_bit_products_are_known_by_their_features(features, expected):
    assert dataclasses.replace(device.this_cpu(), features=features).multiplies_int8 is expected


def test_a_processor_without_int8_instructions_is_measured_and_said_to_be_one(files, tiny, old_processor):
    (found,) = OrtInt8(tiny).measure_many(files[:1])
    assert found.latency_ms > 0
    assert found.source.endswith("so INT8 may be slower than float32")
    assert "slower" not in OrtCpu(tiny).source


def test_a_processor_with_them_is_not(monkeypatch):
    able = dataclasses.replace(device.this_cpu(), features=("avx512_vnni",))
    monkeypatch.setattr(ort_int8, "this_cpu", lambda: able)
    assert OrtInt8().caution == ""
    assert "slower" not in OrtInt8().source


def test_doctor_says_so_too(old_processor, capsys):
    assert main(["doctor"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "measure int8" in line)
    assert line.startswith("note")
    assert "measures on this machine; this processor has no INT8 instructions" in line
