"""Constants that a paper, its released code and a search of a minute set differently: named presets of a strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from nasforge.errors import UsageError, unknown_name_sentence

ConstantsT = TypeVar("ConstantsT")


def resolve(presets: Mapping[str, ConstantsT], strategy: Any) -> ConstantsT:
    """Return the constants of a strategy's `preset`, with every option that is not None in the preset's place.

    Args:
        presets: frozen dataclasses by name; their fields are options of the strategy.
        strategy: has a field `preset`, and one of the same name for each constant, None by default.

    Raises:
        UsageError: an unknown preset; the nearest is named.
    """
    if strategy.preset not in presets:
        raise UsageError(unknown_name_sentence("preset", str(strategy.preset), presets))
    preset: Any = presets[strategy.preset]
    names = [part.name for part in dataclasses.fields(preset)]
    given = {name: getattr(strategy, name) for name in names if getattr(strategy, name) is not None}
    found: ConstantsT = dataclasses.replace(preset, **given)
    return found
