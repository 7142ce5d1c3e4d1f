"""`nasforge sweep`: many searches over a grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from nasforge.run.progress import Listener
    from nasforge.run.sweep_folder import SweepResult

Text = Optional[str]  # noqa: UP045 - typer reads it at run time


def sweep(
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 - as above
        typer.Argument(help="Hydra overrides, several values to sweep over: seed=1,2,3 strategy=random,evolution."),
    ] = None,
    space: Annotated[Text, typer.Option(help="Search space; see `nasforge list spaces`.")] = None,
    strategy: Annotated[Text, typer.Option(help="Strategy; see `nasforge list strategies`.")] = None,
    target: Annotated[Text, typer.Option(help="Where the networks will run: cpu, int8 or gpu.")] = None,
    data: Annotated[Text, typer.Option(help="Data: digits, fractals, cifar10:DIR, image_folder:DIR, ...")] = None,
    task: Annotated[Text, typer.Option(help="Task; see `nasforge list tasks`.")] = None,
    max_latency: Annotated[Text, typer.Option(help="Hard limit, such as 5ms.")] = None,
    max_params: Annotated[Text, typer.Option(help="Hard limit, such as 2M.")] = None,
    max_macs: Annotated[Text, typer.Option(help="Hard limit, such as 300M.")] = None,
    budget: Annotated[Text, typer.Option(help="Of each member: quick, NNmin, NN-evaluations or NN-epochs.")] = None,
    workers: Annotated[Optional[int], typer.Option(help="Evaluations at a time in each member.")] = None,  # noqa: UP045 - as above
    seed: Annotated[Optional[int], typer.Option(help="One seed for all; seed=1,2,3 sweeps.")] = None,  # noqa: UP045 - as above
    out: Annotated[Text, typer.Option(help="Folder of the sweep; a new one below sweeps/ without.")] = None,
    launcher: Annotated[str, typer.Option(help="local, joblib or ray.")] = "local",
    jobs: Annotated[Optional[int], typer.Option(help="Members at a time, for joblib and Ray.")] = None,  # noqa: UP045 - as above
    ray: Annotated[Text, typer.Option(help="Address of a Ray cluster, for --launcher ray.")] = None,
    resume: Annotated[
        Optional[Path],  # noqa: UP045 - as above
        typer.Option(help="Go on with this sweep: run what failed or was interrupted."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print sweep.yaml as JSON and nothing else.")] = False,
) -> int:
    """Search once for every combination of values; leave a folder of run folders for `nasforge compare`."""
    from nasforge.errors import UsageError

    options = {
        "space": space,
        "strategy": strategy,
        "target": target,
        "task": task,
        "data": data,
        "limits.latency": max_latency,
        "limits.params": max_params,
        "limits.macs": max_macs,
        "budget": budget,
        "workers": workers,
        "seed": seed,
    }
    if resume is not None and (overrides or out or any(value is not None for value in options.values())):
        raise UsageError("--resume was given with other settings; give the folder alone, its sweep.yaml says the rest.")

    def start(listener: Listener) -> SweepResult:
        from nasforge.config import sweep as sweeps

        how = {"launcher": launcher, "jobs": jobs, "address": ray, "listener": listener}
        if resume is not None:
            return sweeps.resume_sweep(resume, **how)  # type: ignore[arg-type]  # of several types
        given = [each for key, value in options.items() for each in sweeps.option(key, value)]
        return sweeps.sweep(overrides=[*(overrides or []), *given], out=out, **how)  # type: ignore[arg-type]  # as above

    return run_sweep(start, as_json)


def run_sweep(start: Callable[[Listener], SweepResult], as_json: bool) -> int:
    """Run `start(listener)`, print what has become of the members, and return the exit code."""
    from nasforge.cli.output import print_json
    from nasforge.cli.running import INTERRUPTED, LIMITS_MISSED, run_resumable

    done = run_resumable(start)
    if done is None:
        return INTERRUPTED
    result, _ = done
    if as_json:
        print_json(result.to_json())
    else:
        print_members(result)
    if result.failed:
        return 1
    return LIMITS_MISSED if any(each.status == "limit_missed" for each in result.members) else 0


def print_members(result: SweepResult) -> None:
    """Print each member with what it found, or why it failed."""
    from nasforge.cli.output import print_table, print_text

    print_table(("member", "status", "best"), [_row(result, place) for place in range(len(result.members))])
    print_text()
    for each in result.failed:
        print_text(f"{each.name} failed: {each.error}")
    if result.failed:
        print_text(f"{len(result.failed)} of {len(result.members)} members failed; the same command runs only them.")
    print_text(f"compare them: nasforge compare {result.folder}")


def _row(result: SweepResult, place: int) -> tuple[str, str, str]:
    from nasforge.errors import DamagedError
    from nasforge.run.result import read_result

    member = result.members[place]
    found = "-"
    if member.done:
        try:
            best = read_result(result.folder / member.name)["best"] or {"metrics": {}}
        except DamagedError:
            best = {"metrics": {}}
        shown = [(key, best["metrics"].get(key)) for key in ("accuracy", "accuracy_valid", "latency_ms")]
        found = "  ".join(f"{key} {value:.4g}" for key, value in shown if value is not None) or "-"
    return member.name, member.status.replace("_", " "), found
