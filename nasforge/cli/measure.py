"""`nasforge measure`: the latency of a network on a target, measured here."""

from __future__ import annotations

from typing import Annotated

import typer

from nasforge.cli.output import print_json, print_pairs


def measure(
    what: Annotated[str, typer.Argument(help="A run folder, an architecture.json, a .onnx file, or a name.")],
    target: Annotated[str, typer.Option(help="cpu, int8 or gpu.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a network's latency for one image, with its spread."""
    from nasforge.config import life

    facts = {"target": target, **life.measure(what, target).to_json()}
    if as_json:
        print_json(facts)
    else:
        print_pairs({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in facts.items()})
