"""Runs whose evaluations are in a database, as people start them: killed, cut off, two at once, and looked at."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.plugins]

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
GIVEN = [
    "search", "--space", "nb201", "--strategy", "evolution", "--target", "gpu", "--seed", "2", "retrain=false",
    "data_options.limit=200", "training.evaluation_epochs=1", "strategy.population=4", "strategy.sample=2",
]  # fmt: skip


def told(run: Path) -> list[object]:
    """Return what the folder's journal holds of every evaluation, but for the time it took."""
    found = []
    for line in (run / "study.log").read_text().splitlines():
        attributes = json.loads(line).get("user_attrs", {})
        if "decisions" in attributes:
            metrics = {key: value for key, value in attributes["metrics"].items() if key != "train_seconds"}
            found.append((attributes["number"], attributes["decisions"], metrics, attributes["tell"]))
    return found


@pytest.fixture
def stored(postgresql: Any) -> Callable[[str], int]:
    """Return a function that counts the trials in a database."""

    def count(database: str) -> int:
        with contextlib.suppress(Exception):  # before the tables are made
            return int(postgresql.execute("SELECT count(*) FROM trials WHERE state <> 'RUNNING'", database)[0][0])
        return 0

    return count


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    for _ in range(int(seconds * 20)):
        if true():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it never came")


@pytest.fixture
def shared(postgresql: Any, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A new database: its name, and its URL with the password left to the environment."""
    name = postgresql.database()
    url = postgresql.url(name)
    secret = url.split(":")[2].split("@")[0]
    environment["RUNS_PASSWORD"] = secret
    yield name, url.replace(secret, "${oc.env:RUNS_PASSWORD}")
    del environment["RUNS_PASSWORD"]


def test_two_runs_share_a_server_and_one_is_killed_and_resumed_to_what_the_journal_gives(
    nasforge_in: Nasforge, start: Start, stored: Callable[[str], int], shared: tuple[str, str], tmp_path: Path
) -> None:
    name, url = shared
    budget = ["--budget", "9-evaluations"]
    nasforge_in(tmp_path, *GIVEN, *budget, "--out", "whole")
    processes = [start(tmp_path, *GIVEN, *budget, "--storage", url, "--out", run) for run in ("one", "two")]
    wait_until(lambda: stored(name) >= 4, processes[0])
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    _, err = processes[1].communicate(timeout=240)
    assert processes[1].returncode == 0, err
    assert not (tmp_path / "one" / "study.log").exists()
    nasforge_in(tmp_path, "resume", "one")
    assert told(tmp_path / "one") == told(tmp_path / "two") == told(tmp_path / "whole")
    assert stored(name) == 18
    best = [json.loads((tmp_path / run / "result.json").read_text())["best"]["id"] for run in ("one", "two", "whole")]
    assert len(set(best)) == 1
    assert url in (tmp_path / "one" / "config.yaml").read_text()


def test_a_server_that_goes_away_in_the_middle_stops_the_run_with_a_sentence_and_it_is_resumed(
    nasforge_in: Nasforge,
    start: Start,
    stored: Callable[[str], int],
    postgresql: Any,
    shared: tuple[str, str],
    tmp_path: Path,
) -> None:
    name, url = shared
    given = [*GIVEN, "--budget", "12-evaluations", "--storage", url, "--out", "run"]
    process = start(tmp_path, *given, "storage_wait=2s")
    wait_until(lambda: stored(name) >= 2, process)
    postgresql.stop()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert out == ""
    assert "Traceback" not in err
    assert re.search(r"is away \(.*\); it is tried for \d s more", err)
    assert re.search(
        r"nasforge: the storage '.*' was away for 2 s .* resume the run, nothing that was stored is lost\.$", err
    )
    refused = nasforge_in(tmp_path, "resume", "run", code=1)
    assert "cannot be reached" in refused.stderr.splitlines()[-1]
    postgresql.start()
    before = stored(name)
    nasforge_in(tmp_path, "resume", "run")
    assert 2 <= before < 12
    assert stored(name) == len(told(tmp_path / "run")) == 12
    assert "horse" not in err + refused.stderr + (tmp_path / "run" / "log.txt").read_text()


def test_a_copy_of_a_run_s_folder_is_not_driven_beside_it(
    nasforge_in: Nasforge, start: Start, stored: Callable[[str], int], shared: tuple[str, str], tmp_path: Path
) -> None:
    name, url = shared
    process = start(tmp_path, *GIVEN, "--budget", "300-evaluations", "--storage", url, "--out", "run")
    try:
        wait_until(lambda: stored(name) >= 1, process)
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        done = nasforge_in(tmp_path, "resume", "copy", code=1)
        assert f"is driven by another run (nasforge process {process.pid} on {socket.gethostname()})" in done.stderr
    finally:
        process.kill()
        process.communicate()


FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--window-size=1600,2400",
    "--virtual-time-budget=20000",
)  # fmt: skip


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Return a function that starts optuna-dashboard on a storage and gives its address."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(storage: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program = Path(sys.executable).with_name("optuna-dashboard")
        with (tmp_path / "dashboard.log").open("ab") as log:
            command = [program, storage, "--host", "127.0.0.1", "--port", str(port)]
            running.append(subprocess.Popen(command, stdout=log, stderr=log))
        for _ in range(600):
            with contextlib.suppress(OSError, http.client.HTTPException):  # until it answers
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", "/api/studies")
                if connection.getresponse().status == 200:
                    return f"http://127.0.0.1:{port}/dashboard"
            assert running[-1].poll() is None, (tmp_path / "dashboard.log").read_text()
            time.sleep(0.1)
        raise AssertionError((tmp_path / "dashboard.log").read_text())

    yield begin
    for process in running:
        process.terminate()
        process.wait(30)


def browse(address: str, profile: Path, *flags: str) -> str:
    """Return the page as a real browser shows it once its scripts have run."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "chromium is not installed; apt-get install chromium"
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgresql"])
def test_optuna_dashboard_shows_the_study_and_its_trials_in_a_browser(
    nasforge_in: Nasforge, dashboard: Callable[[str], str], postgresql: Any, tmp_path: Path, kind: str
) -> None:
    given = [*GIVEN, "--budget", "5-evaluations", "--out", "run"]
    if kind == "journal":
        nasforge_in(tmp_path, *given)
        storage, name = str(tmp_path / "run" / "study.log"), "nasforge"
    else:
        url = f"sqlite:///{tmp_path}/runs.db" if kind == "sqlite" else postgresql.url(postgresql.database())
        nasforge_in(tmp_path, *given, "--storage", url)
        name = json.loads((tmp_path / "run" / "study.json").read_text())["study"]
        storage = url.replace("postgresql:", "postgresql+psycopg:")
    address = dashboard(storage)
    studies = browse(f"{address}/", tmp_path / "profile")
    assert name in studies
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=10)
    connection.request("GET", "/api/studies")
    listed = json.loads(connection.getresponse().read())["study_summaries"]
    assert [each["study_name"] for each in listed] == [name]
    trials = browse(f"{address}/studies/{listed[0]['study_id']}/trials", tmp_path / "profile")
    assert name in trials
    evaluations = told(tmp_path / "run")
    assert len(evaluations) == 5
    for number, *_ in evaluations:  # type: ignore[misc]  # rows
        assert f"Trial {number}" in trials
    assert "Trial 5" not in trials
    assert trials.count("Complete") >= 5
