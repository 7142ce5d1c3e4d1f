"""A truth table that can be made: everything checked before the first training, then carried out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final, final

import numpy as np

from nasforge import registry
from nasforge.bench.bench_folder import BenchFolder
from nasforge.bench.processes import spread
from nasforge.bench.truth.asked import Asked
from nasforge.bench.truth.training import Lone, Result, Trainings, data_fingerprint
from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.evaluate.truth_table import MEASURED, TruthTable
from nasforge.rng import generator
from nasforge.run.data import load_source
from nasforge.run.options import check_memory, make, make_space
from nasforge.run.plan import OWN_KEYS, RETRAIN_EPOCHS, check_training, training_config
from nasforge.run.progress import Listener
from nasforge.run.recipe import check_places
from nasforge.run.result import environment
from nasforge.run.setup import check_shapes
from nasforge.space import Architecture, SearchSpace
from nasforge.tasks import DataSource
from nasforge.training import TrainConfig
from nasforge.training.recipe import expanded

MOST: Final = 20_000
"""Architectures of a space that is trained whole without being asked twice."""


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
            "sample": asked.sample if asked.architectures is None else "a list that the command made",
            "networks": len(set(self.network_ids)),
            "nasforge": version("nasforge"),
            "created": datetime.now(tz=UTC).isoformat(timespec="seconds"),
            "environment": environment(),
        }


def order_of(asked: Asked) -> Order:
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
    architectures, network_ids = _chosen(space, asked)
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
    known = {"steps", "recipe", *(part.name for part in fields(TrainConfig))}
    for key in settings:
        if key not in known:
            raise UsageError(unknown_name_sentence("option of training", str(key), known))
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


def _chosen(space: SearchSpace, asked: Asked) -> tuple[tuple[Architecture, ...], tuple[str, ...]]:
    """Return all architectures with their network ids, those that are given, or a sample of different networks.

    Raises:
        UsageError: a space too large to be trained whole, or too small for the sample; none, or one twice, was given.
        ArchitectureError: one that was given is of another space.
    """
    sample, listed = asked.sample, asked.architectures
    if listed is not None:
        if sample is not None or not listed or len(set(listed)) < len(listed):
            raise UsageError(
                f"{len(listed)} architectures were given{'' if sample is None else ' and a sample too'}; expected at "
                "least one, each once, and no sample."
            )
        return listed, tuple(space.network_id(space.validated(each)) for each in listed)
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
