"""A bench: the same figures however it is run, nothing done twice, everything impossible refused before work."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasforge.bench import BenchInterrupted, BenchResult, Suite, bench
from nasforge.bench.statistics import interval, intervals
from nasforge.errors import IncompatibleError, NotInstalledError, PluginError, UsageError, WrongFolderError
from nasforge.evaluate import TabularEvaluator
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.progress import Listener
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Proposal, Strategy

pytestmark = pytest.mark.plugins  # random search is part of every bench


def small(name: str = "small") -> Suite:
    x = Conv(choice(*range(1, 9), name="a"))(Input(3, 8, 8))
    space = SearchSpace({"logits": Linear(2)(GlobalPool()(Conv(choice(*range(1, 9), name="b"))(x)))}, name="small")
    rows = {
        each.decisions: {
            "accuracy_valid": tuple(0.5 + 0.05 * each.decisions[0] + 0.02 * noise for noise in (-1, 0, 1)),
            "accuracy": 0.5 + 0.05 * each.decisions[0],
            "latency_ms": 1.0 + each.decisions[0] + each.decisions[1],
            "train_seconds": 10.0 * (1 + each.decisions[1]),
        }
        for each in space.enumerate()
    }
    return Suite(name, TabularEvaluator(space, rows))


@dataclass
class Walk(Strategy):
    """Goes through the options of the first choice from one end, `step` at a time."""

    step: int = 1
    told: int = 0

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        return [Proposal(self.problem.space.from_decisions((min(7, self.told * self.step), 0)))]

    def tell(self, results: Sequence[Evaluation]) -> None:
        self.told += len(results)


@dataclass
class Broken(Walk):
    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        raise ZeroDivisionError("oh")


@dataclass
class OneKind(Walk):
    handles = frozenset({"operator"})


class Counting(Listener):
    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.heard = stop, []

    def progress(self, done: float, figures: Any) -> None:
        self.heard.append(done)
        if self.stop is not None and done >= self.stop:
            raise KeyboardInterrupt


def benched(tmp_path: Path, **changes: Any) -> BenchResult:
    given = {"suites": [small()], "strategies": [Walk()], "evaluations": 8, "seeds": 4, "workers": 1}
    return bench(**{**given, "out": tmp_path / "out", **changes})


def comparable(result: BenchResult) -> Any:
    document = result.to_json()
    return {key: document[key] for key in ("suites", "seeds", "budgets", "notes")}


def test_figures_are_those_of_the_searches(tmp_path: Path) -> None:
    result = benched(tmp_path, strategies=["random", Walk()])
    (suite,) = result.suites
    walk = suite.strategies[1]
    assert [at.budget for at in walk.at] == [1.0, 3.0, 4.0, 8.0]
    assert [at.truth.mean for at in walk.at if at.truth] == pytest.approx([0.5, 0.6, 0.65, 0.85])
    assert [at.regret.mean for at in walk.at if at.regret] == pytest.approx([0.35, 0.25, 0.2, 0.0])
    assert suite.optimum == pytest.approx(0.85)
    assert walk.seconds == 80.0
    assert (walk.evaluations, walk.distinct, walk.failures, walk.exhausted) == (8, 8, 0, 0)
    (pair,) = suite.pairs
    random = suite.strategies[0].at[-1].truth
    assert random is not None
    assert pair.difference is not None
    assert pair.difference.values == pytest.approx({seed: 0.85 - value for seed, value in random.values.items()})
    assert pair.signs.better + pair.signs.equal == 4
    assert pair.signs.worse == 0


def test_random_search_is_added_and_that_is_said(tmp_path: Path) -> None:
    result = benched(tmp_path)
    assert [each.name for each in result.suites[0].strategies] == ["random", "Walk"]
    assert "random was added" in result.notes[0]
    assert benched(tmp_path, strategies=[Walk(), "random"]).notes == ()


def test_several_processes_find_what_one_finds(tmp_path: Path) -> None:
    given = {"suites": ["synthetic"], "strategies": ["evolution", ("evolution", {"population": 10})]}
    given |= {"objectives": ("accuracy", "latency"), "evaluations": 30, "seeds": 3}
    one = benched(tmp_path / "one", **given)
    two = benched(tmp_path / "two", **given, workers=2)
    assert comparable(one) == comparable(two)
    assert len(list((tmp_path / "two" / "out" / "searches").glob("*.json"))) == 9


def test_what_was_done_is_not_done_again_and_what_changed_is(tmp_path: Path) -> None:
    first = benched(tmp_path)
    files = sorted((tmp_path / "out" / "searches").iterdir())
    times = [each.stat().st_mtime_ns for each in files]
    listener = Counting()
    assert comparable(benched(tmp_path, listener=listener)) == comparable(first)
    assert listener.heard[0] == 8
    assert [each.stat().st_mtime_ns for each in files] == times
    for change in ({"seeds": 5}, {"evaluations": 9}, {"strategies": [Walk(2)]}, {"suites": [small("other")]}):
        before = len(list((tmp_path / "out" / "searches").iterdir()))
        benched(tmp_path, **change)
        assert len(list((tmp_path / "out" / "searches").iterdir())) > before, change


def test_other_data_under_the_same_name_are_other_searches(tmp_path: Path) -> None:
    benched(tmp_path)
    rows = {decisions: {**row, "accuracy": 0.25} for _, decisions, row in small().table.rows()}
    result = benched(tmp_path, suites=[Suite("small", TabularEvaluator(small().space, rows))])
    assert result.suites[0].optimum == 0.25
    assert result.suites[0].strategies[1].at[-1].truth.mean == 0.25


def test_a_damaged_search_is_done_again(tmp_path: Path) -> None:
    first = benched(tmp_path)
    for place, path in enumerate(sorted((tmp_path / "out" / "searches").iterdir())):
        path.write_text(["", "{", "[]", '{"trace": {"steps": []}}', "null"][place % 5], encoding="utf-8")
    assert comparable(benched(tmp_path)) == comparable(first)


def test_an_interrupted_bench_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(BenchInterrupted) as stopped:
        benched(tmp_path, listener=Counting(stop=3))
    assert len(list((tmp_path / "out" / "searches").iterdir())) == 3
    assert str(tmp_path / "out") in stopped.value.command
    listener = Counting()
    result = benched(tmp_path, listener=listener)
    assert listener.heard[0] == 3
    assert comparable(result) == comparable(benched(tmp_path / "whole"))


def test_the_document_holds_everything_and_no_nan(tmp_path: Path) -> None:
    result = benched(tmp_path, objectives=("accuracy", "latency"))
    document = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["schema"] == 1
    assert document["command"].startswith("nasforge bench --suite small --strategy")
    assert document["suites"][0]["reference"] is not None
    curves = document["suites"][0]["strategies"][1]["curves"]
    assert {(each["metric"], each["unit"]) for each in curves} == {
        (metric, unit) for metric in ("accuracy", "hypervolume") for unit in ("evaluations", "seconds")
    }
    for each in curves:
        rows = zip(each["low"], each["mean"], each["high"], strict=True)
        assert all(low - 1e-12 <= middle <= high + 1e-12 for low, middle, high in rows)
        assert each["budgets"] == sorted(each["budgets"])


def test_equal_seconds_end_searches_and_are_compared(tmp_path: Path) -> None:
    result = benched(tmp_path, evaluations=None, seconds=(30.0, 60.0))
    walk = result.suites[0].strategies[1]
    assert [(at.unit, at.budget) for at in walk.at] == [("seconds", 30.0), ("seconds", 60.0)]
    assert [at.truth.mean for at in walk.at if at.truth] == pytest.approx([0.6, 0.75])
    assert walk.evaluations == 6
    assert result.evaluations is None
    assert [pair.unit for pair in result.suites[0].pairs] == ["seconds"]


def test_a_budget_that_a_search_does_not_reach_has_no_figure(tmp_path: Path) -> None:
    result = benched(tmp_path, evaluations=8, seconds=(30.0,), budgets=(2, 8))
    walk = result.suites[0].strategies[1]
    assert [at.truth is None for at in walk.at] == [False, True, False]


def test_a_strategy_that_is_done_early_keeps_what_it_has(tmp_path: Path) -> None:
    result = benched(tmp_path, evaluations=100, budgets=(100,))  # 64 architectures, which random search exhausts
    random = result.suites[0].strategies[0]
    assert random.exhausted == 4
    assert random.evaluations == 64
    assert random.at[0].truth is not None


def test_the_page_is_whole_works_offline_and_escapes_names(tmp_path: Path) -> None:
    benched(tmp_path, suites=[small("<b>small</b>")], objectives=("accuracy", "latency"))
    page = (tmp_path / "out" / "bench.html").read_text(encoding="utf-8")
    assert "<b>small" not in page
    assert "&lt;b&gt;small" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for box in ("suite0-regret-evaluations", "suite0-regret-seconds", "suite0-volume-evaluations"):
        assert f'id="{box}"' in page


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"strategies": ["bignas"]}, IncompatibleError, "'bignas' trains shared weights"),
        ({"strategies": ["proxyless"]}, IncompatibleError, "'proxyless' trains shared weights"),
        ({"strategies": ["evolutoin"]}, NotInstalledError, "Did you mean 'evolution'"),
        ({"strategies": [("evolution", {"populaton": 3})]}, UsageError, "Did you mean 'population'"),
        ({"strategies": [Walk(), Walk()]}, UsageError, "given twice"),
        ({"strategies": [OneKind()]}, IncompatibleError, "'OneKind' cannot search space 'small'"),
        ({"strategies": []}, UsageError, "no strategy"),
        ({"suites": []}, UsageError, "no suite"),
        ({"suites": [small(), small()]}, UsageError, "given twice"),
        ({"objectives": ("accuracy", "energy")}, UsageError, "available: accuracy, latency_ms, macs, params"),
        ({"objectives": ("accuracy", "latency", "macs")}, UsageError, "one, or two"),
        ({"objectives": ()}, UsageError, "one, or two"),
        ({"evaluations": 0}, UsageError, "evaluations was given 0"),
        ({"seeds": 0}, UsageError, "seeds was given 0"),
        ({"seeds": [1, 1]}, UsageError, "each once"),
        ({"budgets": [9]}, UsageError, "from 1 to 8"),
        ({"seconds": [math.nan]}, UsageError, "above zero"),
        ({"confidence": 1.0}, UsageError, "between 0 and 1"),
        ({"workers": -1}, UsageError, "workers was given -1"),
    ],
)
def test_what_cannot_be_is_refused_before_any_search(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        benched(tmp_path, **changes)
    assert not (tmp_path / "out").exists()


def test_a_suite_whose_truth_is_to_be_small_is_turned_round(tmp_path: Path) -> None:
    rows = {
        decisions: {"error_valid": tuple(1 - value for value in row["accuracy_valid"]), "error": 1 - row["accuracy"]}
        for _, decisions, row in small().table.rows()
    }
    turned = Suite("turned", TabularEvaluator(small().space, rows), "error_valid", "error", "minimize")
    first, second = benched(tmp_path, suites=[small(), turned]).suites
    assert second.optimum == pytest.approx(1 - first.optimum)
    for one, other in zip(first.strategies, second.strategies, strict=True):
        for before, after in zip(one.at, other.at, strict=True):
            assert before.regret is not None
            assert after.regret is not None
            assert after.regret.values == pytest.approx(before.regret.values)
            assert after.regret.interval is not None
            assert after.regret.interval.low == pytest.approx(before.regret.interval.low)
    assert [each.signs for each in first.pairs] == [each.signs for each in second.pairs]


def test_seconds_need_a_table_that_knows_them(tmp_path: Path) -> None:
    rows = {decisions: {"accuracy_valid": 0.5, "accuracy": 0.5} for _, decisions, _ in small().table.rows()}
    suite = Suite("timeless", TabularEvaluator(small().space, rows))
    with pytest.raises(UsageError, match="does not know what training took"):
        benched(tmp_path, suites=[suite], seconds=(1.0,))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(WrongFolderError, match="holds no bench"):
        benched(tmp_path)


def test_a_strategy_that_fails_is_named_with_suite_and_seed(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"'Broken\(.*' fails on suite 'small' with seed 0 \(ZeroDivisionError: oh\)"):
        benched(tmp_path, strategies=[Broken()])


def test_many_intervals_at_once_are_those_of_one_after_another() -> None:
    rows = np.random.default_rng(0).random((17, 3))
    found = intervals(rows, 0.9)
    for column in range(3):
        one = interval(rows[:, column].tolist(), "bootstrap", 0.9)
        assert one is not None
        assert found[:, column] == pytest.approx([one.low, one.high], abs=1e-12)
