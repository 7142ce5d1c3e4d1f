"""Choices: the decisions a space offers. A choice is an object, and identity is sharing.

The same `Choice` read at two places is one decision; two choices that look alike are two decisions.
Expressions over choices are tabulated when declared, so a space holds no functions and can be
fingerprinted.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import numpy as np

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.space.tabulated import Tabulated, numbered, ranked

Kind = Literal["attribute", "operator", "input", "depth", "subset"]
KINDS: Final[frozenset[str]] = frozenset({"attribute", "operator", "input", "depth", "subset"})
Share = Literal["slice", "none"]


def label_of(option: object) -> str:
    """Return the short text under which an option is stored and shown."""
    if isinstance(option, tuple):
        return "-".join(label_of(part) for part in option)
    return f"{option:g}" if isinstance(option, float) else str(option)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Condition:
    """A predicate on other choices, tabulated: the set of option-index tuples for which it holds."""

    choices: tuple[Choice, ...]
    holds: frozenset[tuple[int, ...]]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Relation:
    """Which option of a choice may follow which option of an earlier one (`allowed[earlier][own]`)."""

    previous: Choice
    allowed: tuple[tuple[bool, ...], ...]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """One decision: named options, how weights are shared between them, and when it is asked at all.

    Attributes:
        options: the values, one of which is chosen.
        labels: a distinct text for each option; architectures are stored by label.
        name: unique in a space; without one, the first node that reads the choice names it.
        kind: what the choice decides; strategies declare which kinds they handle.
        share: `slice` (options use slices of the same weights) or `none` (own weights per option).
        condition: without it the choice is active whenever a live node reads it.
        relation: restricts the options by those of an earlier choice.
        serial: order of declaration; a space lists its choices in it.
    """

    options: tuple[Any, ...]
    labels: tuple[str, ...]
    name: str | None = None
    kind: Kind = "attribute"
    share: Share = "slice"
    condition: Condition | None = None
    relation: Relation | None = None
    serial: int = field(default_factory=itertools.count().__next__, repr=False)

    def map(self, function: Callable[[Any], Hashable]) -> Mapped:
        """Return the expression `function(option)`, tabulated now.

        >>> [choice(2, 3).map(lambda n: n * n).table[(i,)] for i in (0, 1)]
        [4, 9]
        """
        return combine(function, self)

    def __copy__(self) -> Choice:
        return self


@final
@dataclass(frozen=True, eq=False, slots=True)
class Mapped:
    """A value computed from choices: `table[option indices]`."""

    choices: tuple[Choice, ...]
    table: Tabulated = field(repr=False)

    def map(self, function: Callable[[Any], Hashable]) -> Mapped:
        """Return the expression `function(value)`, tabulated now."""
        return Mapped(self.choices, self.table.map(function))


Expression = Choice | Mapped


def choice(
    *options: Any,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    share: Share = "slice",
    when: Condition | None = None,
    kind: Kind = "attribute",
) -> Choice:
    """Declare a decision between `options`.

    Args:
        options: at least one value, all different.
        name: unique in the space.
        labels: texts to store the options under; their own text without.
        share: `slice` or `none`, see `Choice`.
        when: the condition under which it is asked; readers see the first option while it is not.
        kind: what it decides.

    Raises:
        SpaceError: no options, or two of one label.
    """
    texts = tuple(labels) if labels is not None else tuple(label_of(option) for option in options)
    if not options or len(texts) != len(options):
        raise SpaceError(
            f"choice '{name}' was given {len(options)} options and {len(texts)} labels; give one label each."
        )
    if len(set(texts)) != len(texts):
        raise SpaceError(f"choice '{name}' was given options with equal labels {texts}; make every option different.")
    if share not in ("slice", "none"):
        raise SpaceError(f"choice '{name}' was given share='{share}'; expected 'slice' or 'none'.")
    if kind not in KINDS:
        raise SpaceError(unknown_name_sentence(f"the kind of choice '{name}',", kind, KINDS))
    return Choice(tuple(options), texts, name, kind, share, when)


def combine(function: Callable[..., Hashable], *expressions: Expression) -> Mapped:
    """Return the expression `function(*values)` over one or several choices, tabulated now.

    The function is called once for each combination of values that occurs, which are fewer than combinations of
    options where expressions are combined: fold many choices two at a time.
    """
    choices = distinct(read for expression in expressions for read in choices_of(expression))
    shape = [len(read.options) for read in choices]
    columns, values = [], []
    for expression in expressions:
        table = tabulated(expression)
        own = choices_of(expression)
        order = sorted(range(len(own)), key=lambda place, own=own: choices.index(own[place]))  # type: ignore[misc]  # lambda default
        sizes = [len(read.options) if read in own else 1 for read in choices]
        columns.append(np.broadcast_to(table.numbers.transpose(order).reshape(sizes), shape).reshape(-1))
        values.append(table.distinct)
    first, rank = ranked(columns)
    rows = zip(*(column[first].tolist() for column in columns), strict=True)
    made = [function(*(known[number] for known, number in zip(values, row, strict=True))) for row in rows]
    numbers, found = numbered(made)
    return Mapped(choices, Tabulated(numbers[rank].reshape(shape), found))


def tabulated(expression: Expression) -> Tabulated:
    """Return an expression's values by option indices."""
    if isinstance(expression, Mapped):
        return expression.table
    return Tabulated(np.arange(len(expression.options)), expression.options)


