"""The one door through which plug-ins come in: entry points, loaded lazily.

Nothing is imported until a plug-in is asked for by name, so `nasforge list` stays fast and one
broken plug-in breaks nothing else.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final, final

from nasforge.errors import NotInstalledError, PluginError, UsageError

KINDS: Final = ("spaces", "strategies", "targets", "tasks", "datasets", "tables", "suites", "scores")
SINGULAR: Final = {
    "spaces": "space",
    "strategies": "strategy",
    "targets": "target",
    "tasks": "task",
    "datasets": "dataset",
    "tables": "table",
    "suites": "suite",
    "scores": "score",
}


@final
@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed plug-in: its name, the object it points to, and the distribution it comes from."""

    kind: str
    name: str
    value: str
    distribution: str

    def load(self) -> Any:
        """Import the object, a function or class; a failure names the distribution that ships it."""
        try:
            found = metadata.EntryPoint(self.name, self.value, f"nasforge.{self.kind}").load()
        except (Exception, SystemExit) as error:
            raise self._unusable(f"does not load ({type(error).__name__}: {error})") from error
        if not callable(found):
            raise self._unusable(f"is a {type(found).__name__}, where a function or class was expected")
        return found

    def _unusable(self, what: str) -> PluginError:
        name = f"{SINGULAR[self.kind]} '{self.name}' of distribution '{self.distribution}'"
        return PluginError(f"{name} {what}; repair or uninstall that distribution.")


@functools.cache
def installed(kind: str) -> dict[str, Plugin]:
    """Return the installed plug-ins of one kind by name; two of one name are refused.

    Raises:
        UsageError: two distributions offer the same name.
    """
    if kind not in KINDS:
        raise NotInstalledError.unknown("plug-in kind", kind, KINDS)
    found: dict[str, Plugin] = {}
    for entry in metadata.entry_points(group=f"nasforge.{kind}"):
        distribution = entry.dist.name if entry.dist is not None else "unknown"
        plugin = Plugin(kind, entry.name, entry.value, distribution)
        known = found.get(entry.name)
        if known is not None and known.value != plugin.value:
            raise UsageError(
                f"{SINGULAR[kind]} '{entry.name}' is offered by two distributions, '{known.distribution}' and "
                f"'{distribution}'; uninstall one of them."
            )
        found[entry.name] = plugin
    return dict(sorted(found.items()))


def load(kind: str, name: str) -> Any:
    """Import and return the plug-in object of this kind and name.

    Raises:
        NotInstalledError: no plug-in has the name; the message lists those that exist.
        PluginError: the plug-in is installed but fails to import.
    """
    plugins = installed(kind)
    if name not in plugins:
        raise NotInstalledError.unknown(SINGULAR[kind], name, plugins)
    return plugins[name].load()
