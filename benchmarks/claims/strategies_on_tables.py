"""Strategies over tables: regret after 50 to 300 evaluations, hypervolume of two goals, and equal training seconds.

    python benchmarks/claims/strategies_on_tables.py [nb201-cifar10 ...] [--quick]

Three questions, by `nasforge.bench` (stopped, it goes on where it was). Feedback is the noisy accuracy on valid of one
training, truth the accuracy on test of the architecture with the best feedback so far:

- `SUITE`: accuracy after 50, 100, 150, 300 evaluations, 200 seeds on `nb201-cifar10` and 50 on others;
- `two_objectives`: share of the hypervolume of the table's own front in accuracy and measured latency, 200 evaluations;
- `seconds`: accuracy at equal seconds of training, where short trainings may be bought.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import PARTS
from record import record

from nasforge.bench import BenchResult, bench

SUITES = ("nb201-cifar10", "nb201-cifar100", "nasbench_macro", "nats_sss", "synthetic")
PARTS_OF = (*SUITES, "two_objectives", "seconds")
EVOLUTION = ("evolution", {"population": 30, "sample": 10})
TPE = ("optuna", {"sampler": "tpe"})
SINGLE = ("random", EVOLUTION, "local_search", TPE, "nasnet_rl", "nsga2", "eeea", "surrogate")
DOUBLE = (
    "random",
    ("nsga2", {"population": 20}),
    ("eeea", {"population": 20}),
    ("optuna", {"sampler": "nsgaii"}),
)
TIMED = ("random", EVOLUTION, "successive_halving")
BUDGETS = (50, 100, 150, 200, 300)
DEVICES = ("1080ti_1", "pixel2", "fpga")
HOURS = (5.0, 10.0, 20.0, 40.0)


def told(mean: Any, scale: float = 100.0, sign: str = "") -> str:
    """Return a mean with its interval."""
    if mean is None:
        return "-"
    text = f"{scale * mean.mean:{sign}.2f}"
    if mean.interval is None:
        return text
    return f"{text} ({scale * mean.interval.low:{sign}.2f} to {scale * mean.interval.high:{sign}.2f})"


def apart(one: Any, other: Any) -> str:
    """Say whether the first lies above the other, with intervals that do not overlap."""
    if one is None or other is None or one.interval is None or other.interval is None:
        return "-"
    return "yes" if one.interval.low > other.interval.high else "no"


def kept(found: BenchResult) -> dict[str, Any]:
    """Return what is recorded: set-up, and at each budget the values in order of the seeds; all else follows."""
    document = found.to_json()
    for suite in document["suites"]:
        del suite["pairs"]
        for standing in suite["strategies"]:
            del standing["curves"], standing["chosen"]
            for at in standing["at"]:
                del at["regret"]
                for figure in (at["truth"], at["hypervolume"]):
                    if figure is not None:
                        figure["values"] = " ".join(f"{value:.6g}" for value in figure["values"].values())
    return {key: document[key] for key in ("suites", "seeds", "evaluations", "seconds", "confidence", "notes")}


def one_objective(suite: str, *, quick: bool) -> None:
    """Record a suite with one objective."""
    seeds = 3 if quick else 200 if suite == "nb201-cifar10" else 50
    found = bench(
        [suite], SINGLE, evaluations=max(BUDGETS), seeds=seeds, budgets=BUDGETS, out=PARTS / f"tables-{suite}-{quick}"
    )
    rows = []
    standings = found.suites[0].strategies
    last = standings[0].at[-1].truth
    for each in standings:
        pair = next((pair for pair in found.suites[0].pairs if pair.label == each.label), None)
        difference = "-" if pair is None else told(pair.difference, sign="+")
        truths = [told(at.truth) for at in each.at]
        rows.append([each.label, *truths, difference, apart(each.at[-1].truth, last), round(each.distinct, 1)])
    header = ["strategy", *(f"accuracy % at {budget}" for budget in BUDGETS)]
    header += ["minus random at 300", "intervals apart", "distinct"]
    record(name(suite, quick=quick), header, rows, kept(found))


def two_objectives(*, quick: bool) -> None:
    """Record the hypervolumes."""
    rows, details = [], []
    for device in DEVICES:
        found = bench(
            [("nb201-cifar10", {"device": device})],
            DOUBLE,
            evaluations=200,
            seeds=3 if quick else 100,
            budgets=(50, 100, 200),
            objectives=("accuracy", "latency"),
            out=PARTS / f"tables-two-{device}-{quick}",
        )
        suite = found.suites[0]
        for each in suite.strategies:
            pairs = [pair for pair in suite.pairs if pair.label == each.label and pair.metric == "hypervolume"]
            volumes = [told(at.hypervolume) for at in each.at]
            difference = told(pairs[-1].difference, sign="+") if pairs else "-"
            rows.append([device, each.label, *volumes, difference])
        details.append(kept(found))
    header = ["device", "strategy", *(f"hypervolume % at {budget}" for budget in (50, 100, 200)), "minus random at 200"]
    record(name("two_objectives", quick=quick), header, rows, {"benches": details})


def seconds(*, quick: bool) -> None:
    """Record accuracies at equal seconds of training."""
    found = bench(
        ["nb201-cifar10"],
        TIMED,
        seeds=3 if quick else 100,
        seconds=[3600 * hours for hours in HOURS],
        out=PARTS / f"tables-seconds-{quick}",
    )
    rows = [
        [each.label, *(told(at.truth) for at in each.at if at.unit == "seconds"), round(each.evaluations, 1)]
        for each in found.suites[0].strategies
    ]
    header = ["strategy", *(f"accuracy % after {hours:g} h of training" for hours in HOURS), "evaluations"]
    record(name("seconds", quick=quick), header, rows, kept(found))


def name(part: str, *, quick: bool) -> str:
    """Return the name of a result."""
    return f"tables_{part.replace('-', '_')}{'_quick' if quick else ''}"


def main() -> None:
    """Record what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS_OF, metavar="PART", help=", ".join(PARTS_OF))
    parser.add_argument("--quick", action="store_true", help="three seeds, a smoke test")
    given = parser.parse_args()
    for part in given.parts:
        if part == "two_objectives":
            two_objectives(quick=given.quick)
        elif part == "seconds":
            seconds(quick=given.quick)
        else:
            one_objective(part, quick=given.quick)


if __name__ == "__main__":
    main()
