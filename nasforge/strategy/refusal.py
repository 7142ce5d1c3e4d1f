"""Options that a strategy refuses, each in one sentence: what was given, what was expected, what to do.

What has to hold stands in rows beside its sentence, so that the checks of a strategy with many options read as a table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from nasforge.errors import UsageError, unknown_name_sentence

Rule = tuple[bool, str, str]
"""Whether it holds, what was given, and what was expected or is to be done."""


def refuse_unknown(strategy: str, given: Mapping[str, str], known: Mapping[str, Collection[str]]) -> None:
    """Refuse the first option whose value is not among those known.

    Args:
        strategy: its name, for the message.
        given: values by option; those without known values are not looked at.
        known: values by option, in the order in which they are looked at.

    Raises:
        UsageError: names the option and the strategy, what is available and the nearest of it.
    """
    for name, values in known.items():
        if given[name] not in values:
            raise UsageError(unknown_name_sentence(f"{name} of {strategy}", str(given[name]), values))


def refuse_unless(strategy: str, rules: Iterable[Rule]) -> None:
    """Refuse by the first rule that does not hold.

    >>> refuse_unless("neas", [(1 > 0, told(keep=1), "expected more"), (0 > 1, told(tries=0), "expected 1 or more")])
    Traceback (most recent call last):
    nasforge.errors.UsageError: neas was given tries=0; expected 1 or more.

    Args:
        strategy: its name, for the message.
        rules: in the order in which they are looked at.

    Raises:
        UsageError: says what was given and what the rule says.
    """
    for holds, given, otherwise in rules:
        if not holds:
            raise UsageError(f"{strategy} was given {given}; {otherwise}.")


def told(**values: float | str) -> str:
    """Return options and their values as a sentence tells them, numbers with six digits.

    >>> told(lam=0.25, sampler="table", bins=4), told(tries=0)
    ('lam=0.25, sampler=table and bins=4', 'tries=0')
    """
    *most, last = [
        f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}" for name, value in values.items()
    ]
    return f"{', '.join(most)} and {last}" if most else last
