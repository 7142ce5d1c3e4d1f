"""What a run for INT8 says of its network: both precisions measured and tested, float convolutions, calibration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from nasforge import SearchResult
from nasforge.build import quantize
from nasforge.evaluate.quantised import CALIBRATION_IMAGES, calibration_feeds
from nasforge.run.load import load
from nasforge.tasks.classification import Classification
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MS_PER_BYTE, MemoryTarget
from nasforge.training import evaluate

pytestmark = pytest.mark.plugins

Search = Callable[..., SearchResult]


@pytest.fixture(autouse=True)
def int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTarget, "precision", "int8")


def test_both_files_are_measured_and_tested(search_small: Search, small_source: DataSource) -> None:
    result = search_small(budget="1-evaluations")
    best, folder = result.best, result.folder
    assert best is not None
    metrics, provenance = best["metrics"], best["provenance"]
    for metric, name in (("latency_ms", "model.int8.onnx"), ("latency_ms_float32", "model.onnx")):
        assert metrics[metric] == pytest.approx((folder / name).stat().st_size * MS_PER_BYTE)
    assert provenance["measurement_float32"]["latency_ms"] == metrics["latency_ms_float32"]
    assert provenance["float_convolutions"] == []
    assert provenance["splits"]["accuracy_int8"] == "test"
    assert "accuracy_int8_valid" not in provenance["splits"]
    module = load(folder, search_small.__globals__["make_space"]()).module
    found = evaluate(module, small_source, Classification(), "test")["accuracy"]
    assert metrics["accuracy"] == found
    assert abs(metrics["accuracy_int8"] - found) < 0.2
    assert not [each for each in result.warnings if "float" in each]


def test_convolutions_that_stayed_float_are_in_result_and_warnings(
    search_small: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = quantize.inspect_quantised
    monkeypatch.setattr(
        quantize,
        "inspect_quantised",
        lambda path: dataclasses.replace(real(path), float_convolutions=("stem: its weights are float",)),
    )
    result = search_small(budget="1-evaluations")
    assert result.best is not None
    assert result.best["provenance"]["float_convolutions"] == ["stem: its weights are float"]
    assert "1 convolutions of model.int8.onnx run in float: stem: its weights are float." in result.warnings


def test_a_float_target_says_nothing_of_int8(search_small: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTarget, "precision", "float32")
    best = search_small(budget="1-evaluations").best
    assert best is not None
    assert not {"accuracy_int8", "latency_ms_float32"} & set(best["metrics"])
    assert not {"float_convolutions", "measurement_float32"} & set(best["provenance"])


def test_ranges_are_seen_on_unaugmented_images_of_the_training_split(small_source: DataSource) -> None:
    feeds = [torch.from_numpy(feed["image"]) for feed in calibration_feeds(small_source.sealed())]
    seen = {image.numpy().tobytes() for image in torch.cat(feeds)}

    def images(split: str) -> set[bytes]:
        normalised = small_source.preprocessing.normalise(small_source.split(split).images)  # type: ignore[arg-type]
        return {image.numpy().tobytes() for image in normalised}

    assert 0 < sum(map(len, feeds)) <= CALIBRATION_IMAGES
    assert seen <= images("train")
    assert not seen & images("test")
