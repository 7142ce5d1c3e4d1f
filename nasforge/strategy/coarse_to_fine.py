"""Coarse-to-fine selection (BigNAS, Yu et al. 2020, section 3.4): a small grid of global settings, then its refinement.

The grid is over the last parts of the names of choices (`depth` of `s3.depth`), the refinement over the first (`s3`):
so both follow from how a space names its choices, and no space has to say anything for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import InfeasibleError, UsageError
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy.base import Problem

LISTED: Final = 100_000
TRIES: Final = 40


@final
@dataclass(frozen=True, slots=True)
class Levels:
    """How finely a grid looks at the choices of one name.

    Attributes:
        count: settings, spread evenly over the options; None for as many as a choice has options at most.
        parts: the choices, in the order of the space, are split into so many runs with a setting each.
    """

    count: int | None = None
    parts: int = 1


def parse_levels(texts: Iterable[str]) -> dict[str, Levels]:
    """Read `name:count` or `name:countxparts`.

    >>> parse_levels(["depth:4", "kernel:2x2"])
    {'depth': Levels(count=4, parts=1), 'kernel': Levels(count=2, parts=2)}

    Raises:
        UsageError: something else was given.
    """
    found = {}
    for text in texts:
        name, _, rest = text.partition(":")
        count, _, parts = rest.partition("x")
        if not name or not count.isdecimal() or not (parts or "1").isdecimal() or "0" in (count, parts):
            raise UsageError(f"levels was given '{text}'; expected a name and numbers, such as depth:4 or kernel:2x2.")
        found[name] = Levels(int(count), int(parts or 1))
    return found


def coarse_grid(problem: Problem, count: int, levels: Mapping[str, Levels] | None = None) -> list[Architecture]:
    """Return different feasible architectures in which the choices of one name (`kernel`, ...) have one setting.

    A grid larger than `count` is thinned by drawing; what the limits leave short is filled up with random architectures
    within them.

    Args:
        problem: space and limits.
        count: architectures.
        levels: by name how many settings; names that the space does not have do nothing, those not given have one for
            each option.

    Raises:
        InfeasibleError: nothing within the limits was found.
    """
    space, rng = problem.space, generator(0, "coarse")
    axes, settings = _axes(space, levels or {})
    found: dict[Architecture, None] = {}
    for point in _points(settings, TRIES * count, rng):
        shares = [setting / max(total - 1, 1) for setting, total in zip(point, settings, strict=True)]
        row = [options[round(shares[axes[i]] * (len(options) - 1))] for i, options in enumerate(space.allowed)]
        architecture = space.repair(row, rng)
        if problem.feasible(architecture):
            found[architecture] = None
        if len(found) >= count:
            break
    for _ in range(20 * count):
        if len(found) >= count:
            break
        found[problem.sample(rng)] = None
    return list(found)


def _axes(space: SearchSpace, levels: Mapping[str, Levels]) -> tuple[list[int], list[int]]:
    """Return for each choice the number of its axis, and for each axis its settings."""
    names = [str(each.name).rpartition(".")[2] for each in space.choices]
    numbers: dict[tuple[str, int], int] = {}
    axes: list[int] = []
    for place, name in enumerate(names):
        run = names[:place].count(name) * levels.get(name, Levels()).parts // names.count(name)
        axes.append(numbers.setdefault((name, run), len(numbers)))
    most = [
        max(len(space.allowed[i]) for i, axis in enumerate(axes) if axis == number) for number in range(len(numbers))
    ]
    counts = [levels.get(name, Levels()).count for name, _ in numbers]
    return axes, [least if count is None else min(count, least) for count, least in zip(counts, most, strict=True)]


def _points(settings: Sequence[int], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return up to `count` points of a grid, in random order; drawn one by one where it is too large to list."""
    total = math.prod(settings)
    if total > LISTED:
        return rng.integers(0, settings, size=(count, len(settings)))
    order = rng.permutation(total)[:count]
    return np.stack(np.unravel_index(order, settings), axis=1) if settings else np.zeros((1, 0), dtype=np.int64)


def mutate_stage(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> Architecture:
    """Change one decision, or a few, of one stage: of the choices whose names begin alike (`s3`).

    Stages with something to decide are equally likely; a choice alone (`resolution`) is a stage of its own.
    """
    stages: dict[str, list[int]] = {}
    for place, (each, options) in enumerate(zip(space.choices, space.allowed, strict=True)):
        if len(options) > 1 and architecture.decisions[place] >= 0:
            stages.setdefault(str(each.name).partition(".")[0], []).append(place)
    if not stages:
        return architecture
    places = list(stages.values())[int(rng.integers(len(stages)))]
    redrawn = rng.random(len(places)) < 1.0 / len(places)
    redrawn[int(rng.integers(len(places)))] = True
    row = list(architecture.decisions)
    for place in np.asarray(places)[redrawn].tolist():
        others = [option for option in space.allowed[place] if option != row[place]]
        row[place] = others[int(rng.integers(len(others)))]
    return space.repair(row, rng)


def budgeted(problem: Problem, budgets: Sequence[float]) -> list[Problem]:
    """Return the problem with each budget of MACs as one more limit; as it is without budgets.

    Raises:
        InfeasibleError: nothing within one of the budgets was found.
    """
    costs = {"macs": problem.space.cost("macs"), **problem.costs}
    within = [
        replace(problem, costs=costs, constraints=(*problem.constraints, Constraint("macs", budget)))
        for budget in budgets
    ]
    for each, budget in zip(within, budgets, strict=True):
        try:
            each.sample(generator(0, "budget"))
        except InfeasibleError as error:
            raise InfeasibleError(f"nothing is within {budget:g} MACs, one of the budgets given: {error}") from error
    return within or [problem]


def without_options(space: SearchSpace, left_out: Sequence[str], what: str) -> SearchSpace:
    """Return the space without some options, each given as `choice:option`.

    Args:
        space: as it is where nothing is left out.
        left_out: such as `resolution:256`.
        what: names the option of a strategy in the error, such as `untrained of bignas`.

    Raises:
        UsageError: something that is no choice and option of the space.
        SpaceError: no option of a choice would be left.
    """
    options = {
        str(each.name): [each.labels[i] for i in kept] for each, kept in zip(space.choices, space.allowed, strict=True)
    }
    for text in left_out:
        name, _, option = text.partition(":")
        if option not in options.get(name, ()):
            raise UsageError(
                f"{what} was given '{text}'; expected a choice of space '{space.name}' and one of its "
                "options, such as resolution:256."
            )
        options[name].remove(option)
    return space.restrict(options) if left_out else space
