"""Every error that nasforge raises on purpose, in one tree, so that callers can catch one base.

    NasforgeError                 exit code 1
    ├── UsageError (ValueError)   exit code 2: the request cannot be carried out as given
    │   ├── NotInstalledError (LookupError)   a name that no plug-in offers
    │   ├── SpaceError            a search space that is declared wrongly
    │   ├── ArchitectureError     an architecture that does not fit the space
    │   ├── IncompatibleError     a pair (space, strategy) that cannot work
    │   └── DataError             a data set that cannot be used
    ├── PluginError (ImportError) a plug-in is installed but does not load
    ├── SplitError (PermissionError)  `test` data asked for inside a search
    ├── DivergedError (ArithmeticError)   training gave NaN or infinity
    ├── EvaluationError (RuntimeError)    an evaluation failed
    ├── TargetError (RuntimeError)        a target cannot measure here
    ├── ProfileError (ValueError)         a latency profile is damaged or foreign
    ├── RunFolderError (OSError)          a run folder cannot be used
    │   ├── DamagedError          a file of a run folder is damaged
    │   └── WrongFolderError (UsageError)     exit code 2: the folder that was given is taken, or not there
    └── InfeasibleError (ValueError)      exit code 3: no network meets the limits

Messages are one sentence: what was given, what was expected, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class NasforgeError(Exception):
    """Base of all errors raised by nasforge; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1


class UsageError(NasforgeError, ValueError):
    """The request cannot be carried out as given."""

    exit_code = 2


class NotInstalledError(UsageError, LookupError):
    """A name that no installed plug-in offers."""

    @classmethod
    def unknown(cls, kind: str, name: str, available: Iterable[str]) -> NotInstalledError:
        """Say what is available and which name is nearest."""
        return cls(unknown_name_sentence(kind, name, available, verb="is not installed"))


class SpaceError(UsageError):
    """A search space is declared wrongly."""


class ArchitectureError(UsageError):
    """An architecture does not fit the space it is used with."""


class IncompatibleError(UsageError):
    """A strategy cannot search this space."""


class DataError(UsageError):
    """A data set cannot be used as it is."""


class PluginError(NasforgeError, ImportError):
    """A plug-in is installed but its code does not load."""


class SplitError(NasforgeError, PermissionError):
    """Test data were asked for inside a search."""


class DivergedError(NasforgeError, ArithmeticError):
    """Training gave a loss that is NaN or infinite."""


class EvaluationError(NasforgeError, RuntimeError):
    """An evaluation could not be carried out."""


class TargetError(NasforgeError, RuntimeError):
    """A target cannot be measured on this machine."""


class ProfileError(NasforgeError, ValueError):
    """A latency profile is damaged, foreign or of another schema."""


class RunFolderError(NasforgeError, OSError):
    """A run folder cannot be used."""


class DamagedError(RunFolderError):
    """A file of a run folder is damaged."""


class WrongFolderError(RunFolderError, UsageError):
    """The folder that was given cannot serve: it is taken, or not there."""


class InfeasibleError(NasforgeError, ValueError):
    """No network within the limits was found."""

    exit_code = 3


def unknown_name_sentence(kind: str, name: str, available: Iterable[str], verb: str = "is unknown") -> str:
    """One sentence for a name that is not among those available, with the nearest one suggested.

    >>> unknown_name_sentence("strategy", "evolutoin", ["random", "evolution"])
    "strategy 'evolutoin' is unknown; available: evolution, random. Did you mean 'evolution'?"
    """
    names = sorted(available)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return f"{kind} '{name}' {verb}; available: {', '.join(names) or 'none'}.{hint}"
