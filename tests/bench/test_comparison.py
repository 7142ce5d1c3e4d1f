"""Comparisons of runs whose figures were made by hand: every figure of the result is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import nasforge
from nasforge.bench.comparing import curve_of, direction_of
from nasforge.cli.app import main
from nasforge.errors import DamagedError, IncompatibleError, UsageError

WriteRun = Callable[..., Path]


@pytest.fixture
def runs(write_run: WriteRun) -> list[Path]:
    """Random with seeds 1, 2, 3 and evolution with 2, 3, 4."""
    accuracies = {"random": {1: 0.5, 2: 0.25, 3: 0.75}, "evolution": {2: 0.5, 3: 0.5, 4: 0.875}}
    return [
        write_run(
            f"{strategy}{seed}",
            seed=seed,
            strategy=strategy,
            best={"accuracy": value, "latency_ms": float(seed)},
            told=[0.25, None, value],
        )
        for strategy, seeds in accuracies.items()
        for seed, value in seeds.items()
    ]


def test_configurations_are_everything_but_the_seed(runs: list[Path]) -> None:
    found = nasforge.compare(runs)
    assert [each.label for each in found.configurations] == ["strategy=random", "strategy=evolution"]
    random, evolution = found.configurations
    assert random.score is not None
    assert evolution.score is not None
    assert random.score.values == {1: 0.5, 2: 0.25, 3: 0.75}
    assert (random.score.mean, evolution.score.mean) == (0.5, 0.625)
    assert (random.best, evolution.best) == ((3, 0.75), (4, 0.875))
    assert random.latency is not None
    assert (random.latency.mean, random.latency_metric) == (2.0, "latency_ms")
    assert random.seconds is not None
    assert random.seconds.mean == 12.0
    assert random.evaluations is not None
    assert random.evaluations.mean == 3.0


def test_only_seeds_that_both_have_are_paired_and_the_others_are_named(runs: list[Path]) -> None:
    found = nasforge.compare(runs)
    (pair,) = [each for each in found.pairs if each.metric == "accuracy"]
    assert pair.difference is not None
    assert pair.difference.values == {2: 0.25, 3: -0.25}
    assert pair.difference.mean == 0.0
    assert (pair.signs.better, pair.signs.worse, pair.signs.equal) == (1, 1, 0)
    assert pair.missing == {"configuration": [1], "baseline": [4]}
    assert any("has no seed 1;" in note for note in found.notes)
    assert any("the baseline has no seed 4;" in note for note in found.notes)


def test_less_is_better_for_latency(runs: list[Path]) -> None:
    found = nasforge.compare([*runs[3:], *runs[:3]], metric="latency_ms", baseline="strategy=random")
    assert (found.direction, found.baseline) == ("minimize", "strategy=random")
    assert found.configurations[0].best == (2, 2.0)
    assert direction_of("accuracy", ("accuracy_valid", "maximize")) == "maximize"
    assert direction_of("nll_valid", ("nll_valid", "minimize")) == "minimize"


def test_a_lower_latency_counts_as_better(write_run: WriteRun) -> None:
    slow = write_run("slow", best={"latency_ms": 3.0})
    fast = write_run("fast", strategy="evolution", best={"latency_ms": 2.0})
    (pair, _) = nasforge.compare([slow, fast], metric="latency_ms").pairs
    assert (pair.signs.better, pair.signs.worse) == (1, 0)


@pytest.mark.parametrize("baseline", ["strategy=evolution", "space=nb201 strategy=evolution", None])
def test_the_baseline_is_named_by_settings_or_is_the_first(runs: list[Path], baseline: str | None) -> None:
    given = runs if baseline else runs[3:] + runs[:3]
    found = nasforge.compare(given, baseline=baseline)
    assert found.baseline == "strategy=evolution"
    assert {each.label for each in found.pairs} == {"strategy=random"}


def test_the_baseline_may_be_the_folder_of_a_run(runs: list[Path]) -> None:
    assert nasforge.compare(runs, baseline=str(runs[4])).baseline == "strategy=evolution"


@pytest.mark.parametrize("baseline", ["strategy=bignas", "space=nb201"])
def test_a_baseline_that_fits_none_or_several_is_refused_with_the_choices(runs: list[Path], baseline: str) -> None:
    with pytest.raises(UsageError, match="strategy=random; strategy=evolution"):
        nasforge.compare(runs, baseline=baseline)


def test_hypervolumes_share_one_reference_that_is_stated(write_run: WriteRun) -> None:
    first = write_run("first", front=[(1.0, 0.25), (2.0, 0.5)])
    second = write_run("second", strategy="evolution", front=[(3.0, 0.75)])
    found = nasforge.compare([first, second])
    # costs 1..3 and accuracies 0.25..0.75: a tenth of the range beyond the worst
    assert found.reference == pytest.approx((3.2, 0.2))
    assert found.cost == "latency_ms_predicted"
    volumes = [each.hypervolume.mean for each in found.configurations if each.hypervolume is not None]
    assert volumes == pytest.approx([(3.2 - 1.0) * 0.05 + (3.2 - 2.0) * 0.25, (3.2 - 3.0) * 0.55])
    (pair,) = [each for each in found.pairs if each.metric == "hypervolume"]
    assert pair.difference is not None
    assert pair.difference.mean == pytest.approx(volumes[1] - volumes[0])


def test_without_a_predicted_latency_the_fronts_are_over_macs(write_run: WriteRun) -> None:
    first = write_run("first", front=[(1.0, 0.25)])
    second = write_run("second", seed=1, front=[(3.0, 0.75)], cost="other")
    found = nasforge.compare([first, second])
    assert found.cost == "macs"
    assert found.reference == pytest.approx((32.0, 0.2))


def test_curves_are_the_best_so_far_over_seeds(runs: list[Path]) -> None:
    random = nasforge.compare(runs).configurations[0].curve
    assert random is not None
    assert random.evaluations == (1, 2, 3)
    assert random.mean == (0.25, 0.25, 0.5)
    assert (random.low, random.high) == ((0.25, 0.25, 0.25), (0.25, 0.25, 0.75))


def test_a_curve_begins_where_every_seed_has_a_value() -> None:
    nan = float("nan")
    curve = curve_of([[nan, 0.5, 0.75], [0.25]])
    assert curve is not None
    assert (curve.evaluations, curve.mean) == ((2, 3), (0.375, 0.5))
    assert curve_of([[nan]]) is None
    assert curve_of([]) is None


@pytest.mark.parametrize(
    ("result", "config", "what"),
    [
        ({"task": {"name": "classification", "data": "fractals"}}, {}, "data"),
        ({"space": {"name": "nb201", "fingerprint": "other"}}, {}, "space fingerprint"),
        ({"target": {"name": "int8"}}, {}, "target"),
        ({}, {"data_options": {"limit": 100}}, "data_options"),
    ],
)
def test_what_is_not_alike_is_refused_unless_forced_and_then_said(
    write_run: WriteRun, result: dict[str, object], config: dict[str, object], what: str
) -> None:
    folders = [write_run("one"), write_run("other", result=result, config=config)]
    with pytest.raises(IncompatibleError, match=f"differ in {what}: .*--force") as caught:
        nasforge.compare(folders)
    assert caught.value.exit_code == 2
    assert "one" in str(caught.value)
    assert "other" in str(caught.value)
    found = nasforge.compare(folders, force=True)
    assert len(found.differing) == 1
    assert what in found.differing[0]


def test_runs_that_differ_in_budget_or_limits_are_configurations(write_run: WriteRun) -> None:
    folders = [write_run("a", config={"budget": "8-evaluations"}), write_run("b", config={"budget": "16-evaluations"})]
    labels = [each.label for each in nasforge.compare(folders).configurations]
    assert labels == ["budget=8-evaluations", "budget=16-evaluations"]


def test_where_and_how_a_run_computed_makes_no_configuration(write_run: WriteRun) -> None:
    elsewhere = {"out": "x", "storage": "sqlite:///x.db", "engine": {"cpus": 2}, "tracking": {}}
    folders = [write_run("a"), write_run("b", seed=1, config=elsewhere)]
    assert len(nasforge.compare(folders).configurations) == 1


def test_one_run_alone_is_shown_and_that_there_are_no_pairs_is_said(write_run: WriteRun) -> None:
    found = nasforge.compare([write_run("only")])
    assert found.pairs == ()
    assert found.configurations[0].label == "nb201 random cpu"
    assert found.configurations[0].score is not None
    assert found.configurations[0].score.interval is None
    assert any("one run only" in note for note in found.notes)


def test_the_same_run_named_twice_counts_once_and_a_second_of_its_seed_is_left_out(write_run: WriteRun) -> None:
    first, second = write_run("first"), write_run("second", best={"accuracy": 0.75})
    found = nasforge.compare([first, first.parent / "." / first.name, second])
    assert found.configurations[0].score is not None
    assert found.configurations[0].score.values == {0: 0.5}
    assert any("'" + str(second) + "' is left out" in note for note in found.notes)


def test_unfinished_runs_are_named_and_left_out(write_run: WriteRun, tmp_path: Path) -> None:
    stopped = write_run("stopped", seed=1)
    (stopped / "result.json").unlink()
    found = nasforge.compare([write_run("done"), stopped])
    assert found.configurations[0].folders.keys() == {0}
    assert any(f"nasforge resume {stopped}" in note for note in found.notes)
    with pytest.raises(UsageError, match=r"none of the given folders holds a finished run.*stopped"):
        nasforge.compare([stopped])


def test_the_members_of_a_sweep_are_its_runs(write_run: WriteRun, tmp_path: Path) -> None:
    members = [
        {"name": "seed=0", "overrides": ["seed=0"], "status": "finished", "error": None},
        {"name": "seed=1", "overrides": ["seed=1"], "status": "failed", "error": "no such data."},
    ]
    write_run("sweep/seed=0")
    document = {"schema": 1, "overrides": ["seed=0,1"], "status": "failed", "members": members}
    (tmp_path / "sweep" / "sweep.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    found = nasforge.compare([tmp_path / "sweep"])
    assert found.configurations[0].folders == {0: str(tmp_path / "sweep" / "seed=0")}
    assert any("seed=1" in note and "no such data." in note for note in found.notes)


def test_a_folder_that_is_no_run_is_refused(write_run: WriteRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run and no sweep"):
        nasforge.compare([write_run("run"), tmp_path / "nothing"])
    with pytest.raises(UsageError, match="no folder was given"):
        nasforge.compare([])


def test_an_unknown_metric_is_refused_with_the_nearest(runs: list[Path]) -> None:
    with pytest.raises(UsageError, match="Did you mean 'latency_ms'"):
        nasforge.compare(runs, metric="latency")


def test_accuracy_is_compared_only_where_every_run_has_it(write_run: WriteRun) -> None:
    tested = write_run("tested", best={"accuracy": 0.5, "accuracy_valid": 0.25})
    untested = write_run("untested", seed=1, best={"accuracy_valid": 0.75})
    assert nasforge.compare([tested]).metric == "accuracy"
    assert nasforge.compare([tested, untested]).metric == "accuracy_valid"
    partly = nasforge.compare([tested, untested], metric="accuracy")
    assert partly.configurations[0].score is not None
    assert partly.configurations[0].score.values == {0: 0.5}
    assert any("has no accuracy" in note for note in partly.notes)


def test_a_damaged_journal_costs_the_curve_only(write_run: WriteRun) -> None:
    folder = write_run("run", told=[0.5])
    (folder / "study.log").write_bytes(b"\xff\xfe not a journal")
    found = nasforge.compare([folder])
    assert found.configurations[0].curve is None
    assert any("curve is left out" in note for note in found.notes)


@pytest.mark.parametrize("wrong", [{"seed": "x"}, {"pareto": 3}, {"task": None}, {"objectives": [{}]}])
def test_a_result_of_another_shape_is_damaged(write_run: WriteRun, wrong: dict[str, object]) -> None:
    with pytest.raises(DamagedError, match="is not as nasforge writes it"):
        nasforge.compare([write_run("run", result=wrong)])


def test_nothing_in_the_folders_is_changed(runs: list[Path]) -> None:
    before = {path: path.read_bytes() for run in runs for path in run.rglob("*") if path.is_file()}
    nasforge.compare(runs)
    assert {path: path.read_bytes() for run in runs for path in run.rglob("*") if path.is_file()} == before


def test_the_command_prints_the_same_document_as_json(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, runs), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads(json.dumps(nasforge.compare(runs).to_json()))
    assert captured.err == ""


def test_the_command_prints_tables_and_writes_the_page(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["compare", *map(str, runs), "--baseline", "strategy=evolution", "--out", str(page)]) == 0
    out = capsys.readouterr().out
    for part in ("strategy=evolution *", "minus strategy=evolution", "common reference point", "95 % by Student's t"):
        assert part in out
    assert "configurations compared by accuracy" in page.read_text(encoding="utf-8")


def test_the_command_refuses_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_a_run_with_a_foreign_profile_is_named_in_a_note(write_run: WriteRun) -> None:
    latency = {"profile": "p", "details": {"warning": "FOREIGN PROFILE: it was measured on Other"}}
    folders = [write_run("a", result={"latency": latency}), write_run("b", seed=1)]
    notes = [each for each in nasforge.compare(folders).notes if "FOREIGN PROFILE" in each]
    assert notes == [f"predicted latencies of '{folders[0]}': FOREIGN PROFILE: it was measured on Other."]


def test_searches_that_did_not_cost_the_same_are_named(write_run: WriteRun) -> None:
    def cost(macs: float) -> dict[str, dict[str, float]]:
        return {"training": {"image_macs": macs}, "rating": {"image_macs": 100.0}}

    cheap, dear = (
        write_run("a", result={"cost": cost(900.0)}),
        write_run("b", strategy="other", result={"cost": cost(1000.0)}),
    )
    found = nasforge.compare([cheap, dear])
    assert [each.image_macs.mean for each in found.configurations if each.image_macs] == [1000.0, 1100.0]
    assert any("'strategy=other' 1.1e+03 multiply-accumulates" in note for note in found.notes)
    assert nasforge.compare([cheap, dear], metric="image_macs").direction == "minimize"
    close = write_run("c", strategy="third", result={"cost": cost(940.0)})
    assert not any("cost the same" in note for note in nasforge.compare([cheap, close]).notes)


def test_runs_from_before_costs_were_counted_are_compared_without(runs: list[Path]) -> None:
    assert all(each.image_macs is None for each in nasforge.compare(runs).configurations)
