"""MLflow has what the run folder has: settings, evaluations once, files and the end; a server away costs a line."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import nasforge
from nasforge import Listener, SearchResult, UsageError
from nasforge.run import mlflow_sender
from nasforge.run.mlflow import FILE, MLflow, absolute, flattened
from nasforge.run.mlflow_sender import Buffer
from nasforge.run.progress import Several
from nasforge.run.settings import Settings
from nasforge.run.store import STUDY, StudyStore
from nasforge.run.tracking import Tracking
from nasforge.space import SearchSpace
from nasforge.strategy import Evaluation
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MemoryTarget

Search = Callable[..., SearchResult]
quiet = pytest.mark.filterwarnings("ignore")  # MLflow's own, and those of its database


class Notes(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


class Recorder(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.figures_heard: list[tuple[str, int, dict[str, float]]] = []

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        if part != "evaluations":
            self.figures_heard.append((part, step, dict(values)))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # MLflow puts the artifacts of a database into ./mlruns
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setattr("nasforge.run.mlflow_sender.SEND_SECONDS", 0.1)
    monkeypatch.setattr("nasforge.run.mlflow.EVERY_SECONDS", 0.0)
    yield
    logging.getLogger("alembic").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    with warnings.catch_warnings(), contextlib.chdir(folder):
        warnings.simplefilter("ignore")
        client_of(uri).search_experiments()  # makes the tables, which takes longer than everything else
    return uri


def client_of(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def only_run(uri: str, experiment: str) -> Any:
    client = client_of(uri)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return found


def history(uri: str, run: Any) -> dict[tuple[str, int], list[float]]:
    client, found = client_of(uri), dict[tuple[str, int], list[float]]()
    for key in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, key):
            found.setdefault((key, metric.step), []).append(metric.value)
    return found


def expected(folder: Path, space: SearchSpace) -> dict[tuple[str, int], list[float]]:
    store = StudyStore(folder / STUDY, space)
    values: dict[tuple[str, int], list[float]] = {}
    for each in store.load():
        figures = {**each.metrics, **({} if each.error is None else {"failed": 1.0})}
        values |= {(f"evaluations/{name}", each.number): [value] for name, value in figures.items()}
    store.close()
    return values


def tracked(uri: str, experiment: str) -> Settings:
    return Settings.read({"tracking": {"mlflow": uri, "experiment": experiment}})


def evaluation(number: int, space: SearchSpace, **given: Any) -> Evaluation:
    return Evaluation(number, space.smallest(), {"accuracy_valid": number / 10}, **given)


# Settings and buffer


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mlfow": "x"}, "Did you mean 'mlflow'"),
        ({"mlflow": 3}, "tracking.mlflow was given 3"),
        ({"mlflow": " "}, "expected a text"),
        ({"experiment": 1}, "tracking.experiment was given 1"),
        ({"tensorboard": "no"}, "expected true or false"),
        ("sqlite://", "expected settings"),
    ],
)
def test_settings_that_nothing_could_use_are_refused(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings.read({"tracking": given})


def test_settings_of_tracking_survive_being_written() -> None:
    tracking = Tracking("http://host:5000", "mine", tensorboard=False)
    assert Tracking.read(tracking.to_json()) == tracking
    settings = Settings.read({"tracking": tracking.to_json()})
    assert Settings.read(settings.to_json()) == settings
    assert Settings.read({}).tracking == Tracking(None, "nasforge", tensorboard=True)


def test_parameters_are_the_settings_by_dotted_name_and_read_back() -> None:
    settings = Settings.read(
        {"strategy": {"name": "evolution", "population": 30}, "limits": {"params": 1000}}
    ).to_json()
    flat = flattened(settings)
    assert (flat["strategy.name"], flat["strategy.population"], flat["limits.params"]) == ("evolution", "30", "1000")
    assert "limits.latency" not in flat
    assert flat["engine.retries"] == "3"


def test_a_relative_store_means_the_same_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///m.db") == f"sqlite:///{tmp_path}/m.db"
    assert absolute("mlruns") == str(tmp_path / "mlruns")
    for uri in (f"sqlite:///{tmp_path}/m.db", "http://h:5000", "databricks://profile", f"file:{tmp_path}"):
        assert absolute(uri) == uri


def test_a_full_buffer_drops_the_oldest_and_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_sender, "KEPT", 10)
    buffer = Buffer()
    batch = None
    for step in range(15):
        buffer.put({"a": float(step), "b": float("nan")}, step)
        if step == 9:
            batch = buffer.batch()
            assert [each.step for each in batch] == list(range(10))
    assert [each.step for each in buffer.batch()] == list(range(5, 15))
    assert buffer.left() == "15 figures"
    assert batch is not None
    buffer.sent(batch)
    assert [each.step for each in buffer.batch()] == list(range(10, 15))
    buffer.end("FINISHED", {})
    assert buffer.left() == "10 figures and the end of the run"


def test_without_mlflow_the_search_says_what_to_install(
    search_small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "nasforge.run.mlflow.importlib.util.find_spec", lambda name: None if name == "mlflow" else real(name)
    )
    with pytest.raises(UsageError, match=r"install it by pip install 'nasforge\[mlflow\]'"):
        search_small(tracking={"mlflow": "sqlite:///x.db"})
    assert not (tmp_path / "run").exists()


# A server that is away


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@quiet
@pytest.mark.plugins
def test_a_server_that_is_away_costs_one_sentence_and_one_at_the_end(search_small: Search) -> None:
    notes, port = Notes(), free_port()
    begun = time.monotonic()
    result = search_small(listener=notes, tracking={"mlflow": f"http://me:secret@127.0.0.1:{port}"})
    assert time.monotonic() - begun < 60
    assert result.status == "finished"
    said = [note for note in notes.notes if "MLflow" in note]
    assert len(said) <= 2
    assert "did not get" in said[-1]
    assert "figures and the end of the run (ConnectionRefusedError" in said[-1]
    assert "secret" not in "".join(notes.notes) + (result.folder / FILE).read_text()
    assert said[-1] in (result.folder / "log.txt").read_text()


@quiet
def test_a_server_away_for_a_while_gets_everything_later(
    tmp_path: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, calls = [True], list[tuple[str, Any]]()
    run = SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(params={}, metrics={}))
    answers = {"search_runs": [], "create_run": run, "get_experiment_by_name": SimpleNamespace(experiment_id="1")}

    class Client:
        def __init__(self, uri: str) -> None:
            if away[0]:
                raise ConnectionError("nobody there")

        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any, **given: Any) -> Any:
                calls.append((name, given.get("metrics")))
                return answers.get(name)

            return call

    import mlflow

    monkeypatch.setattr(mlflow, "MlflowClient", Client)
    heard = Notes()
    listener = MLflow(Tracking("databricks"), heard.note)
    listener.settled({"seed": 1})
    listener.opened(tmp_path)
    for number in range(3):
        listener.evaluated(evaluation(number, small_space))
    deadline = time.monotonic() + 30
    while not heard.notes and time.monotonic() < deadline:
        time.sleep(0.05)
        listener.progress(0.0, {})
    assert len(heard.notes) == 1
    assert "is tried again" in heard.notes[0]
    away[0] = False
    for number in range(3, 5):
        listener.evaluated(evaluation(number, small_space))
    listener.failed(KeyboardInterrupt())
    listener.closed()
    sent = [metric.step for name, metrics in calls if metrics for metric in metrics]
    assert sent == [0, 1, 2, 3, 4]
    assert "set_terminated" in [name for name, _ in calls]
    assert len(heard.notes) == 1


# A real store


@quiet
@pytest.mark.slow
@pytest.mark.plugins
@pytest.mark.parametrize("strategy", ["random", "bignas"])
def test_mlflow_has_the_settings_the_evaluations_the_best_and_the_files(
    search_small: Search, database: str, small_space: SearchSpace, strategy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = Recorder()
    training = {"epochs": 2, "evaluation_epochs": 1, "shared_epochs": 2}
    tracking = {"mlflow": database, "experiment": f"whole-{strategy}"}
    result = search_small(strategy=strategy, tracking=tracking, training=training, listener=heard)
    assert capfd.readouterr().out == ""
    run = only_run(database, f"whole-{strategy}")
    kept = history(database, run)
    evaluations = expected(result.folder, small_space)
    assert len(evaluations) >= 4 * 3
    assert {key: value for key, value in kept.items() if key[0].startswith("evaluations/")} == evaluations
    others = {
        (f"{part}/{name}", step): [value]
        for part, step, values in heard.figures_heard
        for name, value in values.items()
    }
    assert {part.partition("/")[0] for part, _ in others} == (
        {"retraining"} if strategy == "random" else {"shared_training"}
    )
    assert {key: value for key, value in kept.items() if key[0].startswith(("shared_", "retrain"))} == others
    best = {(f"best/{name}", 0): [value] for name, value in result.metrics.items()}
    assert {key: value for key, value in kept.items() if key[0].startswith("best/")} == best
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["strategy.name"] == strategy
    assert run.data.params["training.epochs"] == "2"
    assert result.best is not None
    assert {
        key: value for key, value in run.data.tags.items() if key.startswith("nasforge.") and key != "nasforge.key"
    } == {
        "nasforge.version": nasforge.__version__,
        "nasforge.folder": str(result.folder),
        "nasforge.status": "finished",
        "nasforge.best_id": result.best["id"],
        "nasforge.network_id": result.best["network_id"],
    }
    files = {each.path for each in client_of(database).list_artifacts(run.info.run_id)}
    assert files == {"config.yaml", "result.json", "architecture.json", "report.html", "model.onnx"}
    copied = client_of(database).download_artifacts(run.info.run_id, "result.json")
    assert Path(copied).read_bytes() == (result.folder / "result.json").read_bytes()


@quiet
@pytest.mark.slow
@pytest.mark.plugins
@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "KILLED"), (ZeroDivisionError("why"), "FAILED")])
def test_a_resumed_run_goes_on_in_the_same_run_of_mlflow_and_doubles_nothing(
    search_small: Search,
    database: str,
    small_space: SearchSpace,
    small_source: DataSource,
    tmp_path: Path,
    error: BaseException,
    status: str,
) -> None:
    def fails(*arguments: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasforge.run.search.measure_finalists", fails)
        with pytest.raises(type(error)):
            search_small(tracking={"mlflow": database, "experiment": status})
    first = only_run(database, status)
    assert first.info.status == status
    assert type(error).__name__ in first.data.tags["nasforge.error"]
    before = history(database, first)
    assert before == expected(tmp_path / "run", small_space)
    again = {"space": small_space, "data": small_source, "target": MemoryTarget()}
    nasforge.resume(tmp_path / "run", **again)
    run = only_run(database, status)
    assert run.info.run_id == first.info.run_id == json.loads((tmp_path / "run" / FILE).read_text())["run_id"]
    assert run.info.status == "FINISHED"
    kept = history(database, run)
    assert {key: value for key, value in kept.items() if key in before} == before
    assert all(len(values) == 1 for values in kept.values())
    nasforge.resume(tmp_path / "run", **again)
    assert history(database, only_run(database, status)) == kept


@quiet
@pytest.mark.slow
def test_evaluations_that_were_stored_and_not_sent_are_sent_on_resume_and_only_they(
    database: str, small_space: SearchSpace, tmp_path: Path
) -> None:
    tracking = Tracking(database, "restored")
    evaluations = [evaluation(0, small_space), evaluation(1, small_space, error="no"), evaluation(2, small_space)]
    for told, status in ((evaluations[:2], "killed"), (evaluations, "stopped")):
        listener = MLflow(tracking)
        listener.opened(tmp_path)
        listener.restored(told)
        if status == "stopped":
            listener.failed(RuntimeError("why"))
        listener.closed()
    run = only_run(database, "restored")
    assert history(database, run) == {
        **{("evaluations/accuracy_valid", n): [n / 10] for n in range(3)},
        ("evaluations/failed", 1): [1.0],
    }
    (tmp_path / FILE).unlink()
    listener = MLflow(tracking)
    listener.opened(tmp_path)
    listener.closed()
    assert len(client_of(database).search_runs([run.info.experiment_id])) == 2


@quiet
@pytest.mark.slow
def test_a_run_whose_id_could_not_be_noted_is_found_again(
    database: str, small_space: SearchSpace, tmp_path: Path
) -> None:
    for _ in range(2):
        listener = MLflow(Tracking(database, "found"))
        listener.opened(tmp_path)
        listener.evaluated(evaluation(0, small_space))
        listener.closed()
        kept = json.loads((tmp_path / FILE).read_text())
        (tmp_path / FILE).write_text(json.dumps({**kept, "run_id": None}))
    run = only_run(database, "found")
    assert history(database, run) == {("evaluations/accuracy_valid", 0): [0.0]}


@quiet
@pytest.mark.slow
def test_steps_are_thinned_with_the_first_and_the_last_kept(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasforge.run.mlflow.EVERY_SECONDS", 3600.0)
    several = Several([MLflow(Tracking(database, "thinned"))])
    several.opened(tmp_path)
    for step in range(100):
        several.figures("retraining", step, {"loss": float(step)})
    several.stage("testing", None)
    several.failed(RuntimeError("why"))
    several.closed()
    kept = history(database, only_run(database, "thinned"))
    assert kept == {("retraining/loss", 0): [0.0], ("retraining/loss", 99): [99.0]}


SERVER = os.environ.get("NASFORGE_MLFLOW_PYTHON", sys.executable)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start MLflow's server; the whole of MLflow is needed, for which another Python may be named."""
    if subprocess.run([SERVER, "-c", "import flask, aiohttp, graphene, mlflow"], capture_output=True).returncode:
        pytest.skip("no MLflow server: set NASFORGE_MLFLOW_PYTHON to a Python that has the whole of mlflow")
    port = free_port()
    command = [SERVER, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"], cwd=tmp_path, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(uri: str) -> None:
    import requests

    for _ in range(240):
        try:
            if requests.get(f"{uri}/health", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    pytest.fail("the server did not start")


@quiet
@pytest.mark.slow
@pytest.mark.plugins
def test_a_server_over_http_has_the_run(
    search_small: Search, server: tuple[str, Any], small_space: SearchSpace, capfd: pytest.CaptureFixture[str]
) -> None:
    uri, _ = server
    wait_for(uri)
    result = search_small(tracking={"mlflow": uri})
    assert capfd.readouterr().out == ""
    run = only_run(uri, "nasforge")
    kept = history(uri, run)
    evaluations = {key: value for key, value in kept.items() if key[0].startswith("evaluations/")}
    assert evaluations == expected(result.folder, small_space)
    assert run.info.status == "FINISHED"
    assert "model.onnx" in {each.path for each in client_of(uri).list_artifacts(run.info.run_id)}
