"""What a run tells: log.txt and TensorBoard in the folder, and any listener; one that fails costs nothing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge import Listener, SearchResult
from nasforge.run.listening import listening
from nasforge.run.log import LogFile
from nasforge.run.progress import Several
from nasforge.run.tensorboard import TensorBoard
from nasforge.space import SearchSpace
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MemoryTarget

Search = Callable[..., SearchResult]


class Recorder(Listener):
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def opened(self, folder: Path) -> None:
        self.events.append(("opened", folder))

    def stage(self, name: str, total: float | None) -> None:
        self.events.append(("stage", name))

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        self.events.append(("figures", part, step, dict(values)))

    def note(self, sentence: str) -> None:
        self.events.append(("note", sentence))

    def closed(self) -> None:
        self.events.append(("closed",))


class Failing(Listener):
    def stage(self, name: str, total: float | None) -> None:
        raise RuntimeError("no ears")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((folder / "tensorboard").iterdir()):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return found


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("strategy", "parts"),
    [("random", {"evaluations", "retraining"}), ("bignas", {"shared_training", "evaluations"})],
)
def test_figures_reach_listeners_and_tensorboard_alike(search_small: Search, strategy: str, parts: set[str]) -> None:
    heard = Recorder()
    result = search_small(
        strategy=strategy, listener=heard, training={"epochs": 2, "evaluation_epochs": 1, "shared_epochs": 2}
    )
    figures = [event[1:] for event in heard.events if event[0] == "figures"]
    assert {part.partition("/")[0] for part, _, _ in figures} == parts
    steps = [(part, step) for part, step, _ in figures]
    assert len(set(steps)) == len(steps)  # two finalists are told apart
    kept = scalars(result.folder)
    for part, step, values in figures:
        for name, value in values.items():
            assert any(s == step and v == pytest.approx(value, rel=1e-6) for s, v in kept[f"{part}/{name}"])
    assert sum(map(len, kept.values())) == sum(len(values) for _, _, values in figures)
    assert heard.events[-1] == ("closed",)


@pytest.mark.plugins
def test_the_log_has_stages_and_notes_with_times_and_goes_on_when_resumed(
    search_small: Search, small_source: DataSource, small_space: SearchSpace, tmp_path: Path
) -> None:
    def fails(*arguments: object) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasforge.run.search.measure_finalists", fails)
        with pytest.raises(ZeroDivisionError):
            search_small()
    log = tmp_path / "run" / "log.txt"
    first = log.read_text()
    nasforge.resume(tmp_path / "run", space=small_space, data=small_source, target=MemoryTarget())
    lines = log.read_text().splitlines()
    assert log.read_text().startswith(first)
    assert "stopped by ZeroDivisionError" in first.splitlines()[-1]
    texts = [line.split(" ", 1)[1] for line in lines]
    assert {"stage latency", "predicted by size", "stage evaluating"} <= set(texts[: len(first.splitlines())])
    assert {"stage measuring", "stage retraining"} <= set(texts[len(first.splitlines()) :])
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 \S", line) for line in lines)


def test_what_is_noted_before_the_folder_exists_is_kept_for_the_log(tmp_path: Path) -> None:
    log = LogFile()
    log.note("before")
    log.opened(tmp_path)
    log.closed()
    again = LogFile()
    again.opened(tmp_path)
    again.note("after postgresql://me:secret@host/db")
    again.closed()
    texts = [line.split(" ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert texts == ["before", f"run folder {tmp_path}", f"run folder {tmp_path}", "after postgresql://me:***@host/db"]


def test_a_listener_that_fails_is_dropped_and_the_others_hear_of_it() -> None:
    heard = Recorder()
    several = Several([Failing(), heard])
    several.stage("first", None)
    several.stage("second", None)
    assert heard.events == [
        ("note", "Failing failed (RuntimeError: no ears) and hears no more of this run."),
        ("stage", "first"),
        ("stage", "second"),
    ]


def test_warnings_become_notes_once(tmp_path: Path) -> None:
    heard = Recorder()
    with warnings.catch_warnings(), listening(heard):
        warnings.simplefilter("always")
        for _ in range(3):
            warnings.warn("odd things happen", UserWarning, stacklevel=1)
    assert heard.events == [("note", "warning: UserWarning: odd things happen"), ("closed",)]


@pytest.mark.parametrize("make", [LogFile, TensorBoard])
def test_a_full_disk_silences_log_and_events_without_harm(tmp_path: Path, make: Callable[[], Listener]) -> None:
    class Full:
        def write(self, content: object) -> None:
            raise OSError(28, "No space left on device")

        flush = close = lambda self: None

    heard = Recorder()
    listener = make()
    several = Several([listener, heard])
    several.opened(tmp_path)
    file = listener._file  # type: ignore[attr-defined]
    listener._file = Full()  # type: ignore[attr-defined]
    if isinstance(listener, TensorBoard):
        listener._records._writer = Full()
    several.note("a note")
    several.figures("evaluations", 0, {"accuracy": 0.5})
    several.closed()
    file.close()
    assert [event[1] for event in heard.events if event[0] == "note" and "hears no more" in event[1]]
    assert heard.events[-1] == ("closed",)


@pytest.mark.plugins
def test_a_search_goes_on_without_a_listener_that_fails(search_small: Search) -> None:
    assert search_small(listener=Failing()).status == "finished"