def when(expression: Expression, predicate: Callable[[Any], bool]) -> Condition:
    """Return the condition that `predicate` holds for the value of `expression`."""
    choices = choices_of(expression)
    keys = itertools.product(*(range(len(read.options)) for read in choices))
    holds = [key for key in keys if predicate(value_of(expression, dict(zip(choices, key, strict=True))))]
    return Condition(choices, frozenset(holds))


def subset(n: int, k: int, *, name: str | None = None) -> Choice:
    """Declare the decision which `k` of `n` places are taken: one choice of C(n, k) tuples.

    >>> len(subset(9, 2).options)
    36
    """
    if not 0 <= k <= n:
        raise SpaceError(f"subset '{name}' was given {k} of {n} places; expected 0 <= k <= n.")
    if math.comb(n, k) > 100_000:
        raise SpaceError(f"subset '{name}' was given {k} of {n} places, over 100,000 options; use several choices.")
    combinations = tuple(itertools.combinations(range(n), k))
    return Choice(combinations, tuple("-".join(map(str, taken)) or "none" for taken in combinations), name, "subset")


def chain(
    length: int,
    options: Sequence[Any],
    allowed: Callable[[Any, Any], bool],
    *,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    kind: Kind = "attribute",
) -> tuple[Choice, ...]:
    """Declare `length` decisions over `options` in which each constrains the next.

    Args:
        length: how many decisions.
        options: the options of each.
        allowed: says whether the second value may follow the first.
        names: one name per decision.
        labels: texts to store the options under; their own text without.
        kind: what they decide.

    Raises:
        SpaceError: some option has no successor, so a chain could end in the middle; or not one name per decision.
    """
    texts = [labels] * length if labels is not None else None
    return linked([options] * length, allowed, names=names, labels=texts, kind=kind)


def linked(
    options: Sequence[Sequence[Any]],
    allowed: Callable[[Any, Any], bool],
    *,
    names: Sequence[str] | None = None,
    labels: Sequence[Sequence[str]] | None = None,
    kind: Kind = "attribute",
) -> tuple[Choice, ...]:
    """Declare one decision over each list of `options`, each constraining the next: a chain of unequal links.

    See `chain`, also for what is raised; here there are labels for each decision.

    >>> [read.options for read in linked([(1, 2, 3), (1, 2)], lambda before, after: after <= before)]
    [(1, 2, 3), (1, 2)]
    """
    if names is not None and len(names) != len(options):
        raise SpaceError(f"a chain of {len(options)} decisions was given {len(names)} names; give one name each.")
    made: list[Choice] = []
    for place, own in enumerate(options):
        relation = Relation(made[-1], _allowed(options[place - 1], own, allowed)) if made else None
        texts = labels[place] if labels is not None else None
        read = choice(*own, name=names[place] if names is not None else None, labels=texts, kind=kind)
        made.append(dataclasses.replace(read, relation=relation))
    return tuple(made)


def _allowed(
    before: Sequence[Any], after: Sequence[Any], allowed: Callable[[Any, Any], bool]
) -> tuple[tuple[bool, ...], ...]:
    matrix = tuple(tuple(bool(allowed(first, second)) for second in after) for first in before)
    for option, row in zip(before, matrix, strict=True):
        if not any(row):
            raise SpaceError(f"chain option {option!r} may be followed by none of {list(after)}; allow at least one.")
    return matrix


def choices_of(value: object) -> tuple[Choice, ...]:
    """Return the choices that a field's value reads (none for a plain value)."""
    if isinstance(value, Choice):
        return (value,)
    if isinstance(value, Mapped):
        return value.choices
    return ()


def value_of(value: object, chosen: Mapping[Choice, int]) -> Any:
    """Return a field's value under chosen option indices."""
    if isinstance(value, Choice):
        return value.options[chosen[value]]
    if isinstance(value, Mapped):
        return value.table[tuple(chosen[read] for read in value.choices)]
    return value


def distinct(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Return the choices in order of first appearance, each once."""
    return tuple(dict.fromkeys(choices))
