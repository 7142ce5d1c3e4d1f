"""Options of a target on the command line: `card=a100`, `protocol.visits=10`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasforge.config.options import read_value
from nasforge.errors import UsageError


def target_options(words: Sequence[str]) -> dict[str, Any]:
    """Return options from `name=value` words; dots in names make mappings, values are Hydra's.

    >>> target_options(["card=a100", "protocol.visits=10"])
    {'card': 'a100', 'protocol': {'visits': 10}}

    Raises:
        UsageError: a word of another form, or a name given twice.
    """
    options: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.removeprefix("target.").partition("=")
        names = path.split(".")
        if not equals or not all(names):
            raise UsageError(f"'{word}' was given as an option of the target; expected name=value, such as card=a100.")
        inner = options
        for name in names[:-1]:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UsageError(f"'{word}' and '{name}=...' were both given; give one of them.")
        if names[-1] in inner:
            raise UsageError(f"option '{path}' was given twice; give it once.")
        inner[names[-1]] = read_value(text, word)
    return options
