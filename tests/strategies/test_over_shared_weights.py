"""Any strategy that proposes and learns searches a trained supernet, by handing `ask` and `tell` on to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
from nasforge_strategies.spos import SPOS

import nasforge
from nasforge import Evaluation, Problem, Proposal, Strategy
from nasforge.run.options import make_strategy
from nasforge.testing.small_spaces import elastic_space

pytestmark = pytest.mark.plugins
EVALUATIONS = 7
LIMIT = 30_000


@final
@dataclass
class SearchedBy(SPOS):
    """Single path training, searched by another strategy.

    Attributes:
        search: proposes and learns.
    """

    search: Strategy | None = None
    heard: list[Evaluation] = field(default_factory=list, init=False, repr=False)

    def setup(self, problem: Problem) -> None:
        super().setup(problem)
        self.heard.clear()
        assert self.search is not None
        self.search.setup(problem)

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        assert self.search is not None
        return self.search.ask(n, rng)

    def tell(self, results: Sequence[Evaluation]) -> None:
        assert self.search is not None
        self.heard += results
        self.search.tell(results)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("random", {}),
        ("evolution", {"population": 3, "sample": 2}),
        ("nsga2", {"population": 4}),
        ("local_search", {}),
        ("optuna", {"sampler": "tpe"}),
        ("surrogate", {"initial": 3}),
    ],
)
def test_a_strategy_that_proposes_searches_a_trained_supernet(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    strategy = SearchedBy(search=make_strategy(name, options))
    result = nasforge.search(
        space=elastic_space(),
        strategy=strategy,
        target="gpu",
        data_options={"limit": 64},
        budget=f"{EVALUATIONS}-evaluations",
        max_macs=LIMIT,
        training={"shared_epochs": 1},
        retrain=False,
        out=tmp_path / "run",
    )
    assert result.document["evaluations"] == len(strategy.heard) == EVALUATIONS
    assert result.document["best"]["provenance"]["weights"] == "inherited and recalibrated"
    told: dict[Any, float] = {}
    for each in strategy.heard:
        assert each.error is None
        assert each.metrics["macs"] <= LIMIT
        assert told.setdefault(each.architecture, each.metrics["nll_valid"]) == each.metrics["nll_valid"]
    assert len(told) > 1
