"""`result.json`, schema 1: what a run found, with provenance."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nasforge.errors import DamagedError
from nasforge.run.atomic import write_json

SCHEMA: Final = 1
FILE: Final = "result.json"
_KEYS: Final = (
    "schema", "nasforge", "space", "strategy", "target", "task", "seed", "status", "best", "pareto", "evaluations",
    "budget", "seconds", "latency", "environment",
)  # fmt: skip
_LIBRARIES: Final = ("torch", "torchvision", "onnxruntime", "onnx", "optuna", "numpy")


def environment() -> dict[str, Any]:
    """Return machine and versions."""
    from nasforge.hardware.device import this_cpu

    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    cpu = this_cpu()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu.model,
        "cores": cpu.cores,
        "versions": versions,
    }


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write `result.json`; every key of the schema must be there."""
    missing = [key for key in _KEYS if key not in {"schema": 1, **result}]
    assert not missing, f"result lacks {missing}"
    write_json(folder / FILE, {"schema": SCHEMA, **result})


def read_result(folder: Path) -> dict[str, Any]:
    """Read and check `result.json`.

    Raises:
        DamagedError: missing, damaged or of another schema.
    """
    path = folder / FILE if folder.is_dir() else folder
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedError(
            f"'{path}' does not exist; the run has not finished: `nasforge resume {path.parent}`."
        ) from error
    except (OSError, ValueError) as error:
        raise DamagedError(
            f"'{path}' is damaged ({type(error).__name__}); `nasforge resume {path.parent}` writes it again."
        ) from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise DamagedError(f"'{path}' is not a result of schema {SCHEMA}; read it with the version that wrote it.")
    missing = [key for key in _KEYS if key not in result]
    if missing:
        raise DamagedError(f"'{path}' lacks {', '.join(missing)}; `nasforge resume {path.parent}` writes it again.")
    return result
