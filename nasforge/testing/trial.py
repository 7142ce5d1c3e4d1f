"""Making and driving one strategy for its suite: by name, on a space, with metrics that cost nothing."""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.asking import Asking, drive
from nasforge.run.batches import BatchStream
from nasforge.run.checkpoint import Checkpoints
from nasforge.run.local import Job, LocalExecutor
from nasforge.run.options import make_strategy
from nasforge.run.pace import Pace
from nasforge.run.progress import Silent
from nasforge.run.shared_training import SharedTraining
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem, ScoreFilter, Strategy, WeightSharing
from nasforge.tasks import DataSource, Loader
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets import digits

Decisions = tuple[int, ...]


def pretended(job: Job) -> dict[str, float]:
    """Return an accuracy that depends on the decisions alone, without evaluating anything."""
    return {"accuracy_valid": zlib.crc32(repr(job.architecture.decisions).encode()) / 2**32}


def pretended_score(architectures: Sequence[Architecture]) -> np.ndarray:
    """Return a score, uniform in 0..1, that depends on the decisions alone; NaN for one architecture of eight."""
    found = [zlib.crc32(f"score {each.decisions}".encode()) for each in architectures]
    return np.asarray([np.nan if each % 8 == 0 else each / 2**32 for each in found])


@final
@dataclass(frozen=True)
class Trial:
    """A strategy by name and a space to search.

    Attributes:
        name: entry point of the strategy.
        options: it is made with.
        space: to search; takes 8 x 8 images of ten classes.
        evaluations: at most, in one search.
        steps: of training, for strategies that share weights.
    """

    name: str
    options: dict[str, Any]
    space: SearchSpace
    evaluations: int
    steps: int

    def make(self) -> Strategy:
        """Return a new strategy."""
        return make_strategy(self.name, self.options)

    def problem(self, constraints: tuple[Constraint, ...] = ()) -> Problem:
        """Return the problem of the space, with limits."""
        costs = {metric: self.space.cost(metric) for metric in ("params", "macs")}
        return Problem(self.space, constraints=constraints, costs=costs, budget=self.evaluations)

    def filtered(self, threshold: float = 0.5) -> Problem:
        """Return a problem with a filter that about half of all architectures pass."""
        known = {"pretended": pretended_score}
        return replace(self.problem(), scores=known, filter=ScoreFilter("pretended", threshold))

    def limited(self, seed: int) -> Problem:
        """Return a problem with limits that some random architecture meets exactly; every third time, the smallest."""
        rng = generator(seed, "limits")
        problem = self.problem()
        witness = self.space.smallest() if seed % 3 == 2 else self.space.sample(rng)
        chosen = list(problem.costs) if rng.random() < 0.5 else [str(rng.choice(list(problem.costs)))]
        bounds = tuple(Constraint(metric, problem.costs[metric](witness)) for metric in chosen)
        return replace(problem, constraints=bounds)

    def ready(self, problem: Problem | None = None, seed: int = 1) -> Strategy:
        """Return a strategy that can be asked: set up, its modules made (not trained)."""
        strategy = self.make()
        self.prepare(strategy, problem or self.problem(), seed)
        return strategy

    def prepare(self, strategy: Strategy, problem: Problem, seed: int) -> None:
        """Set a strategy up and let it make its modules."""
        strategy.setup(problem)
        if isinstance(strategy, WeightSharing):
            strategy.optimisers(strategy.modules(problem, seed))

    def training(self, problem: Problem | None = None, seed: int = 1) -> tuple[WeightSharing, SharedTraining]:
        """Return a weight-sharing strategy and its training, not begun, on sealed data."""
        strategy = self.make()
        assert isinstance(strategy, WeightSharing)
        given = problem or self.problem()
        strategy.setup(given)
        data = source()
        streams = (
            BatchStream(Loader(data, "train", 16, seed, training=True)),
            BatchStream(Loader(data, "valid", 16, seed, shuffle=True)),
        )
        pace = Pace([phase.share for phase in strategy.phases()], self.steps, None)
        return strategy, SharedTraining(strategy, given, Classification(), *streams, pace, seed)

    def proposals(self, seed: int) -> list[Decisions]:
        """Train, where weights are shared, then search; return what was proposed."""
        if issubclass(type(self.make()), WeightSharing):
            strategy, training = self.training(seed=seed)
            training.run(Silent(), lambda kind, state: None)
            return self._search(strategy, seed)
        return self._search(self.ready(), seed)

    def _search(self, strategy: Strategy, seed: int) -> list[Decisions]:
        found: list[Evaluation] = []
        asking = Asking(strategy, self.space, seed, 2, self.evaluations)
        drive(asking, LocalExecutor(pretended), found.append, lambda: True)
        return [each.architecture.decisions for each in found]

    def through_disk(self, state: Any) -> Any:
        """Return a state as a checkpoint gives it back; None stays None."""
        if state is None:
            return None
        with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
            checkpoints = Checkpoints(Path(folder))
            checkpoints.save("state", state)
            return checkpoints.load("state")


def source() -> DataSource:
    """Return digits, a few of them, the test split shut."""
    return digits.load(limit=400).sealed()


def in_another_process(trial: Trial, seed: int) -> list[Decisions]:
    """Return the trial's proposals as another interpreter finds them (one for all trials of this process)."""
    return _other_process().submit(_proposals, trial, seed, torch.get_num_threads()).result()


@functools.cache
def _other_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _proposals(trial: Trial, seed: int, threads: int) -> list[Decisions]:
    torch.set_num_threads(threads)
    np.random.seed(seed + 17)  # noqa: NPY002 - a strategy that draws from the global generator shall be found out
    return trial.proposals(seed)
