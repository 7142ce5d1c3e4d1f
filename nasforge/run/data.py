"""Data sets by name, as settings and commands give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasforge import registry
from nasforge.run.options import make


def load_source(data: str, options: Mapping[str, Any], seed: int) -> Any:
    """Load the data set of `name` or `name:argument`."""
    name, _, argument = data.partition(":")
    function = registry.load("datasets", name)
    defaults = {"argument": argument or None, "seed": seed}
    return make(function, {**defaults, **options}, f"option of data set '{name}'")
