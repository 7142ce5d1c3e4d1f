"""What a plug-in says of itself: its summary, its options with defaults and help, and what its presets hold.

Words are read from its docstring, presets from `PRESETS` of its module, so that nothing is written down twice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Final, final

from nasforge import registry
from nasforge.run.options import option_defaults

SECTION: Final = re.compile(r"^\s*(Attributes|Args|Returns|Raises|Yields|Example|Examples):\s*$")
ENTRY: Final = re.compile(r"^(\w+)(?: \([^)]*\))?: (.*)$")


@final
@dataclass(frozen=True, slots=True)
class PluginHelp:
    """A plug-in in words.

    Attributes:
        summary: the docstring before its first section.
        defaults: of each option.
        meanings: what the docstring says of each option; empty where it says nothing.
        presets: constants of each preset, for a strategy with an option `preset`; see `nasforge.strategy.preset`.
    """

    summary: str
    defaults: dict[str, Any]
    meanings: dict[str, str]
    presets: dict[str, dict[str, Any]]


def plugin_help(kind: str, name: str) -> PluginHelp:
    """Return what a plug-in says of itself.

    Raises:
        NotInstalledError, PluginError: there is no such plug-in, or it does not load.
    """
    plugin = registry.load(kind, name)
    summary, said = _read(inspect.getdoc(plugin) or "")
    defaults = option_defaults(kind, name)
    presets = _presets(plugin) if kind == "strategies" and "preset" in defaults else {}
    return PluginHelp(summary, defaults, {option: said.get(option, "") for option in defaults}, presets)


def _presets(plugin: Any) -> dict[str, dict[str, Any]]:
    """Return the constants of the presets in `PRESETS` of a strategy's module; empty where there are none."""
    found = getattr(inspect.getmodule(plugin), "PRESETS", None)
    presets = found if isinstance(found, Mapping) else {}
    return {str(name): asdict(held) for name, held in presets.items() if is_dataclass(held)}  # type: ignore[arg-type]  # an instance


def _read(text: str) -> tuple[str, dict[str, str]]:
    """Return the text before the first section, and the entries of `Attributes` and `Args`."""
    summary: list[str] = []
    said: dict[str, str] = {}
    section, indent, current = "", 0, ""
    for line in text.splitlines():
        heading = SECTION.match(line)
        if heading:
            section, indent, current = heading[1], 0, ""
        elif not section:
            summary.append(line)
        elif section in ("Attributes", "Args") and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            entry = ENTRY.match(line.strip()) if depth == indent else None
            if entry:
                current, said[entry[1]] = entry[1], entry[2]
            elif current:
                said[current] += f" {line.strip()}"
    return "\n".join(summary).strip(), said
