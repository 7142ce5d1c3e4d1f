"""`nasforge export`: a run's network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from nasforge.cli.output import print_text


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or model.safetensors.")],
    out: Annotated[Optional[Path], typer.Option(help="The file; model.onnx beside the model without.")] = None,  # noqa: UP045 - typer reads it
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to INT8; needs --data to calibrate on.")] = False,
    data: Annotated[Optional[str], typer.Option(help="Data to calibrate on; that of the run without.")] = None,  # noqa: UP045 - as above
) -> None:
    """Export a network with its class names and preprocessing; it runs in ONNX Runtime without nasforge."""
    from nasforge.config import life

    path = life.export(run, out, int8=int8, data=data)
    print_text(str(path))
    if int8:
        from nasforge.build.quantize import inspect_quantised

        print_text(inspect_quantised(path).sentence)
