"""Truth tables: what is trained and once only, resuming, processes, the file, and what they are used for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasforge.bench.ranking import honest_ranking
from nasforge.bench.truth import TruthInterrupted, TruthTable, make_truth, ranking_by_truth, read_truth, summary
from nasforge.bench.truth import training as trainings
from nasforge.build import build_network
from nasforge.errors import ArchitectureError, DataError, DivergedError, UsageError, WrongFolderError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.rng import integer_seed
from nasforge.run.progress import Listener
from nasforge.space import Input, SearchSpace, choice, one_of
from nasforge.tasks import DataSource
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.training import TrainConfig, evaluate, train

TRAINING = {"steps": 2, "batch_size": 32}


def small_space(name: str = "truths", width: int = 8, classes: int = 10) -> SearchSpace:
    """Declare six architectures of four networks: two of the three operators are the same."""
    x = Conv(choice(4, width, name="width"), 3, stride=2)(Input(3, 8, 8), name="stem")
    candidates = [Conv(8, kernel)(x, name=f"body.{label}") for label, kernel in (("a", 3), ("b", 3), ("c", 1))]
    x = one_of(candidates, name="body", labels=("a", "b", "c"))
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x, name="pool"), name="classifier")}, name=name)


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load(limit=200)


@pytest.fixture(scope="module")
def made(source: DataSource, tmp_path_factory: pytest.TempPathFactory) -> TruthTable:
    return make_truth(small_space(), source, training=TRAINING, workers=1, out=tmp_path_factory.mktemp("truth") / "t")


def same(first: TruthTable, second: TruthTable) -> bool:
    figures = all(
        np.array_equal(first.measured[name], second.measured[name], equal_nan=True)
        for name in first.measured
        if name != "train_seconds"
    )
    return figures and first.decisions == second.decisions and first.network_ids == second.network_ids


class Counting:
    """Counts trainings, and stops with Ctrl-C after some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int | None = None) -> None:
        self.made: list[tuple[str, int]] = []
        self.stop, self._run = stop, trainings.Trainings.run
        monkeypatch.setattr(trainings.Trainings, "run", lambda work, lone: self.run(work, lone))

    def run(self, work: trainings.Trainings, lone: trainings.Lone) -> Any:
        if len(self.made) == self.stop:
            raise KeyboardInterrupt
        self.made.append((lone.network_id, lone.seed))
        return self._run(work, lone)


