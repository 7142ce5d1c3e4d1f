"""Evaluations in PostgreSQL: a real server that is stopped, cut off and shared; nothing is lost, doubled or mixed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasforge
from nasforge.errors import DamagedError, RunFolderError
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
        "fidelity": 2.5,
        "ask": max(0, number - 1),
        "tell": number,
        "seconds": 0.25,
    }
    return Evaluation(**{**given, **changes})


@pytest.fixture
def url(postgresql: Any) -> str:
    return postgresql.url(postgresql.database())


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., StudyStore]]:
    """Return a function that opens a store on the database; all are closed at the end."""
    stores: list[StudyStore] = []

    def open_store(study: str = "run", **given: Any) -> StudyStore:
        stores.append(StudyStore(url, SPACE, None, study, **{"wait": 20.0, **given}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def reading(url: str, study: str = "run") -> list[Evaluation]:
    store = StudyStore(url, SPACE, None, study, made=True)
    try:
        return store.load()
    finally:
        store.close()


def rows(postgresql: Any, url: str) -> int:
    """Return how many trials the database holds."""
    return int(postgresql.execute("SELECT count(*) FROM trials", url.rsplit("/", 1)[1])[0][0])


def test_what_is_appended_is_read_back_exactly(url: str, opened: Callable[..., StudyStore]) -> None:
    kept = [
        evaluation(0),
        evaluation(1, error="the loss is nan", metrics={}),
        evaluation(2, fidelity=None, metrics={"accuracy_valid": 1 / 3, "odd": 1e-17}),
    ]
    store = opened()
    for each in kept:
        store.append(each)
    assert store.load() == kept
    store.close()
    assert reading(url) == kept


def test_optuna_reads_the_study(url: str, opened: Callable[..., StudyStore]) -> None:
    import optuna

    store = opened()
    for number in range(3):
        store.append(evaluation(number))
    study = optuna.load_study(study_name="run", storage=url.replace("postgresql:", "postgresql+psycopg:"))
    assert [trial.params for trial in study.trials] == [
        dict(SPACE.describe(evaluation(number).architecture)) for number in range(3)
    ]
    assert study.best_value == pytest.approx(0.1 + 2 / 3)
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]


def process(function: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a function of this file in a process of its own."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1])[sys.argv[2]](*sys.argv[3:])"
    return subprocess.Popen([sys.executable, "-c", code, __file__, function, *map(str, arguments)])


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} never came")


def write(url: str, study: str, count: str, folder: str) -> None:
    (Path(folder) / f"{study}.ready").touch()
    wait_for(Path(folder) / "begin")
    store = StudyStore(url, SPACE, None, study)
    for number in range(int(count)):
        store.append(evaluation(number, metrics={"accuracy_valid": number / 7, "of": float(len(study))}))
    store.close()


@pytest.mark.slow
def test_two_processes_that_make_the_tables_and_write_at_once_lose_and_double_nothing(
    postgresql: Any, url: str, tmp_path: Path
) -> None:
    count, studies = 25, ("one", "other")
    processes = [process("write", url, study, count, tmp_path) for study in studies]
    for study in studies:
        wait_for(tmp_path / f"{study}.ready")
    (tmp_path / "begin").touch()
    assert [each.wait(120) for each in processes] == [0, 0]
    for study in studies:
        expected = [
            evaluation(number, metrics={"accuracy_valid": number / 7, "of": float(len(study))})
            for number in range(count)
        ]
        assert reading(url, study) == expected
    assert rows(postgresql, url) == 2 * count


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_is_restarted_is_waited_for(
    postgresql: Any, url: str, opened: Callable[..., StudyStore], how: signal.Signals
) -> None:
    notes: list[str] = []
    store = opened(note=notes.append)
    store.append(evaluation(0))
    postgresql.stop(how)
    back = threading.Timer(1.0, postgresql.start)
    back.start()
    begun = time.monotonic()
    store.append(evaluation(1))
    assert time.monotonic() - begun >= 1.0
    back.join()
    store.append(evaluation(2))
    store.close()
    assert [note for note in notes if "is away" in note]
    assert [note for note in notes if "is back after" in note]
    assert postgresql.password not in "".join(notes)
    assert reading(url) == [evaluation(number) for number in range(3)]
    assert rows(postgresql, url) == 3


def test_a_server_that_stays_away_stops_the_run_resumably(
    postgresql: Any, url: str, opened: Callable[..., StudyStore]
) -> None:
    store = opened(wait=1.0)
    store.append(evaluation(0))
    postgresql.stop()
    begun = time.monotonic()
    with pytest.raises(RunFolderError, match=r"away for 1 s .* resume the run, nothing that was stored is lost"):
        store.append(evaluation(1))
    assert 1.0 <= time.monotonic() - begun < 60.0
    store.close()
    postgresql.start()
    assert reading(url) == [evaluation(0)]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("which", range(2))
def test_a_connection_that_breaks_around_a_commit_neither_loses_nor_doubles(
    postgresql: Any,
    url: str,
    opened: Callable[..., StudyStore],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    which: int,
) -> None:
    store = opened()
    store.append(evaluation(0))
    engine = store._trials._storage.engine  # type: ignore[attr-defined]  # of the database behind it
    commit, commits = engine.dialect.do_commit, [0]

    def broken(connection: Any) -> None:
        commits[0] += 1
        if commits[0] - 1 != which:
            commit(connection)
            return
        if moment == "after":
            commit(connection)
        connection.driver_connection.close()
        raise engine.dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(engine.dialect, "do_commit", broken)
    store.append(evaluation(1))
    store.append(evaluation(2))
    assert commits[0] > which
    assert store.load() == [evaluation(number) for number in range(3)]
    assert rows(postgresql, url) == 3


def test_every_connection_killed_by_the_server_is_made_again(
    postgresql: Any, url: str, opened: Callable[..., StudyStore]
) -> None:
    store = opened()
    for number in range(3):
        postgresql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = "
            f"'{postgresql.user}'"
        )
        store.append(evaluation(number))
    store.close()
    assert reading(url) == [evaluation(number) for number in range(3)]
    assert rows(postgresql, url) == 3


def test_a_second_driver_is_refused_until_the_first_has_closed(url: str, opened: Callable[..., StudyStore]) -> None:
    first = opened()
    first.append(evaluation(0))
    with pytest.raises(RunFolderError, match=r"driven by another run \(nasforge process \d+ on .*\)"):
        opened()
    opened("another study").append(evaluation(0))
    first.append(evaluation(1))
    first.close()
    assert reading(url) == [evaluation(0), evaluation(1)]


def hold(url: str, ready: str) -> None:
    store = StudyStore(url, SPACE, None, "run")
    store.append(evaluation(0))
    Path(ready).touch()
    time.sleep(60)


@pytest.mark.slow
def test_a_driver_that_was_killed_holds_nobody_up(url: str, tmp_path: Path) -> None:
    holder = process("hold", url, tmp_path / "ready")
    wait_for(tmp_path / "ready")
    with pytest.raises(RunFolderError, match="driven by another run"):
        reading(url)
    holder.kill()
    holder.wait()
    for _ in range(50):  # until the server has seen it
        try:
            assert reading(url) == [evaluation(0)]
            return
        except RunFolderError:
            time.sleep(0.1)
    raise AssertionError("the lock of a killed process stays")


def test_a_driver_that_lost_its_session_to_another_stops(
    postgresql: Any, url: str, opened: Callable[..., StudyStore]
) -> None:
    first = opened(wait=1.0)
    first.append(evaluation(0))
    postgresql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = "
        f"'{postgresql.user}'"
    )
    second = opened()
    second.load()
    with pytest.raises(RunFolderError, match="driven by another run"):
        first.append(evaluation(1))
    second.append(evaluation(1))
    assert second.load() == [evaluation(0), evaluation(1)]


@pytest.mark.parametrize("overtaking", [True, False])
def test_where_nothing_keeps_two_drivers_apart_the_order_of_the_trials_does(
    url: str, opened: Callable[..., StudyStore], monkeypatch: pytest.MonkeyPatch, overtaking: bool
) -> None:
    from nasforge.run.store.alone import _Nobody

    monkeypatch.setattr(database_module, "alone", lambda *given: _Nobody())
    first, second = opened(), opened()
    first.append(evaluation(0))
    assert second.load() == [evaluation(0)]
    second.append(evaluation(1))
    late = evaluation(1, metrics={"accuracy_valid": 0.5}) if overtaking else evaluation(2, tell=1)
    with pytest.raises(RunFolderError, match="was written to by another run, which stored evaluation 1"):
        first.append(late)
    assert second.load() == [evaluation(0), evaluation(1)]


def test_a_trial_stored_twice_counts_once_and_this_is_said(url: str, opened: Callable[..., StudyStore]) -> None:
    notes: list[str] = []
    store = opened(note=notes.append)
    for number in (0, 1):
        store.append(evaluation(number))
    trials = store._trials
    trials._storage.create_new_trial(trials._study_id, template_trial=store._form.trial(evaluation(1)))  # type: ignore[attr-defined]
    assert store.load() == [evaluation(0), evaluation(1)]
    assert "1 trials of study 'run' were stored twice" in notes[-1]
    store.append(evaluation(2))
    assert store.load() == [evaluation(number) for number in range(3)]


def test_a_database_without_the_study_of_a_run_is_refused_and_left_alone(postgresql: Any, url: str) -> None:
    with pytest.raises(RunFolderError):
        StudyStore(url, SPACE, None, "run", made=True)
    found = postgresql.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", url.rsplit("/", 1)[1])
    assert found == [(0,)]
    StudyStore(url, SPACE, None, "other").close()
    with pytest.raises(RunFolderError, match="holds no study 'run'; give the storage that the run was started with"):
        StudyStore(url, SPACE, None, "run", made=True)


def test_a_trial_of_another_program_is_refused(url: str, opened: Callable[..., StudyStore]) -> None:
    import optuna

    store = opened()
    store._trials.append(optuna.trial.create_trial(value=1.0, user_attrs={"number": 0}))
    with pytest.raises(DamagedError, match="did not write"):
        store.load()


class Killed(BaseException):
    """What a kill is in one process: nothing of the run's own catches it."""


