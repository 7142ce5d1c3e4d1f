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
        except Exception as error:  # noqa: BLE001 - one broken plug-in must not hide what the others can
            spaces[name] = _sentence("space", name, error)
    return {name: _row(name, spaces) for name in registry.installed("strategies")}


def _row(strategy_name: str, spaces: dict[str, SearchSpace | str]) -> dict[str, str | None]:
    row: dict[str, str | None] = {}
    for name, space in spaces.items():
        if isinstance(space, str):
            row[name] = space
            continue
        try:
            row[name] = why_incompatible(make_strategy(strategy_name, {}), space, strategy_name)
        except Exception as error:  # noqa: BLE001 - as above
            row[name] = _sentence("strategy", strategy_name, error)
    return row


def _sentence(kind: str, name: str, error: Exception) -> str:
    """Return why a plug-in cannot be used: what nasforge says of it, or what it raised itself."""
    if isinstance(error, NasforgeError):
        return str(error)
    return f"{kind} '{name}' cannot be made ({type(error).__name__}: {error})."
