"""Runs that are killed, interrupted or run out of disk: they resume to the same result, and say how."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.plugins]

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
COMMON = [
    "--target",
    "gpu",
    "--seed",
    "2",
    "data_options.limit=400",
    "training.evaluation_epochs=1",
    "training.epochs=2",
]
SMALL = ["strategy.population=4", "strategy.sample=2"]
RUNS = {
    "evolution": ["--space", "nb201", "--strategy", "evolution", "--budget", "8-evaluations", *SMALL],
    "bignas": [
        "--space",
        "nb201",
        "--strategy",
        "bignas",
        "--budget",
        "4-epochs",
        "strategy.coarse=4",
        "strategy.fine=4",
    ],
}


def told(run: Path) -> list[object]:
    """Return what the store holds of every evaluation, but for the time it took."""
    found = []
    for line in (run / "study.log").read_text().splitlines():
        attributes = json.loads(line).get("user_attrs", {})
        if "decisions" in attributes:
            metrics = {key: value for key, value in attributes["metrics"].items() if key != "train_seconds"}
            found.append((attributes["number"], attributes["decisions"], metrics, attributes["tell"]))
    return found


@pytest.fixture(scope="module", params=RUNS)
def undisturbed(
    request: pytest.FixtureRequest, nasforge_in: Nasforge, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], Path]:
    """Run each family to its end; return its arguments and the folder."""
    folder = tmp_path_factory.mktemp(request.param)
    arguments = [*RUNS[request.param], *COMMON]
    nasforge_in(folder, "search", *arguments, "--out", "run")
    return arguments, folder / "run"


def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(
    undisturbed: tuple[list[str], Path], start: Start, nasforge_in: Nasforge, tmp_path: Path
) -> None:
    arguments, whole = undisturbed
    command = ["search", *arguments, "--out", "run"]
    for kills in range(3):
        process = start(tmp_path, *command)
        wait_for(tmp_path / "run" / ("config.yaml" if kills == 0 else ".lock"))
        time.sleep(0.7 + 0.9 * kills)
        process.kill()
        process.communicate()
        command = ["resume", "run"]
    nasforge_in(tmp_path, "resume", "run")
    result, expected = (json.loads((run / "result.json").read_text()) for run in (tmp_path / "run", whole))
    assert result["best"]["id"] == expected["best"]["id"]
    assert result["best"]["metrics"]["accuracy"] == expected["best"]["metrics"]["accuracy"]
    assert told(tmp_path / "run") == told(whole)
    assert not list((tmp_path / "run").rglob(".part-*"))


def wait_for(path: Path, seconds: float = 120.0) -> None:
    begun = time.monotonic()
    while not path.exists():
        assert time.monotonic() - begun < seconds, f"{path} did not come"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_the_command_that_resumes_it(
    start: Start, nasforge_in: Nasforge, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "with a space"
    process = start(tmp_path, "search", *RUNS["bignas"], *COMMON, "--out", folder)
    wait_for(folder / "study.log")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    command = re.search(r"go on with: (nasforge resume .*)", err)
    assert command is not None
    words = shlex.split(command[1])
    assert words == ["nasforge", "resume", str(folder)]
    assert "stopped by KeyboardInterrupt" in (folder / "log.txt").read_text()
    nasforge_in(tmp_path, *words[1:])
    assert (folder / "model.onnx").exists()


def test_two_processes_cannot_run_in_one_folder(start: Start, nasforge_in: Nasforge, tmp_path: Path) -> None:
    long = ["--space", "nb201", "--strategy", "random", "--budget", "500-evaluations", *COMMON]
    process = start(tmp_path, "search", *long, "--out", "run")
    try:
        wait_for(tmp_path / "run" / "study.log")
        for command in (["resume", "run"], ["search", *long, "--out", "run"]):
            done = nasforge_in(tmp_path, *command, code=1)
            assert f"in use by another run (process {process.pid})" in done.stderr
            assert done.stdout == ""
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, check=False
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_and_after_making_room_the_run_resumes(
    small_disk: Path, nasforge_in: Nasforge, tmp_path: Path
) -> None:
    run = small_disk / "run"
    arguments = [*RUNS["evolution"], *COMMON, "--out", run]
    done = nasforge_in(tmp_path, "search", *arguments, code=1)
    last = done.stderr.splitlines()[-1]
    assert "the disk is full" in last
    assert "unharmed" in last
    kept = told(run)
    assert kept
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    nasforge_in(tmp_path, "resume", run)
    assert told(run)[: len(kept)] == kept
    assert (run / "result.json").exists()


def test_a_folder_that_may_not_be_written_is_one_sentence(nasforge_in: Nasforge, tmp_path: Path) -> None:
    place = Path("/proc/nasforge")  # where root may not write either
    done = nasforge_in(tmp_path, "search", *RUNS["evolution"], *COMMON, "--out", place, code=1)
    assert "/proc/nasforge" in done.stderr.splitlines()[-1]
    assert "--out" in done.stderr.splitlines()[-1]


BROKEN = """
[nasforge.spaces]
broken = broken_plugin:space
[nasforge.strategies]
broken = broken_plugin:Strategy
"""


def test_a_plugin_that_does_not_load_is_named_with_its_distribution_and_breaks_nothing_else(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "broken_plugin.py").write_text("import no_such_module\n")
    about = tmp_path / "broken_distribution-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-distribution\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(BROKEN)
    paths = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "import sys; from nasforge.cli import main; sys.exit(main())"]
        return subprocess.run(
            [*program, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**environment, "PYTHONPATH": paths},
        )  # fmt: skip

    listed = run("list", "spaces")
    assert listed.returncode == 0
    assert re.search(r"broken +broken-distribution", listed.stdout)
    assert "mbconv" in listed.stdout
    searched = run("search", "--space", "broken", "--strategy", "random")
    assert searched.returncode == 1
    assert "broken-distribution" in searched.stderr
    assert "no_such_module" in searched.stderr
    assert "Traceback" not in searched.stderr
    assert run("show", "proxyless-mobile").returncode == 0
    matrix = json.loads(run("list", "--compatible", "--json").stdout)
    assert "broken-distribution" in matrix["random"]["broken"]
    assert "broken-distribution" in matrix["broken"]["mbconv"]
    assert matrix["random"]["mbconv"] is None
    doctor = run("doctor")
    assert doctor.returncode == 1
    assert "broken-distribution" in doctor.stdout
    assert not (tmp_path / "runs").exists()
