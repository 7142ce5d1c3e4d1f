"""Checking options against the plug-ins that take them, before anything starts."""

from __future__ import annotations

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.run import options
from nasforge.run.settings import Settings


def check_options(settings: Settings) -> None:
    """Refuse options that the chosen space or strategy does not have.

    Raises:
        UsageError: an unknown option; the nearest is named.
    """
    for kind, plug in (("spaces", settings.space), ("strategies", settings.strategy)):
        if plug.options and not options.is_open_ended(kind, plug.name):
            known = options.option_defaults(kind, plug.name)
            for key in plug.options:
                if key not in known:
                    what = f"option of {'space' if kind == 'spaces' else 'strategy'} '{plug.name}'"
                    raise UsageError(unknown_name_sentence(what, key, known))
