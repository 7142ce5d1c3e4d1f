"""`make_truth`: a small space trained exhaustively, or a stated sample of it, with several seeds, in parallel.

Everything that could be refused is refused before the first training. The table is a function of what was asked for:
neither the number of processes nor an interruption changes it, but for the seconds.
"""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from nasforge import registry
from nasforge.bench.bench_folder import BenchFolder
from nasforge.bench.processes import spread
from nasforge.bench.truth.training import Lone, Result, Trainings, data_fingerprint
from nasforge.errors import UsageError
from nasforge.evaluate.truth_table import MEASURED, TruthTable
from nasforge.rng import generator
from nasforge.run.atomic import write_text
from nasforge.run.data import load_source
from nasforge.run.options import check_memory, make, make_space
from nasforge.run.plan import OWN_KEYS, RETRAIN_EPOCHS, check_training, training_config
from nasforge.run.progress import Listener, Silent
from nasforge.run.recipe import check_places
from nasforge.run.result import environment
from nasforge.run.setup import check_shapes
from nasforge.space import Architecture, SearchSpace
from nasforge.tasks import DataSource
from nasforge.training import TrainConfig
from nasforge.training.recipe import expanded

NETWORKS: Final = "networks"
FILE: Final = "truth.json"
MOST: Final = 20_000
"""Architectures of a space that is trained whole without being asked twice."""
ALL_CORES: Final = 0


