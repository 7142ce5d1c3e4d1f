"""Runs as a comparison reads them: from run folders and sweep folders, which are not changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge.errors import DamagedError, UsageError
from nasforge.report.journal import comparable, read_journal
from nasforge.report.quantity import number
from nasforge.run.folder import CONFIG, read_config, redacted
from nasforge.run.result import FILE as RESULT
from nasforge.run.result import read_result
from nasforge.run.settings import Settings
from nasforge.run.sweep_folder import SweepResult, is_sweep

NO_CONFIGURATION: Final = ("seed", "out", "engine", "storage", "tracking")
"""Settings that say where and how often something was run, not what."""


@final
@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it is.
        seed: of the run.
        settings: what makes its configuration, by dotted key.
        result: its `result.json`.
        objective: metric that was improved first, and its direction.
        curve: the best of that metric after each evaluation; NaN before the first that succeeded.
    """

    folder: Path
    seed: int
    settings: Mapping[str, str]
    result: Mapping[str, Any]
    objective: tuple[str, str]
    curve: tuple[float, ...]

    def values(self) -> dict[str, float]:
        """Return everything that runs can be compared by: metrics of the chosen network, what the run cost."""
        best = self.result["best"] or {}
        given = {**best.get("metrics", {}), "evaluations": self.result["evaluations"]}
        given["seconds"] = self.result["seconds"].get("total")
        given["image_macs"] = image_macs(self.result.get("cost"))
        found = {str(key): number(value) for key, value in given.items()}
        return {key: value for key, value in found.items() if value is not None}

    def same(self) -> dict[str, str]:
        """Return what must be the same for runs to be comparable."""
        task, target = self.result["task"], self.result["target"]
        return {
            "data": str(task.get("data")),
            "data_options": ", ".join(
                f"{key.partition('.')[2]}={value}"
                for key, value in self.settings.items()
                if key.startswith("data_options.")
            )
            or "none",
            "task": _text({key: value for key, value in task.items() if key != "data"}),
            "space fingerprint": str(self.result["space"].get("fingerprint")),
            "target": _text(target),
        }

    def front(self, cost: str) -> list[tuple[float, float]]:
        """Return the Pareto front as (cost, first objective), by cost."""
        metrics = [each.get("metrics", {}) for each in self.result["pareto"]]
        found = [(number(each.get(cost)), number(each.get(self.objective[0]))) for each in metrics]
        return sorted((x, y) for x, y in found if x is not None and y is not None)


def image_macs(cost: Any) -> float | None:
    """Return the multiply-accumulates of all parts of a run's `cost`; None where nothing was counted."""
    parts = cost.values() if isinstance(cost, Mapping) else ()
    found = [number(part.get("image_macs")) for part in parts if isinstance(part, Mapping)]
    known = [each for each in found if each is not None]
    return math.fsum(known) if known else None


def read_runs(paths: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Read run folders and the members of sweep folders.

    Returns:
        The finished runs in the order they were named, each once, and a sentence for each that was left out.

    Raises:
        UsageError: a folder that is neither, or no finished run at all.
        DamagedError: a file that is not as nasforge writes it.
    """
    runs: dict[Path, Run] = {}
    notes: list[str] = []
    for folder in _folders([Path(path) for path in paths], notes):
        place = folder.resolve()
        if place in runs:
            continue
        if not (folder / RESULT).is_file():
            notes.append(f"'{folder}' has not finished and is left out; go on with it: nasforge resume {folder}")
            continue
        runs[place] = _read(folder, notes)
    if not runs:
        raise UsageError(f"none of the given folders holds a finished run. {' '.join(notes)}".strip())
    return list(runs.values()), notes


def _folders(paths: Sequence[Path], notes: list[str]) -> list[Path]:
    found = []
    for path in paths:
        if is_sweep(path):
            for member in SweepResult.read(path).members:
                if (path / member.name / CONFIG).is_file():
                    found.append(path / member.name)
                else:
                    why = f": {member.error}" if member.error else ""
                    notes.append(f"member '{member.name}' of '{path}' is left out; its status is {member.status}{why}")
        elif (path / CONFIG).is_file() or (path / RESULT).is_file():
            found.append(path)
        else:
            raise UsageError(f"'{path}' holds no run and no sweep; give folders of runs or sweeps.")
    return found


def _read(folder: Path, notes: list[str]) -> Run:
    result = redacted(read_result(folder))
    try:
        objective = (result.get("objectives") or [{"metric": "accuracy_valid", "direction": "maximize"}])[0]
        metric, direction = str(objective["metric"]), str(objective["direction"])
        run = Run(folder, int(result["seed"]), _settings(folder), result, (metric, direction), ())
        run.values(), run.same(), run.front("macs")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"'{folder / RESULT}' is not as nasforge writes it ({type(error).__name__}: {error}); remove it, and "
            f"`nasforge resume {folder}` writes it again."
        ) from error
    try:
        told = read_journal(folder).told
    except DamagedError as error:
        notes.append(f"{folder}: {error} Its curve is left out.")
        return run
    alike = {each.number for each in comparable(told) if each.error is None}
    values = [each.metrics.get(metric, math.nan) if each.number in alike else math.nan for each in told]
    return Run(folder, run.seed, run.settings, result, run.objective, best_so_far(values, direction))


def best_so_far(values: Sequence[float], direction: str) -> tuple[float, ...]:
    """Return the best of the values up to each; NaN where there is none yet.

    >>> best_so_far([float("nan"), 0.5, 0.25, 0.75], "maximize")
    (nan, 0.5, 0.5, 0.75)
    """
    best, found = math.nan, []
    for value in values:
        if math.isnan(best) or (value > best if direction == "maximize" else value < best):
            best = value
        found.append(best)
    return tuple(found)


def _settings(folder: Path) -> dict[str, str]:
    """Return the settings by dotted key; where they cannot be read as settings, as they are written."""
    written = redacted(read_config(folder))
    with suppress(UsageError):  # such as an interpolation in the place of a number
        written = Settings.read(written).to_json()
    return {
        key: value
        for key, value in _flat({key: value for key, value in written.items() if key not in NO_CONFIGURATION}).items()
        if value != "None"
    }


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, entry in value.items():
        name = f"{before}{key}"
        if isinstance(entry, Mapping):
            found |= _flat(entry, f"{name}.")
        else:
            found[name.removesuffix(".name")] = str(entry)
    return found


def _text(plug: Mapping[str, Any]) -> str:
    options = [f"{key}={value}" for key, value in sorted(plug.items()) if key != "name"]
    return " ".join([str(plug.get("name")), *options])
