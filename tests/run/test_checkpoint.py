"""Checkpoints: what is saved comes back equal, damage is noticed anywhere, and the one before serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import DamagedError, RunFolderError
from nasforge.run.atomic import PART
from nasforge.run.checkpoint import Checkpoints, read_state

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(),
    st.builds(lambda n: torch.arange(n, dtype=torch.float64), st.integers(0, 5)),
    st.builds(lambda n: np.arange(n), st.integers(0, 5)),
)  # fmt: skip
keys = st.one_of(st.text(max_size=5), st.integers(0, 99))
states = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@settings(max_examples=60, deadline=None)
@given(state=states)
def test_any_state_comes_back_equal(tmp_path_factory: pytest.TempPathFactory, state: Any) -> None:
    checkpoints = Checkpoints(tmp_path_factory.mktemp("checkpoints"))
    checkpoints.save("training", state)
    assert same(checkpoints.load("training"), state)


def test_an_optimiser_with_momentum_comes_back_equal(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(layer.parameters(), 0.1)
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("training", optimiser.state_dict())
    assert same(checkpoints.load("training"), optimiser.state_dict())


def test_the_two_newest_of_each_kind_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for number in range(12):
        checkpoints.save("training", {"step": number})
        checkpoints.save("asking", {"told": -number})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "asking-11.safetensors", "asking-12.safetensors", "training-11.safetensors", "training-12.safetensors",
    ]  # fmt: skip
    assert (checkpoints.load("training"), checkpoints.load("asking")) == ({"step": 11}, {"told": -11})


@pytest.mark.parametrize("kind", ["training", "retrained-0"])
def test_kinds_of_one_beginning_do_not_mix(tmp_path: Path, kind: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    for each in ("training", "training-x", "retrained-0", "retrained-0-1"):
        checkpoints.save(each, each)
    assert checkpoints.load(kind) == kind


def test_a_checkpoint_cut_anywhere_or_with_any_byte_changed_is_noticed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save("training", {"weights": torch.ones(2), "step": 3})
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place])
        with pytest.raises(DamagedError):
            read_state(path)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedError):
            read_state(path)


def test_after_a_damaged_one_the_one_before_serves_with_a_note(tmp_path: Path) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, said.append)
    checkpoints.save("training", {"step": 1})
    newest = checkpoints.save("training", {"step": 2})
    newest.write_bytes(newest.read_bytes()[:-3])
    assert checkpoints.load("training") == {"step": 1}
    assert len(said) == 1
    assert str(newest) in said[0]
    assert "the one before" in said[0]
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert checkpoints.load("training") is None
    assert "starts again" in said[-1]


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    torch.save({"step": 1}, tmp_path / "training-1.safetensors")
    with pytest.raises(DamagedError):
        read_state(tmp_path / "training-1.safetensors")


def test_parts_of_killed_writes_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{PART}abc.safetensors").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("training", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["training-1.safetensors"]


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("training", {"step": 1})

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        checkpoints.save("training", {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["training-1.safetensors"]
    assert checkpoints.load("training") == {"step": 1}
