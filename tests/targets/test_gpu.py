"""The target `gpu` without a GPU: the model alone; and the measured path on a pretended one, units included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nasforge.errors import TargetError, UsageError
from nasforge.hardware import roofline
from nasforge.targets import cuda_timing, ort_session
from nasforge.targets.blocks import write_network
from nasforge.targets.torch_cuda import TorchCuda


class Gpu:
    """A pretended GPU: a clock in milliseconds that only sessions on the right stream move."""

    STREAM = 4242

    def __init__(self):
        self.now_ms, self.sessions, self.synchronised = 0.0, [], 0

    def event(self, enable_timing=False):
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, gpu):
        self.gpu, self.at, self.ready = gpu, None, False

    def record(self, stream):
        assert stream.cuda_stream == Gpu.STREAM
        self.at = self.gpu.now_ms

    def synchronize(self):
        self.ready = True
        self.gpu.synchronised += 1

    def elapsed_time(self, end):
        assert end.ready, "elapsed_time before the end was reached"
        return end.at - self.at


class Stream:
    cuda_stream = Gpu.STREAM


class Properties:
    total_memory, major, minor = 11 * 2**30, 7, 5


class Value:
    @staticmethod
    def ortvalue_from_numpy(array, device, number):
        assert (device, number) == ("cuda", 0)
        return array


class Binding:
    def __init__(self):
        self.images, self.outputs = 0, []

    def bind_ortvalue_input(self, name, value):
        self.images = value.shape[0]

    def bind_output(self, name, device):
        assert device == "cuda"
        self.outputs.append(name)


@pytest.fixture
def gpu(monkeypatch):
    made = Gpu()
    real = ort_session.ort.InferenceSession

    class Session:
        """Costs 0.05 ms and a nanosecond for each byte of the file and image."""

        def __init__(self, path, options, providers):
            ((name, given),) = providers
            assert name == "CUDAExecutionProvider"
            assert given["user_compute_stream"] == str(Gpu.STREAM)
            self.inner = real(path, options, providers=["CPUExecutionProvider"])
            self.cost_ms = 0.05 + 1e-6 * Path(path).stat().st_size
            made.sessions.append(self)

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_inputs(self):
            return self.inner.get_inputs()

        def get_outputs(self):
            return self.inner.get_outputs()

        def io_binding(self):
            return Binding()

        def run_with_iobinding(self, binding):
            made.now_ms += self.cost_ms * binding.images

    monkeypatch.setattr(ort_session.ort, "InferenceSession", Session)
    monkeypatch.setattr(ort_session.ort, "OrtValue", Value)
    monkeypatch.setattr(ort_session.ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Pretended GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Properties())
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", made.event)
    return made


@pytest.fixture
def files(tmp_path, make_space):
    space = make_space()
    pairs = (("small", space.smallest()), ("large", space.largest()))
    return [write_network(space.lower(each), tmp_path / f"{name}.onnx") for name, each in pairs]


def cost_ms(path, batch=1):
    return batch * (0.05 + 1e-6 * len(path.read_bytes()))


def test_measured_latencies_are_milliseconds_of_the_whole_batch(gpu, files):
    for batch in (1, 8):
        found = TorchCuda(batch=batch).measure_many(files)
        assert [each.latency_ms for each in found] == pytest.approx([cost_ms(path, batch) for path in files])
        assert all(f"Pretended GPU, ONNX Runtime CUDA, float32, batch {batch}" in each.source for each in found)


def test_every_visit_warms_up_and_waits_for_every_run(gpu, files):
    heard = []
    protocol = {"visits": 3, "runs": 5, "warm_up": 2}
    found = TorchCuda(protocol=protocol).measure_many(files, lambda done, total: heard.append((done, total)))
    assert [each.visits for each in found] == [3, 3]
    assert gpu.synchronised == 3 * 5 * 2
    assert gpu.now_ms == pytest.approx(3 * 7 * sum(cost_ms(path) for path in files))
    assert heard == [(n, 6) for n in range(1, 7)]


def test_with_a_gpu_the_model_is_fitted_to_it_checked_and_kept(gpu, make_space, cache):
    space = make_space()
    predictor = TorchCuda().predictor(space)
    opened = len(gpu.sessions)
    assert opened == space.size
    assert "measured on Pretended GPU" in predictor.source
    assert predictor.validated["n"] == 3
    analytic = space.additive("x", lambda op, types: roofline.node_ms(roofline.card("v100"), op, types))
    for architecture in space.enumerate():
        guess = predictor.cost(architecture)
        assert 0.03 < guess < 0.1  # measured 0.05 to 0.06 ms, the model alone says 0.013
        assert analytic(architecture) < 0.03
    again = TorchCuda().predictor(make_space())
    assert len(gpu.sessions) == opened
    rows = space.integers(list(space.enumerate()))
    np.testing.assert_array_equal(again.cost.batch(rows), predictor.cost.batch(rows))
    TorchCuda(batch=8).predictor(make_space())
    assert len(list(cache.iterdir())) == 2


def test_a_session_that_would_run_elsewhere_is_refused(gpu, files, monkeypatch):
    monkeypatch.setattr(ort_session.ort.InferenceSession, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(TargetError, match="would run"):
        TorchCuda().measure(files[0])


def test_a_gpu_that_onnx_runtime_cannot_use_is_not_available(gpu, monkeypatch):
    monkeypatch.setattr(ort_session.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "onnxruntime-gpu" in TorchCuda().available()


def test_the_facts_of_the_device_are_plain_data(gpu):
    device, runtime = cuda_timing.device_facts()
    assert device == {"model": "Pretended GPU", "memory_bytes": 11 * 2**30, "capability": "7.5"}
    assert runtime["provider"] == "CUDAExecutionProvider"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_the_prediction_is_the_named_model_and_says_so(no_gpu, make_space):
    predictor = TorchCuda(card="a100", batch=4).predictor(make_space())
    assert "analytic roofline of NVIDIA A100 SXM4 40GB at batch 4" in predictor.source
    assert "not measured, no validated error" in predictor.source
    assert predictor.validated == {}
    assert predictor.details["device"] == "NVIDIA A100 SXM4 40GB"
    space = make_space()
    for architecture in space.enumerate():
        nodes = [node for node in space.lower(architecture).nodes if node.input_types]
        expected = sum(roofline.node_ms(roofline.card("a100"), n.op, n.input_types, 4) for n in nodes)
        assert predictor.cost(architecture) == pytest.approx(expected, rel=1e-12)


def test_without_a_gpu_measuring_is_refused(no_gpu, files):
    with pytest.raises(TargetError, match="no CUDA device"):
        TorchCuda().measure(files[0])


def test_impossible_options_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'gtx1080ti'"):
        TorchCuda(card="gtx1080")
    with pytest.raises(UsageError, match="1 or more"):
        TorchCuda(batch=0)
