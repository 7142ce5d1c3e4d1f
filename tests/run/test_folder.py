"""Run folders: made exclusively, locked, never overwritten; bad places are refused with a sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import nasforge
from nasforge.errors import DamagedError, RunFolderError, WrongFolderError
from nasforge.run.atomic import PART
from nasforge.run.folder import CONFIG, RunFolder, read_config, redacted


def test_folders_without_a_name_are_numbered_upwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        with RunFolder.create(None, "mbconv-random-cpu") as folder:
            names.append(str(folder.path))
    assert [re.fullmatch(r"runs/\d{8}-mbconv-random-cpu-(\d)", name)[1] for name in names] == ["1", "2", "3"]  # type: ignore[index]


def test_a_second_run_on_one_folder_is_refused_while_the_first_holds_it(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_config({"seed": 1})
        for attempt in (RunFolder.create, RunFolder.open):
            with pytest.raises(RunFolderError, match=rf"in use by another run \(process {os.getpid()}\)"):
                attempt(tmp_path / "run")
    RunFolder.open(tmp_path / "run").close()


def test_another_process_is_kept_out_and_may_come_when_the_first_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from nasforge.run.folder import RunFolder; folder = RunFolder.create(sys.argv[1]);"
        "folder.write_config({}); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match=f"process {holder.pid}"):
            RunFolder.open(tmp_path / "run")
    finally:
        holder.kill()
        holder.communicate()
    RunFolder.open(tmp_path / "run").close()


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_config({"seed": 1})
    with pytest.raises(RunFolderError, match="nasforge resume"):
        RunFolder.create(tmp_path / "run")
    assert read_config(tmp_path / "run") == {"seed": 1}


def test_a_place_is_checked_as_it_is_made_but_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "foreign" / "thesis").mkdir(parents=True)
    with RunFolder.create(tmp_path / "a run") as held:
        held.write_config({})
        before = sorted(tmp_path.rglob("*"))
        for place, kind in (("file", RunFolderError), ("file/below", RunFolderError), ("foreign", WrongFolderError)):
            with pytest.raises(kind, match=place):
                RunFolder.check(tmp_path / place)
        with pytest.raises(RunFolderError, match="in use"):
            RunFolder.check(tmp_path / "a run")
    with pytest.raises(WrongFolderError, match=re.escape(f"`nasforge resume '{tmp_path / 'a run'}'`")):
        RunFolder.check(tmp_path / "a run")
    for place in (None, tmp_path / "new", tmp_path / "foreign" / "new" / "deep"):
        RunFolder.check(place)
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(RunFolderError, match="may not be written"):
        RunFolder.check(tmp_path / "new")


def test_a_place_that_cannot_be_used_is_refused_before_the_device_is_profiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.png").touch()
    monkeypatch.setattr("nasforge.run.search.set_up", lambda *given: pytest.fail("the set-up began"))
    with pytest.raises(WrongFolderError, match="not empty") as caught:
        nasforge.search(budget="1-evaluations", out=tmp_path)
    assert caught.value.exit_code == 2


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(RunFolderError, match=r"not empty and holds no run \(photo\.png"):
        RunFolder.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_what_a_kill_before_the_configuration_left_is_an_empty_folder(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run") as folder:
        folder.file(f"{PART}xyz.yaml").touch()
    with RunFolder.create(tmp_path / "run") as folder:
        assert not folder.file(f"{PART}xyz.yaml").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    for attempt in (RunFolder.create, RunFolder.open):
        with pytest.raises(RunFolderError, match="run"):
            attempt(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_passwords_are_not_written(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_config({"storage": "postgresql://me:secret@host/db", "more": [{"url": "redis://a:b@c"}]})
    text = (tmp_path / "run" / CONFIG).read_text()
    assert "secret" not in text
    assert yaml.safe_load(text) == {"storage": "postgresql://me:***@host/db", "more": [{"url": "redis://a:***@c"}]}
    assert redacted({"path": "C:/a@b", "n": 3}) == {"path": "C:/a@b", "n": 3}


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"a: [\n", b"\xff\xfe\x00", b"!!python/object:os.system {}\n"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(DamagedError, match=r"config\.yaml"):
        read_config(tmp_path)
