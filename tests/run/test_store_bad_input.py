"""Storages that cannot be used: one sentence that says what to do, the right exit code, and never the password."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge.cli.app import main
from nasforge.errors import UsageError
from nasforge.run.folder import redact
from nasforge.run.store import absolute, check_storage
from nasforge.run.store.database import connect_arguments
from nasforge.run.store.url import parse_url, without_secrets
from nasforge.space import SearchSpace
from nasforge.testing.target import MemoryTarget

Fail = Callable[..., str]
Search = Callable[..., nasforge.SearchResult]
SEARCH = ["search", "--space", "nb201", "--strategy", "random", "--target", "gpu", "--budget", "1-evaluations"]


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Return a function that runs a command, with --debug too, and gives the sentence it fails with."""
    monkeypatch.chdir(tmp_path)

    def check(code: int, secret: str, *arguments: str | Path) -> str:
        assert main([*map(str, arguments), "--debug"]) == code
        debugged = capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert secret not in debugged.out + debugged.err + captured.err
        last = captured.err.splitlines()[-1]
        assert last.startswith("nasforge: ")
        return last

    return check


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("storage", "code", "expected"),
    [
        ("runs.db", 2, "expected sqlite:///FILE.db or postgresql://"),
        ("mongodb://me:hush%2Fhush@host/runs", 2, "nothing here opens 'mongodb'; expected sqlite:///FILE.db"),
        ("redis://:hush%2Fhush@host", 2, "nothing here opens 'redis'"),
        ("sqlite://", 2, "keeps nothing"),
        ("sqlite:///:memory:", 2, "keeps nothing"),
        ("sqlite:////nowhere/at/all/runs.db", 2, "there is no folder '/nowhere/at/all'; make it first"),
        ("postgresql://me:hush%2Fhush@host:port/runs", 2, "expected sqlite:///FILE.db or postgresql://"),
        ("postgresql://me:***@host/runs", 2, "give it again with --storage"),
        ("postgresql://me:hush%2Fhush@127.0.0.1:1/runs", 1, "cannot be reached or used (connection failed"),
        ("postgresql://me:hush%2Fhush@no-such-host.invalid/runs", 1, "cannot be reached or used"),
        ("postgresql://me@127.0.0.1:1/runs?password=hush%2Fhush", 1, "start it, or choose another with --storage"),
        ("mysql://me:hush%2Fhush@127.0.0.1:1/runs", 2, "is not installed; run: pip install MySQLdb"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_before_anything_is_written(
    fail: Fail, tmp_path: Path, storage: str, code: int, expected: str
) -> None:
    sentence = fail(code, "hush", *SEARCH, "--storage", storage, "--out", tmp_path / "run")
    assert expected in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.plugins
def test_a_missing_driver_says_what_to_install(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, name, None)
    sentence = fail(2, "hush", *SEARCH, "--storage", "postgresql://me:hush@127.0.0.1:1/runs")
    assert sentence.endswith("is not installed; run: pip install 'nasforge[postgresql]'")


@pytest.mark.plugins
def test_a_file_that_is_no_database_is_refused(fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("mine, and long enough to have a header of a hundred bytes. " * 5)
    before = (tmp_path / "notes.db").read_bytes()
    assert "is damaged or not one of Optuna's" in fail(1, "hush", *SEARCH, "--storage", "sqlite:///notes.db")
    assert (tmp_path / "notes.db").read_bytes() == before


@pytest.mark.plugins
def test_a_wrong_user_password_or_database_is_told_from_a_server_that_is_away(
    fail: Fail, postgresql: Any, tmp_path: Path
) -> None:
    name = postgresql.database()
    secret = "not%20the%20one"
    wrong = fail(1, "not the one", *SEARCH, "--storage", postgresql.url(name, secret))
    assert "refused the user or the password" in wrong
    assert secret not in wrong
    missing = fail(1, postgresql.password, *SEARCH, "--storage", postgresql.url("no_such_database"))
    assert 'database "no_such_database" does not exist' in missing
    assert list(tmp_path.iterdir()) == []


@pytest.mark.plugins
def test_a_password_with_braces_and_signs_reaches_the_server(postgresql: Any) -> None:
    postgresql.execute("CREATE ROLE braces LOGIN SUPERUSER PASSWORD '{secret}%d:/@'")
    url = postgresql.url(postgresql.database(), "%7Bsecret%7D%25d%3A%2F%40").replace(postgresql.user, "braces")
    from nasforge.ops import Conv, GlobalPool, Linear
    from nasforge.run.store import StudyStore
    from nasforge.space import Input, choice

    space = SearchSpace({"logits": Linear(2)(GlobalPool()(Conv(choice(4, 8, name="w"), 1)(Input(3, 8, 8))))}, name="s")
    StudyStore(url, space).close()


@pytest.mark.plugins
def test_a_password_that_was_written_down_nowhere_is_asked_for_again(
    search_small: Search, small_space: SearchSpace, small_source: Any, tmp_path: Path, postgresql: Any
) -> None:
    url = postgresql.url(postgresql.database())
    search_small(storage=url)
    folder = tmp_path / "run"
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert postgresql.password.encode() not in content
        assert b"horse" not in content, file
    assert "searcher:***@127.0.0.1" in (folder / "config.yaml").read_text()
    (folder / "result.json").unlink()
    given = {"space": small_space, "target": MemoryTarget(), "data": small_source}
    with pytest.raises(UsageError, match=r"whose password was not kept; give it again with --storage, or leave it to"):
        nasforge.resume(folder, **given)
    again = nasforge.resume(folder, storage=url, **given)
    assert again.best is not None
    assert b"horse" not in (folder / "config.yaml").read_bytes() + (folder / "log.txt").read_bytes()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql://me:se/cr:et@host/db", "postgresql://me:***@host/db"),
        ("at postgresql://me:se@cret@host/db now", "at postgresql://me:***@host/db now"),
        ("postgresql://host/db?user=me&password=secret&sslmode=require", None),
        ("redis://:secret@host", "redis://:***@host"),
        ("postgresql://me:${oc.env:PGPASSWORD}@host/db", "postgresql://me:${oc.env:PGPASSWORD}@host/db"),
        ("postgresql://me:${oc.env:PGPASSWORD,secret}@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?password=${oc.env:PGPASSWORD}", "postgresql://host/db?password=${oc.env:PGPASSWORD}"),
        ("sqlite:///runs.db", "sqlite:///runs.db"),
        ("http://host:8080/path", "http://host:8080/path"),
    ],
)
def test_passwords_are_redacted_and_interpolations_are_not(text: str, told: str | None) -> None:
    expected = told or "postgresql://host/db?user=me&password=***&sslmode=require"
    assert redact(text) == expected
    assert redact(redact(text)) == expected


@pytest.mark.parametrize("form", ["pass word/1", "pass%20word%2F1", "pass%20word/1", "pass+word%2F1"])
def test_a_library_s_sentence_loses_the_password_however_it_is_written(form: str) -> None:
    url = parse_url("postgresql://me:pass%20word%2F1@host/db")
    assert form not in without_secrets(f"cannot reach {form}\n[SQL: select 1]", url)
    assert "\n" not in without_secrets("a\nb", url)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///runs.db", "sqlite:///{here}/runs.db"),
        ("sqlite:///a/b.db?timeout=3", "sqlite:///{here}/a/b.db?timeout=3"),
        ("sqlite:////x/runs.db", "sqlite:////x/runs.db"),
        ("postgresql://me@host/runs", "postgresql://me@host/runs"),
    ],
)
def test_only_paths_of_sqlite_become_absolute(
    given: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute(given) == expected.format(here=tmp_path)
    assert absolute(absolute(given)) == absolute(given)


def test_what_the_url_says_of_the_connection_wins() -> None:
    assert connect_arguments(parse_url("postgresql://me@host/runs"))["connect_timeout"] == 10
    assert "connect_timeout" not in connect_arguments(parse_url("postgresql://me@host/runs?connect_timeout=3"))


def test_no_storage_is_nothing_to_check() -> None:
    check_storage(None)


@pytest.mark.plugins
def test_storage_is_a_setting_whose_interpolations_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from nasforge.config import compose

    monkeypatch.setenv("RUNS_PASSWORD", "hush")
    given: Sequence[str] = ["storage=sqlite:///x.db", "storage_wait=90s"]
    composed = compose({}, {}, given)
    assert (composed.settings.storage, composed.settings.storage_wait) == ("sqlite:///x.db", 90.0)
    composed = compose({}, {"storage": "postgresql://me:${oc.env:RUNS_PASSWORD}@host/runs"})
    assert composed.settings.storage == "postgresql://me:hush@host/runs"
    assert composed.written["storage"] == "postgresql://me:${oc.env:RUNS_PASSWORD}@host/runs"
