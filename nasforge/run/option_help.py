"""What a plug-in says of itself: its summary, and its options with defaults and help, read from its docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
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
    """

    summary: str
    defaults: dict[str, Any]
    meanings: dict[str, str]


def plugin_help(kind: str, name: str) -> PluginHelp:
    """Return what a plug-in says of itself.

    Raises:
        NotInstalledError, PluginError: there is no such plug-in, or it does not load.
    """
    text = inspect.getdoc(registry.load(kind, name)) or ""
    summary, said = _read(text)
    defaults = option_defaults(kind, name)
    return PluginHelp(summary, defaults, {option: said.get(option, "") for option in defaults})


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
