"""Zero-cost scores in a run: they evaluate, a strategy may ask for them, and a filter by one holds on resume."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasforge
from nasforge import SearchResult, registry
from nasforge.cli.app import main
from nasforge.errors import InfeasibleError, NotInstalledError, UsageError
from nasforge.evaluate.zero_cost import make_scorer, scoring_batch
from nasforge.goals import Objective
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.scores import Filter, read_scores
from nasforge.run.settings import Settings
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy
from nasforge.tasks.classification import Classification
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MemoryTarget

pytestmark = pytest.mark.plugins

Search = Callable[..., SearchResult]


def told(folder: Path) -> list[dict[str, float]]:
    """Return the metrics of the evaluations in the journal of a run."""
    lines = [json.loads(line) for line in (folder / "study.log").read_text().splitlines()]
    return [line["user_attrs"]["metrics"] for line in lines if "user_attrs" in line]


def finite(scores: np.ndarray) -> list[float]:
    """Return the scores that there are, sorted."""
    found: list[float] = np.sort(scores[np.isfinite(scores)]).tolist()
    return found


def test_a_search_goes_by_the_score_and_trains_the_winner(
    search_small: Search, small_space: SearchSpace, small_source: DataSource
) -> None:
    result = search_small(evaluation="zero_cost:naswot", budget="40-evaluations", finalists=2)
    best = result.best
    assert best is not None
    batch = scoring_batch(small_source.sealed(), Classification(), 0)
    scores = finite(make_scorer("naswot", small_space, batch, 0)([*small_space.enumerate()]))
    assert best["metrics"]["naswot"] in scores[-2:]  # one of both finalists, whichever learnt more
    assert [each["metrics"]["naswot"] for each in result.finalists] == scores[:-3:-1]
    assert all("accuracy_valid" not in each for each in told(result.folder))
    assert result.document["objectives"] == [{"metric": "naswot", "direction": "maximize"}]
    assert best["metrics"]["accuracy_valid"] == max(each["metrics"]["accuracy_valid"] for each in result.finalists)
    assert "naswot_in_search" not in best["metrics"]
    assert best["provenance"]["weights"] == "retrained from scratch"
    assert (result.folder / "model.onnx").exists()


def test_without_retraining_the_architecture_is_delivered_with_its_score(search_small: Search) -> None:
    result = search_small(evaluation="zero_cost:synflow", retrain=False)
    assert result.best is not None
    assert result.best["provenance"]["weights"] == "none, scored by synflow"
    assert math.isfinite(result.best["metrics"]["synflow"])
    assert "accuracy_valid" not in result.best["metrics"]


def test_a_network_without_the_score_fails_its_evaluation_only(search_small: Search) -> None:
    x = Conv(choice(4, 8, name="width"), act=choice("relu", "swish", name="act"))(Input(3, 8, 8))
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name="acts")
    result = search_small(space=space, evaluation="zero_cost:naswot", retrain=False)
    assert result.document["evaluations"] == 4
    assert len(told(result.folder)) == 4
    assert sum(bool(each) for each in told(result.folder)) == 2
    assert len(result.finalists) == 2


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"evaluation": "zero_cost:naswott"}, NotInstalledError, "Did you mean 'naswot'"),
        ({"evaluation": "zero_cost:"}, NotInstalledError, "score '' is not installed; available: grad_norm, jacov"),
        ({"evaluation": "zerocost:naswot"}, UsageError, "zero_cost:SCORE"),
        ({"evaluation": "zero_cost:naswot", "strategy": "bignas"}, UsageError, "trains shared weights"),
        ({"scores": ["naswot", "sinflow"]}, NotInstalledError, "Did you mean 'synflow'"),
        ({"filter": "naswott:0.5"}, NotInstalledError, "Did you mean 'naswot'"),
        ({"filter": "naswot:0.5", "strategy": "bignas"}, UsageError, "trains shared weights"),
        ({"filter": "naswot:1.5"}, UsageError, "expected SCORE:SHARE"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    search_small: Search, tmp_path: Path, given: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        search_small(**given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", ["naswot", "naswot:", ":0.5", "naswot:half", "naswot:0", "naswot:1", "naswot:nan", 3])
def test_other_filters_are_refused(given: object) -> None:
    with pytest.raises(UsageError, match="expected SCORE:SHARE"):
        Filter.read(given)


@pytest.mark.parametrize("given", [3, [1], "naswot,", [""], ["naswot", None]])
def test_other_scores_are_refused(given: object) -> None:
    with pytest.raises(UsageError, match="expected names of scores"):
        read_scores(given)


def test_settings_with_scores_read_back_equal() -> None:
    settings = Settings.read({"scores": "naswot, synflow,naswot", "filter": "snip:0.25"})
    assert settings.scores == ("naswot", "synflow")
    assert settings.filter == Filter("snip", 0.25)
    assert Settings.read(settings.to_json()) == settings
    assert Settings.read({}).scores == ()
    assert Settings.read({}).filter is None


@dataclass
class Keeping(Strategy):
    """Random search that keeps its problem where a test finds it."""

    seen: list[Problem] = field(default_factory=list)

    def setup(self, problem: Problem) -> None:
        super().setup(problem)
        self.seen.append(problem)

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        return [Proposal(self.problem.sample(rng)) for _ in range(n)]

    def tell(self, results: Sequence[Evaluation]) -> None:
        pass


def test_a_strategy_gets_the_scores_that_were_asked_for(
    search_small: Search, small_space: SearchSpace, small_source: DataSource
) -> None:
    strategy = Keeping()
    given = {"scores": ["naswot", "synflow"], "filter": "snip:0.5", "retrain": False, "seed": 5}
    search_small(strategy=strategy, evaluation="zero_cost:jacov", **given)
    problem = strategy.seen[-1]
    assert set(problem.scores) == {"naswot", "synflow", "snip"}
    assert problem.objectives == (Objective("jacov"),)
    every = [*small_space.enumerate()]
    batch = scoring_batch(small_source.sealed(), Classification(), 5)
    for name, score in problem.scores.items():
        np.testing.assert_array_equal(score(every), make_scorer(name, small_space, batch, 5)(every))


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_filter_keeps_the_better_share_and_nothing_else_is_evaluated(
    search_small: Search, small_space: SearchSpace, tmp_path: Path, share: float
) -> None:
    strategy = Keeping()
    given = {"strategy": strategy, "evaluation": "zero_cost:naswot", "retrain": False}
    result = search_small(budget="25-evaluations", filter=f"naswot:{share}", **given)
    problem = strategy.seen[-1]
    assert problem.filter is not None
    every = [*small_space.enumerate()]
    scores = finite(problem.scores["naswot"](every))
    passed = [each for each in every if problem.passes(each)]
    assert len(passed) == pytest.approx(share * len(scores), abs=2)  # the threshold is of a sample
    assert finite(problem.scores["naswot"](passed)) == scores[-len(passed) :]
    assert all(each["naswot"] >= problem.filter.threshold for each in told(result.folder))
    free = search_small(budget="25-evaluations", out=tmp_path / "free", **given)
    assert not all(each.get("naswot", -math.inf) >= problem.filter.threshold for each in told(free.folder))


@pytest.mark.parametrize("strategy", ["random", "evolution", "local_search", "nsga2"])
def test_a_filtered_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    search_small: Search, small_space: SearchSpace, small_source: DataSource, tmp_path: Path, strategy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    options = {"population": 4, "sample": 2} if strategy == "evolution" else {}
    given: dict[str, Any] = {
        "strategy": {"name": strategy, **options}, "evaluation": "zero_cost:snip", "filter": "naswot:0.5",
        "budget": "8-evaluations", "retrain": False,
    }  # fmt: skip
    whole = search_small(**given)

    class Stopped(BaseException):
        pass

    def stopped(*arguments: object) -> None:
        raise Stopped

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr("nasforge.run.search.measure_finalists", stopped)
        with pytest.raises(Stopped):
            search_small(**{**given, "out": out})
    lines = (out / "study.log").read_text().splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if "user_attrs" in line]
    (out / "study.log").write_text("".join(lines[: places[4]]))  # as after the fourth evaluation
    assert len(told(out)) == 4
    again = nasforge.resume(out, space=small_space, target=MemoryTarget(), data=small_source)
    assert told(out) == told(whole.folder)
    assert again.best is not None
    assert whole.best is not None
    assert again.best["id"] == whole.best["id"]
    config = (out / "config.yaml").read_text()
    assert "filter: naswot:0.5" in config


def nothing(network: object, batch: object) -> float:
    return math.nan


def test_a_filter_by_a_score_that_nothing_has_is_an_error(
    search_small: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: nothing if name == "nothing" else load(kind, name))
    with pytest.raises(InfeasibleError, match="none of 32 random architectures of space 'tiny' has the score nothing"):
        search_small(filter="nothing:0.5")


def test_the_command_searches_nb201_by_a_score_with_a_filter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    small = ["space.repeats=1", "space.channels=4", "training.epochs=1", "data_options.limit=100"]
    given = ["--space", "nb201", "--strategy", "evolution", "--target", "gpu", "--budget", "8-evaluations"]
    asked = ["evaluation=zero_cost:naswot", "--filter", "synflow:0.5", "--scores", "synflow,jacov", "--out", str(out)]
    assert main(["search", *given, *small, *asked]) == 0
    printed = capsys.readouterr()
    assert "filter: synflow of at least" in printed.err
    assert "naswot in search  accuracy_valid retrained" in printed.out
    result = json.loads((out / "result.json").read_text())
    assert result["objectives"][0]["metric"] == "naswot"
    assert {"naswot", "accuracy", "accuracy_valid"} <= result["best"]["metrics"].keys()
    page = (out / "report.html").read_text()
    assert "accuracy on test" in page
    assert "naswot on test" not in page
    assert main(["resume", str(out)]) == 0


def test_scores_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "scores", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["scores"]
    assert {"jacov", "naswot", "synflow", "snip", "grad_norm", "params", "macs"} <= listed.keys()
