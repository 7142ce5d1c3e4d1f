"""What a bench found, as values, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge.bench.comparison import Mean
from nasforge.bench.statistics import Point, Signs
from nasforge.report.bench import write_bench_page
from nasforge.run.atomic import finite

SCHEMA: Final = 1


@final
@dataclass(frozen=True, slots=True)
class At:
    """A strategy at a budget; None where not all of its searches are known that far.

    Attributes:
        unit: `evaluations` or `seconds` of training.
        budget: how many.
        truth: of the chosen architecture.
        regret: how far that is from the best of the table.
        hypervolume: share of that of the table's own front; None with one objective.
    """

    unit: str
    budget: float
    truth: Mean | None
    regret: Mean | None
    hypervolume: Mean | None


@final
@dataclass(frozen=True, slots=True)
class Course:
    """Means over seeds along budgets, with their intervals; between two points the earlier holds."""

    metric: str
    unit: str
    budgets: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """How a configuration of a strategy did on a suite.

    Attributes:
        label, name, options: of the configuration.
        at: figures at the budgets.
        curves: along all budgets.
        evaluations, distinct, seconds: of a search, means; `distinct` without repetitions, which cost nothing.
        partial: evaluations of a search that spent less than the full fidelity, mean.
        failures, first_failure: evaluations that failed in all searches, and why the first did.
        exhausted: searches that had nothing more to propose before their budget was spent.
        chosen: decisions of the architecture chosen at the end, by seed.
    """

    label: str
    name: str
    options: Mapping[str, Any]
    at: tuple[At, ...]
    curves: tuple[Course, ...]
    evaluations: float
    distinct: float
    partial: float
    seconds: float
    failures: int
    first_failure: str | None
    exhausted: int
    chosen: Mapping[int, tuple[int, ...] | None]


@final
@dataclass(frozen=True, slots=True)
class Versus:
    """A configuration minus random search at a budget, by seed."""

    label: str
    metric: str
    unit: str
    budget: float
    difference: Mean | None
    signs: Signs


@final
@dataclass(frozen=True, slots=True)
class SuiteResult:
    """A suite with its strategies.

    Attributes:
        name, space, fingerprint, architectures: of the suite, its space and its table.
        objectives: metrics that searches were told.
        feedback, truth, direction, optimum: what is compared, and the best truth of the table.
        device: where latency was measured.
        reference: losses up to which hypervolumes reach; None with one objective.
        knows_seconds, fidelities, scores: what else the suite has.
        files, checksum: of its data.
        strategies: in the order in which they were given.
        pairs: of all others with random search.
    """

    name: str
    space: str
    fingerprint: str
    architectures: int
    objectives: tuple[str, ...]
    feedback: str
    truth: str
    direction: str
    optimum: float
    device: str | None
    reference: Point | None
    knows_seconds: bool
    fidelities: tuple[float, ...]
    scores: tuple[str, ...]
    files: tuple[str, ...]
    checksum: str
    strategies: tuple[Standing, ...]
    pairs: tuple[Versus, ...]


@final
@dataclass(frozen=True, slots=True)
class BenchResult:
    """What a bench found.

    Attributes:
        folder: of its searches, `bench.json` and `bench.html`.
        suites: in the order in which they were given.
        seeds: of the searches.
        evaluations, seconds: what each search was allowed; None where the other limits it.
        budgets, second_budgets: at which searches are compared.
        confidence: of the intervals, percentiles of bootstrap means over seeds.
        command: that makes it again.
        environment: machine and versions.
        notes: what a reader must know.
    """

    folder: Path
    suites: tuple[SuiteResult, ...]
    seeds: tuple[int, ...]
    evaluations: int | None
    seconds: float | None
    budgets: tuple[float, ...]
    second_budgets: tuple[float, ...]
    confidence: float
    command: str
    environment: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data, schema 1: the content of `bench.json`."""
        found: dict[str, Any] = finite({"schema": SCHEMA, **asdict(self), "folder": str(self.folder)})
        return found

    def write_html(self, path: str | Path) -> Path:
        """Write the page, which works offline.

        Raises:
            RunFolderError: it cannot be written.
        """
        return write_bench_page(Path(path), self.to_json())
