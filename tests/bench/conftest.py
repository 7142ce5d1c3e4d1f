"""Run folders with figures made by hand, in the files that a search leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from nasforge.run.result import write_result

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Return a function that writes a finished run and returns its folder."""

    def write(
        name: str,
        *,
        seed: int = 0,
        strategy: str = "random",
        best: dict[str, float] | None = None,
        told: Sequence[float | None] = (),
        front: Sequence[tuple[float, float]] = ((1.0, 0.5),),
        cost: str = "latency_ms_predicted",
        result: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        journal: bool = True,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        settings = {"space": {"name": "nb201"}, "strategy": {"name": strategy}, "target": {"name": "cpu"}, "seed": seed}
        (folder / "config.yaml").write_text(yaml.safe_dump({**settings, **(config or {})}), encoding="utf-8")
        metrics = {"accuracy": 0.5, "accuracy_valid": 0.5, "latency_ms": 1.0} if best is None else best
        entry = {"id": "i", "network_id": "n", "architecture": {"decisions": {}}, "provenance": {}, "verified": True}
        document: dict[str, Any] = {
            "nasforge": "0",
            "space": {"name": "nb201", "fingerprint": "f"},
            "strategy": {"name": strategy},
            "target": {"name": "cpu"},
            "task": {"name": "classification", "data": "digits"},
            "objectives": [{"metric": "accuracy_valid", "direction": "maximize"}],
            "seed": seed,
            "status": "finished",
            "best": {**entry, "metrics": metrics},
            "pareto": [{**entry, "metrics": {cost: x, "macs": 10 * x, "accuracy_valid": y}} for x, y in front],
            "evaluations": len(told),
            "budget": {},
            "seconds": {"total": 10.0 + seed},
            "latency": {"profile": "p"},
            "environment": {},
        }
        write_result(folder, {**document, **(result or {})})
        lines = [
            json.dumps(
                {
                    "user_attrs": {
                        "number": number,
                        "metrics": {} if value is None else {"accuracy_valid": value},
                        "error": "failed" if value is None else None,
                        "seconds": 1.0,
                    }
                }
            )
            for number, value in enumerate(told)
        ]
        if journal:
            (folder / "study.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return write
