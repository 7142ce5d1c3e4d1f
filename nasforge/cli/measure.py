"""`nasforge measure`: the latency of a network on a target, measured here."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from nasforge.cli.output import print_json, print_pairs


def measure(
    what: Annotated[str, typer.Argument(help="A run folder, an architecture.json, an ONNX file, or a name.")],
    options: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Argument(help="Options of the target, such as protocol.visits=10 or batch=8."),
    ] = None,
    target: Annotated[str, typer.Option(help="cpu, int8 or gpu.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a network's latency, with its spread and the host's noise."""
    from nasforge.cli.stage import stage
    from nasforge.cli.target_options import target_options
    from nasforge.run.measuring import measure_network
    from nasforge.run.options import make_target

    device = make_target(target, target_options(options or ()))
    with stage("measuring") as progress:
        found = measure_network(device, target, what, progress)
    facts = {"target": target, **found.to_json()}
    if as_json:
        print_json(facts)
    else:
        shown = {key: value for key, value in facts.items() if value != ""}
        print_pairs({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in shown.items()})
