"""The delivered files of a finished run: which of them cannot be used any more, so that `resume` writes them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasforge.errors import DamagedError, TargetError
from nasforge.run.artifact import FILE as ARCHITECTURE_FILE
from nasforge.run.artifact import Artifact, read_artifact
from nasforge.run.atomic import read_json
from nasforge.run.deliver import INT8_FILE, ONNX_FILE
from nasforge.run.load import FILE as MODEL_FILE
from nasforge.run.load import load
from nasforge.run.options import make_strategy, make_target
from nasforge.run.outcome import SearchResult
from nasforge.run.settings import Settings
from nasforge.run.setup import Given


def unusable_files(result: SearchResult, settings: Settings, given: Given) -> dict[str, str]:
    """Return the delivered files that are missing or damaged, each with the reason.

    Files are read, not compared with what was written: a network that was exported again is as good. Where the space
    was made in Python and is not given again, only whether they are there can be seen.
    """
    best = result.best
    if best is None:
        return {}

    def is_chosen(artifact: Artifact) -> None:
        if artifact.space.to_json(artifact.architecture) != best["architecture"]:
            raise DamagedError("it holds another architecture than result.json names.")

    checks: dict[str, Callable[[Path], object]] = {
        ARCHITECTURE_FILE: lambda path: is_chosen(read_artifact(path, given.space))
    }
    if _with_weights(settings, given):
        checks[MODEL_FILE] = lambda path: is_chosen(load(path, given.space).artifact)
        checks[ONNX_FILE] = _open_onnx
        if (given.target or make_target(settings.target.name, settings.target.options)).precision == "int8":
            checks[INT8_FILE] = _open_onnx
    if given.space is None and _of_python(result.folder / ARCHITECTURE_FILE):
        checks |= {ARCHITECTURE_FILE: Path.stat, MODEL_FILE: Path.stat} if MODEL_FILE in checks else {}
    found = {}
    for name, check in checks.items():
        reason = _reason(result.folder / name, check)
        if reason is not None:
            found[name] = reason
    return found


def _with_weights(settings: Settings, given: Given) -> bool:
    """Say whether the run delivers a trained network, or the architecture alone."""
    strategy = given.strategy or make_strategy(settings.strategy.name, settings.strategy.options)
    return settings.retrain or not getattr(strategy, "retrain", True)


def _open_onnx(path: Path) -> Any:
    from nasforge.targets.ort_session import open_session

    return open_session(path)


def _of_python(path: Path) -> bool:
    """Say whether an `architecture.json` is of a space that no plug-in makes."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "space" in found and found["space"] is None


def _reason(path: Path, check: Callable[[Path], object]) -> str | None:
    if not path.exists():
        return "is missing"
    try:
        check(path)
    except (DamagedError, TargetError) as error:
        return f"cannot be used: {error}"
    return None
