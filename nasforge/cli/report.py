"""`nasforge report`: write a run's page again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nasforge.cli.output import print_text


def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Write report.html of a run again, from what the folder holds."""
    from nasforge.config.start import write_report

    write_report(run)
    print_text(str(run / "report.html"))
