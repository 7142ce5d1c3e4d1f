"""`nasforge compare`: runs and sweeps beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from nasforge.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from nasforge.bench import Comparison
    from nasforge.bench.comparison import Configuration, Pairing


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs and sweeps.")],
    metric: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Option(
            help="Of the chosen networks, or seconds, evaluations, image_macs; accuracy where every run has it."
        ),
    ] = None,
    baseline: Annotated[
        Optional[str],  # noqa: UP045 - as above
        typer.Option(help="Settings of one configuration, such as strategy=random, or a run; the first without."),
    ] = None,
    interval: Annotated[str, typer.Option(help="t or bootstrap.")] = "t",
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    force: Annotated[
        bool, typer.Option("--force", help="Compare even what is not alike, and say what differs.")
    ] = False,
    out: Annotated[
        Optional[Path],  # noqa: UP045 - as above
        typer.Option(help="Write a page with tables and plots, such as comparison.html."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Compare finished runs: configurations over seeds, with intervals, paired with a baseline."""
    from nasforge.bench import compare as compare_runs

    given: dict[str, Any] = {"interval": interval, "confidence": confidence, "force": force}
    comparison = compare_runs(folders, metric=metric, baseline=baseline, **given)
    if out is not None:
        comparison.write_html(out)
    if as_json:
        print_json(comparison.to_json())
        return
    print_comparison(comparison)
    if out is not None:
        print_text(str(out))


def print_comparison(comparison: Comparison) -> None:
    """Print the tables, and what a reader must know."""
    header = (
        "configuration",
        "seeds",
        comparison.metric,
        "best",
        "latency_ms",
        "seconds",
        "evaluations",
        "image_macs",
        "hypervolume",
    )
    print_table(header, [_row(comparison, each) for each in comparison.configurations])
    print_text()
    if comparison.pairs:
        head = ("minus " + comparison.baseline, "figure", "pairs", "difference", "better", "worse", "equal")
        print_table(head, [_pair(each) for each in comparison.pairs])
        print_text()
    kind = "Student's t" if comparison.interval == "t" else "bootstrap"
    print_text(
        f"intervals: {100 * comparison.confidence:g} % by {kind}, over seeds; {comparison.metric}: "
        f"{_better(comparison)}."
    )
    if comparison.reference is not None:
        cost, value = comparison.reference
        names = f"{comparison.objective[0]} {value:.6g}, {comparison.cost} {cost:.6g}"
        print_text(f"hypervolume up to the common reference point {names}.")
    for text in (*comparison.differing, *comparison.notes):
        print_text(f"note: {text}")


def _better(comparison: Comparison) -> str:
    return "more is better" if comparison.direction == "maximize" else "less is better"


def _row(comparison: Comparison, each: Configuration) -> list[str]:
    best = "-" if each.best is None else f"{each.best[1]:.4g} (seed {each.best[0]})"
    latency = _mean(each.latency) + (
        "" if each.latency_metric == "latency_ms" or each.latency is None else " predicted"
    )
    label = each.label + (" *" if each.label == comparison.baseline else "")
    shorts = [
        "-" if value is None else f"{value.mean:.4g}" for value in (each.seconds, each.evaluations, each.image_macs)
    ]
    return [label, str(len(each.folders)), _mean(each.score), best, latency, *shorts, _mean(each.hypervolume)]


def _pair(pair: Pairing) -> list[str]:
    count = 0 if pair.difference is None else len(pair.difference.values)
    signs = [str(value) for value in (pair.signs.better, pair.signs.worse, pair.signs.equal)]
    return [pair.label, pair.metric, str(count), _mean(pair.difference, "+"), *signs]


def _mean(value: Any, sign: str = "") -> str:
    if value is None:
        return "-"
    text = format(value.mean, f"{sign}.4g")
    if value.interval is None:
        return text
    low, high = (format(edge, f"{sign}.4g") for edge in (value.interval.low, value.interval.high))
    return f"{text} [{low}, {high}]"
