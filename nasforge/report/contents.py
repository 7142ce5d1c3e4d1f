"""What a run folder holds, read once and checked, so that the page is made from typed values.

A part that is missing or damaged becomes a sentence in `notes`, not a failure; without `result.json`
there is nothing to report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge.errors import DamagedError, NasforgeError
from nasforge.goals import Objective
from nasforge.report.journal import Told, read_journal
from nasforge.run.artifact import FILE as ARCHITECTURE
from nasforge.run.artifact import Artifact, read_artifact
from nasforge.run.folder import CONFIG, read_config, redacted, resume_command
from nasforge.run.result import FILE as RESULT
from nasforge.run.result import read_result
from nasforge.run.settings import Limits
from nasforge.run.store import STUDY
from nasforge.space import Lowered, SearchSpace

_MAPPINGS: Final = ("space", "strategy", "target", "task", "budget", "seconds", "latency", "environment")


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One architecture of `result.json`: the best, a finalist, or one on the front."""

    identity: str
    network_id: str
    decisions: Mapping[str, str]
    metrics: Mapping[str, float]
    provenance: Mapping[str, Any]
    verified: bool

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Entry:
        """Read an entry; metrics that are null are left out."""
        metrics = {str(key): float(value) for key, value in given["metrics"].items() if value is not None}
        decisions = {str(key): str(value) for key, value in given["architecture"]["decisions"].items()}
        return cls(
            str(given["id"]),
            str(given["network_id"]),
            decisions,
            metrics,
            dict(given["provenance"]),
            bool(given["verified"]),
        )

    @property
    def number(self) -> int | None:
        """The evaluation that found it."""
        found = self.provenance.get("evaluation")
        return found if isinstance(found, int) else None


@final
@dataclass(frozen=True, slots=True)
class Contents:
    """A run folder as the report reads it.

    Attributes:
        folder: where it is.
        result: `result.json` as it is.
        best, pareto, finalists: its architectures.
        objective: what was improved first.
        limits: the hard limits.
        told: the journal's evaluations; empty where there is no journal.
        config: `config.yaml` as written, passwords redacted; None where it cannot be read.
        artifact: the chosen architecture with its space.
        lowered: its graph.
        notes: what is missing or damaged, by file name.
    """

    folder: Path
    result: Mapping[str, Any]
    best: Entry | None
    pareto: tuple[Entry, ...]
    finalists: tuple[Entry, ...]
    objective: Objective
    limits: Limits
    told: tuple[Told, ...]
    config: Mapping[str, Any] | None
    artifact: Artifact | None
    lowered: Lowered | None
    notes: Mapping[str, str]

    @property
    def limit_ms(self) -> float | None:
        """The latency limit, None without one."""
        return self.limits.latency_ms


def read_contents(folder: Path, space: SearchSpace | None = None) -> Contents:
    """Read a run folder.

    Args:
        folder: of a finished run.
        space: the space, where the run was started from Python with one that is no plug-in.

    Raises:
        DamagedError: there is no such folder, or `result.json` is missing or is not as nasforge writes it.
    """
    if not folder.is_dir():
        raise DamagedError(f"'{folder}' is not a folder; give the folder of a finished run.")
    result = read_result(folder)
    try:
        best = None if result["best"] is None else Entry.read(result["best"])
        pareto, finalists = (tuple(map(Entry.read, result.get(key, ()))) for key in ("pareto", "finalists"))
        objective = Objective(**(result.get("objectives") or [{"metric": "accuracy_valid"}])[0])
        limits = Limits.read(result["budget"]["limits"])
        wrong = [key for key in _MAPPINGS if not isinstance(result[key], Mapping)]
        if wrong:
            raise TypeError(f"{wrong[0]} is no mapping")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise DamagedError(
            f"'{folder / RESULT}' is not as nasforge writes it ({type(error).__name__}: {error}); "
            f"remove it, and `{resume_command(folder)}` writes it again."
        ) from error
    notes: dict[str, str] = {}
    told = _told(folder, notes)
    config = _config(folder, notes)
    artifact, lowered = _architecture(folder, space, best, notes)
    return Contents(
        folder, redacted(result), best, pareto, finalists, objective, limits, told, config, artifact, lowered, notes
    )


def _told(folder: Path, notes: dict[str, str]) -> tuple[Told, ...]:
    try:
        journal = read_journal(folder)
    except DamagedError as error:
        notes[STUDY] = f"{error} The search curve and the evaluations beside the front are left out."
        return ()
    if journal.unreadable:
        notes[STUDY] = f"{journal.unreadable} lines of {STUDY} cannot be read; their evaluations are left out."
    return journal.told


def _config(folder: Path, notes: dict[str, str]) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = redacted(read_config(folder))
        return found
    except NasforgeError as error:
        notes[CONFIG] = f"{error} Options and the command are left out."
        return None


def _architecture(
    folder: Path, space: SearchSpace | None, best: Entry | None, notes: dict[str, str]
) -> tuple[Artifact | None, Lowered | None]:
    if best is None and not (folder / ARCHITECTURE).exists():
        return None, None
    try:
        artifact = read_artifact(folder, space)
        lowered = artifact.space.lower(artifact.architecture)
    except NasforgeError as error:
        notes[ARCHITECTURE] = f"{error} The drawing is left out."
        return None, None
    found = {str(key): str(value) for key, value in artifact.space.describe(artifact.architecture).items()}
    if best is not None and found != best.decisions:
        notes[ARCHITECTURE] = f"{ARCHITECTURE} holds another architecture than {RESULT} names; the drawing is left out."
        return None, None
    return artifact, lowered
