"""Shared weights trained data-parallel on Ray Train: the same loop in every worker, the end state in the driver.

Ray starts the workers, as many as there are resources for, and starts them again from the newest checkpoint where one
is lost. The driver hears what the first worker tells through a small actor, and keeps nothing that a worker needs: it
may be killed, and goes on from the newest checkpoint when it is started again.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import ray
import ray.train
import ray.train.torch

from nasforge.errors import DivergedError, EvaluationError, NasforgeError, UsageError
from nasforge.run.atomic import folder_error, write_text
from nasforge.run.batch_length import workers_of
from nasforge.run.channel import Channel, Event
from nasforge.run.distributed import RankLostError, Ranks, check_paths_differ
from nasforge.run.engine import Engine
from nasforge.run.plan import Plan
from nasforge.run.progress import Listener, Silent
from nasforge.run.ray import check_resources, connected, demanded
from nasforge.run.remote import RemoteCheckpoints, folder_name, state_of, written
from nasforge.run.setup import Setup
from nasforge.run.shared_training import (
    CHECKPOINT_SECONDS,
    Save,
    SharedTraining,
    make_shared_training,
)

POLL_SECONDS: Final = 0.2
TELL_SECONDS: Final = 0.25
STOP_SECONDS: Final = 30.0  # after an interrupt, until the workers are given up
TIMEOUT_SECONDS: Final = 600  # of a collective
NAME: Final = "name"
ENVIRONMENT: Final = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_METRICS_ENABLED": "0"}


@final
@dataclass(frozen=True, slots=True)
class Work:
    """What every worker reads once, from the object store."""

    setup: Setup
    plan: Plan
    checkpoints: RemoteCheckpoints
    state: Mapping[str, Any]
    save_every: float


@final
class ChannelListener(Listener):
    """Tells the driver what the first worker says, a few times a second, and learns whether to stop."""

    def __init__(self, channel: Any, ranks: Ranks) -> None:
        """Take the actor, and whom to stop."""
        self._channel, self._ranks = channel, ranks
        self._events: list[Event] = []
        self._told = time.monotonic()
        self._answer: Any = None

    def stage(self, name: str, total: float | None) -> None:
        """Pass it on."""
        self._add("stage", name, total)

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """Pass it on; one that was not told yet is not worth telling any more."""
        self._events = [event for event in self._events if event[0] != "progress"]
        self._add("progress", done, dict(figures))

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Pass it on."""
        self._add("figures", part, step, dict(values))

    def note(self, sentence: str) -> None:
        """Pass it on."""
        self._add("note", sentence)

    def closed(self) -> None:
        """Tell the rest."""
        ray.get(self._channel.tell.remote(self._events))
        self._events = []

    def _add(self, event: str, *arguments: object) -> None:
        self._events.append((event, arguments))
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._ranks.stop = self._ranks.stop or ray.get(self._answer)
            self._answer = None
        if self._answer is None and time.monotonic() - self._told > TELL_SECONDS:
            self._answer = self._channel.tell.remote(self._events)
            self._events, self._told = [], time.monotonic()


def train_on_ray(
    setup: Setup,
    plan: Plan,
    training: SharedTraining,
    folder: Path,
    listener: Listener,
    save: Save,
    save_every: float = CHECKPOINT_SECONDS,
) -> None:
    """Train on as many workers as the engine says, from the training's state or the newest checkpoint.

    Args:
        setup: of the search.
        plan: how long to train.
        training: of the driver; its state is the end state afterwards.
        folder: where checkpoints go unless the engine names a place, and the name of the training.
        listener: hears of every step.
        save: takes the end state.
        save_every: seconds between two checkpoints.

    Raises:
        UsageError: the engine asks for what cannot be had.
        DivergedError: a loss was not finite.
        EvaluationError: workers were lost more often than the engine allows, or one failed.
    """
    engine, workers = setup.settings.engine, workers_of(setup.settings, setup.source)
    check_paths_differ(setup.strategy, setup.settings.strategy.name, engine.paths)
    checkpoints = checkpoints_of(engine, folder)
    with connected(engine, workers):
        check_resources(engine)
        checkpoints.tidy()
        stripped = dataclasses.replace(
            setup, open_source=setup.source, target=None, predictor=None, table=None, teacher=None
        )
        work = ray.put(Work(stripped, plan, checkpoints, training.state(), save_every))
        channel = ray.remote(num_cpus=0)(Channel).remote()
        trainer = ray.train.torch.TorchTrainer(
            work_in_team,
            train_loop_config={"work": [work], "channel": channel},
            torch_config=ray.train.torch.TorchConfig(timeout_s=TIMEOUT_SECONDS),
            scaling_config=scaling(engine, workers),
            run_config=run_config(engine, checkpoints),
        )
        with _environment(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Ray's use of its own options
            Fit(trainer).follow(channel, listener)
        content = checkpoints.newest(listener.note)
    if content is not None:
        training.load_state(state_of(content))
    if not training.done:
        raise EvaluationError("the training of shared weights ended before its last step; resume the run.")
    save("training", training.state())


def checkpoints_of(engine: Engine, folder: Path) -> RemoteCheckpoints:
    """Return the checkpoints of the training of a run; its name is drawn once, so that no other run has it."""
    file = folder / NAME
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, f"{folder.resolve().parent.name}-{uuid.uuid4().hex[:12]}")
    return RemoteCheckpoints(engine.checkpoints or str(folder.resolve()), file.read_text().strip())


