"""What every benchmark does with its figures: print a table, and write them as JSON with where they come from.

A benchmark is a script, run from the root of the repository:

    python benchmarks/store_cycle.py [--quick]

It writes `benchmarks/results/<name>.json`: figures, the command, the commit (with a mark where the tree differs from
it), the machine and the versions. Tables in `docs/` are copied from what it prints.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nasforge.run.result import environment

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
WRITTEN = (":!benchmarks/results", ":!hardware_profiles")
"""What benchmarks write: it is no change of what they measure."""


def commit() -> str:
    """Return the commit at hand, with `+changes` where tracked files that no benchmark writes differ from it."""
    try:
        found = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN)
        return f"{found}+changes" if changed else found
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def command() -> str:
    """Return the command that is running, as typed from the root of the repository."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script
    return " ".join(["python", str(name), *sys.argv[1:]])


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(_cell(value) for value in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def record(name: str, header: Sequence[str], rows: Sequence[Sequence[Any]], details: Mapping[str, Any]) -> Path:
    """Print the table and write `benchmarks/results/<name>.json`.

    Args:
        name: of the benchmark.
        header: of the table; units in the names.
        rows: of the table, plain values.
        details: everything a reader needs to judge the rows: set-up, seeds, single values, spreads; plain data.

    Returns:
        The file.

    Raises:
        ValueError: two columns have one name, of which only the second would be kept.
    """
    if repeated := {column for column in header if header.count(column) > 1}:
        message = f"the table of {name} has several columns named {sorted(repeated)}; give each a name of its own"
        raise ValueError(message)
    sys.stdout.write(f"\n{name} ({command()}, commit {commit()})\n\n{table(header, rows)}\n")
    content = {
        "name": name,
        "command": command(),
        "commit": commit(),
        "created": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "table": [dict(zip(header, row, strict=True)) for row in rows],
        "details": dict(details),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path
