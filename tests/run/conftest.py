"""Small worlds in which whole searches take a second: a space, data and a device whose figures are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice
from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets.digits import load
from nasforge.testing.target import MemoryTarget


def make_space(classes: int = 10, size: int = 8) -> SearchSpace:
    x = Conv(choice(4, 8, 12, 16, name="width"), choice(1, 3, 5, name="kernel"), stride=2)(
        Input(3, size, size), name="stem"
    )
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x))}, name="tiny")


@pytest.fixture(scope="session")
def small_source() -> DataSource:
    return load(None, limit=120)


@pytest.fixture
def small_space() -> SearchSpace:
    return make_space()


@pytest.fixture
def search_small(
    small_source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., nasforge.SearchResult]:
    """Return `nasforge.search` on the small world; anything may be given otherwise."""
    monkeypatch.setattr(
        "nasforge.config.start.write_report", lambda folder, space=None: (Path(folder) / "report.html").touch()
    )

    def search(**given: Any) -> nasforge.SearchResult:
        defaults: dict[str, Any] = {
            "space": make_space(),
            "strategy": "random",
            "target": MemoryTarget(),
            "data": small_source,
            "budget": "4-evaluations",
            "training": {"epochs": 1, "evaluation_epochs": 1},
            "out": tmp_path / "run",
        }
        return nasforge.search(**{**defaults, **given})

    return search
