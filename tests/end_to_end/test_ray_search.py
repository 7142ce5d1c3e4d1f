"""`nasforge search --workers 2` as people run it: the driver and workers are killed, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.plugins]

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
EVALUATIONS = 10
SEARCH = [
    "search",
    "--space",
    "nb201",
    "--strategy",
    "evolution",
    "strategy.population=4",
    "strategy.sample=2",
    "--target",
    "gpu",
    "--workers",
    "2",
    "--budget",
    f"{EVALUATIONS}-evaluations",
    "training.evaluation_epochs=4",
    "training.epochs=1",
    "--out",
    "run",
]


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Return what the journal holds of every evaluation; a line that is being written is left out."""
    journal = run / "study.log"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    found = [json.loads(line).get("user_attrs", {}) for line in lines]
    return [each for each in found if "decisions" in each]


def wait_for(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it did not come"
        time.sleep(0.05)


def workers_of(driver: int) -> list[int]:
    """Return the processes of Ray workers that evaluate, below a driver."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
                if line.startswith(b"ray::Evaluator") and driver in ancestors(int(entry.name)):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found


def test_a_driver_killed_again_and_again_loses_and_doubles_nothing(
    start: Start, nasforge_in: Nasforge, tmp_path: Path
) -> None:
    run, command = tmp_path / "run", SEARCH
    for kills in range(2):
        process = start(tmp_path, *command)
        wait_for(lambda kills=kills: len(evaluations(run)) >= 3 * (kills + 1))  # type: ignore[misc]  # bound now
        workers = workers_of(process.pid)
        assert len(workers) == 2
        process.kill()
        process.communicate()
        wait_for(lambda: not any(os.path.exists(f"/proc/{each}") for each in workers))  # noqa: B023 - called at once
        command = ["resume", "run"]
    nasforge_in(tmp_path, "resume", "run")
    found = evaluations(run)
    assert sorted(each["number"] for each in found) == list(range(EVALUATIONS))
    assert [each["tell"] for each in found] == list(range(EVALUATIONS))
    assert all(each["error"] is None for each in found)
    assert json.loads((run / "result.json").read_text())["evaluations"] == EVALUATIONS


def test_workers_that_are_killed_cost_no_evaluation(start: Start, tmp_path: Path) -> None:
    run, killed = tmp_path / "run", 0
    process = start(tmp_path, *SEARCH)
    for wanted in (1, 3, 5):
        wait_for(lambda wanted=wanted: len(evaluations(run)) >= wanted)  # type: ignore[misc]  # bound now
        for worker in workers_of(process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert killed == 3
    found = evaluations(run)
    assert sorted(each["number"] for each in found) == list(range(EVALUATIONS))
    assert all(each["error"] is None for each in found)


def test_an_interrupted_search_on_ray_says_how_to_go_on_and_leaves_no_process(
    start: Start, nasforge_in: Nasforge, tmp_path: Path
) -> None:
    process = start(tmp_path, *SEARCH, "--json")
    wait_for(lambda: len(evaluations(tmp_path / "run")) >= 2)
    workers = workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert "go on with: nasforge resume run" in err
    assert "Traceback" not in err
    wait_for(lambda: not any(os.path.exists(f"/proc/{each}") for each in workers))
    done = nasforge_in(tmp_path, "resume", "run", "--json")
    assert json.loads(done.stdout)["evaluations"] == EVALUATIONS


def test_more_processors_than_there_are_is_refused_before_anything_runs(nasforge_in: Nasforge, tmp_path: Path) -> None:
    done = nasforge_in(tmp_path, *SEARCH, "engine.resources.fpga=1", code=2)
    assert "1 of fpga, but no node of the cluster has more than 0" in done.stderr
    assert evaluations(tmp_path / "run") == []
