"""Truth tables: what every architecture of a small space is worth when trained alone, with several seeds, as a file.

JSON with its provenance at the head and one architecture a line, so that a table of a few hundred is small, can be
read by a person, and changes by lines in a repository. Nothing in it is executed: the space is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import ArchitectureError, DataError, unknown_name_sentence
from nasforge.evaluate.tabular import Decisions, TabularEvaluator
from nasforge.space import SearchSpace

Array = npt.NDArray[np.float64]
KIND: Final = "nasforge.truth"
SCHEMA: Final = 1
MEASURED: Final = ("accuracy", "nll", "accuracy_valid", "nll_valid", "train_seconds")
"""What each seed gives: on test, on valid, and the seconds of its training."""
PLACES: Final = {"train_seconds": 2}
COLUMNS: Final = ("decisions", "network_id", "params", "macs", *MEASURED)
OF_SPACE: Final = ("name", "options", "fingerprint", "input_shape", "classes")
CHECKED: Final = 16
LARGEST: Final = 2**63 - 1


@final
@dataclass(frozen=True)
class TruthTable:
    """Architectures with what they are worth.

    Attributes:
        about: where the figures come from: space, data, training, seeds, command, machine.
        decisions: of each of n architectures.
        network_ids: of each; equal ones were trained once.
        params: (n,).
        macs: (n,).
        measured: by name of `MEASURED`, (n, seeds); NaN where a training diverged.
    """

    about: Mapping[str, Any]
    decisions: tuple[Decisions, ...]
    network_ids: tuple[str, ...]
    params: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]
    measured: Mapping[str, Array]

    def __len__(self) -> int:
        """Return the number of architectures."""
        return len(self.decisions)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the trainings."""
        return tuple(self.about["seeds"])

    @property
    def accuracy(self) -> Array:
        """Accuracy on test, (n, seeds)."""
        return self.measured["accuracy"]

    @property
    def nll(self) -> Array:
        """Negative log-likelihood on test, (n, seeds); less is better."""
        return self.measured["nll"]

    @cached_property
    def distinct(self) -> npt.NDArray[np.intp]:
        """The places of the first architecture of each network, in order; what figures over networks are taken of."""
        return np.sort(np.unique(np.asarray(self.network_ids), return_index=True)[1])

    def check(self, space: SearchSpace) -> None:
        """Refuse another space than the table's, and the same one for other images, classes or widths.

        Raises:
            ArchitectureError: names both.
            DataError: a row is of no architecture of the space.
        """
        name, fingerprint = self.about["space"]["name"], self.about["space"]["fingerprint"]
        if fingerprint != space.fingerprint:
            raise ArchitectureError(
                f"the truth table is of space '{name}' ({fingerprint}), and space '{space.name}' "
                f"({space.fingerprint}) was given; take the space of the table, or another table."
            )
        for place, decisions in enumerate(self.decisions):
            if not space.contains(space.from_decisions(decisions)):
                raise DataError(
                    f"row {place + 1} of the truth table is of decisions {list(decisions)}, and no architecture of "
                    f"space '{space.name}' has them; make the table again."
                )
        for place in np.linspace(0, len(self) - 1, min(len(self), CHECKED)).astype(int):
            if space.network_id(space.from_decisions(self.decisions[place])) != self.network_ids[place]:
                raise ArchitectureError(
                    f"the truth table of space '{name}' is of networks of other sizes than those of the space given; "
                    f"make it for images of {self._shape} and {self.about['space']['classes']} classes with the "
                    f"options {dict(self.about['space']['options'] or {})}."
                )

    @property
    def _shape(self) -> str:
        return " x ".join(map(str, self.about["space"]["input_shape"]))

    def architectures(self, space: SearchSpace) -> list[Any]:
        """Return the architectures in order.

        Raises:
            ArchitectureError: as `check`.
        """
        self.check(space)
        return [space.from_decisions(each) for each in self.decisions]

    def evaluator(self, space: SearchSpace) -> TabularEvaluator:
        """Return what looks the table up; a seed picks one training.

        Raises:
            ArchitectureError: as `check`.
        """
        self.check(space)
        rows: dict[Decisions, dict[str, float | tuple[float, ...]]] = {}
        for place, decisions in enumerate(self.decisions):
            found = {name: tuple(values[place].tolist()) for name, values in self.measured.items()}
            rows[decisions] = {**found, "params": float(self.params[place]), "macs": float(self.macs[place])}
        return TabularEvaluator(space, rows)

    def to_text(self) -> str:
        """Return the content of the file."""
        head = {"kind": KIND, "schema": SCHEMA, **self.about, "columns": list(COLUMNS)}
        lines = [f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}," for key, value in head.items()]
        rows = ",\n".join(f"  {json.dumps(self._row(place), allow_nan=False)}" for place in range(len(self)))
        return "\n".join(["{", *lines, ' "rows": [', rows, " ]", "}", ""])

    def _row(self, place: int) -> list[Any]:
        measured = [
            [None if np.isnan(value) else round(float(value), PLACES.get(name, 5)) for value in values[place]]
            for name, values in self.measured.items()
        ]
        return [
            list(self.decisions[place]), self.network_ids[place], int(self.params[place]), int(self.macs[place]),
            *measured,
        ]  # fmt: skip


