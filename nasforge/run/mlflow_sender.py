"""The thread that speaks with MLflow, and the buffer between it and the run.

The buffer is bounded: where a server stays away for long, the oldest figures are dropped and counted. What a run had
sent before it was killed is read back from MLflow when it is resumed, so nothing is sent twice.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import urlsplit

from nasforge.run.folder import redact

KEPT: Final = 200_000
BATCH: Final = 1000
PARAMS: Final = 100
SEND_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 60.0
REACH_SECONDS: Final = 5.0
KEY: Final = "nasforge.key"


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Which run of which experiment, and what is said about it at once.

    Attributes:
        uri: of the tracking store.
        experiment: its name.
        name: of the run.
        key: by which the run is found again whose id could not be noted.
        params: the settings.
        tags: of the run.
    """

    uri: str
    experiment: str
    name: str
    key: str
    params: Mapping[str, str]
    tags: Mapping[str, str]


@final
@dataclass(frozen=True, slots=True)
class Figure:
    """One value of one step, and when it was heard."""

    key: str
    value: float
    step: int
    milliseconds: int


@final
@dataclass(slots=True)
class Buffer:
    """What is to be sent; filled by the run, emptied by the thread."""

    _figures: deque[Figure] = field(default_factory=deque)
    _dropped: int = 0
    _ends: list[tuple[str, Mapping[str, str], Sequence[Path]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, values: Mapping[str, float], step: int) -> None:
        """Add the finite values of a step."""
        now = int(time.time() * 1000)
        with self._lock:
            self._figures.extend(Figure(key, value, step, now) for key, value in values.items() if math.isfinite(value))
            while len(self._figures) > KEPT:
                self._figures.popleft()
                self._dropped += 1

    def end(self, status: str, tags: Mapping[str, str], files: Sequence[Path] = ()) -> None:
        """Add how the run ended."""
        with self._lock:
            self._ends.append((status, tags, files))

    def batch(self) -> list[Figure]:
        """Return the oldest figures, which stay until `sent`."""
        with self._lock:
            return [self._figures[place] for place in range(min(BATCH, len(self._figures)))]

    def sent(self, batch: Sequence[Figure]) -> None:
        """Remove figures that were sent, where they were not dropped meanwhile."""
        gone = set(map(id, batch))
        with self._lock:
            while self._figures and id(self._figures[0]) in gone:
                self._figures.popleft()

    def ending(self) -> tuple[str, Mapping[str, str], Sequence[Path]] | None:
        """Return how the run ended, once it has."""
        with self._lock:
            return self._ends[-1] if self._ends else None

    def ended(self) -> None:
        """Forget the end, which was sent."""
        with self._lock:
            self._ends.clear()

    def left(self) -> str:
        """Say in words what was not sent; nothing where all was."""
        with self._lock:
            count = len(self._figures) + self._dropped
            parts = [f"{count} figures"] if count else []
            return " and ".join([*parts, "the end of the run"] if self._ends else parts)


@final
class Sender:
    """Sends a buffer once a second, from a thread of its own.

    Args:
        place: where to.
        buffer: what.
        keep: notes the id of the run, and that it has finished.
    """

    def __init__(self, place: Place, buffer: Buffer, keep: Callable[..., None]) -> None:
        """Import MLflow, which reads its environment."""
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # standard output is the result's
        from mlflow import MlflowClient

        for name in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.problem: str | None = None
        self._place, self._buffer, self._keep, self._make_client = place, buffer, keep, MlflowClient
        self._client: Any = None
        self._run_id = ""
        self._seen: dict[str, set[int]] = {}
        self._news: deque[str] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Let the thread send what is left, and wait so long for it."""
        self._stopping.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.problem = self.problem or f"no answer within {seconds:g} s"

    def news(self) -> str | None:
        """Return a sentence that nobody has heard yet."""
        return self._news.popleft() if self._news else None

    def _work(self) -> None:
        pause = SEND_SECONDS
        while True:
            last = self._stopping.wait(pause)
            try:
                self._send()
                self.problem, pause = None, SEND_SECONDS
            except Exception as error:  # noqa: BLE001 - whatever MLflow raises, the search goes on
                self._note(error)
                pause = min(RETRY_SECONDS, 2 * pause)
            if last:
                return

    def _note(self, error: Exception) -> None:
        first = self.problem is None and not self._news
        self.problem = redact(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        if first and not self._stopping.is_set():
            where = redact(self._place.uri)
            self._news.append(f"MLflow at {where} does not take the run ({self.problem}); it is tried again.")

    def _send(self) -> None:
        _reach(self._place.uri)
        if self._client is None:
            self._connect()
        from mlflow.entities import Metric

        while batch := self._buffer.batch():
            metrics = [
                Metric(_plain(each.key), each.value, each.milliseconds, each.step)
                for each in batch
                if each.step not in self._seen.get(_plain(each.key), ())
            ]
            if metrics:
                self._client.log_batch(self._run_id, metrics=metrics)
            self._buffer.sent(batch)
        ending = self._buffer.ending()
        if ending is not None:
            self._end(*ending)

    def _end(self, status: str, tags: Mapping[str, str], files: Sequence[Path]) -> None:
        self._tag(tags)
        for file in files:
            self._client.log_artifact(self._run_id, str(file))
        self._client.set_terminated(self._run_id, status)
        self._keep(finished=status == "FINISHED")
        self._buffer.ended()

    def _connect(self) -> None:
        client, place = self._make_client(self._place.uri), self._place
        experiment = client.get_experiment_by_name(place.experiment)
        number = client.create_experiment(place.experiment) if experiment is None else experiment.experiment_id
        run = self._known_run(client, number)
        if run is None:
            run = client.create_run(number, tags={KEY: place.key}, run_name=place.name)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
            self._seen = {
                key: {metric.step for metric in client.get_metric_history(run.info.run_id, key)}
                for key in run.data.metrics
            }
        self._run_id = run.info.run_id
        self._keep(run_id=self._run_id)
        self._client = client
        self._describe(run.data.params)

    def _known_run(self, client: Any, experiment: str) -> Any:
        """Return the run of this folder; None where there is none, or somebody deleted it."""
        found = client.search_runs([experiment], f"tags.`{KEY}` = '{self._place.key}'", max_results=1)
        return found[0] if found else None

    def _describe(self, known: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(_plain(key), value) for key, value in self._place.params.items() if _plain(key) not in known]
        for begin in range(0, len(params), PARAMS):
            self._client.log_batch(self._run_id, params=params[begin : begin + PARAMS])
        self._tag(self._place.tags)

    def _tag(self, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_tag(self._run_id, key, value)


def _reach(uri: str) -> None:
    """Fail at once where nobody answers at a server's address; MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=REACH_SECONDS).close()


def _plain(key: str) -> str:
    """Return a name that MLflow takes."""
    return re.sub(r"[^A-Za-z0-9_.\-/ ]", "_", key)
