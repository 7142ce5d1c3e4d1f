"""Ranges of numbers, as `annotated_types` declares them beside a type: `lr: Annotated[float, Gt(0)]`.

An option says once what it may be; the command line, the configuration and Python refuse the rest in one sentence.
NaN lies in no range.
"""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt

from nasforge.errors import UsageError

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


def _inner(value: Any, kind: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the types inside of another, each with the value that it is of."""
    arguments = typing.get_args(kind)
    if type(None) in arguments:
        yield from ((each, value) for each in arguments if value is not None and each is not type(None))
    elif typing.get_origin(kind) is tuple and isinstance(value, list | tuple) and arguments[1:] == (...,):
        yield from ((arguments[0], each) for each in value)