def read_truth(path: str | Path) -> TruthTable:
    """Read a truth table, or that of a folder that `nasforge bench --truth` made.

    Raises:
        DataError: there is none, or it cannot be used.
    """
    file = Path(path).expanduser()
    file = file / "truth.json" if file.is_dir() else file
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"truth table '{file}' does not exist; make one with `nasforge bench --truth SPACE`, or mend the path."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"truth table '{file}' cannot be read as JSON ({type(error).__name__}); make it again."
        ) from error
    if not isinstance(content, dict) or content.get("kind") != KIND or content.get("schema") != SCHEMA:
        raise DataError(f"'{file}' is no truth table of schema {SCHEMA}; give one of `nasforge bench --truth SPACE`.")
    try:
        return _table(content)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"truth table '{file}' was altered ({type(error).__name__}: {error}); make it again."
        ) from error


def _table(content: Mapping[str, Any]) -> TruthTable:
    about = {key: value for key, value in content.items() if key not in ("kind", "schema", "columns", "rows")}
    of_space = {f"space.{key}": about["space"][key] for key in OF_SPACE}
    missing = [key for key in ("data", "training", "seeds") if key not in about]
    if missing:
        raise KeyError(missing[0])
    _check_space(of_space["space.options"], of_space["space.input_shape"], of_space["space.classes"])
    columns, rows = list(content["columns"]), content["rows"]
    for name in COLUMNS:
        if name not in columns:
            raise ValueError(unknown_name_sentence("column of a truth table", name, columns))
    if not rows:
        raise ValueError("it has no row")
    by_name: dict[str, Sequence[Any]] = dict(zip(columns, zip(*rows, strict=True), strict=True))
    decisions = tuple(tuple(_whole("decisions", each)) for each in by_name["decisions"])
    if len(set(decisions)) < len(decisions):
        raise ValueError("two rows have the same decisions")
    return TruthTable(
        about,
        decisions,
        tuple(map(str, by_name["network_id"])),
        np.asarray(_whole("params", by_name["params"], least=0), dtype=np.int64),
        np.asarray(_whole("macs", by_name["macs"], least=0), dtype=np.int64),
        _measured(by_name, len(_whole("seeds", about["seeds"], least=0))),
    )


def _check_space(options: Any, shape: Any, classes: Any) -> None:
    if not isinstance(options, dict | type(None)):
        raise TypeError(f"space.options is {options!r}")
    if len(_whole("space.input_shape", shape, least=1)) != 3 or not _whole("space.classes", [classes], least=1):
        raise ValueError(f"space.input_shape is {shape!r}")


def _measured(by_name: Mapping[str, Sequence[Any]], seeds: int) -> dict[str, Array]:
    """Return (rows, seeds) of each of `MEASURED`; NaN where a training diverged."""
    measured = {name: np.asarray(by_name[name], dtype=float).reshape(-1, seeds) for name in MEASURED}
    for name, values in measured.items():
        if len(values) != len(by_name[name]):
            raise ValueError(f"{name} is not of {seeds} seeds")
        most = 1.0 if name.startswith("accuracy") else np.inf
        wrong = values[(values < 0.0) | (values > most)]
        if len(wrong):
            raise ValueError(f"{name} is {wrong[0]:g}")
    return measured


def _whole(name: str, given: Any, least: int = -1) -> list[int]:
    """Return whole numbers as they were read."""
    if not isinstance(given, list | tuple):
        raise TypeError(f"{name} is {given!r}")
    for each in given:
        if isinstance(each, bool) or not isinstance(each, int) or not least <= each <= LARGEST:
            raise ValueError(f"{name} is {each!r}")
    return list(given)
