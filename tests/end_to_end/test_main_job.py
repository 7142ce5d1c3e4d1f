"""The main job word for word, and what its result is good for afterwards, without nasforge too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import nasforge
from nasforge.run.options import make_space
from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets.digits import load as load_digits

pytestmark = [pytest.mark.slow, pytest.mark.plugins]

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]


def stored_bytes(path: Path) -> int:
    """Return the bytes of a model's weights; of small networks the graph is the larger part of the file."""
    return sum(onnx.numpy_helper.to_array(each).nbytes for each in onnx.load(path).graph.initializer)


WORDS = ["search", "--space", "mbconv", "--strategy", "proxyless", "--target", "gpu"]
WITHOUT_NASFORGE = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
classes, how = json.loads(about["classes"]), json.loads(about["preprocessing"])
height, width = how["size"]
for path in sys.argv[2:]:
    image = Image.open(path).convert(how["colour"]).resize((width, height), Image.Resampling.BILINEAR)
    pixels = (np.asarray(image, dtype=np.float32) / 255 - np.float32(how["mean"])) / np.float32(how["std"])
    (logits,) = session.run(["logits"], {"image": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    print(classes[int(logits[0].argmax())])
assert "nasforge" not in sys.modules and "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, nasforge_in: Nasforge) -> tuple[Path, str, float]:
    """Run the main job as README says it; return the run folder, what was printed, and the seconds it took."""
    folder = tmp_path_factory.mktemp("main_job")
    begun = time.monotonic()
    printed = nasforge_in(folder, *WORDS).stdout
    (run,) = (folder / "runs").iterdir()
    return run, printed, time.monotonic() - begun


@pytest.fixture(scope="module")
def run(job: tuple[Path, str, float]) -> Path:
    return job[0]


@pytest.fixture(scope="module")
def digits() -> DataSource:
    return load_digits(None)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, digits: DataSource) -> list[Path]:
    """Twenty test images as files."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for number, pixels in enumerate(digits.split("test").images[:20]):
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.numpy().transpose(1, 2, 0)).save(paths[-1])
    return paths


def test_the_main_job_leaves_a_good_network_and_everything_about_it(job: tuple[Path, str, float]) -> None:
    run, printed, _ = job
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml", "study.log", "checkpoints", "result.json", "architecture.json", "model.safetensors",
        "model.onnx", "report.html", "log.txt", "tensorboard",
    } <= names  # fmt: skip
    result = nasforge.SearchResult.read(run)
    assert result.status == "finished"
    assert result.metrics["accuracy"] > 0.9
    assert "roofline" in result.document["latency"]["source"]
    assert "NOT VERIFIED" in printed
    assert str(run.name) in printed
    assert not list(run.glob(".part-*"))


def test_the_finalists_are_printed_with_prediction_measurement_and_error(job: tuple[Path, str, float]) -> None:
    lines = job[1].splitlines()
    rated = ["accuracy_valid in search", "retrained", "predicted_ms", "measured_ms", "error", "params", "macs"]
    assert re.split(r" {2,}", lines[0].strip()) == ["finalist", *rated]
    assert sum(bool(re.match(r"\d+ \*", line)) for line in lines) == 1


def test_the_loaded_network_is_the_one_that_was_judged(run: Path, digits: DataSource) -> None:
    import torch

    model = nasforge.load(run)
    test = digits.split("test")
    with torch.no_grad():
        found = model.module(model.preprocessing.normalise(test.images)).argmax(dim=1)
    accuracy = float((found == test.labels).float().mean())
    assert accuracy == pytest.approx(nasforge.SearchResult.read(run).metrics["accuracy"], abs=1e-6)


def test_onnx_runtime_alone_gives_the_same_classes_as_the_module(
    run: Path, images: list[Path], nasforge_in: Nasforge, tmp_path: Path
) -> None:
    expected = [found.label for found in nasforge.classify(run, images)]
    alone = subprocess.run(
        [sys.executable, "-c", WITHOUT_NASFORGE, str(run / "model.onnx"), *map(str, images)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert alone.stdout.split() == expected
    printed = json.loads(nasforge_in(tmp_path, "classify", run, *images, "--json").stdout)
    assert [found["label"] for found in printed] == expected
    assert all(sum(found["probabilities"].values()) == pytest.approx(1.0) for found in printed)
    again = tmp_path / "again.onnx"
    nasforge_in(tmp_path, "export", run, "--out", again)
    repeated = subprocess.run(
        [sys.executable, "-c", WITHOUT_NASFORGE, str(again), *map(str, images)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert repeated.stdout.split() == expected


def test_an_int8_file_is_exported_on_the_data_of_the_run_and_nearly_as_good(
    run: Path, tmp_path: Path, digits: DataSource, nasforge_in: Nasforge
) -> None:
    from nasforge.evaluate.quantised import run_onnx
    from nasforge.tasks.classification import Classification
    from nasforge.training import evaluate

    path = tmp_path / "small.onnx"
    where, convolutions = nasforge_in(tmp_path, "export", run, "--int8", "--out", path).stdout.splitlines()
    assert where == str(path)
    assert re.fullmatch(r"all \d+ convolutions run in INT8", convolutions)
    accuracy = evaluate(run_onnx(path), digits, Classification(), "test")["accuracy"]
    assert accuracy > nasforge.SearchResult.read(run).metrics["accuracy"] - 0.05
    assert stored_bytes(path) < 0.6 * stored_bytes(run / "model.onnx")


def test_the_found_architecture_is_trained_larger(run: Path, tmp_path: Path, nasforge_in: Nasforge) -> None:
    given = ["space.width=2.0", "training.epochs=1", "--data", "digits", "--out", tmp_path / "large", "--json"]
    printed = json.loads(nasforge_in(tmp_path, "train", run, *given).stdout)
    small = nasforge.describe(run)
    large = nasforge.describe(tmp_path / "large")
    assert large["decisions"] == small["decisions"]
    assert printed["params"] == large["params"] > 2 * small["params"]
    assert (tmp_path / "large" / "model.onnx").exists()
    module = nasforge.load(tmp_path / "large").module
    assert sum(parameter.numel() for parameter in module.parameters()) == large["params"]


def test_measure_predict_and_report_work_on_the_run(run: Path, tmp_path: Path, nasforge_in: Nasforge) -> None:
    measured = json.loads(nasforge_in(tmp_path, "measure", run / "model.onnx", "--json").stdout)
    assert measured["latency_ms"] > 0
    predicted = nasforge.predict(run, "gpu")
    result = nasforge.SearchResult.read(run)
    assert predicted.latency_ms == pytest.approx(result.metrics["latency_ms_predicted"])
    page = (run / "report.html").read_text()
    (run / "report.html").unlink()
    nasforge_in(tmp_path, "report", run)
    assert len((run / "report.html").read_text()) > 0.5 * len(page)


def test_resuming_a_finished_run_prints_its_result_and_changes_nothing(
    run: Path, tmp_path: Path, nasforge_in: Nasforge
) -> None:
    before = (run / "result.json").read_bytes()
    printed = nasforge_in(tmp_path, "resume", run, "--json").stdout
    assert json.loads(printed) == json.loads(before)
    assert (run / "result.json").read_bytes() == before


def test_the_space_of_the_run_is_made_again_from_its_name(run: Path) -> None:
    stored = json.loads((run / "architecture.json").read_text())
    space = make_space(stored["space"]["name"], {}, tuple(stored["input_shape"]), stored["classes"])
    architecture = space.from_json(stored["architecture"])
    assert (space.params(architecture), space.macs(architecture)) == (stored["params"], stored["macs"])
    assert np.isfinite(stored["params"])
