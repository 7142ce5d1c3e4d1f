"""What a comparison found, as values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge.bench.statistics import Interval, Kind, Point, Signs, interval, mean
from nasforge.report.comparison import write_comparison
from nasforge.run.atomic import finite

SCHEMA: Final = 1


@final
@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds; no interval from one value alone."""

    mean: float
    interval: Interval | None
    values: Mapping[int, float]

    @classmethod
    def of(cls, values: Mapping[int, float], kind: Kind, confidence: float) -> Mean | None:
        """Return the mean of values by seed; None of nothing."""
        if not values:
            return None
        given = list(values.values())
        return cls(mean(given), interval(given, kind, confidence), dict(values))


@final
@dataclass(frozen=True, slots=True)
class Curve:
    """The best of the first objective after each evaluation, over seeds; a run that ended sooner keeps its best."""

    evaluations: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class Configuration:
    """Runs that differ in the seed only.

    Attributes:
        label: what it has that others have not.
        settings: all of it.
        folders: of its runs, by seed.
        score: of the metric that is compared.
        best: the best of its values, with the seed.
        latency: in milliseconds, and `latency_metric` whether measured or predicted.
        seconds, evaluations, image_macs: of a whole run; the last are the multiply-accumulates of all passes of its
            search, where they were counted.
        hypervolume: of the front, up to the common reference.
        curve: None where no run has one.
        fronts: (cost, first objective) of each run's front, by seed.
    """

    label: str
    settings: Mapping[str, str]
    folders: Mapping[int, str]
    score: Mean | None
    best: tuple[int, float] | None
    latency: Mean | None
    latency_metric: str
    seconds: Mean | None
    evaluations: Mean | None
    image_macs: Mean | None
    hypervolume: Mean | None
    curve: Curve | None
    fronts: Mapping[int, Sequence[Point]]


@final
@dataclass(frozen=True, slots=True)
class Pairing:
    """A configuration minus the baseline, by seed.

    Attributes:
        label: of the configuration.
        metric: that is subtracted.
        difference: None where they share no seed.
        signs: for how many seeds the configuration is better, worse, equal.
        missing: seeds that only the other has, of `configuration` and of `baseline`.
    """

    label: str
    metric: str
    difference: Mean | None
    signs: Signs
    missing: Mapping[str, Sequence[int]]


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        metric, direction: what is compared, and which way is better.
        objective: the metric of curves and fronts, and its direction.
        cost: the other axis of the fronts.
        reference: (cost, objective) up to which hypervolumes reach; None without fronts.
        interval, confidence: how intervals are made.
        baseline: its label.
        configurations: in the order they were named.
        pairs: of every other configuration with the baseline.
        differing: what differs although it should not, where that was allowed.
        notes: what is missing or was left out.
    """

    metric: str
    direction: str
    objective: tuple[str, str]
    cost: str
    reference: Point | None
    interval: str
    confidence: float
    baseline: str
    configurations: tuple[Configuration, ...]
    pairs: tuple[Pairing, ...]
    differing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data, schema 1."""
        found: dict[str, Any] = finite({"schema": SCHEMA, **asdict(self)})
        return found

    def write_html(self, path: str | Path) -> Path:
        """Write the comparison as one page that works offline.

        Raises:
            RunFolderError: it cannot be written.
        """
        return write_comparison(Path(path), self.to_json())
