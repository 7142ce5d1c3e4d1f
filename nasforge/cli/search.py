"""`nasforge search`: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from nasforge.run.outcome import SearchResult
    from nasforge.run.progress import Listener

Text = Optional[str]  # noqa: UP045 - typer reads it at run time


def search(
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 - as above
        typer.Argument(help="Hydra overrides, such as strategy.population=30 space.width=0.5 training.epochs=20."),
    ] = None,
    space: Annotated[Text, typer.Option(help="Search space; see `nasforge list spaces`.")] = None,
    strategy: Annotated[Text, typer.Option(help="Strategy; see `nasforge list strategies`.")] = None,
    target: Annotated[Text, typer.Option(help="Where the network will run: cpu, int8 or gpu.")] = None,
    data: Annotated[Text, typer.Option(help="Data: digits, fractals, cifar10:DIR, image_folder:DIR, ...")] = None,
    task: Annotated[Text, typer.Option(help="Task; see `nasforge list tasks`.")] = None,
    scores: Annotated[Text, typer.Option(help="Zero-cost scores for the strategy, such as naswot,synflow.")] = None,
    filter_: Annotated[Text, typer.Option("--filter", help="Look at the best share by a score: naswot:0.5.")] = None,
    objective: Annotated[Text, typer.Option(help="What to improve: accuracy, int8_accuracy or nll.")] = None,
    max_latency: Annotated[Text, typer.Option(help="Hard limit, such as 5ms.")] = None,
    max_params: Annotated[Text, typer.Option(help="Hard limit, such as 2M.")] = None,
    max_macs: Annotated[Text, typer.Option(help="Hard limit, such as 300M.")] = None,
    budget: Annotated[Text, typer.Option(help="quick, NNmin, NN-evaluations or NN-epochs.")] = None,
    workers: Annotated[Optional[int], typer.Option(help="Evaluations at a time; more than one run on Ray.")] = None,  # noqa: UP045 - as above
    ray: Annotated[Text, typer.Option(help="Address of a Ray cluster: auto, host:port or ray://host:port.")] = None,
    storage: Annotated[Text, typer.Option(help="Database for the evaluations, in the place of study.log.")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Seed of everything random.")] = None,  # noqa: UP045 - as above
    out: Annotated[Text, typer.Option(help="Run folder; a new one below runs/ without.")] = None,
    allow_foreign_profile: Annotated[
        bool, typer.Option("--allow-foreign-profile", help="Use target.profile though another machine measured it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print result.json and nothing else.")] = False,
) -> int:
    """Search a space for the best network on a target, within limits; leave a run folder."""
    from nasforge.cli.running import run_and_report
    from nasforge.config import compose

    groups = {"space": space, "strategy": strategy, "target": target, "task": task}
    values = {
        "data": data,
        "scores": scores,
        "filter": filter_,
        "objective": objective,
        "limits.latency": max_latency,
        "limits.params": max_params,
        "limits.macs": max_macs,
        "budget": budget,
        "workers": workers,
        "engine.address": ray,
        "storage": storage,
        "seed": seed,
        "out": out,
        "target.allow_foreign_profile": True if allow_foreign_profile else None,
    }
    composed = compose(groups, values, overrides or [])

    def start(listener: Listener) -> SearchResult:
        from nasforge.config.start import write_report
        from nasforge.run.search import run_search

        return run_search(composed.settings, config=composed.written, listener=listener, write_report=write_report)

    return run_and_report(start, as_json)
