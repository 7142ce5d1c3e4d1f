"""From the name of a suite and its options to the suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from nasforge import registry
from nasforge.bench.suites.own_table import HEAD, own_table
from nasforge.bench.suites.suite import Suite
from nasforge.bench.suites.truth_file import TRUTH_HEAD, truth_file
from nasforge.errors import PluginError
from nasforge.run.options import make

_OF_FILES: Final[Mapping[str, Callable[..., Suite]]] = {HEAD: own_table, TRUTH_HEAD: truth_file}


def make_suite(name: str, options: Mapping[str, Any]) -> Suite:
    """Return the suite of a name, of `table:FILE` or of `truth:FILE`; its own name then says the options.

    Raises:
        NotInstalledError: no suite has the name.
        UsageError: an unknown option, or a value of the wrong kind.
        DataError: its data are not on this machine, or cannot be used.
        PluginError: it makes something else.
    """
    head = next((each for each in _OF_FILES if name.startswith(each)), None)
    function: Any = registry.load("suites", name) if head is None else partial(_OF_FILES[head], name.removeprefix(head))
    suite = make(function, options, f"option of suite '{name}'")
    if not isinstance(suite, Suite):
        raise PluginError(f"suite '{name}' makes a {type(suite).__name__}; expected nasforge's Suite.")
    return replace(suite, name=label_of(name, options))


def label_of(name: str, options: Mapping[str, Any]) -> str:
    """Return a name with its options, as a person writes them.

    >>> label_of("evolution", {"population": 30, "sample": 10}), label_of("random", {})
    ('evolution population=30 sample=10', 'random')
    """
    return " ".join([name, *(f"{key}={_written(value)}" for key, value in options.items())])


def _written(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}[value]
        if value is None or value is True or value is False
        else str(value)
    )
