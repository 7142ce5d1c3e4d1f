"""What the tests of targets share: a space that is measured in seconds, and a cache folder of one's own."""

from __future__ import annotations

import pytest

from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice

TINY = {"visits": 2, "runs": 3, "visit_ms": 0.3, "warm_up": 1, "pause_seconds": 0, "extra": 0}


def declare(size=8):
    x = Conv(choice(8, 16, 24, name="width"), choice(1, 3, name="kernel"))(Input(3, size, size), name="stem")
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x))}, name="six")


@pytest.fixture
def tiny():
    return dict(TINY)


@pytest.fixture
def make_space():
    return declare


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setenv("NASFORGE_CACHE", str(folder))
    return folder
