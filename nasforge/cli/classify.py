"""`nasforge classify`: what a run's network sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nasforge.cli.output import print_json, print_text


def classify(
    run: Annotated[Path, typer.Argument(help="Run folder, or model.safetensors.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Classify images with the network of a run."""
    from nasforge.config import life

    predictions = life.classify(run, images)
    if as_json:
        print_json(
            [
                {
                    "image": str(path),
                    "label": found.label,
                    "probability": found.probability,
                    "probabilities": found.probabilities,
                }
                for path, found in zip(images, predictions, strict=True)
            ]
        )
        return
    for path, found in zip(images, predictions, strict=True):
        print_text(f"{path}: {found.label} ({found.probability:.1%})")
