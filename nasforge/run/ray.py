"""Evaluations on Ray: connecting, checking that what an evaluation declares can be had, and the executor.

Workers are actors that evaluate one job after the other; Ray places them where there is room. One that dies, or whose
node does, is replaced, and its job is given to another. What measures a job (weights and data in it) is put into the
object store once, and read once by each worker.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, final

import ray
from ray import cloudpickle, exceptions

from nasforge.errors import EvaluationError, UsageError
from nasforge.run.engine import Engine
from nasforge.run.local import Evaluate, Job, Outcome, run_job

NAMESPACE: Final = "nasforge"
REACH_SECONDS: Final = 5.0
NOTE_SECONDS: Final = 60.0
SPARE: Final = 20
"""How many workers may die before they are ready until something must be wrong with them all."""
Note = Callable[[str], None]


@contextmanager
def connected(engine: Engine, workers: int) -> Iterator[None]:
    """Connect to the cluster of the engine, or start Ray on this machine; a connection that was there stays.

    Raises:
        UsageError: no Ray at the address, or one of another version.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "namespace": NAMESPACE}
    if engine.address is None:
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # it is this machine's own
        processors = max(os.cpu_count() or 1, math.ceil(workers * engine.cpus))
        ray.init(address="local", num_cpus=processors, include_dashboard=False, **quiet)
    else:
        _reach(engine.address)
        try:
            ray.init(address=engine.address, **quiet)
        except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"Ray at '{engine.address}' cannot be used ({_first_line(error)}); start it with `ray start --head`, "
                "with the same versions of Python and Ray there and here, or give the address that it printed."
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Try the port of an address, for Ray itself tries for a long time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in ("auto", "local") or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"nothing answers at '{address}' ({_first_line(error)}); start Ray there with `ray start --head`, or give "
            "the address that it printed."
        ) from error


def check_resources(engine: Engine) -> None:
    """Refuse what no node of the cluster could ever give to one evaluation.

    Raises:
        UsageError: names what is asked for and the most that a node has.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # ray has no types here
    wanted = demanded(engine)
    if any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in nodes):
        return
    for name, amount in wanted.items():
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if most < amount:
            raise UsageError(
                f"an evaluation asks for {amount:g} of {name}, but no node of the cluster has more than {most:g}; "
                f"lower {_setting(name)}, or start a node that has it."
            )
    raise UsageError(
        f"an evaluation asks for {wanted} on one node, but no node of the cluster has all of it; lower engine.cpus, "
        "engine.gpus or engine.resources."
    )


def room(engine: Engine) -> int:
    """Return how many evaluations the nodes of the cluster have room for, at least one.

    Raises:
        UsageError: for none.
    """
    check_resources(engine)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # as above
    wanted = demanded(engine)
    if not wanted:
        return len(nodes)
    return sum(min(int(node.get(name, 0.0) // amount) for name, amount in wanted.items()) for node in nodes)


def demanded(engine: Engine) -> dict[str, float]:
    """Return what an evaluation asks for, by Ray's name of the resource."""
    wanted = {"CPU": engine.cpus, "GPU": engine.gpus, **engine.resources}
    return {name: amount for name, amount in wanted.items() if amount > 0}


def _setting(resource: str) -> str:
    return {"CPU": "engine.cpus", "GPU": "engine.gpus"}.get(resource, f"engine.resources.{resource}")


@final
class Evaluator:
    """What runs in a worker: an actor that measures jobs."""

    def __init__(self) -> None:
        """Start empty; what measures comes with `ready`, which can say why it does not."""
        self._evaluate: Evaluate | None = None

    def ready(self, measure: list[Any], versions: Mapping[str, str]) -> str | None:
        """Take what measures from the object store; return the sentence that says why not."""
        from nasforge.training.processor import prepare_processor

        prepare_processor()
        here = worker_versions()
        different = [
            f"{name} {here[name]} (the driver has {versions[name]})" for name in here if here[name] != versions[name]
        ]
        if different:
            return f"has {', '.join(different)}; install the same versions everywhere."
        try:
            self._evaluate = cloudpickle.loads(ray.get(measure[0]))
        except (ImportError, AttributeError) as error:
            return f"cannot load what measures ({_first_line(error)}); install the same packages on every node."
        return None

    def run(self, job: Job) -> Outcome:
        """Measure a job."""
        assert self._evaluate is not None, "ready is called first"
        return run_job(self._evaluate, job)


def worker_versions() -> dict[str, str]:
    """Return the versions that must be equal in driver and workers."""
    return {name: version(name) for name in ("nasforge", "torch", "numpy")}


@final
@dataclass(eq=False, slots=True)
class Worker:
    """An actor as the driver sees it: how many jobs it takes at a time, and those it has."""

    actor: Any
    capacity: int
    jobs: dict[int, float] = field(default_factory=dict)
    ready: bool = False


