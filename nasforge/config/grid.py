"""From overrides with several values to the members of a sweep, in Hydra's grammar.

An amount of a budget (`budget=8-evaluations`) is no file of the group `budget`; it becomes one, so that Hydra sweeps
over amounts and presets alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from nasforge.config.compose import GROUPS, PRESETS, checked_override, presets, register_plugins
from nasforge.errors import UsageError
from nasforge.identity import fingerprint
from nasforge.run.sweep_folder import Member

UNSAFE: Final = re.compile(r"[^A-Za-z0-9._=+,-]+")
NAME: Final = re.compile(r"[\w.+-]+")
LONGEST: Final = 120


def prepare(overrides: Sequence[str]) -> list[str]:
    """Check the keys of overrides, and make amounts of budgets known to Hydra.

    Raises:
        UsageError: no override, an unknown key or name (the nearest is named), or the folder of one run.
    """
    register_plugins()
    parser = OverridesParser.create()
    found = []
    for text in overrides:
        if text.startswith(("hydra.", "hydra/", "+hydra", "++hydra")):
            found.append(text)
            continue
        override = _parsed(parser, text)
        if override.key_or_group == "out":
            raise UsageError("out was given to a sweep, but it is the folder of one run; give the sweep's with --out.")
        if override.key_or_group == "budget":
            _register_budgets(override)
        found.append(checked_override(text, override.is_sweep_override()))
    return found


def prepare_command(words: Sequence[str]) -> list[str]:
    """Prepare the overrides among the words of Hydra's command line; its own options stay as they are."""
    return [word if word.startswith("-") or "=" not in word else prepare([word])[0] for word in words]


def overrides_of(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as overrides; a list gives several values to sweep over.

    >>> overrides_of({"seed": [1, 2], "strategy": "random", "data": "image_folder:a b", "limits.latency": None})
    ['seed=1,2', 'strategy=random', "data='image_folder:a b'"]

    Raises:
        UsageError: a plug-in or a preset that is given otherwise than by its name.
    """
    return [
        f"{key}={','.join(written(key, each) for each in (value if isinstance(value, list | tuple) else [value]))}"
        for key, value in settings.items()
        if value is not None
    ]


def written(key: str, value: Any) -> str:
    """Return a value in Hydra's grammar; members of groups are names."""
    if key in (*GROUPS, *PRESETS):
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise UsageError(f"{key} was given {value!r}; expected a name, and options as {key}.OPTION=VALUE.")
        return value
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{written('', each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(written("", each) for each in value) + "]"
    return str(value)


def expand(overrides: Sequence[Override]) -> tuple[Member, ...]:
    """Return the members of a grid, every combination once, as Hydra's own sweeper has them.

    Raises:
        UsageError: a key without a value, or a kind of sweep that is no list, range or glob.
    """
    newest = {each.get_key_element(): each for each in overrides}
    swept = {key for key, each in newest.items() if each.is_sweep_override()}
    try:
        ((*combinations,),) = BasicSweeper.split_arguments(list(overrides), None)
    except HydraException as error:
        raise UsageError(f"{_first_line(error)}; give values as 1,2,3, range(1,4), choice(...) or glob(*).") from error
    if not combinations:
        empty = [each.input_line for each in newest.values() if each.is_sweep_override() and not _values(each)]
        raise UsageError(f"the grid is empty, for '{empty[0]}' gives no value; give at least one.")
    members: dict[str, tuple[str, ...]] = {}
    for combination in combinations:
        own = [text for text in combination if text.partition("=")[0] in swept]
        members.setdefault(member_name(own), tuple(combination))
    return tuple(Member(name, given) for name, given in members.items())


def member_name(swept: Sequence[str]) -> str:
    """Return the name of a member's folder: what it alone has, in characters that every shell and disk bears.

    >>> member_name(["++strategy.population=4", "seed=1"]), member_name(["data='image_folder:a b'"])
    ('seed=1,strategy.population=4', 'data=image_folder_a_b-526e314b')
    """
    text = ",".join(sorted(each.lstrip("+~") for each in swept)) or "run"
    safe = UNSAFE.sub("_", text.replace("'", "").replace('"', ""))
    if safe == text and len(safe) <= LONGEST:
        return safe
    return f"{safe[:LONGEST]}-{fingerprint([text])[:8]}"


def _parsed(parser: Any, text: str) -> Override:
    try:
        found: Override = parser.parse_override(text)
    except HydraException as error:
        raise UsageError(
            f"override '{text}' was given; expected key=value or key=value,value, such as seed=1,2,3 "
            f"({_first_line(error)})."
        ) from error
    return found


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    return [override.get_value_element_as_str()]


def _register_budgets(override: Override) -> None:
    if override.value() is not None and getattr(override.value_type, "name", "") != "GLOB_CHOICE_SWEEP":
        for text in _values(override):
            amount = text.strip("'\"")
            if amount not in presets("budget"):
                ConfigStore.instance().store(
                    group="budget", name=amount, node={"budget": amount}, package="_global_", provider="nasforge"
                )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
