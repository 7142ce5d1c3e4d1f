"""A search killed anywhere and resumed gives the same best and the same evaluations as an undisturbed one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge import SearchResult
from nasforge.ops import Conv, GlobalPool, Linear, Pool
from nasforge.run.asking import Asking
from nasforge.run.checkpoint import Checkpoints
from nasforge.run.deliver import Delivery
from nasforge.run.shared_training import SharedTraining
from nasforge.run.store import StudyStore
from nasforge.space import Input, SearchSpace, one_of
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MemoryTarget
from nasforge.training import Training

pytestmark = pytest.mark.plugins

Search = Callable[..., SearchResult]


class Killed(BaseException):
    """What a kill is in one process: nothing of the run's own catches it."""


POINTS: tuple[tuple[object, str], ...] = (
    (Asking, "ask"),
    (Asking, "tell"),
    (StudyStore, "append"),
    (StudyStore, "load"),
    (SharedTraining, "_one_step"),
    (Training, "_one_step"),
    (Checkpoints, "save"),
    (Checkpoints, "load"),
    (Delivery, "_write"),
    (Delivery, "_measure"),
    (Delivery, "test"),
    (Path, "replace"),  # the moment in which a written file takes its place
)


@contextmanager
def killed_at(number: int | None) -> Iterator[list[str]]:
    """Raise Killed at one of the moments before and after each point; None: only count them."""
    passed: list[str] = []

    def moment(name: str) -> None:
        passed.append(name)
        if len(passed) - 1 == number:
            raise Killed(name)

    def wrapped(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            moment(f"before {name}")
            found = function(*arguments, **options)
            moment(f"after {name}")
            return found

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasforge.run.search.SNAPSHOT_EVERY", 2)
        patch.setattr("nasforge.run.shared_training.CHECKPOINT_SECONDS", -1.0)  # after every step
        patch.setattr("nasforge.run.deliver.CHECKPOINT_SECONDS", -1.0)
        for owner, name in POINTS:
            patch.setattr(owner, name, wrapped(getattr(owner, name), f"{getattr(owner, '__name__', '')}.{name}"))
        yield passed


def operators() -> SearchSpace:
    """A space that strategies of every family can search."""
    x = Conv(4, 3, stride=2)(Input(3, 8, 8), name="stem")
    for place in range(2):
        x = one_of([Conv(4, 1)(x), Conv(4, 3)(x), Pool("max", 3)(x)], name=f"op{place}")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name="operators")


def told(result: SearchResult, space: SearchSpace) -> list[Any]:
    store = StudyStore(result.folder / "study.log", space)
    try:
        return [
            (
                e.number,
                e.architecture,
                {k: v for k, v in e.metrics.items() if k != "train_seconds"},
                e.error,
                e.ask,
                e.tell,
            )
            for e in store.load()
        ]
    finally:
        store.close()


GIVEN: dict[str, dict[str, Any]] = {
    "random": {"budget": "5-evaluations"},
    "evolution": {"strategy": {"name": "evolution", "population": 3, "sample": 2}, "budget": "7-evaluations"},
    "proxyless": {"strategy": "proxyless", "budget": "3-epochs"},
    "proxyless_rl": {"strategy": {"name": "proxyless_rl", "networks": 2, "arch_every": 1}, "budget": "3-epochs"},
    "bignas": {"strategy": {"name": "bignas", "coarse": 3, "fine": 3}, "budget": "2-epochs"},
}


def check(search: Search, folder: Path, source: DataSource, strategy: str, numbers: Callable[[int], list[int]]) -> None:
    given = {
        "strategy": strategy,
        "training": {"epochs": 1, "evaluation_epochs": 1, "batch_size": 48},
        **GIVEN[strategy],
    }
    with killed_at(None) as passed:
        whole = search(space=operators(), out=folder / "whole", **given)
    expected = told(whole, operators())
    assert whole.best is not None
    for number in numbers(len(passed)):
        out = folder / str(number)
        with killed_at(number) as moments, pytest.raises(Killed):
            search(space=operators(), out=out, **given)
        with killed_at(None):
            if (out / "config.yaml").exists():
                again = nasforge.resume(out, space=operators(), target=MemoryTarget(), data=source)
            else:
                again = search(space=operators(), out=out, **given)
        assert again.best is not None
        assert again.best["id"] == whole.best["id"], moments[-1]
        assert again.best["metrics"]["accuracy"] == whole.best["metrics"]["accuracy"], moments[-1]
        assert told(again, operators()) == expected, moments[-1]
        assert (out / "report.html").exists()


@pytest.mark.parametrize("strategy", GIVEN)
def test_a_run_killed_at_some_moments_resumes_to_the_same_result(
    search_small: Search, tmp_path: Path, small_source: DataSource, strategy: str
) -> None:
    check(search_small, tmp_path, small_source, strategy, lambda count: list(range(3, count, count // 5)))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", GIVEN)
def test_a_run_killed_at_any_moment_resumes_to_the_same_result(
    search_small: Search, tmp_path: Path, small_source: DataSource, strategy: str
) -> None:
    check(search_small, tmp_path, small_source, strategy, lambda count: list(range(0, count, max(1, count // 40))))
