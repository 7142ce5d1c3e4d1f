"""`nasforge predict`: the latency of a network on a target, from a profile or a model."""

from __future__ import annotations

from typing import Annotated

import typer

from nasforge.cli.output import print_json, print_pairs


def predict(
    what: Annotated[
        str, typer.Argument(help="A run folder, an architecture.json, or a name such as proxyless-mobile.")
    ],
    target: Annotated[str, typer.Option(help="cpu, int8 or gpu.")] = "gpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict a network's latency, and say where the prediction comes from."""
    from nasforge.config import life

    found = life.predict(what, target)
    facts = {
        "target": target,
        "latency_ms_predicted": found.latency_ms,
        "source": found.source,
        "profile": found.profile,
        "validated": dict(found.validated),
    }
    if as_json:
        print_json(facts)
    else:
        print_pairs({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in facts.items()})
