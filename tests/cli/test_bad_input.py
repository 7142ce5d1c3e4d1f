"""Bad input to every command: one clear sentence, the right exit code, nothing on standard output or lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasforge import SearchResult
from nasforge.cli.app import main

pytestmark = pytest.mark.plugins

Fail = Callable[..., str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, made by the command."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    given = ["--space", "nb201", "--strategy", "random", "--target", "gpu", "--budget", "1-evaluations"]
    training = ["training.epochs=1", "training.evaluation_epochs=1", "data_options.limit=120"]
    assert main(["search", *given, *training, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be spoilt."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Return a function that runs a command, checks how it fails, and returns its sentence."""
    monkeypatch.chdir(tmp_path)

    def check(code: int, *arguments: str | Path) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        last = captured.err.splitlines()[-1]
        assert last.startswith("nasforge: ")
        assert last.rstrip().endswith((".", "?"))
        return last

    return check


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--space", "nb201", "--data", "digit"], 2, "Did you mean 'digits'"),
        (["--space", "nb201", "--data", "image_folder:/nowhere"], 2, "/nowhere"),
        (["--space", "nb201", "--strategy", "random", "data_options.sise=8"], 2, "Did you mean 'size'"),
        (["--space", "nb201", "--strategy", "random", "training.epoch=8"], 2, "Did you mean 'epochs'"),
        (["--space", "nb201", "--strategy", "random", "training.epochs=0"], 2, "epochs"),
        (["--space", "nb201", "--strategy", "random", "strategy.tries=many"], 2, "expected int"),
        (["--space", "nb201", "--strategy", "random", "finalists=0"], 2, "finalists"),
        (["--space", "nb201", "--strategy", "random", "retrain=maybe"], 2, "true or false"),
        (["--space", "nb201", "--strategy", "random", "seed=-1"], 2, "seed"),
        (["--space", "mbconv_elastic", "--strategy", "proxyless"], 2, "cannot search space 'mbconv_elastic'"),
        (["--space", "nb201", "--strategy", "random", "data_options.size=3"], 2, "at least 4"),
        (["--space", "nb201", "--strategy", "random", "--max-macs", "10"], 3, "--max-macs 10 was asked"),
        (["--space", "nb201", "--strategy", "evolution", "--target", "gpu", "--max-latency", "1us"], 3, "the fastest"),
        (["--space", "mbconv", "--strategy", "random", "space.width=0"], 2, "above zero"),
        (["--space", "mbconv", "--strategy", "random", "space.width=-1"], 2, "above zero"),
        (["--space", "mbconv", "--strategy", "random", "space.width=.nan"], 2, "width"),
        (["--space", "mbconv", "--strategy", "random", "space.width=1e9"], 2, "more than can be trained in"),
        (["--space", "nb201", "--strategy", "random", "--workers", "0"], 2, "workers was given 0"),
        (["--space", "nb201", "--strategy", "random", "workers=0"], 2, "workers was given 0"),
        (["--space", "nb201", "--strategy", "random", "tracking.foo=1"], 2, "setting of tracking 'foo'"),
        (["--space", "nb201", "--strategy", "random", "storage=foo"], 2, "expected sqlite:///"),
        (["--space", "nb201", "--strategy", "random", "--storage", "foo"], 2, "expected sqlite:///"),
        (["~space"], 2, "give another value"),
        (["--strategy", "random", "~budget"], 2, "give another value"),
        (["--strategy", "random", "~limits"], 2, "give another value"),
    ],
)
def test_search_refuses_what_it_cannot_do_before_it_writes_anything(
    fail: Fail, tmp_path: Path, arguments: Sequence[str], code: int, expected: str
) -> None:
    assert expected in fail(code, "search", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_learning_rate(fail: Fail, tmp_path: Path) -> None:
    given = ["--space", "nb201", "--strategy", "random", "--target", "gpu", "--budget", "2-evaluations"]
    options = ["training.lr=1e30", "training.clip=0", "training.evaluation_epochs=2", "data_options.limit=120"]
    sentence = fail(1, "search", *given, *options, "--out", tmp_path / "run")
    assert "all 2 evaluations failed" in sentence
    assert "lower the learning rate" in sentence


def test_shared_training_that_diverges_is_an_error_that_names_the_learning_rate(fail: Fail, tmp_path: Path) -> None:
    given = ["--space", "nb201", "--strategy", "bignas", "--target", "gpu", "--budget", "3-epochs"]
    options = ["strategy.lr=1e30", "strategy.clip=0", "data_options.limit=200"]
    assert "lower the learning rate" in fail(1, "search", *given, *options, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content", "commands"),
    [
        ("result.json", b"{", (("report",), ("show",))),
        ("result.json", b'{"schema": 9}', (("report",),)),
        ("architecture.json", b"{}", (("show",), ("predict",), ("measure",), ("train", "--data", "digits"))),
        ("architecture.json", b"\xff", (("show",), ("predict",))),
        ("model.safetensors", b"", (("export",),)),
        ("model.safetensors", b"x" * 500, (("export",),)),
    ],
)
def test_damaged_files_of_a_run_are_named(
    fail: Fail, run: Path, name: str, content: bytes, commands: Sequence[Sequence[str]]
) -> None:
    (run / name).write_bytes(content)
    for command, *more in commands:
        sentence = fail(1, command, run, *more)
        assert name in sentence
        assert "nasforge resume" in sentence or b"schema" in content
    assert (run / name).read_bytes() == content


@pytest.mark.parametrize("command", ["show", "predict", "measure", "train", "export", "report", "resume", "classify"])
def test_what_does_not_exist_is_named(fail: Fail, command: str, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(image)
    more = [image] if command == "classify" else []
    sentence = fail(1 if command == "report" else 2, command, "nowhere", *more)
    assert "nowhere" in sentence
    assert command not in ("classify", "export", "resume") or "does not exist" in sentence


@pytest.mark.parametrize("command", ["show", "predict", "measure", "train", "export", "report", "classify"])
def test_a_run_that_has_not_finished_is_said_to_be_so(fail: Fail, run: Path, command: str, tmp_path: Path) -> None:
    for name in ("result.json", "architecture.json", "model.safetensors", "model.onnx"):
        (run / name).unlink()
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(image)
    more = [image] if command == "classify" else []
    code = 2 if command in ("show", "predict", "measure", "train") else 1
    sentence = fail(code, command, run, *more)
    assert "finish" in sentence


def test_an_architecture_of_another_space_is_refused(fail: Fail, run: Path) -> None:
    for name in ("architecture.json",):
        data = json.loads((run / name).read_text())
        data["space"] = {"name": "mbconv"}
        (run / name).write_text(json.dumps(data))
    for command in ("show", "predict", "measure", "train"):
        assert "space" in fail(2, command, run)


def test_images_that_cannot_be_used_are_named(
    fail: Fail, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image")
    assert "notes.png" in fail(2, "classify", run, text)
    assert "missing.png" in fail(2, "classify", run, tmp_path / "missing.png")
    bomb = tmp_path / "bomb.png"
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(bomb)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "bomb.png" in fail(2, "classify", run, bomb)


def test_a_file_that_is_no_onnx_cannot_be_measured(fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert "broken.onnx" in fail(1, "measure", tmp_path / "broken.onnx")
    assert "missing.onnx" in fail(2, "measure", tmp_path / "missing.onnx")


@pytest.mark.parametrize("command", ["measure", "predict"])
def test_unknown_targets_are_named_with_the_nearest(fail: Fail, run: Path, command: str) -> None:
    assert "Did you mean 'int8'" in fail(2, command, run, "--target", "inte8")


def test_a_target_that_cannot_be_measured_points_to_predict(fail: Fail, run: Path) -> None:
    assert "nasforge predict" in fail(1, "measure", run, "--target", "gpu")


def test_int8_without_anything_to_calibrate_on_asks_for_data(fail: Fail, run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.safetensors"
    shutil.copy(run / "model.safetensors", alone)
    assert "--data" in fail(2, "export", alone, "--int8")


def test_train_names_unknown_options(fail: Fail, run: Path, tmp_path: Path) -> None:
    assert "Did you mean 'space'" in fail(2, "train", run, "spce.width=2")
    assert "Did you mean 'width'" in fail(2, "train", run, "space.widht=2")
    assert "Did you mean 'epochs'" in fail(2, "train", run, "training.epoch=2")
    assert "above zero" in fail(2, "train", run, "training.epochs=abc")
    assert "above zero" in fail(2, "train", run, "training.evaluation_epochs=abc")
    assert "seed was given -1" in fail(2, "train", run, "--seed", "-1")
    assert "above zero" in fail(2, "train", run, "space.width=0")
    assert "more than can be trained in" in fail(2, "train", run, "space.width=1e9")
    assert "group.option=value" in fail(2, "train", run, "width")
    assert "already holds" in fail(2, "train", run, "--out", run)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_a_file_foreign_or_taken_is_refused(fail: Fail, run: Path, tmp_path: Path) -> None:
    given = ["--space", "nb201", "--strategy", "random", "--target", "gpu", "--budget", "1-evaluations"]
    file, foreign = tmp_path / "file", tmp_path / "foreign"
    file.write_text("mine")
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert "file" in fail(1, "search", *given, "--out", file)
    assert "thesis.tex" in fail(2, "search", *given, "--out", foreign)
    assert "nasforge resume" in fail(2, "search", *given, "--out", run)
    assert file.read_text() == (foreign / "thesis.tex").read_text() == "mine"
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_a_damaged_configuration_is_refused_and_kept(fail: Fail, run: Path) -> None:
    for content in (b"a: [", b"", b"bugdet: quick\n", b"seed: x\n"):
        (run / "config.yaml").write_bytes(content)
        assert "run" in fail(1, "resume", run)
        assert (run / "config.yaml").read_bytes() == content


def test_a_configuration_with_an_unset_variable_names_it(fail: Fail, run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("data: digits", "data: ${oc.env:NASFORGE_NO_SUCH}"))
    assert "NASFORGE_NO_SUCH" in fail(2, "resume", run)


def test_a_store_of_another_space_is_refused_and_kept(fail: Fail, run: Path) -> None:
    path = run / "study.log"
    content = path.read_text().replace(json.loads((run / "result.json").read_text())["space"]["fingerprint"], "0" * 16)
    path.write_text(content)
    (run / "result.json").unlink()
    assert "another space" in fail(1, "resume", run)
    assert path.read_text() == content


def test_a_damaged_result_is_made_again_by_resume(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = SearchResult.read(run)
    (run / "result.json").write_text("{")
    assert main(["resume", str(run), "--json"]) == 0
    captured = capsys.readouterr()
    again = json.loads(captured.out)
    assert before.best is not None
    assert again["best"]["id"] == before.best["id"]
    assert again["best"]["metrics"]["accuracy"] == before.metrics["accuracy"]
    assert "is made again" in captured.err


def test_a_damaged_profile_is_named_and_doctor_still_runs(
    fail: Fail, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "broken" not in printed
    assert "strategy proxyless" in printed
