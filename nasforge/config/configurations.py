"""Reading several plug-ins with options in one text: `random, evolution population=30 sample=10`.

Commas separate configurations, spaces options; values are read by Hydra's grammar, as everywhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from nasforge.config.options import read_value
from nasforge.errors import UsageError

Configuration = tuple[str, dict[str, Any]]


def parse_configurations(texts: Iterable[str], what: str) -> list[Configuration]:
    """Return names with their options.

    >>> parse_configurations(["random,evolution population=30 sample=10"], "strategy")
    [('random', {}), ('evolution', {'population': 30, 'sample': 10})]
    >>> parse_configurations(["a x=[1,2]", "'table:my table.csv' space=nb201"], "suite")
    [('a', {'x': [1, 2]}), ('table:my table.csv', {'space': 'nb201'})]

    Args:
        texts: as given, each of one or several configurations.
        what: they are, for sentences.

    Raises:
        UsageError: a text of another form, or a value that cannot be read.
    """
    return [_configuration(part, what) for text in texts for part in _parts(text)]


def _parts(text: str) -> list[str]:
    """Split at commas that are neither within quotes nor within brackets."""
    found, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in ")}]":
            depth -= 1
        elif sign == "," and depth == 0:
            found.append("")
            continue
        found[-1] += sign
    return found


def _configuration(text: str, what: str) -> Configuration:
    try:
        words: Sequence[str] = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{what} was given '{text}', in which a quote is not closed; close it.") from error
    if not words or "=" in words[0].partition(":")[0]:
        raise UsageError(
            f"{what} was given '{text.strip()}'; expected a name and options, as in 'NAME key=value key=value'."
        )
    options = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{what} '{words[0]}' was given '{word}'; expected key=value.")
        options[key] = read_value(value, word)
    return words[0], options
