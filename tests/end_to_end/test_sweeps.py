"""Sweeps in processes: killed, interrupted, with members whose process dies; all end as undisturbed ones."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.plugins]

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
SETTINGS = [
    "space=nb201", "target=gpu", "strategy=random", "space.repeats=1", "data_options.limit=200", "retrain=false",
    "training.evaluation_epochs=1", "budget=6-evaluations",
]  # fmt: skip
GRID = [*SETTINGS, "seed=1,2,3"]
JOBLIB = ["--launcher", "joblib", "--jobs", "2"]
SEEDS = ("seed=1", "seed=2", "seed=3")


def told(run: Path) -> list[object]:
    """Return every whole evaluation in the store, but for the time it took."""
    found = []
    for line in (run / "study.log").read_text(encoding="utf-8").splitlines(keepends=True):
        attributes = json.loads(line).get("user_attrs", {}) if line.endswith("\n") else {}
        if "decisions" in attributes:
            metrics = {key: value for key, value in attributes["metrics"].items() if "seconds" not in key}
            found.append((attributes["number"], attributes["decisions"], metrics, attributes["tell"]))
    return found


def wait_for(sweep: Path, evaluations: int) -> Path:
    """Return the first member that has so many evaluations."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for run in sweep.glob("seed=*"):
            if (run / "study.log").exists() and len(told(run)) >= evaluations and not (run / "result.json").exists():
                return run
        time.sleep(0.02)
    raise AssertionError("no member got so far")


def statuses(sweep: Path) -> list[str]:
    return [each["status"] for each in yaml.safe_load((sweep / "sweep.yaml").read_text(encoding="utf-8"))["members"]]


@pytest.fixture(scope="module")
def undisturbed(nasforge_in: Nasforge, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    nasforge_in(folder, "sweep", *GRID, "--out", "sweep")
    return {seed: told(folder / "sweep" / seed) for seed in SEEDS}


def check(sweep: Path, undisturbed: dict[str, list[object]]) -> None:
    assert statuses(sweep) == ["finished"] * 3
    assert {seed: told(sweep / seed) for seed in SEEDS} == undisturbed


def test_a_killed_sweep_goes_on_where_its_members_were(
    undisturbed: dict[str, list[object]], start: Start, nasforge_in: Nasforge, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    process = start(tmp_path, "sweep", *GRID, "--out", "sweep", *JOBLIB)
    run = wait_for(sweep, 2)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)  # the members hold its pipes, and end soon after it
    before = told(run)
    assert set(statuses(sweep)) & {"running", "waiting"}
    nasforge_in(tmp_path, "sweep", *GRID, "--out", "sweep", *JOBLIB)
    assert told(run)[: len(before)] == before
    check(sweep, undisturbed)


@pytest.mark.parametrize("moment", ["processes begin", "one is idle"])
def test_no_process_outlives_a_sweep_that_was_killed(start: Start, tmp_path: Path, moment: str) -> None:
    grid = [each for each in SETTINGS if not each.startswith("budget")]
    process = start(tmp_path, "sweep", *grid, "budget=1-evaluations,1000-evaluations", "--out", "sweep", *JOBLIB)
    sweep = tmp_path / "sweep"
    until = time.monotonic() + 300
    while not (sweep / "sweep.yaml").exists() or (moment == "one is idle" and "finished" not in statuses(sweep)):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)  # what lives on holds its pipes
    assert statuses(sweep).count("finished") == (moment == "one is idle")


def test_ctrl_c_leaves_a_sweep_that_says_how_to_go_on(
    undisturbed: dict[str, list[object]], start: Start, nasforge_in: Nasforge, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    process = start(tmp_path, "sweep", *GRID, "--out", "sweep", *JOBLIB)
    wait_for(sweep, 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    command = next(line for line in err.splitlines() if "go on with: " in line).split("go on with: ")[1]
    assert command == "nasforge sweep --resume sweep --launcher joblib --jobs 2"
    nasforge_in(tmp_path, *shlex.split(command)[1:])
    check(sweep, undisturbed)


def test_a_member_whose_process_dies_costs_no_other_its_result(
    undisturbed: dict[str, list[object]], start: Start, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    process = start(tmp_path, "sweep", *GRID, "--out", "sweep", *JOBLIB)
    run = wait_for(sweep, 1)
    os.kill(int((run / ".lock").read_text(encoding="utf-8")), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-2000:]
    check(sweep, undisturbed)


def test_hydra_alone_sweeps_on_ray_and_a_member_whose_process_dies_goes_on(
    undisturbed: dict[str, list[object]], environment: dict[str, str], tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    launcher = ["hydra/launcher=ray", "hydra.launcher.jobs=2", "hydra.sweep.dir=sweep"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nasforge_experiments", "--multirun", *GRID, *launcher],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run = wait_for(sweep, 1)
    os.kill(int((run / ".lock").read_text(encoding="utf-8")), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-2000:]
    check(sweep, undisturbed)


def test_hydra_alone_says_which_members_failed_and_runs_one_without_multirun(
    environment: dict[str, str], tmp_path: Path
) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        flags = [word for word in words if word.startswith("--")]
        given = [*flags, *SETTINGS, *(word for word in words if word not in flags)]
        command = [sys.executable, "-m", "nasforge_experiments", *given]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    many = run("--multirun", "budget=1-evaluations,2-evaluations", "seed=1,-1", "hydra.sweep.dir=many")
    assert many.returncode == 1
    assert "seed was given -1; expected a whole number" in many.stderr
    assert "Traceback" not in many.stderr
    assert statuses(tmp_path / "many").count("finished") == 2
    one = run("budget=1-evaluations", "hydra.run.dir=one")
    assert one.returncode == 0, one.stderr
    assert json.loads((tmp_path / "one" / "result.json").read_text(encoding="utf-8"))["evaluations"] == 1
    wrong = run("strateggy=random")
    assert wrong.returncode == 1
    assert "Did you mean 'strategy'" in wrong.stderr
