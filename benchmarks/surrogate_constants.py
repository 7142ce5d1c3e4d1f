"""The constants of `surrogate`, chosen on CIFAR-100 (NAS-Bench-201) and NAS-Bench-Macro; CIFAR-10 is not looked at.

    NASFORGE_DATA=DIR python benchmarks/surrogate_constants.py [--seeds N] [--budget N] [--only NAME]

Feedback is the validation accuracy of one training run, truth the test accuracy (on NAS-Bench-Macro the mean of
three runs, of which the feedback is one); the table gives the mean truth, in per cent, of the architecture with the
best feedback so far. Each variant changes what it names from the defaults of the strategy. Zero-cost scores are not
used: the published ones were computed on CIFAR-10. Searches that were made are kept in build/benchmarks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from claims.parts import part
from nasforge_strategies import surrogate
from record import record, table

from nasforge import registry
from nasforge.evaluate.published.nasbench_macro import nasbench_macro
from nasforge.evaluate.published.nb201 import nb201
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.identity import fingerprint
from nasforge.run.asking import Asking
from nasforge.run.local import Outcome
from nasforge.strategy import Problem
from nasforge.strategy.prediction import embedding, features, gaussian

SUITES: dict[str, Callable[[], TabularEvaluator]] = {
    "nb201 CIFAR-100": lambda: nb201("cifar100"),
    "nasbench_macro": nasbench_macro,
}
BUDGETS = (30, 50, 75, 100, 150, 300)
SOURCES = [Path(module.__file__).read_text(encoding="utf-8") for module in (surrogate, gaussian, features, embedding)]
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


def search(tabular: TabularEvaluator, name: str, options: Mapping[str, Any], seed: int, budget: int) -> list[float]:
    """Return after each evaluation the truth of the architecture with the best feedback so far."""
    strategy = registry.load("strategies", name)(**options)
    costs = {metric: tabular.space.cost(metric) for metric in ("params", "macs")}
    strategy.setup(Problem(tabular.space, costs=costs, budget=budget))
    asking = Asking(strategy, tabular.space, seed, limit=budget)
    best, curve = (-np.inf, 0.0), []
    while jobs := asking.ask():
        for job in jobs:
            metrics = tabular.evaluate(job.architecture, seed=job.seed)
            best = max(best, (metrics["accuracy_valid"], metrics["accuracy"]), key=lambda pair: pair[0])
            curve.append(best[1])
            asking.tell(asking.evaluation(Outcome(job.number, metrics, None, 0.0)))
    return curve + curve[-1:] * (budget - len(curve))


def curves(suite: str, label: str, seeds: int, budget: int) -> dict[str, Any]:
    """Return the searches of a variant, one row each, and their seconds; they are kept, and not made twice."""
    name, options = VARIANTS[label]

    def make() -> dict[str, Any]:
        tabular, begun = SUITES[suite](), time.process_time()
        found = [search(tabular, name, options, seed, budget) for seed in range(seeds)]
        return {"curves": found, "seconds": (time.process_time() - begun) / seeds}

    settings = {"suite": suite, "label": label, "seeds": seeds, "budget": budget, "source": fingerprint(SOURCES)}
    return dict(part("surrogate_constants", settings, make))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--budget", type=int, default=max(BUDGETS))
    parser.add_argument("--only", help="search with the variant of this name, and record nothing")
    given = parser.parse_args()
    budgets = [budget for budget in BUDGETS if budget <= given.budget]
    rows = []
    for suite in SUITES:
        for label in [given.only] if given.only else VARIANTS:
            found = curves(suite, label, given.seeds, given.budget)
            ends = 100 * np.asarray(found["curves"])[:, [budget - 1 for budget in budgets]]
            error = float(ends[:, -1].std(ddof=1) / np.sqrt(given.seeds))
            means = [f"{value:.3f}" for value in ends.mean(axis=0)]
            rows.append([suite, label, *means, f"{error:.3f}", round(found["seconds"], 2)])
    header = ["suite", "strategy", *(f"% at {budget}" for budget in budgets)]
    header += [f"standard error at {budgets[-1]}", "CPU seconds a search"]
    if given.only:
        sys.stdout.write(table(header, rows) + "\n")
    else:
        options = {each.name: each.default for each in fields(registry.load("strategies", "surrogate")) if each.init}
        details = {"seeds": given.seeds, "costs": ["params", "macs"], "scores": [], "defaults": options}
        record("surrogate_constants", header, rows, details)


if __name__ == "__main__":
    main()
