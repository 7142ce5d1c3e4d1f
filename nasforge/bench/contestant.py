"""A strategy that takes part: by name with options, or as an object."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, final

from nasforge.bench.suites.named import label_of
from nasforge.bench.suites.suite import Goal, Suite
from nasforge.errors import IncompatibleError, UsageError
from nasforge.run.compatible import check_compatible
from nasforge.run.options import make_strategy
from nasforge.strategy import Strategy, WeightSharing

BASELINE: Final = "random"
Given = str | tuple[str, Mapping[str, Any]] | Strategy
_ROOMS: Final = ("space", "ops", "goals", "strategy")
_FILES: Final = (
    "rng.py",
    "run/asking.py",
    "run/local.py",
    "evaluate/tabular.py",
    "bench/searching.py",
    "bench/trace.py",
)
_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "optuna", "torch")


@final
@dataclass(frozen=True, slots=True)
class Contestant:
    """A configuration of a strategy.

    Attributes:
        label: name and options.
        name: of the strategy.
        options: that were given.
        prototype: of which each search gets a copy.
        source: a hash of the file that the strategy is written in.
    """

    label: str
    name: str
    options: Mapping[str, Any]
    prototype: Strategy
    source: str

    @classmethod
    def of(cls, given: Given) -> Contestant:
        """Return the contestant of a name, of a name with options, or of a strategy.

        Raises:
            NotInstalledError: no strategy has the name.
            UsageError: an option that the strategy does not take.
        """
        if isinstance(given, Strategy):
            return cls(repr(given), type(given).__name__, {}, given, _source(given))
        name, options = (given, {}) if isinstance(given, str) else given
        made = make_strategy(name, options)
        return cls(label_of(name, options), name, dict(options), made, _source(made))

    def new(self) -> Strategy:
        """Return a strategy for one search."""
        return copy.deepcopy(self.prototype)

    def check(self, suite: Suite, goals: Sequence[Goal], budget: int | None) -> None:
        """Refuse a suite that the strategy cannot search.

        Raises:
            IncompatibleError: names both.
        """
        if isinstance(self.prototype, WeightSharing):
            raise IncompatibleError(
                f"strategy '{self.name}' trains shared weights and rates with them, so it cannot search the table of "
                f"suite '{suite.name}'; take a strategy that only proposes, such as evolution."
            )
        check_compatible(self.prototype, suite.space, self.name)
        self.new().setup(suite.problem(goals, budget))


def _source(strategy: Strategy) -> str:
    try:
        return hashlib.sha256(Path(inspect.getfile(type(strategy))).read_bytes()).hexdigest()[:16]
    except (OSError, TypeError):
        return "unknown"


def contestants_of(given: Sequence[Given], notes: list[str]) -> tuple[Contestant, ...]:
    """Return those who take part, with random search among them.

    Raises:
        UsageError: nobody, or somebody twice.
    """
    found = [Contestant.of(each) for each in given]
    if not found:
        raise UsageError("no strategy was given; expected names, such as random,evolution.")
    labels = [each.label for each in found]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UsageError(f"strategy '{twice[0]}' was given twice; give each configuration once.")
    if BASELINE not in labels:
        notes.append(f"{BASELINE} was added, since all others are paired with it.")
        found.insert(0, Contestant.of(BASELINE))
    return tuple(found)


@cache
def code() -> str:
    """Return a hash of what decides on the course of a search beside the strategy: the core, and the libraries."""
    root = resources.files("nasforge")
    digest = hashlib.sha256()
    rooms = [each for room in _ROOMS for each in root.joinpath(room).iterdir() if each.name.endswith(".py")]
    for each in [*sorted(rooms, key=str), *(root.joinpath(name) for name in _FILES)]:
        digest.update(each.read_bytes())
    for name in ("nasforge", *_LIBRARIES):
        digest.update(f"{name} {importlib.metadata.version(name)}".encode())
    return digest.hexdigest()[:16]