def test_every_architecture_has_a_row_and_equal_networks_are_trained_once(
    source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    table = make_truth(small_space(), source, training=TRAINING, workers=1, out=tmp_path / "t")
    assert len(table) == 6
    assert len(table.distinct) == 4
    assert len(counting.made) == len(set(counting.made)) == 8
    for name in ("accuracy", "nll_valid"):
        for network in set(table.network_ids):
            rows = [table.measured[name][place] for place in range(6) if table.network_ids[place] == network]
            assert all((row == rows[0]).all() for row in rows)


def test_a_row_is_what_training_the_network_alone_gives(made: TruthTable, source: DataSource) -> None:
    space, task = small_space(), Classification()
    place = int(made.distinct[2])
    architecture = space.from_decisions(made.decisions[place])
    network = build_network(space.lower(architecture), seed=integer_seed(1, "weights"))
    train(network, source, task, TrainConfig(**{**dict(made.about["training"])}), seed=1)
    found = evaluate(network, source, task, "test")
    assert made.accuracy[place, 1] == found["accuracy"]
    assert made.nll[place, 1] == found["nll"]
    assert made.params[place] == space.params(architecture)
    assert made.macs[place] == space.macs(architecture)


def test_steps_become_just_so_many_steps(made: TruthTable, source: DataSource) -> None:
    network = build_network(small_space().lower(small_space().largest()), seed=0)
    assert train(network, source, Classification(), TrainConfig(**dict(made.about["training"]))).steps == 2


def test_what_was_interrupted_goes_on_and_gives_the_same_table(
    made: TruthTable, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Counting(patch, stop=3)
        with pytest.raises(TruthInterrupted):
            make_truth(small_space(), source, training=TRAINING, workers=1, out=tmp_path / "t")
    assert not (tmp_path / "t" / "truth.json").exists()
    counting = Counting(monkeypatch)
    table = make_truth(small_space(), source, training=TRAINING, workers=1, out=tmp_path / "t")
    assert len(counting.made) == 5
    assert same(table, made)


def test_another_seed_or_training_or_other_images_are_trained_and_the_rest_is_kept(
    source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)

    def trained(given: DataSource = source, **options: Any) -> int:
        counting.made.clear()
        make_truth(small_space(), given, **{"training": TRAINING, "workers": 1, "out": tmp_path / "t", **options})
        return len(counting.made)

    assert trained() == 8
    assert trained() == 0
    assert trained(seeds=3) == 4
    assert trained(training={**TRAINING, "lr": 0.05}) == 8
    assert trained(load(limit=200, seed=1)) == 8


@pytest.mark.parametrize("kept", ["", "[]", '{"result": {"train_seconds": 1.0}}', '{"result": {"error": "nan"}}'])
def test_a_training_whose_file_is_damaged_is_trained_again(
    kept: str, made: TruthTable, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"training": TRAINING, "workers": 1, "out": tmp_path / "t"}
    listed = list(small_space().enumerate())[:1]
    make_truth(small_space(), source, **asked, architectures=listed)
    min((tmp_path / "t" / "networks").glob("*.json")).write_text(kept, encoding="utf-8")
    counting = Counting(monkeypatch)
    table = make_truth(small_space(), source, **asked, architectures=listed)
    assert len(counting.made) == 1
    assert np.array_equal(table.accuracy, made.accuracy[:1])


@pytest.mark.slow
def test_processes_give_the_table_that_one_gives(made: TruthTable, source: DataSource, tmp_path: Path) -> None:
    assert same(make_truth(small_space(), source, training=TRAINING, workers=2, out=tmp_path / "t"), made)


def test_the_file_holds_the_table_rounded_with_where_it_comes_from(made: TruthTable, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(made.to_text(), encoding="utf-8")
    read = read_truth(path)
    assert read.about == json.loads(json.dumps(made.about))
    assert read.decisions == made.decisions
    np.testing.assert_allclose(read.accuracy, made.accuracy, atol=5e-6)
    np.testing.assert_array_equal(read.macs, made.macs)
    assert made.to_text() == read.to_text()
    assert len(path.read_text(encoding="utf-8").splitlines()) < 30
    for key in ("space", "data", "training", "seeds", "command", "nasforge", "environment", "seconds"):
        assert key in read.about


def test_a_table_is_written_where_it_was_asked_for_too(source: DataSource, tmp_path: Path) -> None:
    asked = {"training": TRAINING, "sample": 2, "seeds": 1, "workers": 1}
    made = make_truth(small_space(), source, **asked, out=tmp_path / "t", table=tmp_path / "kept.json")
    assert same(read_truth(tmp_path / "t"), read_truth(tmp_path / "kept.json"))
    assert len(made) == len(set(made.network_ids)) == 2
    assert made.about["sample"] == 2


def test_a_training_that_diverges_is_null_and_said(
    source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = train

    def diverging(network: Any, given: Any, task: Any, config: Any, seed: int) -> Any:
        if seed == 1:
            raise DivergedError("the loss is nan.")
        return real(network, given, task, config, seed)

    monkeypatch.setattr("nasforge.training.train", diverging)
    made = make_truth(small_space(), source, training=TRAINING, workers=1, out=tmp_path / "t")
    assert np.isnan(made.accuracy[:, 1]).all()
    assert np.isfinite(made.accuracy[:, 0]).all()
    assert any("4 trainings diverged" in note for note in summary(made).notes)
    assert np.isnan(read_truth(tmp_path / "t").accuracy[:, 1]).all()
    assert len(made.evaluator(small_space()).values("accuracy")) == 6


def test_a_table_is_looked_up_by_searches_of_its_space_only(made: TruthTable) -> None:
    space = small_space()
    evaluator = made.evaluator(space)
    for place, decisions in enumerate(made.decisions):
        for seed in range(3):
            found = evaluator.evaluate(space.from_decisions(decisions), seed=seed)
            assert found["accuracy"] == made.accuracy[place, seed % 2]
            assert found["macs"] == made.macs[place]
    with pytest.raises(ArchitectureError, match="other sizes"):
        made.evaluator(small_space(classes=11))


def test_a_rating_is_judged_over_networks_not_over_architectures(made: TruthTable) -> None:
    scores = np.arange(6.0)
    found = ranking_by_truth(scores, made, metric="nll", resamples=50)
    assert found.architectures == 4
    first = {
        network: [s for s, n in zip(scores, made.network_ids, strict=True) if n == network]
        for network in made.network_ids
    }
    means = [np.mean(first[made.network_ids[place]]) for place in made.distinct]
    kept = made.distinct
    assert found == honest_ranking(means, -made.nll[kept], made.macs[kept], made.params[kept], resamples=50)
    by_function = ranking_by_truth(
        lambda given: [float(place) for place, _ in enumerate(given)], made, metric="nll", space=small_space(),
        resamples=50,
    )  # fmt: skip
    assert by_function == found


def test_a_summary_has_both_standard_deviations_and_every_baseline(made: TruthTable) -> None:
    said = summary(made)
    means = made.accuracy[made.distinct].mean(axis=1)
    assert said.figures["accuracy_sd_of_networks"] == pytest.approx(means.std(ddof=1))
    assert said.figures["accuracy_sd_of_seeds"] == pytest.approx(
        np.sqrt(made.accuracy[made.distinct].var(axis=1, ddof=1).mean())
    )
    assert {row[1] for row in said.rows} >= {"MACs alone", "parameters alone", "chance", "two seeds of the truth"}


def test_just_the_architectures_that_are_given_are_trained_in_their_order(
    made: TruthTable, source: DataSource, tmp_path: Path
) -> None:
    space = small_space()
    listed = list(space.enumerate())[::-2]
    asked = {"training": TRAINING, "workers": 1}
    table = make_truth(space, source, **asked, architectures=listed, out=tmp_path / "t")
    assert table.decisions == tuple(each.decisions for each in listed)
    for place, decisions in enumerate(table.decisions):
        assert table.network_ids[place] == made.network_ids[made.decisions.index(decisions)]
    for wrong in ([], [listed[0], listed[0]]):
        with pytest.raises(UsageError, match="each once"):
            make_truth(space, source, **asked, architectures=wrong, out=tmp_path / "u")
    with pytest.raises(UsageError, match="no sample"):
        make_truth(space, source, **asked, architectures=listed, sample=2, out=tmp_path / "u")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"sample": 7}, UsageError, "from 1 to 6"),
        ({"sample": 5}, UsageError, "hardly more than 4"),
        ({"sample": 0}, UsageError, "sample was given 0"),
        ({"seeds": []}, UsageError, "seeds"),
        ({"seeds": [1, 1]}, UsageError, "each once"),
        ({"workers": -1}, UsageError, "workers"),
        ({"training": {"step": 3}}, UsageError, r"'step' is unknown; .*, steps, .* Did you mean 'steps'"),
        ({"training": {"steps": 2.5}}, UsageError, "steps was given 2.5"),
        ({"training": {"steps": 2, "epochs": 2}}, UsageError, "give one"),
        ({"training": {"teacher": "run"}}, UsageError, "trained alone"),
        ({"training": {"lr": -1.0}}, UsageError, "lr"),
        ({"space_options": {"width": 2}}, UsageError, "made in Python"),
        ({"space": small_space(classes=11)}, UsageError, "11"),
        ({"space": "nothing"}, Exception, "not installed"),
        ({"data": "nothing"}, Exception, "not installed"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(
    change: dict[str, Any], error: type[Exception], said: str, source: DataSource, tmp_path: Path
) -> None:
    given = {"space": small_space(), "data": source, "training": TRAINING, "workers": 1, **change}
    with pytest.raises(error, match=said):
        make_truth(given.pop("space"), given.pop("data"), **given, out=tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_table_that_cannot_be_written_is_refused_before_anything_is_trained(
    source: DataSource, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"table was given '.*t\.json', and the folder .* does not exist"):
        make_truth(small_space(), source, out=tmp_path / "t", table=tmp_path / "none" / "t.json")
    assert not (tmp_path / "t").exists()


def test_a_space_too_large_to_be_trained_whole_asks_for_a_sample(source: DataSource, tmp_path: Path) -> None:
    x = Input(3, 8, 8)
    for place in range(20):
        x = Conv(choice(4, 8, name=f"w{place}"), 1)(x, name=f"c{place}")
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="large")
    with pytest.raises(UsageError, match="--sample 200"):
        make_truth(space, source, out=tmp_path / "t")


def test_a_folder_of_something_else_is_refused(source: DataSource, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(WrongFolderError):
        make_truth(small_space(), source, training=TRAINING, workers=1, out=tmp_path)


Edit = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(kind="else"),
        lambda content: content.update(schema=2),
        lambda content: content.pop("rows"),
        lambda content: content.update(rows=[]),
        lambda content: content["columns"].remove("nll"),
        lambda content: content["rows"][0].pop(),
        lambda content: content["rows"][0].__setitem__(4, [0.5]),
        lambda content: content["rows"][0].__setitem__(4, ["a", "b"]),
        lambda content: content.pop("seeds"),
        lambda content: content["space"].pop("options"),
        lambda content: content["space"].update(options=[1]),
        lambda content: content.update(space="x"),
        lambda content: content["rows"][0].__setitem__(4, [7.5]),
        lambda content: content["rows"][0].__setitem__(5, [-0.1]),
        lambda content: content["rows"][0].__setitem__(0, content["rows"][1][0]),
        lambda content: content["rows"][0].__setitem__(0, [0.5, 1]),
        lambda content: content["rows"][0].__setitem__(0, "01"),
        lambda content: content["rows"][0].__setitem__(2, -1),
        lambda content: content["rows"][0].__setitem__(3, 10**30),
        lambda content: content["rows"][0].__setitem__(3, 1.5),
        lambda content: content.update(seeds="ab"),
        lambda content: content["space"].update(input_shape=8),
        lambda content: content["space"].update(input_shape=["a", 8, 8]),
        lambda content: content["space"].update(classes="ten"),
    ],
)
def test_a_file_that_was_altered_is_refused(edit: Edit, made: TruthTable, tmp_path: Path) -> None:
    content = json.loads(made.to_text())
    edit(content)
    (tmp_path / "t.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.json"):
        read_truth(tmp_path / "t.json")


@pytest.mark.parametrize("decisions", [[0, 9], [0], [-1, 0]])
def test_a_row_of_no_architecture_of_the_space_is_refused_and_named(
    decisions: list[int], made: TruthTable, tmp_path: Path
) -> None:
    content = json.loads(made.to_text())
    content["rows"][1][0] = decisions
    (tmp_path / "t.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 2 of the truth table .* no architecture of space 'truths'"):
        read_truth(tmp_path / "t.json").evaluator(small_space())


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "null", "[]"])
def test_a_file_that_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        read_truth(tmp_path / "t.json")
    with pytest.raises(DataError, match="does not exist"):
        read_truth(tmp_path / "nothing.json")


