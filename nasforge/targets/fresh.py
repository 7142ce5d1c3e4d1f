"""Measuring files in another process: held-out networks are timed as a user's own program would time them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasforge.errors import TargetError
from nasforge.targets.base import Measurement, Target


def measure_in_fresh_process(
    kind: type[Target], options: Mapping[str, Any], files: Sequence[Path], progress: Callable[[float], None]
) -> list[Measurement]:
    """Measure files by a target that another process makes.

    Args:
        kind: class of the target.
        options: plain data that it is made with.
        files: float32 ONNX files.
        progress: hears the share that is done.

    Raises:
        TargetError: the process failed.
    """
    request = {"target": f"{kind.__module__}:{kind.__qualname__}", "options": options, "files": list(map(str, files))}
    with tempfile.TemporaryDirectory(prefix="nasforge-") as name:
        path, answer = Path(name) / "request.json", Path(name) / "answer.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "nasforge.targets.fresh", str(path), str(answer)]
        with subprocess.Popen(  # noqa: S603 - this program itself
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                progress(float(line))
            said = process.stderr.read().strip().splitlines()
        if process.returncode != 0 or not answer.exists():
            raise TargetError(f"networks could not be measured in a fresh process ({said[-1] if said else 'it died'}).")
        return [Measurement(**each) for each in json.loads(answer.read_text(encoding="utf-8"))]


def main(request: Path, answer: Path) -> None:
    """Measure what a request asks for, print the share that is done a line at a time, and write the answer."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    module, _, name = asked["target"].partition(":")
    target: Target = getattr(importlib.import_module(module), name)(**asked["options"])
    found = target.measure_many(asked["files"], lambda done, total: print(done / total, flush=True))
    answer.write_text(json.dumps([each.to_json() for each in found]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
