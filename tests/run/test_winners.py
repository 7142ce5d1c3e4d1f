"""What a strategy names beside the best is in the result, with what it was rated."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from nasforge.errors import DamagedError
from nasforge.run.atomic import read_json, write_json
from nasforge.run.result import read_result
from nasforge.run.store import STUDY, StudyStore
from nasforge.testing.small_spaces import elastic_space

pytestmark = pytest.mark.plugins
bignas = pytest.importorskip("nasforge_strategies.bignas")


def test_the_best_within_each_budget_is_in_the_result_and_in_the_log(search_small: Any) -> None:
    space = elastic_space()
    costs = sorted(space.macs(each) for each in space.enumerate())
    budgets = tuple(float(costs[place]) for place in (0, len(costs) // 2, -1))
    strategy = bignas.BigNAS(coarse=6, fine=6, budgets=budgets)
    result = search_small(space=space, strategy=strategy, budget="1-epochs")
    winners = read_result(result.folder)["winners"]
    assert [each["best_of"] for each in winners] == [f"macs <= {budget:.6g}" for budget in budgets]
    assert [each["metrics"]["macs"] <= budget for each, budget in zip(winners, budgets, strict=True)] == [True] * 3
    assert winners[0]["metrics"]["macs"] == costs[0]
    with contextlib.closing(StudyStore(result.folder / STUDY, space)) as store:
        rated = [(space.macs(each.architecture), each.metrics["accuracy_valid"]) for each in store.load()]
    for each, budget in zip(winners, budgets, strict=True):
        assert each["metrics"]["accuracy_valid"] == max(accuracy for macs, accuracy in rated if macs <= budget)
        assert f"best of {each['best_of']}: {each['id']}" in (result.folder / "log.txt").read_text(encoding="utf-8")


def test_a_winner_that_was_altered_is_refused(search_small: Any) -> None:
    space = elastic_space()
    budgets = (float(space.macs(space.largest())),)
    result = search_small(space=space, strategy=bignas.BigNAS(coarse=2, fine=0, budgets=budgets), budget="1-epochs")
    document = read_json(result.folder / "result.json")
    document["winners"][0]["metrics"]["macs"] = "many"
    write_json(result.folder / "result.json", document)
    with pytest.raises(DamagedError, match="'winners' is not as nasforge writes it"):
        read_result(result.folder)


def test_a_strategy_that_names_none_has_none(search_small: Any) -> None:
    assert read_result(search_small().folder)["winners"] == []