@final
class TruthInterrupted(KeyboardInterrupt):
    """The making of a truth table was stopped; `command` carries it on."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


@final
@dataclass(frozen=True)
class Asked:
    """What a truth table was asked for, as it is typed.

    Attributes:
        space: a name, or a space.
        data: a name, or a data source.
        space_options, training, data_options: as `nasforge train` takes them; `training` also `steps`.
        sample: so many networks, in the place of all.
        seeds: how many trainings of each, or their seeds.
        command: what made the table, in the place of the command of the terminal.
    """

    space: str | SearchSpace
    data: str | DataSource
    space_options: Mapping[str, Any]
    training: Mapping[str, Any]
    data_options: Mapping[str, Any]
    sample: int | None
    seeds: int | Sequence[int]
    command: str | None = None

    def text(self, workers: int = ALL_CORES, out: Path | None = None, table: str | Path | None = None) -> str:
        """Return the command."""
        if self.command is not None:
            return self.command
        if not isinstance(self.space, str) or not isinstance(self.data, str):
            return shlex.join(["python", _from_here(sys.argv[0]), *sys.argv[1:]])
        groups = {"space": self.space_options, "training": self.training, "data_options": self.data_options}
        given = [f"{group}.{key}={_written(value)}" for group, part in groups.items() for key, value in part.items()]
        named = {
            "data": self.data,
            "sample": self.sample,
            "seeds": self.seeds if isinstance(self.seeds, int) else ",".join(map(str, self.seeds)),
            "workers": workers or None,
            "out": out,
            "table": table,
        }
        options = [part for key, value in named.items() if value is not None for part in (f"--{key}", str(value))]
        return shlex.join(["nasforge", "bench", "--truth", self.space, *given, *options])


def _from_here(path: str) -> str:
    found = Path(path)
    return str(found.resolve().relative_to(Path.cwd())) if found.resolve().is_relative_to(Path.cwd()) else found.name


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return {"True": "true", "False": "false", "None": "null"}.get(str(value), str(value))


def make_truth(
    space: str | SearchSpace,
    data: str | DataSource = "digits",
    *,
    space_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    sample: int | None = None,
    seeds: int | Sequence[int] = 2,
    workers: int = ALL_CORES,
    out: str | Path | None = None,
    table: str | Path | None = None,
    command: str | None = None,
    listener: Listener | None = None,
) -> TruthTable:
    """Train the networks of a space alone, each with every seed, and write the table.

    Networks that `out` holds already are not trained again, so the same call carries on what was interrupted; two
    architectures of one `network_id` are trained once.

    Args:
        space: a name, or a search space made for the data; only a named one can be searched as a suite.
        data: `name` or `name:argument`, or a data source.
        space_options: of a named space.
        training: fields of the training configuration, `recipe`, and `steps` in the place of `epochs`.
        data_options: size, classes, limit, ...
        sample: train so many networks, drawn uniformly over architectures; all without.
        seeds: how many trainings of each network, or their seeds; of weights and batches, never of the data.
        workers: processes; 0 stands for one on every core.
        out: folder, which keeps every training; a new one below `benches` without.
        table: where the table is written; `truth.json` in the folder without.
        command: recorded as what made the table, in the place of the command of this process.
        listener: hears of progress.

    Raises:
        UsageError: something asked for does not exist or does not fit.
        IncompatibleError: the training asks for what the space has no place for.
        RunFolderError: the folder is in use, or holds something else.
        TruthInterrupted: it was stopped; it can be carried on.
    """
    asked = Asked(space, data, space_options or {}, training or {}, data_options or {}, sample, seeds, command)
    told = listener or Silent()
    order = _order(asked)
    processes = _workers(workers)
    with BenchFolder(out, NETWORKS) as folder:
        told.opened(folder.path)
        told.note(order.said())
        try:
            made = order.carried_out(folder, processes, told)
        except KeyboardInterrupt:
            raise TruthInterrupted(asked.text(workers, folder.path, table)) from None
        made = replace(made, about={**made.about, "command": asked.text(table=table)})
        write_text(folder.path / FILE, made.to_text())
        if table is not None:
            write_text(table, made.to_text())
        return made


@final
@dataclass(frozen=True)
class Order:
    """A truth table that can be made."""

    asked: Asked
    space: SearchSpace
    source: DataSource
    config: TrainConfig
    architectures: tuple[Architecture, ...]
    network_ids: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def lone(self) -> list[Lone]:
        """The trainings, seed by seed, so that what is interrupted has something of every network."""
        first: dict[str, Architecture] = {}
        for architecture, network in zip(self.architectures, self.network_ids, strict=True):
            first.setdefault(network, architecture)
        return [Lone(each.decisions, network, seed) for seed in self.seeds for network, each in first.items()]

    def said(self) -> str:
        """Return how much there is to do, in a sentence."""
        networks = len(set(self.network_ids))
        return (
            f"{len(self.architectures):,} architectures of space '{self.space.name}', {networks:,} networks, "
            f"{len(self.seeds)} seeds: {networks * len(self.seeds):,} trainings."
        )

    def carried_out(self, folder: BenchFolder, workers: int, told: Listener) -> TruthTable:
        """Train what is not kept yet; return the table."""
        task = make(registry.load("tasks", "classification"), {}, "option of task 'classification'")
        work = Trainings(self.space, self.source, task, self.config, folder.tasks, data_fingerprint(self.source))
        lone = self.lone
        found = {each: kept for each in lone if (kept := work.read(each)) is not None}
        left = [each for each in lone if each not in found]
        told.stage("trainings", float(len(lone)))
        told.progress(float(len(found)), {})
        begun, before = time.monotonic(), len(found)
        for each, result in spread(work, left, workers, together=1):
            found[each] = result
            rate = (time.monotonic() - begun) / (len(found) - before)
            accuracy = {"accuracy": result["accuracy"]} if "accuracy" in result else {}
            told.progress(float(len(found)), {**accuracy, "minutes_left": rate * (len(lone) - len(found)) / 60})
        return self._table(found, work.data)

    def _table(self, found: Mapping[Lone, Result], data: str) -> TruthTable:
        by_network = {(each.network_id, each.seed): result for each, result in found.items()}
        measured = {
            name: np.asarray(
                [
                    [by_network[network, seed].get(name, math.nan) for seed in self.seeds]
                    for network in self.network_ids
                ],
                dtype=float,
            )
            for name in MEASURED
        }
        return TruthTable(
            {**self._about(data), "seconds": round(math.fsum(each["train_seconds"] for each in found.values()), 1)},
            tuple(each.decisions for each in self.architectures),
            self.network_ids,
            np.asarray([self.space.params(each) for each in self.architectures], dtype=np.int64),
            np.asarray([self.space.macs(each) for each in self.architectures], dtype=np.int64),
            measured,
        )

    def _about(self, data: str) -> dict[str, Any]:
        """Return where the figures come from."""
        asked, named = self.asked, isinstance(self.asked.space, str)
        return {
            "space": {
                "name": asked.space if named else self.space.name,
                "options": dict(asked.space_options) if named else None,
                "fingerprint": self.space.fingerprint,
                "size": self.space.size,
                "input_shape": list(self.source.input_shape),
                "classes": len(self.source.classes),
            },
            "data": {
                "name": asked.data if isinstance(asked.data, str) else self.source.name,
                "options": dict(asked.data_options),
                "images": {name: len(self.source.splits[name]) for name in ("train", "valid", "test")},
                "fingerprint": data,
            },
            "training": asdict(self.config),
            "seeds": list(self.seeds),
            "sample": asked.sample,
            "networks": len(set(self.network_ids)),
            "nasforge": version("nasforge"),
            "created": datetime.now(tz=UTC).isoformat(timespec="seconds"),
            "environment": environment(),
        }


def _order(asked: Asked) -> Order:
    """Return the order, everything checked.

    Raises:
        UsageError: see `make_truth`.
    """
    seeds = _seeds(asked.seeds)
    settings = _settings(asked.training)
    source = load_source(asked.data, asked.data_options, 0) if isinstance(asked.data, str) else asked.data
    config = _config(settings, len(source.split("train")))
    if isinstance(asked.space, str):
        space = make_space(asked.space, asked.space_options, source.input_shape, len(source.classes))
    elif asked.space_options:
        raise UsageError("space options were given with a space made in Python; make it with them instead.")
    else:
        space = asked.space
    check_shapes(space, source)
    check_places(config, space)
    architectures, network_ids = _chosen(space, asked.sample)
    check_memory((f"a network of space '{space.name}'", space.params(each)) for each in architectures[:64])
    return Order(asked, space, source, config, architectures, network_ids, seeds)


def _settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training settings, a recipe written out.

    Raises:
        UsageError: one that lone trainings know nothing of, or both lengths.
    """
    settings = expanded(training)
    for key in OWN_KEYS:
        if key in settings:
            raise UsageError(
                f"training.{key} was given, and networks of a truth table are trained alone; leave it out."
            )
    if "steps" in settings and "epochs" in training:
        raise UsageError("training.steps and training.epochs were given; give one.")
    steps = settings.get("steps", 1)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"training.steps was given {steps!r}; expected a whole number above zero.")
    check_training({key: value for key, value in settings.items() if key != "steps"})
    return settings


