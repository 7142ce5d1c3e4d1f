"""Checkpoints at an fsspec path: the newest whole one is found, whatever a power cut left."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import torch

from nasforge.errors import UsageError
from nasforge.run.remote import FILE, NOTED, RemoteCheckpoints, folder_name, state_of, step_of, written


def state(step: int, phase: int = 0) -> dict[str, Any]:
    return {"place": [phase, step, step, 0.5], "weights": torch.full((3,), float(step))}


def put(checkpoints: RemoteCheckpoints, given: dict[str, Any]) -> str:
    folder = f"{checkpoints.path}/{folder_name(given)}"
    checkpoints.filesystem.makedirs(folder, exist_ok=True)
    with written(given) as local:
        checkpoints.filesystem.pipe_file(f"{folder}/{FILE}", (local / FILE).read_bytes())
    return folder


@pytest.fixture(params=["{}", "file://{}", "dir::file://{}", "memory://{}"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteCheckpoints:
    return RemoteCheckpoints(request.param.format(f"{tmp_path}/{uuid.uuid4().hex}"), "run-1")


def newest(checkpoints: RemoteCheckpoints, warned: list[str]) -> Any:
    content = checkpoints.newest(warned.append)
    return None if content is None else state_of(content)


def test_there_is_none_before_the_first(checkpoints):
    checkpoints.tidy()
    assert checkpoints.newest(lambda sentence: pytest.fail(sentence)) is None


def test_the_newest_by_step_and_phase_is_found_however_many_digits(checkpoints):
    for step in (9, 100, 20):
        put(checkpoints, state(step))
    for phase in (2, 1, 0):
        put(checkpoints, state(2000, phase))
    found = newest(checkpoints, [])
    assert found["place"] == [2, 2000, 2000, 0.5]
    assert torch.equal(found["weights"], torch.full((3,), 2000.0))


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_cut_checkpoint_is_passed_over_with_a_sentence(checkpoints, kept):
    put(checkpoints, state(1))
    broken = f"{put(checkpoints, state(2))}/{FILE}"
    content = checkpoints.filesystem.cat_file(broken)
    checkpoints.filesystem.pipe_file(broken, content[:kept])
    warned: list[str] = []
    assert newest(checkpoints, warned)["place"][2] == 1
    (sentence,) = warned
    assert "is damaged" in sentence


def test_a_checkpoint_without_its_file_is_passed_over(checkpoints):
    put(checkpoints, state(1))
    checkpoints.filesystem.rm_file(f"{put(checkpoints, state(2))}/{FILE}")
    warned: list[str] = []
    found = newest(checkpoints, warned)
    assert found["place"][2] == 1


def test_tidying_keeps_the_two_newest_and_forgets_what_ray_noted(checkpoints):
    for step in range(5):
        put(checkpoints, state(step))
    checkpoints.filesystem.pipe_file(f"{checkpoints.path}/{NOTED}", b'{"ray_version": ')
    checkpoints.filesystem.pipe_file(f"{checkpoints.path}/other", b"theirs")
    checkpoints.tidy()
    left = sorted(str(path).rpartition("/")[2] for path in checkpoints.filesystem.ls(checkpoints.path, detail=False))
    assert [step_of(name) for name in left] == [None, 3, 4]
    assert left[0] == "other"


def test_a_file_system_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="checkpoints were to go to 'nowhere://x', which fsspec cannot open"):
        RemoteCheckpoints("nowhere://x", "run")
