"""Strategies as search algorithms of a real `tune.Tuner`: the same proposals, stopped, failed and restored trials."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nasforge.errors import DamagedError, IncompatibleError, InfeasibleError, UsageError
from nasforge.evaluate import TrainedEvaluator
from nasforge.goals import Constraint
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.rng import generator, integer_seed
from nasforge.run.options import make_strategy
from nasforge.run.progress import Silent
from nasforge.run.settings import Settings
from nasforge.run.shared_training import make_shared_training
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Problem
from nasforge.tasks.classification import Classification
from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets.digits import load
from nasforge.training import TrainConfig

pytestmark = [pytest.mark.slow, pytest.mark.plugins, pytest.mark.filterwarnings("ignore")]  # Ray's own, a great many

TRAINING = {"lr": 0.1, "batch_size": 16}


def make_space() -> SearchSpace:
    x = Conv(choice(4, 8, 12, 16, name="width"), choice(1, 3, 5, name="kernel"), stride=2)(Input(3, 8, 8), name="stem")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name="tiny")


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        patch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0")  # the state is saved after every result
        import ray
        from ray import cloudpickle, tune

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            yield tune
        finally:
            ray.shutdown()


@pytest.fixture
def make_tuner(tune: Any, tmp_path: Path) -> Callable[..., Any]:
    def make(trial: Any, searcher: Any, **given: Any) -> Any:
        return tune.Tuner(
            trial,
            tune_config=tune.TuneConfig(search_alg=searcher, reuse_actors=True, **given),
            run_config=tune.RunConfig(name="run", storage_path=str(tmp_path), verbose=0),
        )

    return make


def trained_bignas(space: SearchSpace, source: DataSource) -> Any:
    """Return the strategy after two steps of its training."""
    strategy = make_strategy("bignas", {})
    setup = types.SimpleNamespace(
        settings=Settings.read({"training": {"batch_size": 16}}), source=source, problem=Problem(space, costs={}),
        strategy=strategy, task=Classification(),
    )  # fmt: skip
    strategy.setup(setup.problem)
    plan = types.SimpleNamespace(shared_epochs=0.01, shared_seconds=None)
    make_shared_training(setup, plan).run(Silent(), lambda kind, state: None)  # type: ignore[arg-type]
    return strategy


def told(searcher: Any) -> list[Evaluation]:
    return list(searcher._trials.told)


def score(config: dict[str, Any]) -> float:
    decisions = config["architecture"]["decisions"]
    return float(int(decisions["width"]) / 16 - 0.01 * int(decisions["kernel"]))


def test_successive_halving_asks_for_shares_of_a_whole_trial_and_promotes_whoever_reported_the_best() -> None:
    from nasforge.run.ray_tune import StrategySearcher

    searcher = StrategySearcher("successive_halving", make_space(), workers=1, full_fidelity=18.0)
    spent = []
    for number in range(4):
        config = searcher.suggest(str(number))
        spent.append((config["fidelity"], config["architecture"]))
        value = {"accuracy_valid": 0.5 + (number == 1) / 4, "epochs": round(config["fidelity"])}
        searcher.on_trial_complete(str(number), value)
    assert [each for each, _ in spent] == [2.0, 2.0, 2.0, 6.0]
    assert spent[3][1] == spent[1][1]


@pytest.mark.parametrize("strategy", ["random", {"name": "evolution", "population": 3, "sample": 2}])
def test_a_tuner_tells_what_its_trials_reported_and_proposes_what_the_strategy_does(
    make_tuner: Callable[..., Any], tune: Any, strategy: Any
) -> None:
    from nasforge.run.ray_tune import StrategySearcher

    def trial(config: dict[str, Any]) -> None:
        tune.report({"accuracy_valid": score(config), "note": "text", "flag": True})

    space = make_space()
    searcher = StrategySearcher(strategy, space, seed=3, workers=1)
    results = make_tuner(trial, searcher, num_samples=6).fit()
    by_architecture = {json.dumps(r.config["architecture"]): r.metrics["accuracy_valid"] for r in results}
    assert len(results) == 6
    assert [each.number for each in told(searcher)] == list(range(6))
    for each in told(searcher):
        config = {"architecture": space.to_json(each.architecture)}
        assert each.metrics["accuracy_valid"] == by_architecture[json.dumps(config["architecture"])] == score(config)
        assert set(each.metrics) == {"accuracy_valid", "params", "macs", "activation_bytes"}
        assert each.fidelity == 1.0
        assert each.error is None
    alone = StrategySearcher(strategy, space, seed=3, workers=1)
    for each in told(searcher):
        config = alone.suggest("only")
        assert space.from_json(config["architecture"]) == each.architecture
        assert json.loads(json.dumps(config)) == config
        alone.on_trial_complete("only", {"accuracy_valid": score(config)})


def test_a_trial_is_the_training_of_an_evaluation_and_asha_cuts_it(make_tuner: Callable[..., Any], tune: Any) -> None:
    from nasforge.run.ray_tune import StrategySearcher, trainable

    space = make_space()
    searcher = StrategySearcher("random", space, seed=1, workers=2)
    source = load(None, limit=400)
    scheduler = tune.schedulers.ASHAScheduler(
        time_attr="epochs", metric="accuracy_valid", mode="max", max_t=4, grace_period=1, reduction_factor=2
    )
    trial = trainable(space, source, training={**TRAINING, "epochs": 4})
    results = make_tuner(trial, searcher, num_samples=6, scheduler=scheduler).fit()
    reached = {each.fidelity for each in told(searcher)}
    assert 4.0 in reached
    assert reached & {1.0, 2.0}
    assert {float(r.metrics["training_iteration"]) for r in results} == reached
    (whole,) = [each for each in told(searcher) if each.fidelity == 4.0][:1]
    evaluator = TrainedEvaluator(space, Classification(), source, TrainConfig(**TRAINING, epochs=4.0))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = evaluator.evaluate(whole.architecture, None, integer_seed(1, "evaluation", whole.number))
    finally:
        torch.set_num_threads(threads)
    assert whole.metrics["accuracy_valid"] == expected["accuracy_valid"]
    assert whole.metrics["nll_valid"] == pytest.approx(expected["nll_valid"], rel=1e-6)
    assert whole.metrics["macs"] == expected["macs"]


def test_a_failing_trial_is_told_as_failed_and_the_search_goes_on(make_tuner: Callable[..., Any], tune: Any) -> None:
    from nasforge.run.ray_tune import StrategySearcher

    def trial(config: dict[str, Any]) -> None:
        tune.report({"accuracy_valid": 0.5})
        if config["architecture"]["decisions"]["kernel"] == "3":
            raise RuntimeError("no kernel of three")
        tune.report({"accuracy_valid": 0.75})

    searcher = StrategySearcher("random", make_space(), seed=2, workers=2)
    results = make_tuner(trial, searcher, num_samples=8).fit()
    assert len(results) == 8
    labels = searcher._space.describe
    failed = [each for each in told(searcher) if labels(each.architecture)["kernel"] == "3"]
    assert 0 < len(failed) == results.num_errors < 8
    assert all("failed" in str(each.error) and not each.metrics for each in failed)
    rest = [each for each in told(searcher) if each not in failed]
    assert {(each.metrics["accuracy_valid"], each.fidelity) for each in rest} == {(0.75, 2.0)}


def test_tune_ends_when_the_strategy_has_nothing_left(make_tuner: Callable[..., Any], tune: Any) -> None:
    from nasforge.run.ray_tune import StrategySearcher

    def trial(config: dict[str, Any]) -> None:
        tune.report({"accuracy_valid": score(config)})

    strategy = trained_bignas(make_space(), load(None, limit=120))
    searcher = StrategySearcher(strategy, make_space(), workers=2)
    results = make_tuner(trial, searcher, num_samples=-1).fit()
    assert len(results) == len(told(searcher)) == len({each.architecture for each in told(searcher)})
    assert 4 <= len(results) <= 12
    assert strategy.ask(1, generator(0, "ask"))  # the caller's object was left alone


def climbing(config: dict[str, Any]) -> None:
    from ray import tune

    tune.report({"accuracy_valid": score(config)})


def make_climber(**given: Any) -> Any:
    from nasforge.run.ray_tune import StrategySearcher

    strategy = {"name": "evolution", "population": 3, "sample": 2}
    return StrategySearcher(strategy, make_space(), seed=4, **given)


def tune_until_killed(address: str, folder: str, ends: int) -> None:
    """Run a tuner that is killed when its trial number `ends` ends; for another process."""
    import ray
    from ray import tune

    flag = Path(folder) / "killed"

    class Killer(tune.Callback):
        ended = 0

        def on_trial_complete(self, **given: Any) -> None:
            self.ended += 1
            if self.ended == ends and not flag.exists():  # the restored tuner has this callback too
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    ray.init(address=address, log_to_driver=False, configure_logging=False)
    run = tune.RunConfig(name="run", storage_path=folder, verbose=0, callbacks=[Killer()])
    config = tune.TuneConfig(search_alg=make_climber(workers=1), num_samples=7, reuse_actors=True)
    tune.Tuner(climbing, tune_config=config, run_config=run).fit()


def test_a_tuner_killed_and_restored_proposes_what_an_undisturbed_one_does(tune: Any, tmp_path: Path) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    code = f"import runpy; m = runpy.run_path({__file__!r}); m['tune_until_killed']({address!r}, {str(tmp_path)!r}, 4)"
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-3000:]
    (state,) = (tmp_path / "run").glob("searcher-state-*")
    assert 0 < len(json.loads(state.read_text())["told"]) <= 4
    results = tune.Tuner.restore(str(tmp_path / "run"), trainable=climbing).fit()
    undisturbed = make_climber(workers=1)
    expected = []
    for _ in range(7):
        config = undisturbed.suggest("only")
        undisturbed.on_trial_complete("only", {"accuracy_valid": score(config)})
        expected.append(config)
    assert sorted(json.dumps(r.config) for r in results) == sorted(map(json.dumps, expected))  # seeds tell them apart
    assert results.num_errors == 0


def crash_once(config: dict[str, Any], flag: Path, **given: Any) -> None:
    from ray import tune

    from nasforge.run.ray_tune import train_trial

    report, reported = tune.report, 0

    def report_and_crash(*arguments: Any, **more: Any) -> None:
        nonlocal reported
        report(*arguments, **more)
        reported += 1
        if reported == 2 and not flag.exists():
            flag.touch()
            os._exit(1)

    tune.report = report_and_crash
    try:
        train_trial(config, **given)
    finally:
        tune.report = report


def test_a_trial_whose_worker_dies_goes_on_from_its_checkpoint_as_if_nothing_had_happened(
    tune: Any, tmp_path: Path, small_source: DataSource
) -> None:
    finals = []
    for name in ("whole", "crashed"):
        flag = tmp_path / f"{name}.flag"
        if name == "whole":
            flag.touch()
        given = {"space": make_space(), "source": small_source, "task": Classification()}
        trial = tune.with_parameters(crash_once, flag=flag, training=TrainConfig(**TRAINING, epochs=4.5), **given)
        failures = tune.FailureConfig(max_failures=1)
        run = tune.RunConfig(name=name, storage_path=str(tmp_path), verbose=0, failure_config=failures)
        config = tune.TuneConfig(search_alg=make_climber(workers=1), num_samples=1)
        (result,) = tune.Tuner(trial, tune_config=config, run_config=run).fit()
        assert flag.exists()
        names = ("accuracy_valid", "nll_valid", "epochs", "training_iteration")
        finals.append({key: result.metrics[key] for key in names})
        assert (result.metrics["iterations_since_restore"] == 3) == (name == "crashed")
    assert finals[0] == finals[1]
    assert (finals[0]["training_iteration"], finals[0]["epochs"]) == (5, 4.5)


def test_workers_are_as_given_else_as_tune_limits_else_the_processors_of_the_cluster(tune: Any) -> None:
    from ray.tune.search import ConcurrencyLimiter

    for searcher, limit, expected in (
        (make_climber(workers=3), 5, 3), (make_climber(), 5, 5), (make_climber(), None, 2),
    ):  # fmt: skip
        limited = searcher if limit is None else ConcurrencyLimiter(searcher, limit)
        given = [limited.suggest(f"{n}") for n in range(7)]
        assert [each is not None for each in given] == [n < expected for n in range(7)]


def test_a_goal_given_to_tune_is_taken_and_a_space_given_to_tune_is_refused(tune: Any) -> None:
    searcher = make_climber(workers=1)
    assert not searcher.set_search_properties("loss", "min", {"fixed": 1})
    config = searcher.suggest("a")
    searcher.on_trial_complete("a", {"loss": 1.0})
    assert told(searcher)[0].metrics["loss"] == 1.0
    assert searcher._trials.problem.loss(told(searcher)[0]) == 1.0
    assert (searcher.metric, searcher.mode) == ("loss", "min")
    assert set(config) == {"architecture", "fidelity", "seed"}
    tuner = tune.Tuner(
        climbing, param_space={"x": tune.uniform(0, 1)}, tune_config=tune.TuneConfig(search_alg=make_climber())
    )
    with pytest.raises(Exception, match="unresolved parameters"):
        tuner.fit()


def test_limits_hold_in_every_suggestion_and_names_do_for_objects(tune: Any) -> None:
    from nasforge.run.ray_tune import StrategySearcher

    searcher = StrategySearcher("random", "mbconv", constraints=[Constraint("params", 150_000)], workers=20)
    for n in range(20):
        architecture = searcher._space.from_json(searcher.suggest(f"{n}")["architecture"])
        assert searcher._space.params(architecture) <= 150_000
    with pytest.raises(InfeasibleError, match="max-params 10 was asked for"):
        StrategySearcher("random", make_space(), constraints=[Constraint("params", 10)])


def test_several_objectives_are_told_together(tune: Any) -> None:
    from nasforge.run.ray_tune import StrategySearcher

    searcher = StrategySearcher(
        "random", make_space(), metric=["accuracy_valid", "macs"], mode=["max", "min"], workers=1
    )
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"accuracy_valid": 0.5})
    (each,) = told(searcher)
    assert each.error is None
    assert [objective.direction for objective in searcher._trials.problem.objectives] == ["maximize", "minimize"]


def test_what_cannot_be_searched_is_refused_in_one_sentence(tune: Any, tmp_path: Path) -> None:
    from nasforge.run.ray_tune import StrategySearcher, trainable

    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: StrategySearcher("evolutoin"), UsageError, "Did you mean 'evolution'"),
        (lambda: StrategySearcher({"name": "evolution", "populaton": 3}), UsageError, "populaton"),
        (lambda: StrategySearcher("random", "mbcnv"), UsageError, "mbcnv"),
        (lambda: StrategySearcher("bignas", make_space()), IncompatibleError, "trains shared weights before"),
        (lambda: StrategySearcher(mode="best"), UsageError, "expected max or min"),
        (lambda: StrategySearcher(workers=0), UsageError, "workers was given 0"),
        (lambda: trainable(make_space(), training={"lrr": 1}), UsageError, "lrr"),
        (lambda: trainable(make_space(), training={"teacher": "runs/a"}), UsageError, "follow no teacher"),
    ]
    for make, kind, words in refused:
        with pytest.raises(kind, match=words):
            make()
    broken = tmp_path / "searcher-state-x.pkl"
    broken.write_text("{")
    with pytest.raises(DamagedError, match="cannot be read"):
        make_climber().restore(str(broken))


def test_without_ray_the_import_says_what_to_install() -> None:
    code = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name=name)

sys.meta_path.insert(0, Hidden())
try:
    import nasforge.run.ray_tune
except ImportError as error:
    print(type(error).__name__, error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sentence = "Ray Tune cannot be imported (No module named 'ray'); install it: pip install 'ray[tune]'."
    assert found.stdout.splitlines() == [f"PluginError {sentence}"]