def scaling(engine: Engine, workers: int) -> ray.train.ScalingConfig:
    """Return what Ray Train is asked for: from one worker to `workers`, each with the resources of an evaluation."""
    gpus = math.ceil(engine.gpus)
    resources = {**demanded(engine), **({"GPU": gpus} if gpus else {})}
    several: Any = (1, workers)  # from one to so many; Ray's types know the older configuration
    return ray.train.ScalingConfig(
        num_workers=several if workers > 1 else 1, use_gpu=gpus > 0, resources_per_worker=resources
    )


def run_config(engine: Engine, checkpoints: RemoteCheckpoints) -> ray.train.RunConfig:
    """Return where Ray Train keeps checkpoints, and how often it starts again."""
    filesystem = None
    if not checkpoints.is_local:
        import pyarrow.fs

        filesystem = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(checkpoints.filesystem))
    quiet: Any = {"logging_config": ray.train.LoggingConfig(log_level="ERROR")}
    return ray.train.RunConfig(
        name=checkpoints.name,
        storage_path=checkpoints.parent,
        storage_filesystem=filesystem,
        failure_config=ray.train.FailureConfig(max_failures=engine.retries),
        checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        **quiet,
    )


@final
class Fit:
    """A trainer that runs in a thread, so that this one may listen, and hear an interrupt."""

    def __init__(self, trainer: Any) -> None:
        """Take the trainer."""
        self._trainer = trainer
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ray-train", daemon=True)

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            self._error = error

    def follow(self, channel: Any, listener: Listener) -> None:
        """Run to the end, and pass on what the workers tell; an interrupt asks them to stop, a second one leaves them.

        Raises:
            NasforgeError: what failed.
            KeyboardInterrupt: after a checkpoint.
        """
        self._thread.start()
        interrupted = math.inf
        while self._thread.is_alive() and time.monotonic() - interrupted < STOP_SECONDS:
            try:
                self._thread.join(POLL_SECONDS)
                _pass_on(channel, listener)
            except KeyboardInterrupt:
                if interrupted < math.inf:
                    raise
                interrupted = time.monotonic()
                channel.stop.remote()
        failure = _pass_on(channel, listener)
        if failure is not None:
            raise failure
        if interrupted < math.inf:
            raise KeyboardInterrupt
        if self._error is not None:
            raise _lost(self._error) from self._error


def _pass_on(channel: Any, listener: Listener) -> NasforgeError | None:
    failure: NasforgeError | None
    events, failure = ray.get(channel.take.remote())
    for event, arguments in events:
        getattr(listener, event)(*arguments)
    return failure


def _lost(error: BaseException) -> NasforgeError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return EvaluationError(
        f"the training of shared weights on Ray failed ({type(error).__name__}: {' '.join(lines)[:400]}); what was "
        "trained is kept: resume the run, with a higher engine.retries where workers are lost often."
    )


@contextmanager
def _environment() -> Iterator[None]:
    """Set what Ray Train reads from the environment of the driver, unless it is set already."""
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def work_in_team(config: Mapping[str, Any]) -> None:
    """Train in one worker; what Ray Train runs in each.

    What all workers find together ends them; what one finds alone is told to the driver and ends the others through
    Ray. Both happen once: workers that are started again after it stop at once.
    """
    from nasforge.training.processor import prepare_processor

    prepare_processor()
    channel = config["channel"]
    try:
        _train(config["work"], channel)
    except RankLostError:
        raise
    except DivergedError as error:
        ray.get(channel.fail.remote(error))
    except Exception as error:
        ray.get(channel.fail.remote(_told(error)))
        raise


def _told(error: Exception) -> NasforgeError:
    """Return what the driver hears of an error."""
    if isinstance(error, NasforgeError):
        return error
    context = ray.train.get_context()
    where = f"worker {context.get_world_rank()} of the training of shared weights"
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if isinstance(error, ImportError | AttributeError):
        return UsageError(f"{where} cannot load it ({reason}); install the same packages on every node.")
    if isinstance(error, OSError):
        return folder_error(Path(context.get_storage().experiment_fs_path), error)
    return EvaluationError(f"{where} failed ({reason}).")


def _train(work: list[Any], channel: Any) -> None:
    device = str(ray.train.torch.get_device())
    given: Work = ray.get(work[0])
    engine = given.setup.settings.engine
    ranks = Ranks(engine.paths, device)
    if ranks.any(ray.get(channel.tell.remote([]))):
        return
    listener: Listener = ChannelListener(channel, ranks) if ranks.rank == 0 else Silent()
    training = make_shared_training(given.setup, given.plan, device, ranks)
    training.load_state(given.state)
    content = given.checkpoints.newest(listener.note) if ranks.rank == 0 else None
    content = ranks.given_by_first(content)
    if content is not None:
        state = state_of(content)
        if int(state["place"][2]) >= training.step:
            training.load_state(state)
    count = f"{ranks.size} worker{'s' * (ranks.size > 1)}"
    listener.note(f"shared weights are trained by {count} from step {training.step} on.")
    try:
        training.run(listener, _reporting(training, ranks, listener), given.save_every)
    finally:
        listener.closed()


def _reporting(training: SharedTraining, ranks: Ranks, listener: Listener) -> Callable[[str, dict[str, Any]], object]:
    """Return how workers save: the first tells what led there and writes, all wait until it is done."""

    def save(kind: str, state: dict[str, Any]) -> None:
        metrics = {"step": training.step}
        if ranks.rank:
            ray.train.report(metrics)
            return
        listener.closed()  # no step before a checkpoint is trained again, so none could be told again
        with written(state) as folder:
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics, checkpoint, checkpoint_dir_name=folder_name(state))

    return save