def test_ratings_that_do_not_fit_the_table_are_refused(made: TruthTable) -> None:
    with pytest.raises(UsageError, match="expected \\(6,\\)"):
        ranking_by_truth([1, 2, 3], made)
    with pytest.raises(UsageError, match="metric of a truth table"):
        ranking_by_truth(np.arange(6), made, metric="acuracy")
    with pytest.raises(ArchitectureError, match="made in Python"):
        ranking_by_truth(lambda given: [0.0 for _ in given], made)
    with pytest.raises(ArchitectureError):
        made.check(SearchSpace({"logits": Linear(10)(GlobalPool()(Input(3, 8, 8), name="p"), name="l")}, name="other"))


class Heard(Listener):
    """Keeps how far the trainings are."""

    def __init__(self) -> None:
        self.done: list[float] = []

    def progress(self, done: float, figures: Any) -> None:
        self.done.append(done)


def test_progress_counts_what_is_kept(source: DataSource, tmp_path: Path) -> None:
    asked = {"training": TRAINING, "workers": 1, "out": tmp_path / "t"}
    make_truth(small_space(), source, seeds=1, **asked)
    heard = Heard()
    make_truth(small_space(), source, seeds=2, listener=heard, **asked)
    assert heard.done == [4, 5, 6, 7, 8]


def test_a_config_is_recorded_whole(made: TruthTable) -> None:
    assert set(made.about["training"]) == {part.name for part in dataclasses.fields(TrainConfig)}