def _config(settings: Mapping[str, Any], images: int) -> TrainConfig:
    """Return the training configuration; a number of steps becomes the epochs that give just that many."""
    kept = {key: value for key, value in settings.items() if key != "steps"}
    config = training_config(kept, float(kept.get("epochs") or RETRAIN_EPOCHS))
    if "steps" not in settings:
        return config
    return replace(config, epochs=(settings["steps"] - 0.5) / max(1, images // config.batch_size))


def _chosen(space: SearchSpace, sample: int | None) -> tuple[tuple[Architecture, ...], tuple[str, ...]]:
    """Return all architectures with their network ids, or a sample of different networks.

    Raises:
        UsageError: a space too large to be trained whole, or too small for the sample.
    """
    if sample is None:
        if space.size > MOST:
            raise UsageError(
                f"space '{space.name}' has {space.size:,} architectures, too many to train them all; give a sample, "
                "as in --sample 200, or make the space smaller by its options."
            )
        found = tuple(space.enumerate())
        return found, tuple(space.network_id(each) for each in found)
    if sample < 1 or sample > space.size:
        raise UsageError(f"sample was given {sample}; expected from 1 to {space.size:,}, the size of '{space.name}'.")
    rng, drawn = generator(0, "truth"), dict[str, Architecture]()
    for _ in range(100 * sample):
        architecture = space.sample_uniform(rng)
        drawn.setdefault(space.network_id(architecture), architecture)
        if len(drawn) == sample:
            return tuple(drawn.values()), tuple(drawn)
    raise UsageError(
        f"sample was given {sample}, and space '{space.name}' has hardly more than {len(drawn)} different networks; "
        "give fewer, or train them all."
    )


def _seeds(given: int | Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(range(given)) if isinstance(given, int) else tuple(given)
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise UsageError(f"seeds was given {given}; expected at least one, and each once.")
    return numbers


def _workers(given: int) -> int:
    if given < 0:
        raise UsageError(f"workers was given {given}; expected at least one, or 0 for all cores.")
    if given != ALL_CORES:
        return given
    from joblib import cpu_count

    return int(cpu_count())
