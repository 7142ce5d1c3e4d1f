"""Ranges of numbers, as `annotated_types` declares them beside a type: `lr: Annotated[float, Gt(0)]`.

An option says once what it may be; the command line, the configuration and Python refuse the rest in one sentence.
NaN lies in no range.
"""

from __future__ import annotations

import math
import operator
import sys
import typing
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Annotated, Any, Final

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt

from nasforge.errors import UsageError

Count = Annotated[int, Ge(1)]
"""A whole number from 1."""
Finite = Annotated[float, Gt(-math.inf), Lt(math.inf)]
"""A finite number."""
Positive = Annotated[float, Gt(0), Lt(math.inf)]
"""A finite number above 0."""
NonNegative = Annotated[float, Ge(0), Lt(math.inf)]
"""A finite number of at least 0."""
Share = Annotated[float, Ge(0), Lt(1)]
"""A share that is not the whole."""

BOUNDS: Final[dict[type, tuple[str, Callable[[Any, Any], bool], str]]] = {
    Gt: ("gt", operator.gt, "above"),
    Ge: ("ge", operator.ge, "at least"),
    Lt: ("lt", operator.lt, "below"),
    Le: ("le", operator.le, "at most"),
}


def check_range(value: Any, kind: Any, what: str) -> None:
    """Refuse a number out of the range that its type declares, in tuples and behind `| None` too.

    Args:
        value: the number, a sequence of numbers, or None.
        kind: the type, with its annotations.
        what: how the value is called.

    Raises:
        UsageError: says what was expected.

    >>> from typing import Annotated
    >>> check_range(0.5, Annotated[float, Gt(0), Le(1)], "share")
    >>> check_range((1, 0), tuple[Annotated[int, Ge(1)], ...], "sizes")
    Traceback (most recent call last):
    nasforge.errors.UsageError: sizes was given 0; expected at least 1.
    """
    if typing.get_origin(kind) is not typing.Annotated:
        for inner, each in _inner(value, kind):
            check_range(each, inner, what)
        return
    base, *given = typing.get_args(kind)
    check_range(value, base, what)
    bounds = [bound for each in given for bound in (each if isinstance(each, GroupedMetadata) else (each,))]
    known = [(*BOUNDS[type(bound)], bound) for bound in bounds if type(bound) in BOUNDS]
    if isinstance(value, int | float) and not all(holds(value, getattr(b, name)) for name, holds, _, b in known):
        expected = " and ".join(f"{words} {getattr(bound, name):g}" for name, _, words, bound in known)
        raise UsageError(f"{what} was given {value:g}; expected {expected}.")


def declared(owner: type) -> dict[str, Any]:
    """Return the types of a class's attributes; `Any` for one that names what only its type checker imports."""
    found: dict[str, Any] = {}
    for each in reversed(owner.__mro__):
        names = vars(sys.modules.get(each.__module__, sys))
        for name, written in vars(each).get("__annotations__", {}).items():
            holder = SimpleNamespace(__annotations__={name: written})
            try:
                found |= typing.get_type_hints(holder, names, include_extras=True)
            except Exception:  # noqa: BLE001 - annotations are a plug-in's own, and may not even be types
                found[name] = Any
    return found


def _inner(value: Any, kind: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the types inside of another, each with the value that it is of."""
    arguments = typing.get_args(kind)
    if type(None) in arguments:
        yield from ((each, value) for each in arguments if value is not None and each is not type(None))
    elif typing.get_origin(kind) is tuple and isinstance(value, list | tuple) and arguments[1:] == (...,):
        yield from ((arguments[0], each) for each in value)
