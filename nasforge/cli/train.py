"""`nasforge train`: a found architecture, trained alone: from scratch or on, larger too, by a recipe, by teachers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from nasforge.cli.output import print_json, print_pairs
from nasforge.errors import UsageError

if TYPE_CHECKING:
    from nasforge.run.training import Trained


def train(
    architecture: Annotated[str, typer.Argument(help="A run folder, an architecture.json, or a name.")],
    options: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it
        typer.Argument(help="Options such as training.epochs=100 space.width=2.0."),
    ] = None,
    data: Annotated[str, typer.Option(help="Data: digits, cifar10:DIR, image_folder:DIR, ...")] = "digits",
    recipe: Annotated[
        Optional[str],  # noqa: UP045 - as above
        typer.Option(help="Constants of a published training: nasnet_cifar, nasnet_mobile, meal_v2, ..."),
    ] = None,
    teacher: Annotated[
        Optional[str],  # noqa: UP045 - as above
        typer.Option(help="Runs or model files, with commas between, whose mean probabilities take the labels' place."),
    ] = None,
    initial: Annotated[
        Optional[Path],  # noqa: UP045 - as above
        typer.Option("--from", help="Run or model file of the same architecture whose weights are the first."),
    ] = None,
    size: Annotated[Optional[int], typer.Option(help="Height and width of the images.")] = None,  # noqa: UP045 - as above
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    out: Annotated[Optional[Path], typer.Option(help="Folder for the model; a new one below runs/ without.")] = None,  # noqa: UP045 - as above
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Train an architecture and write model.safetensors, model.onnx and architecture.json."""
    from nasforge.cli.console import Terminal
    from nasforge.config import life
    from nasforge.config.options import parse_options

    terminal = Terminal()
    given = parse_options(options or [], ("space", "training", "data_options"))
    if recipe is not None and given["training"].get("recipe", recipe) != recipe:
        raise UsageError(f"--recipe {recipe} and training.recipe={given['training']['recipe']} were given; give one.")
    if recipe is not None:
        given["training"]["recipe"] = recipe
    if size is not None:
        given["data_options"]["size"] = size
    try:
        trained: Trained = life.train(
            architecture,
            data=data,
            space_options=given["space"],
            training=given["training"],
            data_options=given["data_options"],
            teacher=teacher,
            initial=initial,
            seed=seed,
            out=out,
            listener=terminal,
        )
    finally:
        terminal.closed()
    if as_json:
        print_json(trained.to_json())
    else:
        print_pairs(trained.to_json())
