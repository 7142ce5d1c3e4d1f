"""What is said of a delivered network: warnings at chance, the table of finalists, files that run elsewhere."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import nasforge
from nasforge import DamagedError, RunFolderError, SearchResult, SearchSpace, UsageError
from nasforge.build import build_network
from nasforge.cli.running import print_finalists
from nasforge.report import write_report
from nasforge.run.artifact import Artifact
from nasforge.run.chance import chance_warning
from nasforge.run.load import save_model
from nasforge.run.store import StudyStore
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MemoryTarget

pytestmark = pytest.mark.plugins

Search = Callable[..., SearchResult]
ROOT = Path(__file__).parents[2]


def test_guessing_is_warned_of_and_learning_is_not(small_source: DataSource) -> None:
    images = len(small_source.split("valid").labels)
    assert chance_warning(None, small_source) is None
    assert chance_warning(1.0, small_source) is None
    assert f"10.0% of {images} validation images" in str(chance_warning(0.1, small_source))
    assert chance_warning(0.0, small_source) is not None
    # the wider the interval of guessing, the fewer images there are
    bound = float(re.search(r"up to ([\d.]+)%", str(chance_warning(0.0, small_source)))[1]) / 100  # type: ignore[index]
    commonest = float(torch.bincount(small_source.split("train").labels).max()) / len(
        small_source.split("train").labels
    )
    assert bound == pytest.approx(commonest + 1.645 * (commonest * (1 - commonest) / images) ** 0.5, abs=1e-3)
    assert chance_warning(bound + 0.01, small_source) is None


def test_a_network_at_chance_is_said_to_be_so_in_result_and_report(
    search_small: Search, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    class Notes(nasforge.Listener):
        def note(self, sentence: str) -> None:
            heard.append(sentence)

    result = search_small(
        budget="1-evaluations", training={"epochs": 1, "evaluation_epochs": 1, "lr": 1e-9}, listener=Notes()
    )
    (warning,) = result.warnings
    assert "guessing" in warning
    assert f"warning: {warning}" in heard
    write_report(result.folder, small_space)
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r'class="banner warn"[^>]*><strong>WARNING</strong>', page)


def test_finalists_show_both_ratings_and_which_one_was_delivered(
    search_small: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    result = search_small()
    print_finalists(result)
    header, *rows = capsys.readouterr().out.splitlines()
    assert "accuracy_valid in search  retrained" in header
    best = result.best
    assert best is not None
    marked = [row for row in rows if re.match(r"\d+ \*", row)]
    assert len(marked) == 1
    place = int(marked[0].split()[0]) - 1
    assert result.finalists[place]["id"] == best["id"]
    metrics = best["metrics"]
    assert marked[0].split()[2:4] == [f"{metrics[key]:.4g}" for key in ("accuracy_valid_in_search", "accuracy_valid")]
    assert sum(row.split()[3 if row in marked else 2] == "-" for row in rows[:4]) == 2  # two of four were retrained
    assert "predicted_ms:" not in "".join(rows)
    result.document["latency"]["details"] = {"warning": "FOREIGN PROFILE: it was measured on Other"}
    print_finalists(result)
    assert "predicted_ms: FOREIGN PROFILE: it was measured on Other" in capsys.readouterr().out
    best["provenance"]["measurement"]["noise"] = "not certified: others compute"
    print_finalists(result)
    assert "measured_ms: not certified: others compute" in capsys.readouterr().out


def test_a_full_disk_while_the_model_is_written_is_said_to_be_full(
    tmp_path: Path, small_space: SearchSpace, small_source: DataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    architecture = small_space.smallest()
    module = build_network(small_space.lower(architecture), seed=0)
    (tmp_path / "model.safetensors").write_bytes(b"before")
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: full(0))
    with pytest.raises(RunFolderError, match="the disk is full"):
        save_model(
            tmp_path / "model.safetensors",
            module,
            Artifact(small_space, architecture),
            small_source.classes,
            small_source.preprocessing,
        )
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_the_example_of_the_readme_runs_on_either_file(
    search_small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(MemoryTarget, "precision", "int8")
    folder = search_small(budget="1-evaluations").folder
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save("image.png")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "onnxruntime" in block)
    assert "runs/mine/model.onnx" in code
    exec(code.replace("runs/mine/model.onnx", str(folder / name)), {})
    assert capsys.readouterr().out.strip() in {str(digit) for digit in range(10)}
    found = onnxruntime.InferenceSession(str(folder / name)).get_modelmeta().custom_metadata_map
    assert all(json.loads(value) is not None for key, value in found.items() if key != "producer")


def test_a_journal_damaged_in_the_middle_goes_on_as_the_sentence_says(
    search_small: Search, small_space: SearchSpace
) -> None:
    path = search_small(retrain=False).folder / "study.log"
    lines = path.read_bytes().splitlines(keepends=True)
    number = len(lines) - 1
    path.write_bytes(b"".join([*lines[: number - 1], b'{"op_code": 4, \n', *lines[number:]]))
    with pytest.raises(DamagedError, match=f"remove line {number} and all below"):
        StudyStore(path, small_space)
    path.write_bytes(b"".join(lines[: number - 1]))
    store = StudyStore(path, small_space)
    assert 0 < len(store.load()) < 4
    store.close()


@pytest.mark.parametrize("key", ["data", "space", "strategy", "target", "task", "training", "engine", "data_options"])
@pytest.mark.parametrize("value", [3, object(), ["digits"]])
def test_objects_of_another_kind_are_refused_by_name(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{key} was given"):
        nasforge.search(**{key: value, "out": tmp_path / "run"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["max_latency", "max_params", "max_macs"])
def test_a_limit_that_is_true_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError, match=f"{key.replace('_', '-')} was given True"):
        nasforge.search(**{key: True, "out": tmp_path / "run"})  # type: ignore[arg-type]  # on purpose
