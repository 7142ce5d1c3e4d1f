"""One training of a truth table: what it depends on, carrying it out, and the small file that keeps it.

The file's name is a fingerprint of everything that the training depends on, so a table that was stopped, or that is
made again with more seeds or a larger sample in the same folder, trains only what is new.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from nasforge.errors import DivergedError
from nasforge.evaluate.tabular import Decisions
from nasforge.evaluate.truth_table import MEASURED
from nasforge.identity import fingerprint
from nasforge.rng import integer_seed
from nasforge.run.atomic import PART, folder_error
from nasforge.space import SearchSpace
from nasforge.tasks import DataSource, Task
from nasforge.training import TrainConfig


@final
@dataclass(frozen=True, slots=True)
class Lone:
    """A network to be trained alone with a seed."""

    decisions: Decisions
    network_id: str
    seed: int


Result = Mapping[str, Any]
"""Metrics of `MEASURED`, or the `error` of a training that diverged."""


@final
@dataclass(frozen=True)
class Trainings:
    """Trains networks of a space and keeps what comes out.

    Attributes:
        space: of the networks.
        source: with its test split open; training sees a sealed one.
        task: gives loss and metrics.
        config: how each is trained.
        folder: of the small files.
        data: a fingerprint of the images and labels.
    """

    space: SearchSpace
    source: DataSource
    task: Task
    config: TrainConfig
    folder: Path
    data: str

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What every training depends on, as plain data."""
        return {
            "nasforge": version("nasforge"),
            "space": self.space.fingerprint,
            "data": self.data,
            "training": asdict(self.config),
        }

    def identity(self, lone: Lone) -> dict[str, Any]:
        """Return everything that a training depends on, as plain data."""
        return {**self.shared, "decisions": list(lone.decisions), "network_id": lone.network_id, "seed": lone.seed}

    def run(self, lone: Lone) -> Result:
        """Train a network, judge it on test and on valid, and keep that.

        Raises:
            RunFolderError: it cannot be kept.
        """
        from nasforge.build import build_network
        from nasforge.training import evaluate, train

        architecture = self.space.from_decisions(lone.decisions)
        network = build_network(self.space.lower(architecture), seed=integer_seed(lone.seed, "weights"))
        begun = time.perf_counter()
        try:
            train(network, self.source.sealed(), self.task, self.config, lone.seed)
            seconds = time.perf_counter() - begun
            test, valid = (evaluate(network, self.source, self.task, split) for split in ("test", "valid"))
            found: dict[str, Any] = {
                **test,
                **{f"{name}_valid": value for name, value in valid.items()},
                "train_seconds": seconds,
            }
        except DivergedError as error:
            found = {"error": str(error), "train_seconds": time.perf_counter() - begun}
        self._write(lone, found)
        return found

    def read(self, lone: Lone) -> Result | None:
        """Return what was kept of a training; None where it was not done, or where its file is damaged."""
        try:
            content = json.loads(self._path(self.identity(lone)).read_text(encoding="utf-8"))["result"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return content if isinstance(content, dict) and _is_whole(content) else None

    def _path(self, identity: Mapping[str, Any]) -> Path:
        return self.folder / f"{fingerprint(identity, 32)}.json"

    def _write(self, lone: Lone, result: Result) -> None:
        identity = self.identity(lone)
        path = self._path(identity)
        part = self.folder / f"{PART}{os.getpid()}-{path.name}"
        try:
            part.write_text(json.dumps({**identity, "result": dict(result)}), encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise folder_error(path, error) from error


def _is_whole(content: Mapping[str, Any]) -> bool:
    """Say whether what was kept is a number for each metric, or the error and the seconds of what diverged."""
    numbers = ("train_seconds",) if isinstance(content.get("error"), str) else MEASURED
    return all(isinstance(content.get(name), int | float) for name in numbers)


def data_fingerprint(source: DataSource) -> str:
    """Return a hash of all images and labels, by split."""
    import hashlib

    digest = hashlib.sha256(repr((source.classes, source.flip, source.preprocessing)).encode())
    for name in sorted(source.splits):
        split = source.splits[name]
        digest.update(name.encode())
        digest.update(split.images.contiguous().numpy().tobytes())
        digest.update(split.labels.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
