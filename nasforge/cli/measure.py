"""`nasforge measure`: the latency of a network on a target, measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nasforge.cli.output import print_json, print_pairs


def measure(
    what: Annotated[str, typer.Argument(help="A run folder, an architecture.json, a .onnx file, or a name.")],
    target: Annotated[str, typer.Option(help="cpu, int8 or gpu.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a network's latency for one image, with its spread."""
    from nasforge.errors import TargetError
    from nasforge.run.measuring import measure_architecture, measure_file
    from nasforge.run.options import make_target

    device = make_target(target, {})
    reason = device.available()
    if reason is not None:
        raise TargetError(f"target '{target}' cannot be measured here: {reason}; use `nasforge predict`.")
    path = Path(what)
    if path.suffix == ".onnx":
        found = measure_file(device, path)
    else:
        from nasforge.run.artifact import find_architecture

        found = measure_architecture(device, find_architecture(what))
    facts = {"target": target, **found.to_json()}
    if as_json:
        print_json(facts)
    else:
        print_pairs({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in facts.items()})
