"""Sweeps in this process: every member is a run, failures stay alone, and the same call goes on where it was."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.plugins import Plugins

import nasforge
from nasforge import SweepResult
from nasforge.cli.app import main
from nasforge.config.sweep import SweepInterrupted, resume_sweep
from nasforge.errors import RunFolderError, UsageError
from nasforge.evaluate.tabular import TabularEvaluator, read_table
from nasforge.run import table as tables
from nasforge.run.folder import RunFolder
from nasforge.run.progress import Listener
from nasforge.run.sweep_folder import Member, SweepFolder, record
from nasforge.space import SearchSpace

pytestmark = pytest.mark.plugins

Sweep = Callable[..., SweepResult]
READ: dict[object, TabularEvaluator] = {}


def read_once(path: str, changed: int, space: SearchSpace) -> TabularEvaluator:
    """Read a table once in all these tests, which takes longer than anything else in them."""
    if (path, changed) not in READ:
        READ[path, changed] = read_table(path, space)
    return READ[path, changed]


@pytest.fixture
def small(table: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(tables, "read_table", lambda path, space: read_once(path, Path(path).stat().st_mtime_ns, space))
    return {
        "space": "nb201",
        "target": "gpu",
        "evaluation": f"table:{table}",
        "retrain": False,
        "budget": "3-evaluations",
        "data_options.limit": 120,
    }


@pytest.fixture
def sweep(small: dict[str, Any], tmp_path: Path) -> Sweep:
    """Return `nasforge.sweep` on the table, into a folder of this test."""

    def run(overrides: tuple[str, ...] = (), **more: Any) -> SweepResult:
        grid = {key.replace("__", "."): value for key, value in more.items()}
        out = grid.pop("out", tmp_path / "sweep")
        listener = grid.pop("listener", None)
        return nasforge.sweep({**small, "strategy": "random", **grid}, overrides, out=out, listener=listener)

    return run


def results(folder: Path) -> dict[str, float]:
    """Return when the result of each member was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}


def test_every_member_is_an_ordinary_run_that_can_be_compared(sweep: Sweep, tmp_path: Path) -> None:
    result = sweep(("seed=range(1,3)",), strategy=["random", "evolution"])
    assert (result.status, result.failed, result.unfinished) == ("finished", [], [])
    assert [each.name for each in result.members] == [
        f"seed={seed},strategy={strategy}" for seed in (1, 2) for strategy in ("random", "evolution")
    ]
    for member, run in zip(result.members, result.runs, strict=True):
        document = nasforge.SearchResult.read(run).document
        assert f"seed={document['seed']},strategy={document['strategy']['name']}" == member.name
        assert document["evaluations"] == 3
        assert (run / "report.html").exists()
        assert not (run / ".hydra").exists()
    assert SweepResult.read(result.folder) == result
    compared = nasforge.compare([result.folder])
    assert [each.label for each in compared.configurations] == ["strategy=random", "strategy=evolution"]
    assert [list(each.folders) for each in compared.configurations] == [[1, 2], [1, 2]]


def test_a_member_is_the_run_that_search_itself_makes(sweep: Sweep, small: dict[str, Any], tmp_path: Path) -> None:
    (run,) = sweep(seed=[5]).runs
    alone = nasforge.search(
        "nb201", "random", "gpu", evaluation=small["evaluation"], retrain=False, budget="3-evaluations",
        data_options={"limit": 120}, seed=5, out=tmp_path / "alone",
    )  # fmt: skip
    found = nasforge.SearchResult.read(run).document
    for key in ("best", "pareto", "evaluations", "space", "strategy", "target", "task", "seed"):
        assert found[key] == alone.document[key]


def test_a_value_that_cannot_be_fails_its_member_only_and_the_others_are_not_run_again(
    sweep: Sweep, tmp_path: Path
) -> None:
    grid = {"seed": [1, -1], "strategy": ["random", "evolutoin"]}
    result = sweep(**grid)
    assert result.status == "failed"
    assert [each.status for each in result.members] == ["finished", "failed", "failed", "failed"]
    errors = {each.name: str(each.error) for each in result.failed}
    assert "Did you mean 'evolution'" in errors["seed=1,strategy=evolutoin"]
    assert "seed was given -1" in errors["seed=-1,strategy=random"]
    assert not (result.folder / result.members[1].name).exists()
    before = results(result.folder)
    assert sweep(**grid) == result
    assert results(result.folder) == before


def test_only_failed_members_run_again_and_begin_anew_where_nothing_of_them_succeeded(
    sweep: Sweep, table: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:2]), encoding="utf-8")
    grid = {"evaluation": [f"table:{table}", f"table:{path}"]}
    result = sweep(**grid)
    good, bad = result.members
    assert (good.status, bad.status) == ("finished", "failed")
    assert "all 3 evaluations failed" in str(bad.error)
    before = results(result.folder)
    path.write_text("".join(lines), encoding="utf-8")
    result = sweep(**grid)
    assert (result.status, [each.status for each in result.members]) == ("finished", ["finished"] * 2)
    assert results(result.folder)[good.name] == before[good.name]
    documents = [nasforge.SearchResult.read(run).document for run in result.runs]
    assert documents[0]["best"]["id"] == documents[1]["best"]["id"]


