"""The searches of a bench: which there are, which are kept already, and carrying the others out side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge.bench.bench_folder import read_trace, write_trace
from nasforge.bench.contestant import Contestant, code
from nasforge.bench.processes import spread
from nasforge.bench.searching import Allowance, Contest, search_suite
from nasforge.bench.trace import Trace
from nasforge.errors import NasforgeError, PluginError
from nasforge.identity import fingerprint

TOGETHER: Final = 8
"""Searches that a process is handed at a time: one may take a few milliseconds only."""


@final
@dataclass(frozen=True, slots=True)
class Task:
    """One search: the places of its suite and of its strategy in the plan, and its seed."""

    contest: int
    contestant: int
    seed: int


@final
@dataclass(frozen=True)
class Plan:
    """All searches of a bench.

    Attributes:
        contests, contestants, seeds: every combination is a search.
        allowance: of each search.
        tasks: the folder where they are kept.
    """

    contests: tuple[Contest, ...]
    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    allowance: Allowance
    tasks: Path

    def all(self) -> list[Task]:
        """Return the searches, seed by seed, so that what is interrupted has something of everything."""
        return [
            Task(contest, contestant, seed)
            for seed in self.seeds
            for contest in range(len(self.contests))
            for contestant in range(len(self.contestants))
        ]

    def identity(self, task: Task) -> dict[str, Any]:
        """Return everything that a search depends on, as plain data."""
        contest, contestant = self.contests[task.contest], self.contestants[task.contestant]
        return {
            "suite": contest.suite.name,
            "data": contest.suite.checksum,
            "scores": sorted(contest.suite.scores),
            "objectives": [[goal.objective.metric, goal.metric] for goal in contest.goals],
            "strategy": contestant.label,
            "source": contestant.source,
            "code": code(),
            "seed": task.seed,
            "evaluations": self.allowance.evaluations,
            "seconds": self.allowance.seconds,
        }

    def run(self, task: Task) -> Trace:
        """Carry a search out and keep it.

        Raises:
            PluginError: the strategy fails.
            RunFolderError: it cannot be kept.
        """
        contest, contestant = self.contests[task.contest], self.contestants[task.contestant]
        try:
            trace = search_suite(contest, contestant.new(), task.seed, self.allowance)
        except NasforgeError:
            raise
        except Exception as error:
            raise PluginError(
                f"strategy '{contestant.label}' fails on suite '{contest.suite.name}' with seed {task.seed} "
                f"({type(error).__name__}: {error}); leave it out, or tell who made it."
            ) from error
        identity = self.identity(task)
        write_trace(self.tasks, fingerprint(identity, 32), identity, trace)
        return trace

    def read(self, task: Task) -> Trace | None:
        """Return a search that was kept."""
        return read_trace(self.tasks, fingerprint(self.identity(task), 32))


def run_all(plan: Plan, workers: int, heard: Callable[[int], None]) -> dict[Task, Trace]:
    """Carry out the searches that are not kept yet; return all.

    Args:
        plan: the searches.
        workers: processes; one is this one.
        heard: is told how many are done, after each.

    Raises:
        PluginError: a strategy fails.
        KeyboardInterrupt: what is done is kept.
    """
    found: dict[Task, Trace] = {}
    left = []
    for task in plan.all():
        known = plan.read(task)
        if known is None:
            left.append(task)
        else:
            found[task] = known
    heard(len(found))
    for task, trace in spread(plan, left, workers, TOGETHER):
        found[task] = trace
        heard(len(found))
    return found
