"""Run folders as a search leaves them, written by the project's own functions without searching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.rng import generator
from nasforge.run.artifact import FILE as ARCHITECTURE
from nasforge.run.atomic import write_json
from nasforge.run.finalists import Finalist, record_measurement
from nasforge.run.folder import RunFolder
from nasforge.run.plan import make_plan
from nasforge.run.progress import Silent
from nasforge.run.record import result_document
from nasforge.run.result import write_result
from nasforge.run.settings import Settings
from nasforge.run.setup import Given, Setup, set_up
from nasforge.run.store import STUDY, StudyStore
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Proposal, Strategy
from nasforge.targets.base import measurement
from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets.digits import load
from nasforge.testing.target import MemoryTarget

MakeRun = Callable[..., tuple[Path, SearchSpace]]


class NoStrategy(Strategy):
    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        return []

    def tell(self, results: Sequence[Evaluation]) -> None:
        pass


def make_space(name: str = "tiny", stem: str = "stem", labels: tuple[str, str] = ("slim", "wide")) -> SearchSpace:
    wide = choice(*labels, name="kind")
    x = Conv(wide.map(lambda label: 16 if label == labels[1] else 8), choice(1, 3, 5, 7, name="kernel"), stride=2)(
        Input(3, 8, 8), name=stem
    )
    x = Conv(choice(8, 12, 16, 24, name="width"), 3)(x)
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name=name)


@pytest.fixture(scope="session")
def digits() -> DataSource:
    return load(None, limit=120)


def evaluations_of(setup: Setup, count: int, failed: int | None, error: str) -> list[Evaluation]:
    rng = generator(0, "report")
    rows = []
    for number in range(count):
        architecture = setup.space.sample(rng)
        metrics = {**setup.problem.cost_metrics(architecture), "accuracy_valid": float(rng.uniform(0.1, 0.9))}
        rows.append(
            Evaluation(number, architecture, {}, error=error)
            if number == failed
            else Evaluation(number, architecture, metrics, seconds=1.25)
        )
    return rows


def finalists_of(setup: Setup, rows: Sequence[Evaluation], factor: float | None, source: str) -> list[Finalist]:
    ranked = sorted((each for each in rows if each.error is None), key=setup.problem.loss)[:3]
    found = [Finalist(each, dict(each.metrics), "trained briefly") for each in ranked]
    for each in found if factor is not None else ():
        latency = each.metrics["latency_ms_predicted"] * factor
        record_measurement(each, measurement([[latency, latency * 1.1], [latency * 1.02]], source))
    best = found[0]
    best.weights = "retrained from scratch"
    best.metrics |= {
        "accuracy_valid_in_search": best.metrics["accuracy_valid"],
        "accuracy_valid": 0.93125,
        "accuracy": 0.912345678,
        "nll": 0.25,
        "train_seconds": 3.5,
    }
    return found


@pytest.fixture
def make_run(tmp_path: Path, digits: DataSource) -> MakeRun:
    """Return a function that writes a run folder and returns it with its space.

    `factor` is measured / predicted latency; None: not measured.
    """

    def make(
        name: str = "run",
        *,
        space: SearchSpace | None = None,
        factor: float | None = 1.04,
        limit: str | None = None,
        count: int = 9,
        failed: int | None = 4,
        error: str = "loss became NaN",
        source: str = "measured by size",
        found: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> tuple[Path, SearchSpace]:
        target = MemoryTarget(unavailable=None if factor is not None else "no such device is here")
        asked = Settings.read({"space": "tiny", "strategy": "none", "limits": {"latency": limit}, **(settings or {})})
        given = Given(space=space or make_space(), strategy=NoStrategy(), source=digits, target=target)
        setup = set_up(asked, given, Silent())
        rows = evaluations_of(setup, count, failed, error)
        plan = make_plan(asked.budget, {}, 120, shares_weights=False, retrains=True)
        finalists = finalists_of(setup, rows, factor, source)
        seconds = {"evaluating": 11.25, "retraining": 3.5, "total": 15.0}
        with RunFolder.create(tmp_path / name) as folder:
            folder.write_config(asked.to_json())
            store = StudyStore(folder.file(STUDY), setup.space)
            for row in rows:
                store.append(row)
            store.close()
            best = finalists[0] if found else None
            if best is not None:
                write_json(folder.file(ARCHITECTURE), setup.artifact(best.evaluation.architecture).to_json())
            write_result(folder.path, result_document(setup, plan, rows, finalists if found else [], best, seconds))
        return folder.path, setup.space

    return make


@pytest.fixture
def space_of() -> Callable[..., SearchSpace]:
    """Return the function that declares the space of these runs."""
    return make_space
