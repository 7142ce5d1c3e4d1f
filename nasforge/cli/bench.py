"""`nasforge bench`: strategies compared on tables, and the tables themselves (`--truth`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from nasforge.cli.bench_truth import make_and_print
from nasforge.cli.output import print_table, print_text
from nasforge.cli.running import run_and_print

if TYPE_CHECKING:
    from nasforge.bench import BenchResult
    from nasforge.bench.result import At, Standing, SuiteResult, Versus
    from nasforge.cli.console import Terminal

Text = Optional[str]  # noqa: UP045 - typer reads it at run time
Texts = Optional[list[str]]  # noqa: UP045 - as above
Number = Optional[int]  # noqa: UP045 - as above
File = Optional[Path]  # noqa: UP045 - as above


def bench(
    options: Annotated[
        Texts,
        typer.Argument(help="With --truth: options such as space.width=0.5 training.steps=300 data_options.size=16."),
    ] = None,
    suite: Annotated[
        Texts,
        typer.Option(
            help="Suites with options: nb201-cifar10,nats_sss, 'nb201-cifar10 device=pixel3', table:FILE.csv, "
            "truth:FILE.json."
        ),
    ] = None,
    strategy: Annotated[
        Texts, typer.Option(help="Strategies with options: 'random,evolution population=30 sample=10'.")
    ] = None,
    evaluations: Annotated[Number, typer.Option(help="Of each search; 300, or what --seconds allow.")] = None,
    seeds: Annotated[
        Text,
        typer.Option(
            help="How many searches of each kind, 20, or trainings of each network, 2; or seeds: 3,5,7 or 5,."
        ),
    ] = None,
    budgets: Annotated[Text, typer.Option(help="Evaluations at which searches are compared: 50,100,150,300.")] = None,
    seconds: Annotated[Text, typer.Option(help="Seconds of training at which searches are compared.")] = None,
    objectives: Annotated[Text, typer.Option(help="accuracy, or two: accuracy,latency.")] = None,
    space: Annotated[Text, typer.Option(help="Of suites that are files, table:FILE.csv.")] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one on every core.")] = 0,
    truth: Annotated[
        Text, typer.Option(help="Train every network of this space alone, and write a truth table.")
    ] = None,
    data: Annotated[Text, typer.Option(help="With --truth: digits (without), fractals, cifar10:DIR, ...")] = None,
    sample: Annotated[Number, typer.Option(help="With --truth: so many networks in the place of all.")] = None,
    table: Annotated[
        File, typer.Option(help="With --truth: where the table is written; truth.json in the folder without.")
    ] = None,
    out: Annotated[
        File, typer.Option(help="Folder, which keeps every search or training; a new one below benches/ without.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print bench.json, or the truth table, and nothing else.")
    ] = False,
) -> int:
    """Compare strategies on tables of trained networks, at equal budgets; or make such a table (--truth)."""
    searched = {
        "suite": suite, "strategy": strategy, "evaluations": evaluations, "budgets": budgets, "seconds": seconds,
        "objectives": objectives, "space": space,
    }  # fmt: skip
    if truth is not None:
        _refuse(searched, "goes with --suite and --strategy, and not with --truth")
        trainings = count_or_list(seeds or "2")
        asked = {"options": options or [], "data": data or "digits", "sample": sample, "seeds": trainings}
        return make_and_print(truth, asked, confidence, workers, table, out, as_json)
    trained = {"data": data, "sample": sample, "table": table, "option": next(iter(options or ()), None)}
    _refuse(trained, "goes with --truth SPACE, which was not given")
    return _compare(
        _listed(suite, "suite"), _listed(strategy, "strategy"), evaluations, seeds or "20", budgets, seconds,
        objectives or "accuracy", space, confidence, workers, out, as_json,
    )  # fmt: skip


def _refuse(given: dict[str, Any], why: str) -> None:
    from nasforge.errors import UsageError

    for name, value in given.items():
        if value is not None:
            shown = f"'{value}'" if name == "option" else f"--{name}"
            raise UsageError(f"{shown} was given, which {why}; leave it out.")


def _listed(given: list[str] | None, what: str) -> list[str]:
    from nasforge.errors import UsageError

    if not given:
        raise UsageError(
            f"no {what} was given; expected --suite and --strategy, as in `nasforge bench --suite synthetic --strategy "
            "evolution`, or --truth SPACE."
        )
    return given


def count_or_list(text: str) -> int | list[int]:
    """Return one number as a count, several as a list: `20`, or `3,5`; `3,` is the list of one."""
    numbers = _numbers(text.removesuffix(","), "seeds")
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


def _compare(
    suite: list[str], strategy: list[str], evaluations: int | None, seeds: str, budgets: str | None,
    seconds: str | None, objectives: str, space: str | None, confidence: float, workers: int, out: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Compare strategies and print the standings."""
    from nasforge.bench import bench as run_bench
    from nasforge.config.configurations import parse_configurations

    suites = [(name, _placed(name, given, space)) for name, given in parse_configurations(suite, "suite")]
    strategies = parse_configurations(strategy, "strategy")

    def start(listener: Terminal) -> BenchResult:
        return run_bench(
            suites,
            strategies,
            evaluations=evaluations,
            seeds=count_or_list(seeds),
            budgets=None if budgets is None else _numbers(budgets, "budgets"),
            seconds=() if seconds is None else _amounts(seconds),
            objectives=[each.strip() for each in objectives.split(",")],
            workers=workers,
            confidence=confidence,
            out=out,
            listener=listener,
        )

    return run_and_print(start, lambda result: result.to_json(), lambda result, _: print_bench(result), as_json)


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
