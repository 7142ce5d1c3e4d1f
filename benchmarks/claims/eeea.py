"""EEEA-Net: early exit against plain evolution and random search, in miniature.

    python benchmarks/claims/eeea.py [--preset released|paper|quick] [--epochs N] [--quick]

Digits at 8 pixels. A candidate is a network of 3 cells of 3 blocks, 4 channels wide, trained for one epoch, every one
from the same seed; parameters, for the threshold and as the second objective, are those of the same cells in a network
of 8 cells, 12 channels wide. For each seed: 12 members, half of them parents, 6 generations, without a threshold and
with ones that 60 % and 30 % of random architectures are below; and random search of as many evaluations. A search
costs the processor time of everything it does, asking included.

E-1: the lowest threshold costs at most 0.85 of none, and the best validation accuracy is within one point, paired.
E-3: the evolved front's hypervolume (error, log10 of parameters) is at least that of random search in 4 of 5 seeds.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import interval, part
from record import record

from nasforge import registry
from nasforge.evaluate import TrainedEvaluator
from nasforge.goals import Objective, hypervolume
from nasforge.rng import generator
from nasforge.run.data import load_source
from nasforge.space import SearchSpace
from nasforge.strategy import Evaluation, Problem
from nasforge.tasks import DataSource
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig
from nasforge.training.processor import prepare_processor

SEEDS = (0, 1, 2, 3, 4)
SHAPE = (3, 8, 8)
POPULATION, PARENTS, GENERATIONS = 12, 6, 6
SMALL = {"blocks": 3, "layers": 3, "channels": 4}
LARGE = {"blocks": 3, "layers": 8, "channels": 12}
SHARES = {"none": None, "q30": 0.3, "q60": 0.6}
ARMS = ("none", "q30", "random", "q60")
TRAINING = TrainConfig(batch_size=64, lr=0.1)
EVALUATION_SEED = 0
REFERENCE = (1.0, 6.0)
ASKED_COST, ASKED_POINTS, ASKED_WINS = 0.85, 0.01, 4


@functools.cache
def spaces() -> tuple[SearchSpace, SearchSpace]:
    """Return the space of candidates, and the one in which their parameters are counted."""
    declare = registry.load("spaces", "eeea")
    return declare(SHAPE, 10, **SMALL), declare(SHAPE, 10, **LARGE)


@functools.cache
def source() -> DataSource:
    return load_source("digits", {}, 0).sealed()


def threshold(share: float | None) -> float:
    """Return the millions of parameters that a share of 20,000 random architectures is below; 0 for none."""
    if share is None:
        return 0.0
    large = spaces()[1]
    return float(np.quantile(large.cost("params").batch(large.sample_batch(20_000, generator(0, "beta"))), share)) / 1e6


def problem() -> Problem:
    small, large = spaces()
    return Problem(small, (Objective("accuracy_valid"),), costs={"params": large.cost("params")})


def searched(
    strategy: str, options: Mapping[str, Any], seed: int, evaluations: int, training: TrainConfig
) -> dict[str, Any]:
    """Search; return every evaluation in order, and the seconds of processor and clock that all of it took."""
    made = registry.load("strategies", strategy)(**options)
    evaluator, large = TrainedEvaluator(spaces()[0], Classification(), source(), training), spaces()[1]
    evaluator.evaluate(spaces()[0].smallest(), 0.1)  # what is imported and allocated once
    begun, clock = time.process_time(), time.perf_counter()
    made.setup(problem())
    rows: list[list[float]] = []
    kept: list[float] = []
    asking = 0.0
    for number in range(evaluations):
        before = time.process_time()
        proposals = made.ask(1, generator(seed, "ask", number))
        asking += time.process_time() - before
        if not proposals:
            break
        architecture = proposals[0].architecture
        metrics = evaluator.evaluate(architecture, seed=EVALUATION_SEED)
        made.tell([Evaluation(number, architecture, metrics)])
        counts = (large.params(architecture), large.macs(architecture), spaces()[0].macs(architecture))
        rows.append([metrics["accuracy_valid"], *map(float, counts)])
        if strategy == "eeea":
            kept.append(volume([[-each.losses[0], each.losses[1]] for each in made.archive()]))
    seconds = {"processor": time.process_time() - begun, "clock": time.perf_counter() - clock, "asking": asking}
    exit_ = getattr(made, "early_exit", None)
    return {
        "evaluations": rows,
        "seconds": seconds,
        "archive": kept,
        "drawn": exit_.drawn if exit_ else 0,
        "accepted": exit_.accepted if exit_ else 0,
    }


def mean_of(run: Mapping[str, Any], column: int) -> float:
    return float(np.mean([row[column] for row in run["evaluations"]]))


def volume(rows: Sequence[Sequence[float]]) -> float:
    """Return the hypervolume of (accuracy, parameters), by error and log10 of parameters."""
    return hypervolume([(1 - accuracy, math.log10(params)) for accuracy, params, *_ in rows], REFERENCE)


def measure(arm: str, seed: int, preset: str, generations: int, training: TrainConfig) -> dict[str, Any]:
    """Return what one search found and cost."""
    shared = {"preset": preset, "population": POPULATION, "generations": generations, "survivors": PARENTS / POPULATION}
    shared |= {"children": "redraw", "beside": ["params"]}
    evaluations = POPULATION + (generations - 1) * (POPULATION - PARENTS)
    given = {"seed": seed, "small": SMALL, "large": LARGE, "training": repr(training), "evaluations": evaluations}
    if arm == "random":
        return part("eeea-random", given, lambda: searched("random", {}, seed, evaluations, training))
    options = {**shared, "beta": threshold(SHARES[arm]), "large": LARGE}
    return part(
        "eeea-search",
        {**given, **options, "arm": arm},
        lambda: searched("eeea", {**options, "beside": ("params",)}, seed, evaluations, training),
    )


def summary(found: Sequence[Mapping[str, Any]], arm: str) -> dict[str, Any]:
    """Return the means of an arm over seeds, paired with the search without a threshold."""
    runs, plain = [each[arm] for each in found], [each["none"] for each in found]
    beta = threshold(SHARES.get(arm)) * 1e6
    first = [[row[1] for row in run["evaluations"][:POPULATION]] for run in runs]
    best = [max(row[0] for row in run["evaluations"]) for run in runs]
    return {
        "beta": beta,
        "evaluations": [len(run["evaluations"]) for run in runs],
        "cost": interval(
            [r["seconds"]["processor"] / p["seconds"]["processor"] for r, p in zip(runs, plain, strict=True)]
        ),
        "cost_clock": interval(
            [r["seconds"]["clock"] / p["seconds"]["clock"] for r, p in zip(runs, plain, strict=True)]
        ),
        "macs": interval([mean_of(r, 2) / mean_of(p, 2) for r, p in zip(runs, plain, strict=True)]),
        "macs_searched": interval([mean_of(r, 3) / mean_of(p, 3) for r, p in zip(runs, plain, strict=True)]),
        "processor": [run["seconds"]["processor"] for run in runs],
        "asking": [run["seconds"]["asking"] for run in runs],
        "best": best,
        "points": interval([b - max(row[0] for row in p["evaluations"]) for b, p in zip(best, plain, strict=True)]),
        "first_params": [float(np.mean(each)) for each in first],
        "first_below": not beta or all(max(each) < beta for each in first),
        "volume": [volume(run["evaluations"]) for run in runs],
        "grows": all(list(run["archive"]) == sorted(run["archive"]) for run in runs),
        "acceptance": float(np.mean([run["accepted"] / run["drawn"] for run in runs])) if beta else 1.0,
    }


def verdict(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return each claim with what was found."""
    lowest, plain, random = arms["q30"], arms["none"], arms["random"]
    wins = sum(own >= other for own, other in zip(plain["volume"], random["volume"], strict=True))
    return {
        "E-1 cost": {"found": lowest["cost"], "asked": ASKED_COST, "holds": lowest["cost"][0] <= ASKED_COST},
        "E-1 accuracy": {
            "found": lowest["points"],
            "asked": ASKED_POINTS,
            "holds": lowest["points"][0] >= -ASKED_POINTS,
        },
        "E-1 first population below beta": {"holds": all(each["first_below"] for each in arms.values())},
        "E-3 front": {"found": wins, "asked": ASKED_WINS, "of": len(plain["volume"]), "holds": wins >= ASKED_WINS},
        "E-3 archive never shrinks": {"holds": all(each["grows"] for each in arms.values())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="paper", choices=("paper", "released", "quick"))
    parser.add_argument("--arms", default=",".join(ARMS), help="searches, none, q30 and random among them")
    parser.add_argument("--epochs", type=float, default=1.0, help="of training a candidate")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    asked, training = given.arms.split(","), replace(TRAINING, epochs=given.epochs)
    seeds, generations = ((0,), 2) if given.quick else (SEEDS, GENERATIONS)
    found: list[dict[str, Any]] = [{} for _ in seeds]
    for arm in asked:
        for place, seed in enumerate(seeds):
            found[place][arm] = measure(arm, seed, given.preset, generations, training)
    arms = {arm: summary(found, arm) for arm in asked}
    rows = [
        [
            {"none": "eeea", "random": "random search"}.get(arm, f"eeea, beta of {SHARES.get(arm)}"),
            f"{each['beta'] / 1e6:.3f} M" if each["beta"] else "none",
            f"{each['acceptance']:.2f}",
            f"{np.mean(each['processor']):.1f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*each["cost"]),
            "{:.2f} [{:.2f}, {:.2f}]".format(*each["macs"]),
            f"{100 * np.mean(each['best']):.2f}",
            "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * value for value in each["points"])),
            f"{np.mean(each['first_params']) / 1e6:.3f}",
            f"{np.mean(each['volume']):.4f}",
        ]
        for arm, each in arms.items()
    ]
    header = [
        "search",
        "beta",
        "accepted",
        "processor, s",
        "cost / eeea",
        "MACs built large / eeea",
        "best valid, %",
        "minus eeea, points",
    ]
    header += ["first population, M", "hypervolume"]
    claims = verdict(arms)
    details = {
        "preset": given.preset,
        "seeds": list(seeds),
        "generations": generations,
        "population": POPULATION,
        "parents": PARENTS,
        "small": SMALL,
        "large": LARGE,
        "training": repr(training),
        "reference": {"error": REFERENCE[0], "log10_params": REFERENCE[1]},
        "intervals": "95 % of the mean over seeds (t), paired by seed",
        "claims": claims,
        "arms": arms,
    }
    parts = [] if given.preset == "paper" else [given.preset]
    parts += [] if given.epochs == 1 else [f"{given.epochs:g}_epochs"]
    name = "_".join(["eeea", *parts, *(["quick"] if given.quick else [])])
    record(name, header, rows, details)
    for claim, each in claims.items():
        sys.stdout.write(f"{claim}: {'holds' if each['holds'] else 'missed'} {each}\n")


if __name__ == "__main__":
    main()
