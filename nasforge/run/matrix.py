"""The matrix of installed strategies and spaces that work together."""

from __future__ import annotations

from nasforge import registry
from nasforge.errors import NasforgeError
from nasforge.run.compatible import why_incompatible
from nasforge.run.options import make_space, make_strategy
from nasforge.space import SearchSpace


def compatibility(input_shape: tuple[int, ...] = (3, 32, 32), classes: int = 10) -> dict[str, dict[str, str | None]]:
    """Return for each strategy and space why they cannot work together, None where they can."""
    spaces: dict[str, SearchSpace | str] = {}
    for name in registry.installed("spaces"):
        try:
            spaces[name] = make_space(name, {}, input_shape, classes)
        except NasforgeError as error:
            spaces[name] = str(error)
    return {name: _row(name, spaces) for name in registry.installed("strategies")}


def _row(strategy_name: str, spaces: dict[str, SearchSpace | str]) -> dict[str, str | None]:
    row: dict[str, str | None] = {}
    for name, space in spaces.items():
        if isinstance(space, str):
            row[name] = space
            continue
        try:
            row[name] = why_incompatible(make_strategy(strategy_name, {}), space, strategy_name)
        except NasforgeError as error:
            row[name] = str(error)
    return row
