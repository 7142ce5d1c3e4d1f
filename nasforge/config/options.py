"""Reading `group.option=value` texts of commands that compose no whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from nasforge.errors import UsageError, unknown_name_sentence


def parse_options(texts: Sequence[str], groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options by group; values are read as YAML scalars or lists.

    >>> parse_options(["space.width=2.0", "training.epochs=3"], ("space", "training"))
    {'space': {'width': 2.0}, 'training': {'epochs': 3}}

    Raises:
        UsageError: another form, or an unknown group.
    """
    found: dict[str, dict[str, Any]] = {group: {} for group in groups}
    for text in texts:
        key, equals, value = text.partition("=")
        group, dot, option = key.partition(".")
        if not equals or not dot or not option:
            raise UsageError(f"option '{text}' was given; expected group.option=value, such as training.epochs=20.")
        if group not in found:
            raise UsageError(unknown_name_sentence("option group", group, groups))
        try:
            found[group][option] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(
                f"option '{text}' has a value that cannot be read; quote texts with special signs."
            ) from error
    return found
