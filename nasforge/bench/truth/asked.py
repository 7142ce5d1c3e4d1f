"""What a truth table was asked for, and how that is typed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge.space import Architecture, SearchSpace
from nasforge.tasks import DataSource

ALL_CORES: Final = 0


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
        architectures: these, in the place of all.
    """

    space: str | SearchSpace
    data: str | DataSource
    space_options: Mapping[str, Any]
    training: Mapping[str, Any]
    data_options: Mapping[str, Any]
    sample: int | None
    seeds: int | Sequence[int]
    command: str | None = None
    architectures: tuple[Architecture, ...] | None = None

    def text(self, workers: int = ALL_CORES, out: Path | None = None, table: str | Path | None = None) -> str:
        """Return the command."""
        if self.command is not None:
            return self.command
        if not isinstance(self.space, str) or not isinstance(self.data, str) or self.architectures is not None:
            return shlex.join(["python", _from_here(sys.argv[0]), *sys.argv[1:]])
        groups = {"space": self.space_options, "training": self.training, "data_options": self.data_options}
        given = [f"{group}.{key}={_written(value)}" for group, part in groups.items() for key, value in part.items()]
        named = {
            "data": self.data,
            "sample": self.sample,
            "seeds": self.seeds if isinstance(self.seeds, int) else _listed(self.seeds),
            "workers": workers or None,
            "out": out,
            "table": table,
        }
        options = [part for key, value in named.items() if value is not None for part in (f"--{key}", str(value))]
        return shlex.join(["nasforge", "bench", "--truth", self.space, *given, *options])


def _listed(seeds: Sequence[int]) -> str:
    """Return seeds as they are typed; one alone has a comma behind it, since it would be a count without."""
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def _from_here(path: str) -> str:
    found = Path(path)
    return str(found.resolve().relative_to(Path.cwd())) if found.resolve().is_relative_to(Path.cwd()) else found.name


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return {"True": "true", "False": "false", "None": "null"}.get(str(value), str(value))
