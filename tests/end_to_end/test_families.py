"""Every family of search on its spaces and targets: the same files, the same promises, whoever searched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge.errors import SplitError
from nasforge.tasks.dataset import DataSource, Split
from nasforge.tasks.datasets.digits import load as load_digits

pytestmark = [pytest.mark.slow, pytest.mark.plugins]

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ["training.epochs=2", "training.evaluation_epochs=1", "training.shared_epochs=2", "data_options.limit=400"]
FAMILIES = [
    ("random", "nb201", "cpu", "3-evaluations", []),
    ("evolution", "mbconv", "gpu", "6-evaluations", ["strategy.population=3", "strategy.sample=2"]),
    ("successive_halving", "nb201", "gpu", "5-evaluations", ["strategy.eta=2", "strategy.rungs=2"]),
    ("proxyless_rl", "nb201", "int8", "2-epochs", ["strategy.networks=2"]),
    ("bignas", "mbconv_elastic", "gpu", "5-evaluations", ["strategy.coarse=4", "strategy.fine=2"]),
]


@pytest.mark.parametrize(("strategy", "space", "target", "budget", "options"), FAMILIES)
def test_the_command_searches_and_delivers(
    nasforge_in: Nasforge, tmp_path: Path, strategy: str, space: str, target: str, budget: str, options: list[str]
) -> None:
    given = ["--space", space, "--strategy", strategy, "--target", target, "--budget", budget, "--out", "run"]
    done = nasforge_in(tmp_path, "search", *given, *SMALL, *options, "--json")
    document = json.loads(done.stdout)  # and nothing else
    assert document == json.loads((tmp_path / "run" / "result.json").read_text())
    best = document["best"]
    measured = target != "gpu" or best["provenance"].get("unverified") is None
    assert best["verified"] == measured
    assert ("latency_ms" in best["metrics"]) == measured
    assert ("accuracy_int8" in best["metrics"]) == (target == "int8")
    assert (tmp_path / "run" / "model.int8.onnx").exists() == (target == "int8")
    assert best["provenance"]["weights"] == (
        "inherited and recalibrated" if strategy == "bignas" else "retrained from scratch"
    )
    assert 0.0 <= best["metrics"]["accuracy"] <= 1.0
    assert nasforge.load(tmp_path / "run").module is not None


def test_command_and_python_with_names_and_with_objects_find_the_same(nasforge_in: Nasforge, tmp_path: Path) -> None:
    given = ["--space", "nb201", "--strategy", "evolution", "--target", "gpu", "--budget", "5-evaluations"]
    options = ["strategy.population=3", "strategy.sample=2", *SMALL]
    first = json.loads(nasforge_in(tmp_path, "search", *given, *options, "--seed", "3", "--json").stdout)
    training = {"epochs": 2, "evaluation_epochs": 1, "shared_epochs": 2}
    common: dict[str, Any] = {"budget": "5-evaluations", "seed": 3, "training": training}
    named = nasforge.search(
        "nb201", {"name": "evolution", "population": 3, "sample": 2}, "gpu", data_options={"limit": 400},
        out=tmp_path / "named", **common,
    )  # fmt: skip
    from nasforge.run.options import make_space, make_strategy, make_target

    source = load_digits(None, seed=3, limit=400)
    objects = nasforge.search(
        make_space("nb201", {}, source.input_shape, len(source.classes)),
        make_strategy("evolution", {"population": 3, "sample": 2}),
        make_target("gpu", {}),
        data=source,
        out=tmp_path / "objects",
        **common,
    )
    assert named.best is not None
    assert objects.best is not None
    ids = {first["best"]["id"], named.best["id"], objects.best["id"]}
    assert len(ids) == 1
    accuracies = {found["metrics"]["accuracy"] for found in (first["best"], named.best, objects.best)}
    assert len(accuracies) == 1
    other = json.loads(nasforge_in(tmp_path, "search", *given, *options, "--seed", "4", "--json").stdout)
    assert other["best"]["metrics"]["accuracy"] != first["best"]["metrics"]["accuracy"]


@pytest.mark.parametrize("strategy", ["random", "proxyless", "bignas"])
def test_the_test_split_is_opened_by_the_final_report_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    from nasforge.run.deliver import Delivery

    moments: list[str] = []
    split, test = DataSource.split, Delivery.test

    def noted_split(self: DataSource, name: Any) -> Split:
        if name == "test":
            moments.append("opened")
        return split(self, name)

    def noted_test(self: Delivery, finalist: Any) -> None:
        moments.append("report begins")
        test(self, finalist)
        moments.append("report ends")

    monkeypatch.setattr(DataSource, "split", noted_split)
    monkeypatch.setattr(Delivery, "test", noted_test)
    source = load_digits(None, limit=200)
    training = {"epochs": 1, "evaluation_epochs": 1, "shared_epochs": 1}
    nasforge.search(
        "nb201", strategy, "gpu", data=source, budget="2-evaluations", training=training, out=tmp_path / "r"
    )
    assert (moments[0], set(moments[1:-1]), moments[-1]) == ("report begins", {"opened"}, "report ends")
    with pytest.raises(SplitError):
        source.sealed().split("test")


def test_a_limit_that_the_measurement_misses_ends_with_exit_code_3(
    tmp_path: Path, nasforge_in: Nasforge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nasforge import registry
    from nasforge.cli.app import main
    from nasforge.testing.target import MemoryTarget

    monkeypatch.chdir(tmp_path)
    load = registry.load
    monkeypatch.setattr(
        registry, "load", lambda kind, name: (lambda: MemoryTarget(100.0)) if kind == "targets" else load(kind, name)
    )
    given = ["--space", "nb201", "--strategy", "random", "--target", "cpu", "--budget", "2-evaluations"]
    assert main(["search", *given, *SMALL, "--max-latency", "600ms", "--out", "run"]) == 3
    printed = capsys.readouterr().out
    assert "LIMIT MISSED" in printed
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "limit_missed"
    assert (tmp_path / "run" / "model.onnx").exists()
