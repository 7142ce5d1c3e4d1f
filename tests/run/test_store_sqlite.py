"""Evaluations in SQLite: cut, spoilt, full, locked or shared, the database tells the truth or says one sentence."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasforge
from nasforge.errors import DamagedError, RunFolderError, UsageError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.store import StudyStore
from nasforge.run.store import database as database_module
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation
from nasforge.testing.target import MemoryTarget

Search = Callable[..., nasforge.SearchResult]


def make_space() -> SearchSpace:
    x = Conv(choice(4, 8, 12, name="width"), choice(1, 3, name="kernel"))(Input(3, 8, 8), name="stem")
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, name="tiny")


SPACE = make_space()


def evaluation(number: int, **changes: Any) -> Evaluation:
    given: dict[str, Any] = {
        "number": number,
        "architecture": SPACE.sample(np.random.default_rng(number)),
        "metrics": {"accuracy_valid": 0.1 + number / 3, "params": 7.0, "odd": 1e-17},
        "ask": max(0, number - 1),
        "tell": number,
        "seconds": 0.25,
    }
    return Evaluation(**{**given, **changes})


def written(path: Path, count: int, study: str = "run") -> list[Evaluation]:
    store = StudyStore(f"sqlite:///{path}", SPACE, None, study)
    kept = [evaluation(number) for number in range(count)]
    for each in kept:
        store.append(each)
    store.close()
    return kept


def reading(path: Path, study: str = "run") -> list[Evaluation]:
    store = StudyStore(f"sqlite:///{path}", SPACE, None, study, made=True)
    try:
        return store.load()
    finally:
        store.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Evaluation]]:
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    return path, written(path, 12)


def test_what_is_appended_is_read_back_exactly(tmp_path: Path) -> None:
    kept = [
        evaluation(0),
        evaluation(1, error="the loss is nan", metrics={}),
        evaluation(2, fidelity=2.5, metrics={"accuracy_valid": 1 / 3, "odd": 1e-17}),
    ]
    store = StudyStore(f"sqlite:///{tmp_path}/runs.db", SPACE, None, "run")
    for each in kept:
        store.append(each)
    assert store.load() == kept
    store.close()
    assert reading(tmp_path / "runs.db") == kept
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 0.999])
def test_a_database_that_was_cut_is_refused_and_left_as_it_is(
    tmp_path: Path, whole: tuple[Path, list[Evaluation]], share: float
) -> None:
    content = whole[0].read_bytes()
    path = tmp_path / "runs.db"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedError, match=r"runs\.db") as caught:
        reading(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert path.read_bytes() == content[: int(share * len(content))]


def test_a_page_that_was_lost_never_costs_an_evaluation_silently(
    tmp_path: Path, whole: tuple[Path, list[Evaluation]]
) -> None:
    content, refused = whole[0].read_bytes(), 0
    for begin in range(0, len(content), 4096):
        path = tmp_path / f"{begin}.db"
        spoilt = content[:begin] + bytes(4096) + content[begin + 4096 :]
        path.write_bytes(spoilt)
        try:
            assert reading(path) == whole[1]
        except DamagedError:
            refused += 1
        assert path.read_bytes() == spoilt
    assert refused > 5


def test_a_database_that_is_missing_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"runs\.db.*missing"):
        reading(tmp_path / "runs.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 30, bytes(8192)])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"runs\.db"):
        reading(path)
    assert path.read_bytes() == content


def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(RunFolderError, match=r"runs\.db"):
        reading(tmp_path / "runs.db")


def test_a_power_cut_inside_a_transaction_costs_nothing_that_was_stored(
    tmp_path: Path, whole: tuple[Path, list[Evaluation]]
) -> None:
    live = tmp_path / "live.db"
    shutil.copy(whole[0], live)
    connection = sqlite3.connect(live, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE trial_user_attributes SET value_json = ?", ("7" * 2000,))
    shutil.copy(live, tmp_path / "runs.db")
    shutil.copy(tmp_path / "live.db-journal", tmp_path / "runs.db-journal")
    connection.execute("ROLLBACK")
    connection.close()
    assert (tmp_path / "runs.db").read_bytes() != whole[0].read_bytes()  # half of the change is in the file
    assert reading(tmp_path / "runs.db") == whole[1]


def test_a_full_disk_is_one_sentence_and_what_was_there_stays(tmp_path: Path) -> None:
    import sqlalchemy

    path = tmp_path / "runs.db"
    store = StudyStore(f"sqlite:///{path}", SPACE, None, "run")
    pages = path.stat().st_size // 4096

    def limited(connection: Any, record: object, proxy: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine = store._trials._storage.engine  # type: ignore[attr-defined]  # of the database behind it
    sqlalchemy.event.listen(engine, "checkout", limited)
    kept: list[Evaluation] = []

    def fill() -> None:
        for number in range(900):
            store.append(evaluation(number))
            kept.append(evaluation(number))

    with pytest.raises(RunFolderError, match=r"the disk is full, so 'sqlite:///.*runs\.db' could not be written"):
        fill()
    store.close()
    assert reading(path) == kept


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself waits for half a minute; here what is around it is tested."""
    monkeypatch.setattr(database_module, "connect_arguments", lambda url: {"timeout": 0.05})