def told(evaluations: list[Evaluation]) -> list[Any]:
    kept = [{key: value for key, value in e.metrics.items() if key != "train_seconds"} for e in evaluations]
    return [(e.number, e.architecture, m, e.error, e.ask, e.tell) for e, m in zip(evaluations, kept, strict=True)]


@pytest.mark.plugins
@pytest.mark.slow
def test_a_search_that_is_killed_and_resumed_gives_what_the_journal_gives(
    search_small: Search,
    small_space: SearchSpace,
    small_source: Any,
    tmp_path: Path,
    url: str,
    postgresql: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNS_PASSWORD", postgresql.url("x").split(":")[2].split("@")[0])
    given = {"strategy": {"name": "evolution", "population": 3, "sample": 2}, "budget": "6-evaluations"}
    whole = search_small(**given, out=tmp_path / "whole")
    expected = told(StudyStore(tmp_path / "whole" / "study.log", small_space).load())
    append, calls = StudyStore.append, [0]

    def killing(store: StudyStore, each: Evaluation) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise Killed
        append(store, each)

    storage = url.replace(url.split(":")[2].split("@")[0], "${oc.env:RUNS_PASSWORD}")
    with monkeypatch.context() as patch:
        patch.setattr(StudyStore, "append", killing)
        with pytest.raises(Killed):
            search_small(**given, storage=storage)
    folder = tmp_path / "run"
    assert storage in (folder / "config.yaml").read_text()
    assert not (folder / "study.log").exists()
    again = nasforge.resume(folder, space=small_space, target=MemoryTarget(), data=small_source)
    assert whole.best is not None
    assert again.best is not None
    assert again.best["id"] == whole.best["id"]
    assert told(StudyStore(folder / "study.log", small_space).load()) == expected  # the copy in the folder
    assert rows(postgresql, url) == len(expected)
    for file in folder.rglob("*"):
        if file.is_file():
            assert postgresql.password.encode() not in file.read_bytes()
            assert b"correct%20horse" not in file.read_bytes()
