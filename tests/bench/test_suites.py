"""Suites: the made one everywhere, those of benchmarks where NASFORGE_DATA names their data, and files of one's own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nasforge.bench.searching import Contest
from nasforge.bench.suites import Suite
from nasforge.bench.suites.named import label_of, make_suite
from nasforge.bench.suites.synthetic import synthetic
from nasforge.errors import DataError, NotInstalledError, UsageError

DATA = Path(os.environ.get("NASFORGE_DATA", "nowhere"))
needs_nb201 = pytest.mark.skipif(
    not (DATA / "nb201" / "nb201.npz").is_file(), reason="NASFORGE_DATA does not name a folder with nb201"
)


@pytest.fixture(scope="module")
def pixel2() -> Suite:
    return make_suite("nb201-cifar10", {"device": "pixel2"})


def test_the_made_suite_is_whole_noisy_and_its_optimum_is_the_best_of_all() -> None:
    suite = synthetic()
    assert suite.space.size == len(suite.table) == 15_625
    truth = suite.table.values("accuracy")
    assert Contest.of(suite, ("accuracy",)).optimum == max(truth.values()) == pytest.approx(0.95)
    best = suite.space.from_decisions(max(truth, key=truth.__getitem__))
    told = [suite.table.evaluate(best, seed=seed)["accuracy_valid"] for seed in range(4)]
    assert len(set(told[:3])) == 3
    assert told[3] == told[0]
    assert suite.table.fidelities == (3.0, 9.0, 27.0)


def test_the_made_suite_is_the_same_for_the_same_seed_only() -> None:
    assert synthetic().checksum == synthetic().checksum != synthetic(2).checksum


def test_shorter_training_of_the_made_suite_says_less_of_the_truth() -> None:
    suite = synthetic()
    rows = suite.space.sample_batch(800, np.random.default_rng(0))
    each = [suite.space.from_decisions(row) for row in rows]
    truth = [suite.table.values("accuracy")[one.decisions] for one in each]
    agreement = [
        np.corrcoef(truth, [suite.table.evaluate(one, fidelity)["accuracy_valid"] for one in each])[0, 1]
        for fidelity in suite.table.fidelities
    ]
    assert 0.5 < agreement[0] < agreement[1] < agreement[2] < 0.999


@pytest.mark.plugins
@needs_nb201
def test_nb201_has_the_published_optimum_of_both_data_sets(pixel2: Suite) -> None:
    for suite, best in ((pixel2, 94.373), (make_suite("nb201-cifar100", {}), 73.513)):
        assert round(100 * Contest.of(suite, ("accuracy",)).optimum, 3) == best


@pytest.mark.plugins
@needs_nb201
def test_latencies_belong_to_their_cells_and_what_a_device_cannot_run_has_none(pixel2: Suite) -> None:
    with np.load(DATA / "nb201" / "nb201.npz") as content:
        ops, names = content["ops"], [str(each) for each in content["ops_names"]]
    with np.load(DATA / "nb201" / "latency.npz") as content:
        latency = content["pixel2"]
    with np.load(DATA / "nb201" / "hwnasbench.npz") as content:
        edgetpu = content["edgetpu_latency__cifar10"]
    suite = pixel2
    other = Contest.of(make_suite("nb201-cifar10", {"device": "edgetpu"}), ("accuracy", "latency"))
    assert suite.name == "nb201-cifar10 device=pixel2"
    for row in (0, 1, 77, 15_624):
        labels = {each.name: names[ops[row, place]] for place, each in enumerate(suite.space.choices)}
        decisions = suite.space.architecture(labels).decisions
        assert suite.measured["latency_ms"][decisions] == latency[row]
        assert (decisions in other.goals[1].truth) == (edgetpu[row] > 0)
    assert len(other.goals[1].truth) == (edgetpu > 0).sum()


@pytest.mark.plugins
@needs_nb201
def test_zero_cost_scores_are_looked_up_and_missing_ones_are_nan(pixel2: Suite) -> None:
    suite = pixel2
    every = list(suite.space.enumerate())
    synflow = suite.scores["synflow"](every)
    assert synflow.shape == (15_625,)
    assert np.isfinite(synflow).sum() == 9_445
    truth = np.asarray([suite.table.values("accuracy")[each.decisions] for each in every])
    known = np.isfinite(synflow)
    ranks = [np.argsort(np.argsort(values[known])) for values in (synflow, truth)]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(0.775, abs=0.02)


@pytest.mark.plugins
@needs_nb201
def test_an_unknown_device_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"available: 1080ti_1, .*fpga.*Did you mean 'pixel3'"):
        make_suite("nb201-cifar10", {"device": "pixel33"})


@pytest.mark.plugins
@pytest.mark.parametrize("name", ["nb201-cifar10", "nb201-cifar100", "nats_sss", "nasbench_macro"])
def test_data_that_are_not_here_are_named_with_the_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{tmp_path}/.*npz' does not exist; set NASFORGE_DATA"):
        make_suite(name, {})


@pytest.mark.plugins
@needs_nb201
def test_scores_that_are_not_here_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nb201").mkdir()
    (tmp_path / "nb201" / "nb201.npz").symlink_to(DATA / "nb201" / "nb201.npz")
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"zerocost.npz.*scores=false"):
        make_suite("nb201-cifar10", {})
    suite = make_suite("nb201-cifar10", {"scores": False})
    assert [each.name for each in suite.files] == ["nb201.npz"]
    assert suite.scores == {}


def test_unknown_suites_and_options_are_refused() -> None:
    with pytest.raises(NotInstalledError, match="Did you mean 'synthetic'"):
        make_suite("synthetc", {})
    with pytest.raises(UsageError, match="Did you mean 'seed'"):
        make_suite("synthetic", {"sed": 1})


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    names = [f"{to}<-{source}" for to, source in ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))]
    lines = [",".join([*names, "val", "test"]), "none,none,none,none,none,none,0.1,0.2"]
    lines.append(",".join(["skip_connect"] * 6 + ["0.5", "0.4"]))
    path = tmp_path / "own table.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.plugins
def test_a_file_of_ones_own_is_a_suite_whose_metrics_are_named(csv: Path) -> None:
    suite = make_suite(f"table:{csv}", {"space": "nb201", "feedback": "val", "truth": "test"})
    assert len(suite.table) == 2
    assert Contest.of(suite, ("accuracy",)).optimum == 0.4
    assert suite.objectives == ("accuracy", "macs", "params")
    assert not suite.knows_seconds


@pytest.mark.plugins
def test_a_file_needs_a_space_a_truth_and_its_columns(csv: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--space"):
        make_suite(f"table:{csv}", {})
    with pytest.raises(UsageError, match="say which is the truth"):
        make_suite(f"table:{csv}", {"space": "nb201"})
    with pytest.raises(DataError, match="available: test, val"):
        make_suite(f"table:{csv}", {"space": "nb201", "truth": "tset"})
    with pytest.raises(DataError, match="does not exist"):
        make_suite(f"table:{tmp_path / 'none.csv'}", {"space": "nb201"})


def test_labels_write_values_as_a_person_does() -> None:
    assert label_of("a", {"b": True, "c": None, "d": 0.5, "e": "f"}) == "a b=true c=null d=0.5 e=f"
