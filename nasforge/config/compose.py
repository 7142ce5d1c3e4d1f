"""From command-line options and Hydra overrides to the settings of a run.

Every installed plug-in is a member of its Hydra group, whether or not a YAML file presets it, so a
plug-in package brings no configuration. Options of plug-ins are checked against the plug-in itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasforge import registry
from nasforge.config.check import check_options
from nasforge.errors import NotInstalledError, UsageError, unknown_name_sentence
from nasforge.run.settings import Settings, short_form

MODULE: Final = "nasforge_experiments"
GROUPS: Final = {"space": "spaces", "strategy": "strategies", "target": "targets", "task": "tasks"}
PRESETS: Final = ("budget", "experiment")
OPEN_KEYS: Final = (*GROUPS, "training", "data_options", "engine", "tracking")
OVERRIDE: Final = re.compile(r"(?P<mark>\+\+|\+|~)?(?P<key>[A-Za-z_][\w./@-]*)(?P<rest>=.*)?", re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class Composed:
    """Settings, and the plain data they were read from with interpolations left as written."""

    settings: Settings
    written: dict[str, Any]


def compose(groups: Mapping[str, str | None], values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Composed:
    """Compose a configuration.

    Args:
        groups: name of the space, strategy, target, task; None leaves the default.
        values: dotted keys and plain values that need no quoting; None leaves the default.
        overrides: in Hydra's grammar, such as `strategy.population=30`.

    Raises:
        UsageError: a name, key or value that nothing knows; the nearest is named.
    """
    groups, values = _short_target(groups, values)
    chosen = [f"{group}={_installed(group, name)}" for group, name in groups.items() if name is not None]
    overrides, values = _budgets(overrides, values)
    config = _compose([*chosen, *map(checked_override, overrides)])
    for key, value in values.items():
        if value is not None:
            OmegaConf.update(config, key, value, merge=False, force_add=True)
    return composed_of(config)


def composed_of(config: DictConfig) -> Composed:
    """Read a configuration that Hydra composed, without its own part.

    Raises:
        UsageError: an interpolation that leads nowhere, or a name, key or value that nothing knows.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UsageError(f"the configuration cannot be resolved: {_first_line(error)}.") from error
    settings = Settings.read(plain)  # type: ignore[arg-type]  # a DictConfig gives a dict
    check_options(settings)
    return Composed(settings, OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]  # as above


def _short_target(
    groups: Mapping[str, str | None], values: Mapping[str, Any]
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Write the short form of a target, `profile:my-phone`, as a name and an option."""
    given = groups.get("target")
    if given is None:
        return dict(groups), dict(values)
    name, options = short_form(given)
    return {**groups, "target": name}, {**values, **{f"target.{key}": value for key, value in options.items()}}


def _budgets(overrides: Sequence[str], values: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Tell presets of the group `budget` (`hour`) from amounts (`30min`), which are plain values."""
    given = [text.removeprefix("budget=") for text in overrides if text.startswith("budget=")]
    if values.get("budget") is not None:
        given.append(str(values["budget"]))
    kept = [text for text in overrides if not text.startswith("budget=")]
    if not given:
        return kept, dict(values)
    if given[-1] in presets("budget"):
        return [*kept, f"budget={given[-1]}"], {**values, "budget": None}
    return kept, {**values, "budget": given[-1]}


def _compose(overrides: list[str]) -> DictConfig:
    register_plugins()
    try:
        with initialize_config_module(MODULE, version_base="1.3"):
            return hydra_compose("config", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(f"the overrides {overrides} do not compose: {_first_line(error)}.") from error


def register_plugins() -> None:
    """Make every installed plug-in a member of its group, without importing it."""
    store = ConfigStore.instance()
    for group, kind in GROUPS.items():
        for name in registry.installed(kind):
            store.store(group=group, name=name, node={"name": name}, provider="nasforge")


def checked_override(text: str, swept: bool = False) -> str:
    """Check the key of an override, and let it add an option that no YAML lists.

    Args:
        text: in Hydra's grammar.
        swept: whether it has several values, which are checked one by one later.

    Raises:
        UsageError: another form, or an unknown key or name; the nearest is named.
    """
    match = OVERRIDE.fullmatch(text)
    if match is None or (match["rest"] is None and match["mark"] != "~"):
        raise UsageError(f"override '{text}' was given; expected key=value, such as strategy.population=30.")
    key, top = match["key"], re.split(r"[./@]", match["key"])[0]
    known = sorted({*_top_keys(), *PRESETS})
    if top not in known:
        raise UsageError(unknown_name_sentence("setting", top, known))
    if key in GROUPS and match["rest"] and not swept:
        _installed(key, match["rest"][1:])
    if key == "experiment" and match["rest"] and not swept and match["rest"][1:] not in presets(key):
        raise UsageError(unknown_name_sentence(key, match["rest"][1:], presets(key)))
    if match["mark"] == "~" and key == top:
        raise UsageError(f"'{text}' was given, and no search goes without {top}; give another value, as {top}=VALUE.")
    if match["mark"] is None and top in OPEN_KEYS and "." in key:
        return f"++{text}"
    return text


def _installed(group: str, name: str) -> str:
    """Return the name if a plug-in or a YAML preset of the group has it."""
    known = {*registry.installed(GROUPS[group]), *presets(group)}
    if name not in known:
        raise NotInstalledError.unknown(registry.SINGULAR[GROUPS[group]], name, known)
    return name


def presets(group: str) -> set[str]:
    """Return the names of the YAML files of a group."""
    from importlib import resources

    folder = resources.files(MODULE).joinpath(group)
    if not folder.is_dir():
        return set()
    return {entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")}


def _top_keys() -> tuple[str, ...]:
    return tuple(Settings().to_json())


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
