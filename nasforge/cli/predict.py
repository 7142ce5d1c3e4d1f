"""`nasforge predict`: the latency of a network on a target, from a profile or a model."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from nasforge.cli.output import print_json, print_pairs


def predict(
    what: Annotated[
        str, typer.Argument(help="A run folder, an architecture.json, or a name such as proxyless-mobile.")
    ],
    options: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Argument(help="Options of the target, such as card=a100 or batch=8."),
    ] = None,
    target: Annotated[str, typer.Option(help="cpu, int8 or gpu.")] = "gpu",
    allow_foreign_profile: Annotated[
        bool, typer.Option("--allow-foreign-profile", help="Use profile=NAME though another machine measured it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict a network's latency, and say where the prediction comes from."""
    from nasforge.cli.stage import stage
    from nasforge.cli.target_options import target_options
    from nasforge.run.measuring import find_network
    from nasforge.run.options import make_target

    foreign = {"allow_foreign_profile": True} if allow_foreign_profile else {}
    device, artifact = make_target(target, {**target_options(options or ()), **foreign}), find_network(what)
    with stage("latency") as progress:
        predictor = device.predictor(artifact.space, progress)
    facts = {
        "target": target,
        "latency_ms_predicted": float(predictor.cost(artifact.architecture)),
        "source": predictor.source,
        "profile": predictor.profile,
    }
    if as_json:
        print_json({**facts, "validated": dict(predictor.validated), "details": dict(predictor.details)})
    else:
        validated = {f"held-out {key}": value for key, value in predictor.validated.items()}
        pairs = {**facts, **validated}
        print_pairs({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in pairs.items()})
