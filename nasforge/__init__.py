"""nasforge: neural architecture search.

Everything public is named here and imported when first used, so `import nasforge` brings neither torch
nor ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasforge.config.start import resume, search
    from nasforge.errors import (
        ArchitectureError,
        DamagedError,
        DataError,
        DivergedError,
        EvaluationError,
        IncompatibleError,
        InfeasibleError,
        NasforgeError,
        NotInstalledError,
        PluginError,
        ProfileError,
        RunFolderError,
        SpaceError,
        SplitError,
        TargetError,
        UsageError,
    )
    from nasforge.goals import Constraint, Objective
    from nasforge.run.load import LoadedModel, load
    from nasforge.run.outcome import SearchResult
    from nasforge.space import (
        Architecture,
        Input,
        Operator,
        SearchSpace,
        TensorType,
        boundary,
        chain,
        choice,
        combine,
        inputs,
        one_of,
        repeat,
        select,
        subset,
        when,
    )
    from nasforge.strategy import Context, Evaluation, Phase, Problem, Proposal, Strategy, WeightSharing

_HOMES = {
    "nasforge.config.start": ("resume", "search"),
    "nasforge.errors": (
        "ArchitectureError",
        "DamagedError",
        "DataError",
        "DivergedError",
        "EvaluationError",
        "IncompatibleError",
        "InfeasibleError",
        "NasforgeError",
        "NotInstalledError",
        "PluginError",
        "ProfileError",
        "RunFolderError",
        "SpaceError",
        "SplitError",
        "TargetError",
        "UsageError",
    ),
    "nasforge.goals": ("Constraint", "Objective"),
    "nasforge.run.load": ("LoadedModel", "load"),
    "nasforge.run.outcome": ("SearchResult",),
    "nasforge.space": (
        "Architecture",
        "Input",
        "Operator",
        "SearchSpace",
        "TensorType",
        "boundary",
        "chain",
        "choice",
        "combine",
        "inputs",
        "one_of",
        "repeat",
        "select",
        "subset",
        "when",
    ),
    "nasforge.strategy": ("Context", "Evaluation", "Phase", "Problem", "Proposal", "Strategy", "WeightSharing"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Architecture",
    "ArchitectureError",
    "Constraint",
    "Context",
    "DamagedError",
    "DataError",
    "DivergedError",
    "Evaluation",
    "EvaluationError",
    "IncompatibleError",
    "InfeasibleError",
    "Input",
    "LoadedModel",
    "NasforgeError",
    "NotInstalledError",
    "Objective",
    "Operator",
    "Phase",
    "PluginError",
    "Problem",
    "ProfileError",
    "Proposal",
    "RunFolderError",
    "SearchResult",
    "SearchSpace",
    "SpaceError",
    "SplitError",
    "Strategy",
    "TargetError",
    "TensorType",
    "UsageError",
    "WeightSharing",
    "boundary",
    "chain",
    "choice",
    "combine",
    "inputs",
    "load",
    "one_of",
    "repeat",
    "resume",
    "search",
    "select",
    "subset",
    "when",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nasforge")
    if name not in _HOME:
        raise AttributeError(f"module 'nasforge' has no attribute '{name}'")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
