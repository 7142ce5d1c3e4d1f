"""nasforge: neural architecture search.

Everything public is named here and imported when first used, so `import nasforge` brings neither torch
nor ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasforge.bench import Comparison, compare
    from nasforge.config.life import LatencyPrediction, classify, describe, export, measure, predict, train
    from nasforge.config.profiling import make_profile
    from nasforge.config.start import resume, search, write_report
    from nasforge.config.sweep import sweep
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
        WrongFolderError,
    )
    from nasforge.goals import Constraint, Objective
    from nasforge.hardware.predictor import LatencyPredictor
    from nasforge.run.artifact import Artifact
    from nasforge.run.load import LoadedModel, Prediction, load
    from nasforge.run.matrix import compatibility
    from nasforge.run.outcome import SearchResult
    from nasforge.run.progress import Listener
    from nasforge.run.sweep_folder import SweepResult
    from nasforge.run.training import Trained
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
    from nasforge.targets.base import Measurement, Target

_HOMES = {
    "nasforge.bench": ("Comparison", "compare"),
    "nasforge.config.life": ("LatencyPrediction", "classify", "describe", "export", "measure", "predict", "train"),
    "nasforge.config.profiling": ("make_profile",),
    "nasforge.config.start": ("resume", "search", "write_report"),
    "nasforge.config.sweep": ("sweep",),
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
        "WrongFolderError",
    ),
    "nasforge.goals": ("Constraint", "Objective"),
    "nasforge.hardware.predictor": ("LatencyPredictor",),
    "nasforge.run.artifact": ("Artifact",),
    "nasforge.run.load": ("LoadedModel", "Prediction", "load"),
    "nasforge.run.matrix": ("compatibility",),
    "nasforge.run.outcome": ("SearchResult",),
    "nasforge.run.progress": ("Listener",),
    "nasforge.run.sweep_folder": ("SweepResult",),
    "nasforge.run.training": ("Trained",),
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
    "nasforge.targets.base": ("Measurement", "Target"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Architecture",
    "ArchitectureError",
    "Artifact",
    "Comparison",
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
    "LatencyPrediction",
    "LatencyPredictor",
    "Listener",
    "LoadedModel",
    "Measurement",
    "NasforgeError",
    "NotInstalledError",
    "Objective",
    "Operator",
    "Phase",
    "PluginError",
    "Prediction",
    "Problem",
    "ProfileError",
    "Proposal",
    "RunFolderError",
    "SearchResult",
    "SearchSpace",
    "SpaceError",
    "SplitError",
    "Strategy",
    "SweepResult",
    "Target",
    "TargetError",
    "TensorType",
    "Trained",
    "UsageError",
    "WeightSharing",
    "WrongFolderError",
    "boundary",
    "chain",
    "choice",
    "classify",
    "combine",
    "compare",
    "compatibility",
    "describe",
    "export",
    "inputs",
    "load",
    "make_profile",
    "measure",
    "one_of",
    "predict",
    "repeat",
    "resume",
    "search",
    "select",
    "subset",
    "sweep",
    "train",
    "when",
    "write_report",
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
