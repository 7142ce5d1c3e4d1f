"""`nasforge bench`: strategies compared on tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from nasforge.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from nasforge.bench import BenchResult
    from nasforge.bench.result import At, Standing, SuiteResult, Versus

INTERRUPTED = 130
Text = Optional[str]  # noqa: UP045 - typer reads it at run time


def bench(
    suite: Annotated[
        list[str],
        typer.Option(
            help="Suites with options: nb201-cifar10,nats_sss, 'nb201-cifar10 device=pixel3', table:FILE.csv."
        ),
    ],
    strategy: Annotated[
        list[str], typer.Option(help="Strategies with options: 'random,evolution population=30 sample=10'.")
    ],
    evaluations: Annotated[Optional[int], typer.Option(help="Of each search; 300, or what --seconds allow.")] = None,  # noqa: UP045 - as above
    seeds: Annotated[str, typer.Option(help="How many searches of each kind; or seeds, as in 3,5,7.")] = "20",
    budgets: Annotated[Text, typer.Option(help="Evaluations at which searches are compared: 50,100,150,300.")] = None,
    seconds: Annotated[Text, typer.Option(help="Seconds of training at which searches are compared.")] = None,
    objectives: Annotated[str, typer.Option(help="accuracy, or two: accuracy,latency.")] = "accuracy",
    space: Annotated[Text, typer.Option(help="Of suites that are files, table:FILE.csv.")] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one on every core.")] = 0,
    out: Annotated[
        Optional[Path],  # noqa: UP045 - as above
        typer.Option(help="Folder, which keeps every search; a new one below benches/ without."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print bench.json and nothing else.")] = False,
) -> int:
    """Compare strategies on tables of trained networks, over seeds, at equal budgets."""
    from nasforge.bench import BenchInterrupted
    from nasforge.bench import bench as run_bench
    from nasforge.cli.console import Terminal
    from nasforge.cli.running import terminated_as_interrupted
    from nasforge.config.configurations import parse_configurations

    suites = [(name, _placed(name, given, space)) for name, given in parse_configurations(suite, "suite")]
    strategies = parse_configurations(strategy, "strategy")
    counts = _numbers(seeds, "seeds")
    terminal = Terminal()
    try:
        with terminated_as_interrupted():
            result = run_bench(
                suites,
                strategies,
                evaluations=evaluations,
                seeds=counts[0] if len(counts) == 1 and "," not in seeds else counts,
                budgets=None if budgets is None else _numbers(budgets, "budgets"),
                seconds=() if seconds is None else _amounts(seconds),
                objectives=[each.strip() for each in objectives.split(",")],
                workers=workers,
                confidence=confidence,
                out=out,
                listener=terminal,
            )
    except BenchInterrupted as stopped:
        terminal.closed()
        terminal.note(f"nasforge: interrupted; go on with: {stopped.command}")
        return INTERRUPTED
    finally:
        terminal.closed()
    if as_json:
        print_json(result.to_json())
    else:
        print_bench(result)
    return 0


def _placed(name: str, options: dict[str, Any], space: str | None) -> dict[str, Any]:
    """Give a file the space of the command, unless it names its own."""
    return {"space": space, **options} if space is not None and name.startswith("table:") else options


def _numbers(text: str, what: str) -> list[int]:
    from nasforge.errors import UsageError

    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"{what} was given '{text}'; expected whole numbers, as in 50,100.") from None


def _amounts(text: str) -> list[float]:
    from nasforge.errors import UsageError

    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"seconds was given '{text}'; expected numbers, as in 1e5,5e5.") from None


def print_bench(result: BenchResult) -> None:
    """Print for each suite the standings and the pairs, and what a reader must know."""
    for suite in result.suites:
        _print_suite(suite, len(result.seeds))
    print_text(f"intervals: {100 * result.confidence:g} % by bootstrap, over {len(result.seeds)} seeds.")
    for text in result.notes:
        print_text(f"note: {text}")
    print_text(f"page: {result.folder / 'bench.html'}")


def _print_suite(suite: SuiteResult, seeds: int) -> None:
    print_text(f"{suite.name}: {suite.truth} of the choice; the best of {suite.architectures:,} is {suite.optimum:.6g}")
    print_table(("strategy", "budget", suite.truth, "regret", *_extra(suite)), list(_rows(suite)))
    print_text()
    if suite.pairs:
        head = ("minus random", "figure", "at", "difference", "better", "worse", "equal")
        print_table(head, [_pair(each) for each in suite.pairs])
        print_text()
    for each in suite.strategies:
        if each.failures:
            print_text(f"note: {each.failures:,} evaluations of {each.label} failed; the first: {each.first_failure}")
        if each.partial and suite.strategies[0].at[0].unit == "evaluations":
            print_text(
                f"note: {each.partial:,.1f} evaluations of a search of {each.label} trained less than the others; give "
                "--seconds to compare at equal training."
            )
        if each.exhausted:
            print_text(
                f"note: {each.exhausted} of {seeds} searches of {each.label} ended before their budget was spent."
            )


def _extra(suite: SuiteResult) -> tuple[str, ...]:
    return ("hypervolume", "distinct") if suite.reference is not None else ("distinct",)


def _rows(suite: SuiteResult) -> list[list[str]]:
    rows = []
    for each in suite.strategies:
        for place, at in enumerate(each.at):
            volume = [_mean(at.hypervolume, ".4f")] if suite.reference is not None else []
            last = [f"{each.distinct:,.1f}" if _is_last(each, place) else ""]
            label = each.label if place == 0 else ""
            rows.append([label, _budget(at), _mean(at.truth), _mean(at.regret, ".4f"), *volume, *last])
    return rows


def _is_last(standing: Standing, place: int) -> bool:
    return place == len(standing.at) - 1


def _budget(at: At | Versus) -> str:
    return f"{at.budget:,.0f}{' s' if at.unit == 'seconds' else ''}"


def _pair(pair: Versus) -> list[str]:
    signs = [str(value) for value in (pair.signs.better, pair.signs.worse, pair.signs.equal)]
    return [pair.label, pair.metric, _budget(pair), _mean(pair.difference, "+.5f"), *signs]


def _mean(value: Any, form: str = ".5f") -> str:
    if value is None:
        return "-"
    text = format(value.mean, form)
    if value.interval is None:
        return text
    low, high = (format(edge, form) for edge in (value.interval.low, value.interval.high))
    return f"{text} [{low}, {high}]"
