"""Calls as Ray tasks: in order, in the driver's folder, sent again where their process dies, each failing alone."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import ray

from nasforge.errors import UsageError
from nasforge.run.engine import Engine
from nasforge.run.ray import connected
from nasforge.run.ray_sweep import run_on_ray

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray leaves processes and files to its own end


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with connected(Engine(), 2):
        yield
    assert not ray.is_initialized()
    gc.collect()  # what Ray drops is dropped here, where its warnings are ignored


def test_each_call_fails_alone_and_one_whose_process_dies_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def die_first(mark: Path) -> str:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getcwd()

    def always_die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def raises() -> None:
        raise ZeroDivisionError("a defect")

    calls = [partial(die_first, tmp_path / "mark"), always_die, raises, os.getpid]
    first, second, third, last = run_on_ray(calls, Engine(retries=1), jobs=2)
    assert first == str(tmp_path)
    assert isinstance(second, ray.exceptions.WorkerCrashedError)
    assert isinstance(third, ZeroDivisionError)
    assert last not in (None, os.getpid())


def test_a_call_that_no_node_could_run_is_refused() -> None:
    with pytest.raises(UsageError, match="1000 of CPU"):
        run_on_ray([os.getpid], Engine(cpus=1000))
