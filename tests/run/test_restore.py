"""What a finished run delivered and has lost is written again by `resume`, from its checkpoints, bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge import Listener, SearchResult
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MemoryTarget

pytestmark = pytest.mark.plugins

FILES = ("architecture.json", "model.safetensors", "model.onnx", "model.int8.onnx", "report.html")
Search = Callable[..., SearchResult]


class Notes(Listener):
    """What was said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def note(self, sentence: str) -> None:
        self.sentences.append(sentence)


def space() -> SearchSpace:
    x = Conv(choice(4, 8, name="width"), choice(1, 3, name="kernel"), stride=2)(Input(3, 8, 8), name="stem")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name="tiny")


def contents(folder: Path) -> dict[str, Any]:
    found = {name: (folder / name).read_bytes() for name in (*FILES, "result.json") if (folder / name).exists()}
    return {name: tensors(content) if name.endswith("tensors") else content for name, content in found.items()}


def tensors(content: bytes) -> Any:
    """Split a safetensors file, whose metadata come in any order."""
    length = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:length]), content[length:]


@pytest.fixture
def resume(small_source: DataSource, search_small: Search) -> Callable[[Path], list[str]]:
    """Return a function that resumes a run and returns what was said."""

    def again(folder: Path) -> list[str]:
        heard = Notes()
        nasforge.resume(folder, space=space(), target=MemoryTarget(), data=small_source, listener=heard)
        return heard.sentences

    return again


@pytest.fixture
def int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTarget, "precision", "int8")


@pytest.mark.parametrize("given", [{}, {"strategy": {"name": "bignas", "coarse": 2, "fine": 2}, "budget": "1-epochs"}])
def test_files_that_are_missing_or_damaged_are_written_again_as_they_were(
    search_small: Search, resume: Callable[[Path], list[str]], int8: None, given: dict[str, Any]
) -> None:
    folder = search_small(space=space(), **given).folder
    before = contents(folder)
    assert set(before) == {*FILES, "result.json"}

    def damage(name: str, how: str) -> None:
        path = folder / name
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if how == "cut" else b"{}")

    for how in ("missing", "cut", "foreign"):
        for name in FILES[:4]:
            damage(name, how)
        said = resume(folder)
        assert contents(folder) == before, how
        assert all(any(name in sentence for sentence in said) for name in FILES[:4])
        assert not any("not those of before" in sentence for sentence in said)
    for name in FILES[1:4]:
        damage(name, "missing")
        resume(folder)
        assert contents(folder) == before, name


def test_a_whole_run_is_left_alone(search_small: Search, resume: Callable[[Path], list[str]]) -> None:
    folder = search_small(space=space()).folder
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*") if path.name in (*FILES, "result.json")}
    assert len(times) == 5
    assert not any("made again" in sentence for sentence in resume(folder))
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_model_whose_checkpoints_are_gone_too_is_trained_again(
    search_small: Search, resume: Callable[[Path], list[str]]
) -> None:
    folder = search_small(space=space()).folder
    before = contents(folder)
    shutil.rmtree(folder / "checkpoints")
    (folder / "model.safetensors").unlink()
    resume(folder)
    assert contents(folder) == before


def test_an_architecture_delivered_alone_is_restored_alone(
    search_small: Search, resume: Callable[[Path], list[str]]
) -> None:
    folder = search_small(space=space(), retrain=False).folder
    before = contents(folder)
    (folder / "architecture.json").write_text("{")
    resume(folder)
    assert contents(folder) == before
    assert not (folder / "model.onnx").exists()


def test_another_architecture_in_the_place_of_the_chosen_one_is_replaced(
    search_small: Search, resume: Callable[[Path], list[str]]
) -> None:
    folder = search_small(space=space()).folder
    before = contents(folder)
    data = json.loads(before["architecture.json"])
    decisions = data["architecture"]["decisions"]
    decisions["kernel"] = "1" if decisions["kernel"] == "3" else "3"
    (folder / "architecture.json").write_text(json.dumps(data))
    assert any("another architecture" in sentence for sentence in resume(folder))
    assert contents(folder) == before
