"""Reading `group.option=value` texts of commands that compose no whole run, by Hydra's grammar as `search` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from nasforge.errors import UsageError, unknown_name_sentence


def parse_options(texts: Sequence[str], groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options by group.

    >>> parse_options(["space.width=2.0", "training.lr=1e-3"], ("space", "training"))
    {'space': {'width': 2.0}, 'training': {'lr': 0.001}}

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
        found[group][option] = read_value(value, text)
    return found


def read_value(text: str, given: str) -> Any:
    """Return the value that Hydra reads in a text: number, true, false, null, text, list or mapping.

    >>> [read_value(text, "lr=" + text) for text in ("1e-3", "2", "yes", "[1, a]", "")]
    [0.001, 2, 'yes', [1, 'a'], '']

    Args:
        text: the value as written.
        given: the whole option, for the sentence.

    Raises:
        UsageError: a text that is no value, or several.
    """
    try:
        override = OverridesParser.create().parse_override(f"value={text}")
        if override.is_sweep_override():
            raise UsageError(f"option '{given}' has several values; give one, or a list as in [1,2].")
        return _plain(override.value())
    except HydraException as error:
        raise UsageError(
            f"option '{given}' has a value that cannot be read; quote texts with special signs."
        ) from error


def _plain(value: Any) -> Any:
    """Return a value without Hydra's quotes."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value
