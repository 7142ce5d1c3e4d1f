"""What a search comes back with: the run's folder, its status, and the content of `result.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from nasforge.run.result import read_result

if TYPE_CHECKING:
    from nasforge.run.load import LoadedModel

Status = Literal["finished", "limit_missed"]


@final
@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Attributes:
        folder: the run folder.
        document: the content of `result.json`, schema 1.
    """

    folder: Path
    document: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> SearchResult:
        """Read the result of a finished run.

        Raises:
            DamagedError: the run has not finished, or `result.json` cannot be read.
        """
        return cls(Path(folder), read_result(Path(folder)))

    @property
    def status(self) -> Status:
        """`finished`, or `limit_missed` where no finalist was within the limits as measured."""
        found: Status = self.document["status"]
        return found

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The chosen network: architecture, id, network_id, metrics, provenance, verified."""
        found: Mapping[str, Any] | None = self.document["best"]
        return found

    @property
    def finalists(self) -> list[Mapping[str, Any]]:
        """The architectures that were measured, best first, in the shape of `best`."""
        return list(self.document.get("finalists", ()))

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the chosen network."""
        return {} if self.best is None else self.best["metrics"]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know of the chosen network, as sentences."""
        return list(self.document.get("warnings", ()))

    def load(self) -> LoadedModel:
        """Load the chosen network."""
        from nasforge.run.load import load

        return load(self.folder)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `result.json`."""
        return dict(self.document)
