"""Making plug-ins from their names and options, with the nearest name where an option is unknown.

Options are dataclass fields (strategies) or keyword parameters (spaces, data sets), so the command
line, the configuration and Python agree by construction.
"""

from __future__ import annotations

import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from nasforge import registry
from nasforge.errors import NasforgeError, PluginError, UsageError, unknown_name_sentence
from nasforge.ranges import check_range, declared
from nasforge.run.settings import short_form
from nasforge.space import SearchSpace
from nasforge.strategy import Strategy
from nasforge.targets.base import Target

TRAINED_BYTES: Final = 12  # a parameter with its gradient and its momentum
SPACE_PARAMETERS: Final = frozenset({"input_shape", "classes"})


def make_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Return a new strategy with the given options.

    Raises:
        UsageError: an unknown option, or a value of the wrong kind.
        PluginError: the strategy cannot be made.
    """
    made = _made("strategies", name, options)
    if not isinstance(made, Strategy):
        raise UsageError(
            f"strategy '{name}' makes a {type(made).__name__}; expected a subclass of nasforge's Strategy."
        )
    return made


def make_target(name: str, options: Mapping[str, Any]) -> Target:
    """Return a new target with the given options; the name may be the short form `profile:my-phone`.

    Raises:
        UsageError: an unknown option, or a value of the wrong kind.
        PluginError: the target cannot be made.
    """
    name, short = short_form(name)
    made = _made("targets", name, {**short, **options})
    if not isinstance(made, Target):
        raise UsageError(f"target '{name}' makes a {type(made).__name__}; expected a subclass of nasforge's Target.")
    return made


def make_space(
    name: str, options: Mapping[str, Any], input_shape: tuple[int, ...] | None = None, classes: int | None = None
) -> SearchSpace:
    """Return the search space of a name for inputs [C, H, W] and a number of classes; the space's own without.

    Raises:
        UsageError: an unknown option, a width that is none, or an input too small for the space.
        PluginError: the space cannot be made.
    """
    if classes is not None and classes < 1:
        raise UsageError(f"classes was given {classes}; expected a whole number of at least 1.")
    if input_shape is not None and min(input_shape, default=0) < 1:
        shown = " x ".join(map(str, input_shape))
        raise UsageError(f"an input of {shown} was given; expected channels, height and width of at least 1.")
    for key, value in options.items():
        _check_width(name, key, value)
    shape = {} if input_shape is None else {"input_shape": tuple(input_shape)}
    made = _made("spaces", name, {**shape, **({} if classes is None else {"classes": classes}), **options})
    if not isinstance(made, SearchSpace):
        raise UsageError(f"space '{name}' makes a {type(made).__name__}; expected a nasforge SearchSpace.")
    return made


def _check_width(space: str, key: str, value: Any) -> None:
    """Refuse widths that are no widths; spaces round what they multiply, so they would not notice."""
    if key != "width" and not key.endswith("_width"):
        return
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < math.inf:
        raise UsageError(f"option of space '{space}' '{key}' was given {value}; expected a number above zero.")


def check_memory(networks: Iterable[tuple[str, int]]) -> None:
    """Refuse where this machine could hold none of some networks while they are trained.

    Args:
        networks: what each is called, and its number of parameters.

    Raises:
        UsageError: even the smallest is larger than the memory.
    """
    name, params = min(networks, key=lambda each: each[1])
    if params * TRAINED_BYTES > _memory_bytes():
        raise UsageError(
            f"{name} has {params:.3g} parameters, more than can be trained in the {_memory_bytes() / 2**30:.1f} GiB of "
            "this machine; make the space smaller (space.width=0.5)."
        )


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _made(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """Make a plug-in; what it raises on its own account is said to be its own."""
    what = registry.SINGULAR[kind]
    function = registry.load(kind, name)
    try:
        return make(function, options, f"option of {what} '{name}'")
    except NasforgeError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        raise PluginError(
            f"{what} '{name}' cannot be made with {given or 'its defaults'} ({type(error).__name__}: {error}); give "
            "other options, or tell who made it."
        ) from error


def option_defaults(kind: str, name: str) -> dict[str, Any]:
    """Return the options of a plug-in with their defaults, for help and configuration."""
    skipped = SPACE_PARAMETERS if kind == "spaces" else frozenset[str]()
    return {
        parameter.name: None if parameter.default is inspect.Parameter.empty else parameter.default
        for parameter in _parameters(registry.load(kind, name))
        if parameter.name not in skipped
    }


def is_open_ended(kind: str, name: str) -> bool:
    """Say whether a plug-in takes options by any name."""
    return _is_open_ended(registry.load(kind, name))


def make(function: Callable[..., Any], options: Mapping[str, Any], what: str) -> Any:
    """Call a function or class with options, after checking their names and converting their values.

    Raises:
        UsageError: an unknown option, or a value of the wrong kind.
    """
    parameters = _parameters(function)
    known = {parameter.name: parameter for parameter in parameters}
    hints = _hints(function)
    converted = {}
    for key, value in options.items():
        if key not in known and not _is_open_ended(function):
            raise UsageError(unknown_name_sentence(what, key, known))
        converted[key] = convert(value, hints.get(key, Any), f"{what} '{key}'")
    return function(**converted)


def convert(value: Any, kind: Any, what: str) -> Any:
    """Return `value` as the annotated type where that loses nothing (1 for 1.0, a list for a tuple).

    Raises:
        UsageError: the value is of another kind, not a number, or out of the range that the type declares.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        found = convert(value, arguments[0], what)
        check_range(found, kind, what)
        return found
    if isinstance(value, float) and math.isnan(value):
        raise UsageError(f"{what} was given {value}; expected a number.")
    if origin in (typing.Union, types.UnionType) and type(None) in arguments:
        rest = [each for each in arguments if each is not type(None)]
        return value if value is None or len(rest) != 1 else convert(value, rest[0], what)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is tuple:
        return _tuple(value, arguments, what)
    if origin is typing.Literal and value not in arguments:
        raise UsageError(unknown_name_sentence(f"value of {what}", str(value), map(str, arguments)))
    if not _is_of(value, kind):
        raise UsageError(f"{what} was given {value!r}; expected {getattr(kind, '__name__', kind)}.")
    return value


def _tuple(value: Any, kinds: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{what} was given {value!r}; expected a list, such as [{value}].")
    return tuple(convert(each, kinds[0], what) for each in value) if kinds[1:] == (...,) else tuple(value)


def _is_of(value: Any, kind: Any) -> bool:
    """Say whether a value is of one of the plain types; all are of any other."""
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (float, str, bool) else True


def _is_open_ended(function: Callable[..., Any]) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(function).parameters.values())


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    usable = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter for parameter in inspect.signature(function).parameters.values() if parameter.kind in usable]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    if isinstance(function, type):
        return declared(function)
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - a plug-in's annotations may name what only its type checker imports
        return {}
