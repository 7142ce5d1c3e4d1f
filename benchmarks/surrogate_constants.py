"""The constants of `surrogate`, chosen on CIFAR-100 (NAS-Bench-201) and NAS-Bench-Macro; CIFAR-10 is not looked at.

    NASFORGE_DATA=DIR python benchmarks/surrogate_constants.py [--seeds N] [--budget N] [--only TEXT]

Feedback is the validation accuracy of one training run, truth the test accuracy (on NAS-Bench-Macro the mean of
three runs, of which the feedback is one); the table gives the mean truth, in per cent, of the architecture with the
best feedback so far. Each variant changes what it names from the defaults of the strategy. Zero-cost scores are not
used: the published ones were computed on CIFAR-10.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from record import record

from nasforge import registry
from nasforge.evaluate.published.nasbench_macro import nasbench_macro
from nasforge.evaluate.published.nb201 import nb201
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.run.asking import Asking
from nasforge.run.local import Outcome
from nasforge.strategy import Problem

SUITES: dict[str, Callable[[], TabularEvaluator]] = {
    "nb201 CIFAR-100": lambda: nb201("cifar100"),
    "nasbench_macro": nasbench_macro,
}
BUDGETS = (50, 100, 150, 300)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "evolution population=30 sample=10": ("evolution", {"population": 30, "sample": 10}),
    "optuna TPE": ("optuna", {}),
    "surrogate": ("surrogate", {}),
    **{
        f"surrogate {name}={value}": ("surrogate", {name: value})
        for name, value in [
            ("acquisition", "thompson"),
            ("initial", 10),
            ("initial", 20),
            ("clip", 0.5),
            ("clip", 2.0),
            ("clip", 4.0),
            ("parents", 5),
            ("parents", 30),
            ("candidates", 200),
            ("ensemble", 1),
        ]
    },
}


def search(table: TabularEvaluator, name: str, options: Mapping[str, Any], seed: int, budget: int) -> list[float]:
    """Return after each evaluation the truth of the architecture with the best feedback so far."""
    strategy = registry.load("strategies", name)(**options)
    costs = {metric: table.space.cost(metric) for metric in ("params", "macs")}
    strategy.setup(Problem(table.space, costs=costs, budget=budget))
    asking = Asking(strategy, table.space, seed, limit=budget)
    best, curve = (-np.inf, 0.0), []
    while jobs := asking.ask():
        for job in jobs:
            metrics = table.evaluate(job.architecture, seed=job.seed)
            best = max(best, (metrics["accuracy_valid"], metrics["accuracy"]), key=lambda pair: pair[0])
            curve.append(best[1])
            asking.tell(asking.evaluation(Outcome(job.number, metrics, None, 0.0)))
    return curve + curve[-1:] * (budget - len(curve))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--budget", type=int, default=max(BUDGETS))
    parser.add_argument("--only", default="", help="variants whose name holds this")
    given = parser.parse_args()
    budgets = [budget for budget in BUDGETS if budget <= given.budget]
    rows, details = [], {"seeds": given.seeds, "costs": ["params", "macs"], "scores": []}
    for suite, load in SUITES.items():
        table = load()
        for label, (name, options) in VARIANTS.items():
            if given.only not in label:
                continue
            begun = time.perf_counter()
            curves = np.asarray([search(table, name, options, seed, given.budget) for seed in range(given.seeds)])
            seconds = (time.perf_counter() - begun) / given.seeds
            ends = 100 * curves[:, [budget - 1 for budget in budgets]]
            error = float(ends[:, -1].std(ddof=1) / np.sqrt(given.seeds))
            rows.append([suite, label, *(f"{value:.3f}" for value in ends.mean(axis=0)), f"{error:.3f}", seconds])
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    header = ["suite", "strategy", *(f"at {budget}" for budget in budgets), "standard error", "seconds a run"]
    record("surrogate_constants", header, rows, details)


if __name__ == "__main__":
    main()