def test_a_defect_in_one_member_does_not_sink_the_others(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    from nasforge.config import member

    run = member.run_search

    def broken(settings: Any, **more: Any) -> Any:
        if settings.seed == 1:
            raise ZeroDivisionError("a defect")
        return run(settings, **more)

    monkeypatch.setattr(member, "run_search", broken)
    result = sweep(seed=[1, 2])
    assert [each.status for each in result.members] == ["failed", "finished"]
    assert result.members[0].error == "unexpected ZeroDivisionError: a defect"
    monkeypatch.undo()
    assert [each.status for each in sweep(seed=[1, 2]).members] == ["finished", "finished"]


@pytest.fixture
def launcher() -> Any:
    """Return Hydra's own launcher as its plug-ins have it: looking for plug-ins imports it anew."""
    return Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_launcher.BasicLauncher"]


@pytest.mark.parametrize("always", [False, True])
def test_where_a_launcher_breaks_the_others_go_on_and_the_one_whose_process_dies_again_has_failed(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, launcher: Any, always: bool
) -> None:
    """As joblib does: all that run die with the one whose process died, and the launch is over."""
    launch, launched = launcher.launch, []

    def breaking(self: Any, job_overrides: Any, initial_job_idx: int) -> Any:
        names = [next(text for text in job if text.startswith("seed=")) for job in job_overrides]
        launched.append(names)
        dying = "seed=2" in names and (always or len(names) > 1)
        if not dying:
            return launch(self, job_overrides, initial_job_idx)
        launch(self, [job for job, name in zip(job_overrides, names, strict=True) if name == "seed=1"], 0)
        for name in set(names) & {"seed=2", "seed=3"}:
            record(tmp_path / "sweep", name, "running")
        raise RuntimeError("a worker was killed")

    monkeypatch.setattr(launcher, "launch", breaking)
    result = sweep(seed=[1, 2, 3, 4])
    assert launched == [["seed=1", "seed=2", "seed=3", "seed=4"], ["seed=4"], ["seed=2"], ["seed=3"]]
    expected = ["finished", "failed" if always else "finished", "finished", "finished"]
    assert [each.status for each in result.members] == expected
    if always:
        assert "its process ended before it did (RuntimeError: a worker was killed)" in str(result.members[1].error)
    monkeypatch.undo()


def test_a_launcher_that_starts_nothing_is_the_error_of_the_sweep(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, launcher: Any
) -> None:
    def broken(self: Any, job_overrides: Any, initial_job_idx: int) -> Any:
        raise UsageError("no Ray there.")

    monkeypatch.setattr(launcher, "launch", broken)
    with pytest.raises(UsageError, match="no Ray there"):
        sweep(seed=[1, 2])
    assert SweepResult.read(tmp_path / "sweep").status == "interrupted"


class Stop(Listener):
    """Interrupts the member of a seed at its second evaluation, as Ctrl-C does."""

    def __init__(self, name: str) -> None:
        self._name, self._here = name, False

    def opened(self, folder: Path) -> None:
        self._here = folder.name == self._name

    def progress(self, done: float, figures: Any) -> None:
        if self._here and done == 2:
            raise KeyboardInterrupt


def test_an_interrupted_sweep_goes_on_in_the_middle_of_its_member_to_the_same_end(sweep: Sweep, tmp_path: Path) -> None:
    whole = sweep(seed=[1, 2, 3], out=tmp_path / "whole")
    with pytest.raises(SweepInterrupted) as stopped:
        sweep(seed=[1, 2, 3], listener=Stop("seed=2"))
    folder = tmp_path / "sweep"
    assert stopped.value.command == f"nasforge sweep --resume {folder}"
    half = SweepResult.read(folder)
    assert (half.status, [each.status for each in half.members]) == (
        "interrupted", ["finished", "interrupted", "waiting"],
    )  # fmt: skip
    told = (folder / "seed=2" / "study.log").read_bytes()
    before = results(folder)
    result = resume_sweep(folder)
    assert (result.status, len(result.runs)) == ("finished", 3)
    assert results(folder)["seed=1"] == before["seed=1"]
    assert (folder / "seed=2" / "study.log").read_bytes().startswith(told)
    for first, second in zip(whole.runs, result.runs, strict=True):
        documents = [nasforge.SearchResult.read(run).document for run in (first, second)]
        for key in ("best", "pareto", "evaluations"):
            assert documents[0][key] == documents[1][key]


def test_what_a_killed_sweep_left_is_read_from_the_folders(sweep: Sweep, tmp_path: Path) -> None:
    result = sweep(seed=[1, 2])
    for member in result.members:
        record(result.folder, member.name, "running")  # as if killed before it could say anything else
    (result.folder / "seed=2" / "result.json").unlink()
    before = results(result.folder)
    again = sweep(seed=[1, 2])
    assert [each.status for each in again.members] == ["finished", "finished"]
    assert results(again.folder)["seed=1"] == before["seed=1"]


def test_two_sweeps_on_one_folder_are_refused(sweep: Sweep, tmp_path: Path) -> None:
    result = sweep(seed=[1])
    with RunFolder(result.folder), pytest.raises(RunFolderError, match=f"in use by another run .process {os.getpid()}"):
        sweep(seed=[1])
    assert sweep(seed=[1]).status == "finished"


@pytest.mark.parametrize("other", [{"seed": [1, 2, 3]}, {"seed": [1, 2], "budget": "4-evaluations"}])
def test_another_sweep_into_the_same_folder_is_refused(sweep: Sweep, other: dict[str, Any]) -> None:
    sweep(seed=[1, 2])
    with pytest.raises(RunFolderError, match="already holds another sweep"):
        sweep(**other)


def test_a_folder_that_holds_something_else_is_refused(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").touch()
    with pytest.raises(RunFolderError, match="is not empty and holds no sweep"):
        sweep(seed=[1], out=tmp_path / "letters")
    (run,) = sweep(seed=[1]).runs
    with pytest.raises(RunFolderError, match="holds a run, not a sweep"):
        sweep(seed=[1], out=run)
    with pytest.raises(RunFolderError, match="holds no sweep"):
        resume_sweep(run)


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"strategy__populatoin": [2, 4], "strategy": "evolution"}, "Did you mean 'population'"),
        ({"seed": [-1, -2]}, "seed was given -1"),
        ({"overrides": ("seed=range(1,1)",)}, "the grid is empty"),
        ({"sede": [1, 2]}, "Did you mean 'seed'"),
    ],
)
def test_what_no_member_could_do_is_refused_before_anything_is_written(
    sweep: Sweep, tmp_path: Path, grid: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        sweep(**grid)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"launcher": "jobelib"}, "Did you mean 'joblib'"),
        ({"jobs": 2}, "--launcher joblib or ray"),
        ({"launcher": "joblib", "jobs": 0}, "at least one"),
        ({"address": "auto"}, "--launcher ray"),
    ],
)
def test_launchers_are_checked(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        nasforge.sweep({"seed": [1, 2]}, **how)


def test_without_any_plugin_of_hydra_joblib_is_named_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins", None)  # as where nothing that brings the package is installed
    monkeypatch.delitem(sys.modules, "hydra_plugins.hydra_joblib_launcher", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'nasforge\[sweep\]'"):
        nasforge.sweep({"seed": [1, 2]}, launcher="joblib")


def test_a_damaged_sweep_file_is_said_to_be(sweep: Sweep) -> None:
    result = sweep(seed=[1])
    (result.folder / "sweep.yaml").write_text("schema: 1\nmembers: [3]\n", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot be read as a sweep"):
        sweep(seed=[1])


def test_passwords_do_not_reach_the_sweep_file(tmp_path: Path) -> None:
    given = ["storage='postgresql://me:secret@host/db'", "seed=1"]
    with SweepFolder(tmp_path / "sweep", given, [Member("run", tuple(given))]) as folder:
        record(folder.path, "run", "failed", "no answer from postgresql://me:secret@host/db")
        assert folder.members[0].overrides == tuple(given)  # what runs has them
    assert "secret" not in (tmp_path / "sweep" / "sweep.yaml").read_text(encoding="utf-8")
    with SweepFolder(tmp_path / "sweep", given, [Member("run", tuple(given))]):
        pass  # and it is still known as the same sweep


def test_the_command_prints_what_became_of_members_and_ends_with_one_where_some_failed(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [f"{key}={value}" for key, value in small.items() if key not in ("space", "target", "budget")]
    options = ["--space", "nb201", "--target", "gpu", "--budget", "3-evaluations", "--strategy", "random,randon"]
    assert main(["sweep", *options, *settings, "seed=1"]) == 1
    out = capsys.readouterr().out
    assert "strategy=randon failed: strategy 'randon' is not installed" in out
    assert "1 of 2 members failed" in out
    (folder,) = (tmp_path / "sweeps").iterdir()
    assert yaml.safe_load((folder / "sweep.yaml").read_text(encoding="utf-8"))["status"] == "failed"
    assert main(["resume", str(folder), "--json"]) == 1
    captured = capsys.readouterr()
    assert [each["status"] for each in json.loads(captured.out)["members"]] == ["finished", "failed"]
    assert main(["sweep", "--resume", str(folder), "seed=1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
