"""`nasforge.bench.bench`: strategies x suites x seeds on tables, at equal budgets.

Everything that could be refused is refused before the first search.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

from nasforge.bench.bench_folder import DOCUMENT, PAGE, BenchFolder
from nasforge.bench.contestant import Contestant, Given, contestants_of
from nasforge.bench.result import BenchResult, SuiteResult
from nasforge.bench.running import Plan, Task, run_all
from nasforge.bench.scoring import Scoring, Searches
from nasforge.bench.searching import Allowance, Contest
from nasforge.bench.statistics import check_confidence
from nasforge.bench.suites import Suite
from nasforge.bench.suites.named import label_of, make_suite
from nasforge.bench.trace import Trace
from nasforge.errors import UsageError
from nasforge.run.atomic import write_json
from nasforge.run.progress import Listener, Silent
from nasforge.run.result import environment
from nasforge.run.resumable import ResumableInterrupt

EVALUATIONS: Final = 300
SHARES: Final = (1 / 6, 1 / 3, 1 / 2, 1.0)
ALL_CORES: Final = 0
GivenSuite = str | tuple[str, Mapping[str, Any]] | Suite


@final
class BenchInterrupted(ResumableInterrupt):
    """A bench was stopped; `command` carries it on."""


def bench(
    suites: Sequence[GivenSuite],
    strategies: Sequence[Given],
    *,
    evaluations: int | None = None,
    seeds: int | Sequence[int] = 20,
    budgets: Sequence[int] | None = None,
    seconds: Sequence[float] = (),
    objectives: Sequence[str] = ("accuracy",),
    workers: int = ALL_CORES,
    confidence: float = 0.95,
    out: str | Path | None = None,
    listener: Listener | None = None,
) -> BenchResult:
    """Compare strategies on tables, where a search takes milliseconds.

    Searches that `out` holds already are not done again, so the same call carries on what was interrupted.

    Args:
        suites: names, names with options, or suites.
        strategies: names, names with options, or strategies, of which each search gets a copy. Random search is added.
        evaluations: of each search; 300, or as many as the seconds allow.
        seeds: how many searches of each kind, or their seeds.
        budgets: evaluations at which searches are compared; a sixth, a third, a half and all of them without.
        seconds: of training at which searches are compared; the largest ends a search.
        objectives: `accuracy`, or two, such as `("accuracy", "latency")`; the first decides on the choice.
        workers: processes; 0 stands for one on every core.
        confidence: of the intervals.
        out: folder; a new one below `benches` without.
        listener: hears of progress.

    Raises:
        UsageError: nothing to compare, an unknown name, option or objective, or budgets that no search reaches.
        IncompatibleError: a strategy that cannot search a suite.
        DataError: the data of a suite are not on this machine, or cannot be used.
        PluginError: a strategy fails.
        RunFolderError: the folder is in use, or holds something else.
        BenchInterrupted: it was stopped; it can be carried on.
    """
    notes: list[str] = []
    allowance = _allowance(evaluations, seconds)
    scoring = Scoring(_budgets(budgets, allowance), tuple(sorted(map(float, seconds))), check_confidence(confidence))
    numbers, processes = _seeds(seeds), _workers(workers)
    contestants = contestants_of(strategies, notes)
    contests = _contests(suites, objectives)
    _check(contests, contestants, allowance)
    order = Order(contests, contestants, numbers, allowance, scoring, tuple(notes))
    written = Command(suites, strategies, evaluations, seeds, budgets, seconds, objectives, confidence)
    told = listener or Silent()
    with BenchFolder(out) as folder:
        command = written.text(folder.path, workers)
        told.opened(folder.path)
        try:
            return order.carried_out(folder, command, processes, told)
        except KeyboardInterrupt:
            raise BenchInterrupted(command) from None


@final
@dataclass(frozen=True)
class Order:
    """A bench that can be carried out."""

    contests: tuple[Contest, ...]
    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    allowance: Allowance
    scoring: Scoring
    notes: tuple[str, ...]

    def carried_out(self, folder: BenchFolder, command: str, workers: int, told: Listener) -> BenchResult:
        """Search, sum up, and write document and page."""
        plan = Plan(self.contests, self.contestants, self.seeds, self.allowance, folder.tasks)
        told.stage("searches", float(len(plan.all())))
        traces = run_all(plan, workers, lambda done: told.progress(done, {}))
        told.stage("figures", float(len(self.contests)))
        result = BenchResult(
            folder=folder.path,
            suites=tuple(self._suite(place, traces, told) for place in range(len(self.contests))),
            seeds=self.seeds,
            evaluations=self.allowance.evaluations,
            seconds=self.allowance.seconds,
            budgets=self.scoring.evaluations,
            second_budgets=self.scoring.seconds,
            confidence=self.scoring.confidence,
            command=command,
            environment={"nasforge": version("nasforge"), **environment()},
            notes=self.notes,
        )
        write_json(folder.path / DOCUMENT, result.to_json())
        result.write_html(folder.path / PAGE)
        return result

    def _suite(self, place: int, traces: Mapping[Task, Trace], told: Listener) -> SuiteResult:
        searches = [
            Searches(each, {seed: traces[Task(place, at, seed)] for seed in self.seeds})
            for at, each in enumerate(self.contestants)
        ]
        result = self.scoring.suite(self.contests[place], searches)
        told.progress(place + 1.0, {})
        return result


def _allowance(evaluations: int | None, seconds: Sequence[float]) -> Allowance:
    if evaluations is not None and evaluations < 1:
        raise UsageError(f"evaluations was given {evaluations}; expected a whole number of at least 1.")
    for each in seconds:
        if not 0 < each < float("inf"):
            raise UsageError(f"seconds was given {each:g}; expected numbers above zero.")
    if not seconds:
        return Allowance(EVALUATIONS if evaluations is None else evaluations)
    return Allowance(evaluations, float(max(seconds)))


def _budgets(given: Sequence[int] | None, allowance: Allowance) -> tuple[float, ...]:
    most = allowance.evaluations
    if given is None:
        return () if most is None else tuple(sorted({float(max(1, round(most * share))) for share in SHARES}))
    for each in given:
        if each < 1 or (most is not None and each > most):
            raise UsageError(f"budget {each} was given for searches of {most} evaluations; expected from 1 to {most}.")
    return tuple(sorted({float(each) for each in given}))


def _seeds(given: int | Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(range(given)) if isinstance(given, int) else tuple(given)
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise UsageError(f"seeds was given {given}; expected at least one, and each once.")
    return numbers


def _contests(given: Sequence[GivenSuite], objectives: Sequence[str]) -> tuple[Contest, ...]:
    if not given:
        raise UsageError("no suite was given; expected names, see `nasforge list suites`.")
    if not 1 <= len(objectives) <= 2 or len(set(objectives)) < len(objectives):
        raise UsageError(f"objectives were given {', '.join(objectives) or 'none'}; expected one, or two different.")
    suites = [_suite(each) for each in given]
    names = [each.name for each in suites]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"suite '{twice[0]}' was given twice; give each once.")
    return tuple(Contest.of(suite, objectives) for suite in suites)


def _suite(given: GivenSuite) -> Suite:
    if isinstance(given, Suite):
        return given
    return make_suite(given, {}) if isinstance(given, str) else make_suite(*given)


def _check(contests: Sequence[Contest], contestants: Sequence[Contestant], allowance: Allowance) -> None:
    for contest in contests:
        if allowance.seconds is not None and not contest.suite.knows_seconds:
            raise UsageError(
                f"seconds of training were given, and suite '{contest.suite.name}' does not know what training took; "
                "give evaluations, or another suite."
            )
        for each in contestants:
            each.check(contest.suite, contest.goals, allowance.evaluations)


def _workers(given: int) -> int:
    if given < 0:
        raise UsageError(f"workers was given {given}; expected at least one, or 0 for all cores.")
    if given != ALL_CORES:
        return given
    from joblib import cpu_count

    return int(cpu_count())


@final
@dataclass(frozen=True, slots=True)
class Command:
    """What a bench was asked for, as it is typed."""

    suites: Sequence[GivenSuite]
    strategies: Sequence[Given]
    evaluations: int | None
    seeds: int | Sequence[int]
    budgets: Sequence[int] | None
    seconds: Sequence[float]
    objectives: Sequence[str]
    confidence: float

    def text(self, folder: Path, workers: int) -> str:
        """Return the command; what was given as an object stands in it by its name."""

        def name(given: Any) -> str:
            if isinstance(given, Suite):
                return given.name
            return label_of(*given) if isinstance(given, tuple) else str(given)

        numbers = self.seeds if isinstance(self.seeds, int) else ",".join(map(str, self.seeds))
        options: dict[str, Any] = {
            "suite": ", ".join(map(name, self.suites)),
            "strategy": ", ".join(map(name, self.strategies)),
            "evaluations": self.evaluations,
            "seeds": numbers,
            "budgets": ",".join(map(str, self.budgets or ())) or None,
            "seconds": ",".join(f"{each:g}" for each in self.seconds) or None,
            "objectives": None if tuple(self.objectives) == ("accuracy",) else ",".join(self.objectives),
            "confidence": None if self.confidence == 0.95 else self.confidence,
            "workers": workers or None,
            "out": folder,
        }
        given = (f"--{key} {shlex.quote(str(value))}" for key, value in options.items() if value is not None)
        return " ".join(["nasforge bench", *given])
