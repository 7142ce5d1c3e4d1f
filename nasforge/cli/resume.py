"""`nasforge resume`: go on where a run was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from nasforge.run.outcome import SearchResult
    from nasforge.run.progress import Listener


def resume(
    run: Annotated[Path, typer.Argument(help="Folder of the run, or of a sweep.")],
    storage: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="Where the run's evaluations are now, where not as its config.yaml says."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print result.json (sweep.yaml as JSON) and nothing else.")
    ] = False,
) -> int:
    """Go on with a stopped run; a finished one only prints its result again."""
    from nasforge.cli.running import run_and_report
    from nasforge.cli.sweep import run_sweep

    if (run / "sweep.yaml").is_file():
        from nasforge.config.sweep import resume_sweep

        return run_sweep(lambda listener: resume_sweep(run, listener=listener), as_json)

    def start(listener: Listener) -> SearchResult:
        from nasforge.config.start import resume as resume_run

        return resume_run(run, storage=storage, listener=listener)

    return run_and_report(start, as_json)