@pytest.mark.usefixtures("impatient")
def test_a_database_that_somebody_locks_is_waited_for(tmp_path: Path) -> None:
    path, notes = tmp_path / "runs.db", list[str]()
    store = StudyStore(f"sqlite:///{path}", SPACE, None, "run", wait=20.0, note=notes.append)
    store.append(evaluation(0))
    locker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    locker.execute("BEGIN EXCLUSIVE")
    free = threading.Timer(0.7, locker.rollback)
    free.start()
    store.append(evaluation(1))
    free.join()
    locker.close()
    store.close()
    assert "is away (" in notes[0]
    assert reading(path) == [evaluation(0), evaluation(1)]


@pytest.mark.usefixtures("impatient")
def test_a_database_that_stays_locked_stops_the_run_after_the_time_that_was_said(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = StudyStore(f"sqlite:///{path}", SPACE, None, "run", wait=0.5)
    store.append(evaluation(0))
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    with pytest.raises(RunFolderError, match=r"away for 0\.5 s .* resume the run"):
        store.append(evaluation(1))
    assert 0.5 <= time.monotonic() - begun < 60
    locker.rollback()
    locker.close()
    store.close()
    assert reading(path) == [evaluation(0)]


def test_a_second_driver_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    first = StudyStore(f"sqlite:///{tmp_path}/runs.db", SPACE, None, "run")
    first.append(evaluation(0))
    with pytest.raises(RunFolderError, match=r"driven by another run \(nasforge process \d+ on .*\)"):
        reading(tmp_path / "runs.db")
    written(tmp_path / "runs.db", 2, "another study")
    first.append(evaluation(1))
    first.close()
    assert reading(tmp_path / "runs.db") == [evaluation(0), evaluation(1)]


def test_studies_of_one_database_do_not_mix(tmp_path: Path) -> None:
    stores = [StudyStore(f"sqlite:///{tmp_path}/runs.db", SPACE, None, name) for name in ("one", "two")]
    for number in range(3):
        for place, store in enumerate(stores):
            store.append(evaluation(number, metrics={"accuracy_valid": place + number / 7}))
    for place, store in enumerate(stores):
        expected = [evaluation(number, metrics={"accuracy_valid": place + number / 7}) for number in range(3)]
        assert store.load() == expected
        store.close()


@pytest.mark.plugins
def test_a_run_finds_its_study_again_from_another_folder_and_leaves_a_copy(
    search_small: Search, small_space: SearchSpace, small_source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading_copy(folder: Path) -> list[Evaluation]:
        return StudyStore(folder / "study.log", small_space).load()

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    search_small(storage="sqlite:///runs.db", out="run")
    first = reading_copy(tmp_path / "one" / "run")
    search_small(storage="sqlite:///runs.db", out=tmp_path / "two" / "run")  # a run of the same name, elsewhere
    monkeypatch.chdir(tmp_path / "two")
    given = {"space": small_space, "target": MemoryTarget(), "data": small_source}
    for folder in (tmp_path / "one" / "run", tmp_path / "two" / "run"):
        for name in ("result.json", "study.log"):
            (folder / name).unlink()
        nasforge.resume(folder, **given)
    assert reading_copy(tmp_path / "one" / "run") == first  # read again, not evaluated again
    connection = sqlite3.connect(tmp_path / "one" / "runs.db")
    names = [name for (name,) in connection.execute("SELECT study_name FROM studies")]
    counts = connection.execute("SELECT count(*) FROM trials GROUP BY study_id").fetchall()
    connection.close()
    assert len(set(names)) == 2
    assert all(name.startswith("run-") for name in names)
    assert counts == [(4,), (4,)]
    assert not (tmp_path / "two" / "runs.db").exists()


@pytest.mark.plugins
def test_a_run_is_not_carried_on_without_its_evaluations(
    search_small: Search, small_space: SearchSpace, small_source: Any, tmp_path: Path
) -> None:
    given = {"space": small_space, "target": MemoryTarget(), "data": small_source}
    search_small(out=tmp_path / "journal")
    search_small(out=tmp_path / "database", storage=f"sqlite:///{tmp_path}/runs.db")
    for folder in ("journal", "database"):
        (tmp_path / folder / "result.json").unlink()
    with pytest.raises(UsageError, match="leave --storage away"):
        nasforge.resume(tmp_path / "journal", storage=f"sqlite:///{tmp_path}/runs.db", **given)
    (tmp_path / "runs.db").rename(tmp_path / "moved.db")
    with pytest.raises(DamagedError, match=r"missing or empty; bring it back, or say where it is with --storage"):
        nasforge.resume(tmp_path / "database", **given)
    assert not (tmp_path / "runs.db").exists()
    again = nasforge.resume(tmp_path / "database", storage=f"sqlite:///{tmp_path}/moved.db", **given)
    assert again.best is not None
