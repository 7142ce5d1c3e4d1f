"""Evaluations on a real Ray cluster of two nodes: what comes out, what is lost, and what each error says."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from nasforge import registry
from nasforge.errors import DivergedError, EvaluationError, TargetError, UsageError
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.run import ray as on_ray
from nasforge.run.engine import Engine
from nasforge.run.local import Job, LocalExecutor, Outcome
from nasforge.run.ray import RayExecutor, connected, room
from nasforge.run.ray_measure import RemoteTarget
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Target

pytestmark = [pytest.mark.slow, pytest.mark.plugins]
QUICK = Engine(retries=1)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    made: SearchSpace = registry.load("spaces", "nb201")((1, 8, 8), 10)
    return made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with_dashboard = {"include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **with_dashboard})
    cluster.add_node(num_cpus=2, resources={"target_cpu": 1})
    try:
        with connected(Engine(address=cluster.address), 2):
            yield cluster
    finally:
        cluster.shutdown()


def jobs(space: SearchSpace, count: int) -> list[Job]:
    return [Job(number, space.from_decisions([number % 5] * 6), None, 100 + number) for number in range(count)]


def outcomes(executor: Any, work: list[Job]) -> dict[int, Outcome]:
    waiting, found = list(reversed(work)), {}
    under_way = 0
    with contextlib.closing(executor):
        while waiting or under_way:
            while waiting and under_way < executor.slots:
                executor.submit(waiting.pop())
                under_way += 1
            outcome = executor.wait()
            under_way -= 1
            assert outcome.number not in found
            found[outcome.number] = outcome
    return found


def on_cluster(measure: Callable[[Job], Mapping[str, float]], engine: Engine = QUICK, slots: int = 2) -> RayExecutor:
    return RayExecutor(measure, slots, engine, lambda sentence: None)


def test_outcomes_are_those_of_the_executor_in_this_process(cluster: Cluster, space: SearchSpace) -> None:
    def measure(job: Job) -> dict[str, float]:
        if job.number == 3:
            raise DivergedError("the loss is nan.")
        if job.number == 5:
            return {"accuracy_valid": float("nan")}
        return {"accuracy_valid": sum(job.architecture.decisions) + job.seed / 1000}

    here, there = outcomes(LocalExecutor(measure), jobs(space, 12)), outcomes(on_cluster(measure), jobs(space, 12))
    assert {n: (o.metrics, o.error) for n, o in here.items()} == {n: (o.metrics, o.error) for n, o in there.items()}
    assert here[3].error == "the loss is nan."
    assert here[5].error is not None


def test_a_worker_that_dies_is_started_again_and_its_job_sent_again(
    cluster: Cluster, space: SearchSpace, tmp_path: Path
) -> None:
    folder = str(tmp_path)

    def measure(job: Job) -> dict[str, float]:
        marker = os.path.join(folder, f"died-{job.number}")
        if job.number % 4 == 1 and not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"accuracy_valid": float(job.number)}

    found = outcomes(on_cluster(measure), jobs(space, 8))
    assert {number: outcome.metrics for number, outcome in found.items()} == {
        number: {"accuracy_valid": float(number)} for number in range(8)
    }
    assert len(list(tmp_path.iterdir())) == 2


def test_a_job_that_kills_its_worker_each_time_fails_and_the_others_go_on(
    cluster: Cluster, space: SearchSpace, tmp_path: Path
) -> None:
    folder = str(tmp_path)

    def measure(job: Job) -> dict[str, float]:
        if job.number == 2:
            open(os.path.join(folder, str(time.monotonic_ns())), "w").close()
            os._exit(1)
        return {"accuracy_valid": float(job.number)}

    found = outcomes(on_cluster(measure), jobs(space, 6))
    assert [number for number, outcome in sorted(found.items()) if outcome.error is not None] == [2]
    assert "died 2 times" in str(found[2].error)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_job_that_hangs_is_stopped_and_the_others_go_on(cluster: Cluster, space: SearchSpace) -> None:
    def measure(job: Job) -> dict[str, float]:
        if job.number in (0, 1):
            time.sleep(600)
        return {"accuracy_valid": float(job.number)}

    begun = time.monotonic()
    found = outcomes(on_cluster(measure, Engine(time_limit=2.0)), jobs(space, 6))
    assert time.monotonic() - begun < 60
    assert [number for number, outcome in sorted(found.items()) if outcome.error is not None] == [0, 1]
    assert "took longer than 2 s" in str(found[0].error)


def test_a_defect_ends_the_run(cluster: Cluster, space: SearchSpace) -> None:
    def measure(job: Job) -> dict[str, float]:
        return {"accuracy_valid": [0.5][job.number]}

    with pytest.raises(EvaluationError, match=r"evaluation 1 met a defect: .*index out of range"):
        outcomes(on_cluster(measure), jobs(space, 2))


def test_what_measures_is_read_once_by_each_worker(cluster: Cluster, space: SearchSpace, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def opened() -> Callable[[Job], dict[str, float]]:
        open(os.path.join(folder, str(os.getpid())), "a").write("x")  # noqa: SIM115 - short-lived
        return once_both_have_read

    def once_both_have_read(job: Job) -> dict[str, float]:
        until = time.monotonic() + 60
        while len(os.listdir(folder)) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        return {"accuracy_valid": float(job.number)}

    class Measure:
        def __reduce__(self) -> tuple[Any, ...]:
            return opened, ()

    outcomes(on_cluster(Measure()), jobs(space, 40))  # type: ignore[arg-type]  # becomes a function when read
    reads = [path.read_text() for path in tmp_path.iterdir()]
    assert reads == ["x", "x"]


def test_a_worker_without_the_plugin_is_named(cluster: Cluster, space: SearchSpace) -> None:
    class Measure:
        def __reduce__(self) -> tuple[Any, ...]:
            return __import__, ("somebodys_plugin",)

    with pytest.raises(EvaluationError, match=r"No module named 'somebodys_plugin'.*install the same packages"):
        outcomes(on_cluster(Measure()), jobs(space, 2))  # type: ignore[arg-type]  # cannot be read


def test_workers_of_another_version_are_named(
    cluster: Cluster, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = on_ray.worker_versions()
    monkeypatch.setattr(on_ray, "worker_versions", lambda: {**versions, "nasforge": "0.0.7"})
    with pytest.raises(EvaluationError, match=r"nasforge .* \(the driver has 0.0.7\)"):
        outcomes(on_cluster(lambda job: {"accuracy_valid": 1.0}), jobs(space, 2))


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (Engine(cpus=64), "64 of CPU, but no node of the cluster has more than 2; lower engine.cpus"),
        (Engine(gpus=1), "1 of GPU, but no node of the cluster has more than 0; lower engine.gpus"),
        (Engine(resources={"fpga": 1}), "1 of fpga, .* more than 0; lower engine.resources.fpga"),
    ],
)
def test_what_no_node_can_give_is_refused_at_once(cluster: Cluster, engine: Engine, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        on_cluster(lambda job: {}, engine)


@pytest.mark.parametrize(
    ("engine", "found"),
    [(Engine(), 4), (Engine(cpus=2), 2), (Engine(cpus=0.5), 8), (Engine(resources={"target_cpu": 1}), 1)],
)
def test_a_cluster_has_room_for_what_its_nodes_have_room_for(cluster: Cluster, engine: Engine, found: int) -> None:
    assert room(engine) == found


def test_a_node_that_is_lost_loses_no_evaluation(cluster: Cluster, space: SearchSpace) -> None:
    def measure(job: Job) -> dict[str, float]:
        time.sleep(0.4)
        return {
            "accuracy_valid": float(job.number),
            "node": float(int(ray.get_runtime_context().get_node_id()[:8], 16)),
        }

    lost = cluster.add_node(num_cpus=2)
    executor = RayExecutor(measure, 6, Engine(retries=4), lambda sentence: None)
    work, found = jobs(space, 30), []
    with contextlib.closing(executor):
        for job in work[:6]:
            executor.submit(job)
        for done, job in enumerate([*work[6:], *[None] * 6]):
            found.append(executor.wait())
            if done == 12:
                assert len({outcome.metrics["node"] for outcome in found}) == 3
                cluster.remove_node(lost, allow_graceful=False)
            if job is not None:
                executor.submit(job)
    assert sorted(outcome.number for outcome in found) == list(range(30))
    assert all(outcome.error is None for outcome in found)


def fake_target(seconds: float) -> Target:
    class Fake(Target):
        name = "cpu"

        def available(self) -> str | None:
            return None

        def predictor(self, space: SearchSpace, progress: Any = None) -> LatencyPredictor:
            return LatencyPredictor(space.cost("macs"), ray.get_runtime_context().get_node_id(), "")

        def measure_many(self, paths: Any, progress: Any = None) -> list[Measurement]:
            if paths[0].read_bytes() == b"bad":
                raise TargetError("the file cannot be run.")
            begun = time.time()
            time.sleep(seconds)
            return [Measurement(float(len(p.read_bytes())), begun, time.time(), 1, 0.0, "fake") for p in paths]

        def measure_beside(self, path: Any, float_file: Any) -> tuple[Measurement, Measurement | None]:
            return tuple(self.measure_many([path, float_file]))  # type: ignore[return-value]  # two of them

    return Fake()


def test_latency_is_measured_on_the_labelled_node_and_beside_nothing_else(
    cluster: Cluster, space: SearchSpace, tmp_path: Path
) -> None:
    target = RemoteTarget(fake_target(0.5), "target_cpu", lambda sentence: None)
    (node,) = [each["NodeID"] for each in ray.nodes() if each["Alive"] and "target_cpu" in each["Resources"]]
    assert target.predictor(space).source == node

    @ray.remote(num_cpus=1, resources={"target_cpu": 0.001})
    def neighbour() -> tuple[float, float]:
        begun = time.time()
        time.sleep(1.5)
        return begun, time.time()

    reference = neighbour.remote()
    time.sleep(0.3)
    (tmp_path / "a.onnx").write_bytes(b"12345")
    (tmp_path / "b.onnx").write_bytes(b"123")
    measured = target.measure_many([tmp_path / "a.onnx", tmp_path / "b.onnx"])
    assert [each.latency_ms for each in measured] == [5.0, 3.0]
    rounded, exact = target.measure_beside(tmp_path / "b.onnx", tmp_path / "a.onnx")
    assert exact is not None
    assert (rounded.latency_ms, exact.latency_ms) == (3.0, 5.0)
    begun, ended = ray.get(reference)
    assert measured[0].p10_ms >= ended or measured[0].median_ms <= begun


def test_an_error_of_the_remote_target_is_the_targets_own(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"bad")
    with pytest.raises(TargetError, match=r"^the file cannot be run\.$"):
        RemoteTarget(fake_target(0.0), "target_cpu", lambda sentence: None).measure(tmp_path / "a.onnx")


def test_a_label_that_no_node_has_is_refused(cluster: Cluster) -> None:
    with pytest.raises(UsageError, match="no node of the cluster has the resource 'target_fpga'"):
        RemoteTarget(fake_target(0.0), "target_fpga", lambda sentence: None)
