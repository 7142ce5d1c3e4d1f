"""`result.json`, schema 1: what a run found, with provenance."""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nasforge.errors import DamagedError
from nasforge.run.atomic import read_json, write_json
from nasforge.run.folder import resume_command

SCHEMA: Final = 1
FILE: Final = "result.json"
_KEYS: Final = (
    "schema", "nasforge", "space", "strategy", "target", "task", "seed", "status", "best", "pareto", "evaluations",
    "budget", "seconds", "latency", "environment",
)  # fmt: skip
_MAPPINGS: Final = ("space", "strategy", "target", "task", "budget", "seconds", "latency", "environment")
_ENTRY: Final = {
    "id": str, "network_id": str, "architecture": dict, "metrics": dict, "provenance": dict, "verified": bool,
}  # fmt: skip
STATUSES: Final = ("finished", "limit_missed")
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
    again = f"`{resume_command(path.parent)}` writes it again"
    try:
        result = read_json(path)
    except FileNotFoundError as error:
        raise DamagedError(
            f"'{path}' does not exist; the run has not finished: `{resume_command(path.parent)}`."
        ) from error
    except (OSError, ValueError) as error:
        raise DamagedError(f"'{path}' is damaged ({type(error).__name__}); {again}.") from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise DamagedError(f"'{path}' is not a result of schema {SCHEMA}; read it with the version that wrote it.")
    missing = [key for key in _KEYS if key not in result]
    if missing:
        raise DamagedError(f"'{path}' lacks {', '.join(missing)}; {again}.")
    wrong = _wrong(result)
    if wrong is not None:
        raise DamagedError(f"'{path}' was altered: '{wrong}' is not as nasforge writes it; {again}.")
    return result


def _wrong(result: Mapping[str, Any]) -> str | None:
    """Return the first key whose value is of another kind than is written; None where all are as they were."""
    for key in _MAPPINGS:
        if not isinstance(result[key], dict):
            return key
    if result["status"] not in STATUSES or (result["best"] is None and result["status"] == "finished"):
        return "status"
    for key in ("objectives", "pareto", "finalists", "winners", "warnings"):
        if not isinstance(result.get(key, []), list):
            return key
    entries = [("best", result["best"])] if result["best"] is not None else []
    entries += [(key, each) for key in ("pareto", "finalists", "winners") for each in result.get(key, [])]
    entries_fit = ((key, _is_entry(each)) for key, each in entries)
    objectives_fit = (("objectives", _is_objective(each)) for each in result.get("objectives", []))
    warnings_fit = (("warnings", isinstance(each, str)) for each in result.get("warnings", []))
    fitting = itertools.chain(entries_fit, objectives_fit, warnings_fit)
    return next((key for key, fits in fitting if not fits), None)


def _is_objective(given: Any) -> bool:
    return isinstance(given, dict) and isinstance(given.get("metric"), str)


def _is_entry(given: Any) -> bool:
    """Say whether something is an architecture with its metrics, as `best` is one."""
    if not isinstance(given, dict) or not all(isinstance(given.get(key), kind) for key, kind in _ENTRY.items()):
        return False
    numbers = (each for each in given["metrics"].values() if each is not None)
    return isinstance(given["architecture"].get("decisions"), dict) and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in numbers
    )


def latency_warning(result: Mapping[str, Any]) -> str:
    """Return what must be said beside every predicted latency of a result: a foreign, stale or uncertified profile."""
    latency = result.get("latency")
    details = latency.get("details") if isinstance(latency, dict) else None
    return str(details.get("warning") or "") if isinstance(details, dict) else ""


def measurement_noise(provenance: Any) -> str:
    """Return what a network's measurement says of the host, such as that others computed; empty where it was quiet."""
    measurement = provenance.get("measurement") if isinstance(provenance, dict) else None
    return str(measurement.get("noise") or "") if isinstance(measurement, dict) else ""