@final
class RayExecutor:
    """Evaluates on Ray; implements `nasforge.run.local.Executor`.

    Args:
        measure: measures a job; sent to the workers.
        slots: evaluations at a time.
        engine: what each asks for, how often it is tried again, and for how long.
        note: hears what a person should know.
        actor: class of the workers, with the methods of `Evaluator`.
        capacity: jobs that a worker takes at a time.

    Raises:
        UsageError: no node could ever run an evaluation.
    """

    def __init__(
        self, measure: Any, slots: int, engine: Engine, note: Note, actor: type = Evaluator, capacity: int = 1
    ) -> None:
        """Ask Ray for the workers; they start while the driver goes on."""
        check_resources(engine)
        self.slots = slots
        self._engine, self._note = engine, note
        content = cloudpickle.dumps(measure)  # type: ignore[no-untyped-call]  # as above
        self._given = ([ray.put(content)], worker_versions())
        self._events: queue.SimpleQueue[tuple[Worker, int | None, Any]] = queue.SimpleQueue()
        self._queued: deque[Job] = deque()
        self._jobs: dict[int, Job] = {}
        self._tries: Counter[int] = Counter()
        resources = {name: amount for name, amount in demanded(engine).items() if name not in ("CPU", "GPU")}
        self._class: Any = ray.remote(actor).options(
            num_cpus=engine.cpus,
            num_gpus=engine.gpus,
            resources=resources,
            max_restarts=0,
            max_concurrency=capacity,
        )
        self._capacity = capacity
        self._workers: list[Worker] = []
        self._spare = SPARE
        for _ in range(math.ceil(slots / capacity)):
            self._start_worker()

    def _start_worker(self) -> None:
        worker = Worker(self._class.remote(), self._capacity)
        self._workers.append(worker)
        self._when_done(worker.actor.ready.remote(*self._given), worker, None)

    def _when_done(self, reference: Any, worker: Worker, number: int | None) -> None:
        reference.future().add_done_callback(lambda done: self._events.put((worker, number, done)))

    def submit(self, job: Job) -> None:
        """Take a job; it starts as soon as a worker is free."""
        self._jobs[job.number] = job
        self._queued.append(job)
        self._hand_out()

    def _hand_out(self) -> None:
        for worker in self._workers:
            while self._queued and worker.ready and len(worker.jobs) < worker.capacity:
                job = self._queued.popleft()
                worker.jobs[job.number] = time.monotonic()
                self._when_done(worker.actor.run.remote(job), worker, job.number)

    def wait(self) -> Outcome:
        """Return the next outcome.

        Raises:
            EvaluationError: no worker can run what is to be evaluated, or an evaluation met a defect.
        """
        asked = time.monotonic()
        while True:
            try:
                worker, number, done = self._events.get(timeout=self._patience(asked))
            except queue.Empty:
                outcome = self._overdue()
                if outcome is not None:
                    return outcome
                if time.monotonic() - asked >= NOTE_SECONDS:
                    self._say_what_is_missing()
                    asked = time.monotonic()
                continue
            if worker not in self._workers:
                continue  # it was replaced
            if number is None:
                self._welcome(worker, done)
                continue
            outcome = self._outcome(worker, number, done)
            self._hand_out()
            if outcome is not None:
                del self._jobs[number]
                return outcome

    def _welcome(self, worker: Worker, done: Any) -> None:
        error = done.exception()
        if isinstance(error, exceptions.ActorDiedError | exceptions.ActorUnavailableError) and self._spare > 0:
            self._spare -= 1
            self._replace(worker)
            return
        reason = done.result() if error is None else f"could not be started ({_first_line(error)})."
        if reason is not None:
            raise EvaluationError(f"a worker {reason}")
        worker.ready = True
        self._hand_out()

    def _outcome(self, worker: Worker, number: int, done: Any) -> Outcome | None:
        """Return what came of a job; None where its worker died and it waits for another."""
        begun, error = worker.jobs.pop(number), done.exception()
        if error is None:
            outcome: Outcome = done.result()
            return outcome
        if isinstance(error, exceptions.RayTaskError):
            raise EvaluationError(f"evaluation {number} met a defect: {_first_line(error.cause or error)}.") from error
        self._replace(worker)
        self._tries[number] += 1
        if self._tries[number] <= self._engine.retries:
            self._queued.appendleft(self._jobs[number])
            return None
        tries = f"{self._tries[number]} time{'s' * (self._tries[number] > 1)}"
        sentence = f"the worker of evaluation {number} died {tries} ({type(error).__name__})."
        return Outcome(number, {}, sentence, time.monotonic() - begun)

    def _replace(self, worker: Worker) -> None:
        """Start another worker in the place of one; jobs that it still has are given out again."""
        with contextlib.suppress(exceptions.RayError):
            ray.kill(worker.actor)
        self._workers.remove(worker)
        self._queued.extendleft(self._jobs[number] for number in worker.jobs)
        self._start_worker()

    def _patience(self, asked: float) -> float:
        """Return for how long to wait for an event before looking at the clock."""
        now = time.monotonic()
        ends = [asked + NOTE_SECONDS]
        if self._engine.time_limit is not None:
            ends += [begun + self._engine.time_limit for each in self._workers for begun in each.jobs.values()]
        return max(0.01, min(ends) - now)

    def _overdue(self) -> Outcome | None:
        """Stop a worker whose job takes longer than allowed, and start another in its place."""
        limit, now = self._engine.time_limit, time.monotonic()
        if limit is None:
            return None
        for worker in self._workers:
            for number, begun in worker.jobs.items():
                if now - begun >= limit:
                    del worker.jobs[number]
                    self._replace(worker)
                    del self._jobs[number]
                    return Outcome(number, {}, f"evaluation {number} took longer than {limit:g} s.", now - begun)
        return None

    def _say_what_is_missing(self) -> None:
        ready = sum(each.ready for each in self._workers)
        if self._queued and ready < len(self._workers):
            cluster = ray.available_resources()  # type: ignore[no-untyped-call]  # ray has no types here
            free = {name: cluster.get(name, 0.0) for name in demanded(self._engine)}
            self._note(
                f"{ready} of {len(self._workers)} workers run; the others wait for {demanded(self._engine)}, of which "
                f"the cluster has {free} free."
            )

    def close(self) -> None:
        """Stop the workers, so that what they hold is free."""
        for worker in self._workers:
            with contextlib.suppress(exceptions.RayError):
                ray.kill(worker.actor)
        self._workers.clear()


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0].rstrip(".") if text else type(error).__name__
