"""BossNAS: a rating without labels against networks trained with labels, on 36 networks of about equal MACs.

    python benchmarks/claims/bossnas_rating.py [--steps 120] [--seeds 0,1,2] [--quick]

The truth is `benchmarks/truth/bossnas_blocks_fractals.json` (`claims/bossnas_truth.py`), test accuracy and negative
log-likelihood, mean of two seeds; no rating sees a label but that of `spos`. Ratings, for each seed:

    P = 4, centre        three blocks, `--steps` each; distance to the centre of all paths (the article)
    P = 4, own           the same weights; distance to the path's own target
    P = 1, own           one path and its own twin, four times the steps: as many passes of images
    P = 1, centre        those weights; distance to the centre
    whole, P = 4         one block, the whole network; as many passes of whole networks
    labels, uniform      `spos` on labels; as many passes of whole networks; negative log-likelihood on valid
    untrained            `P = 4, centre` on initial weights

A block is a third of the network and its input takes forward passes of what lies before it, so `--steps` steps of
three blocks are taken for as many steps of whole networks. Higher is better in all correlations.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import bossnas_truth as truth
from claims.parts import interval, part, train_shared
from nasforge_strategies.bossnas import PRESETS
from record import record

from nasforge import registry
from nasforge.bench.ranking import Ranking, honest_ranking
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.strategy import Problem
from nasforge.strategy.block_rating import centre_distance
from nasforge.tasks.classification import Classification
from nasforge.training.processor import prepare_processor

SEEDS = (0, 1, 2)
BEST = "P = 4, centre"
PATHS = 4
SPOS_STEPS_FOR_ONE = 10  # passes of whole networks in a step of each block, those without gradient at a third


def problem_of(source: Any) -> Problem:
    space = truth.space_for(source.input_shape, len(source.classes))
    return Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")})


def bootstrapped(seed: int, steps: int, names: Sequence[str], **options: Any) -> dict[str, Any]:
    """Train `bossnas`; return by name the ratings of the networks, higher is better, and the spread of embeddings."""
    source = truth.images(seed)
    problem = problem_of(source)
    strategy = registry.load("strategies", "bossnas")(**options)
    training = train_shared(strategy, problem, source, steps, seed)
    centre = [-each["centre_distance"] for each in strategy.rate(truth.networks(), training.modules)]
    found = {"centre": centre}
    if "own" in names:
        found["own"] = [-each for each in own_distances(strategy)]
    wide = [float(strategy.record.spreads[number]) for number in range(len(strategy.cut))]
    return {"ratings": {name: found[name] for name in names}, "spread": wide}


def own_distances(strategy: Any) -> list[float]:
    """Return for each network the distances of its paths to their own targets, summed over blocks."""
    total = np.zeros(truth.NETWORKS)
    for number, block in enumerate(strategy.cut):
        rating, known = strategy.rating(number), {}
        for path in strategy.record.rated(number)[0]:
            known[block.path(path)] = centre_distance(rating.predictions(path), rating.targets(path))
        total += [known[block.path(each)] for each in truth.networks()]
    return total.tolist()


def labelled(seed: int, steps: int, lr: float) -> dict[str, Any]:
    """Train a whole supernet with labels by uniform sampling; return minus the negative log-likelihood on valid."""
    source = truth.images(seed)
    strategy = registry.load("strategies", "spos")(lr=lr)
    training = train_shared(strategy, problem_of(source), source, steps, seed)
    evaluator = SharedEvaluator(training.modules["supernet"], Classification(), source.sealed(), images=512)
    found = [evaluator.evaluate(each) for each in truth.networks()]
    return {
        "ratings": {"nll": [-each["nll_valid"] for each in found]},
        "accuracy": [each["accuracy_valid"] for each in found],
    }


def arms(seed: int, steps: int, lr: float, spos_lr: float) -> dict[str, list[float]]:
    """Return the ratings of one seed by arm, from disk where they were found before."""
    blocks = len(truth.WIDTHS)
    whole = {"blocks": (f"b{blocks - 1}",), "population": 24, "generations": 1}
    made: dict[str, tuple[int, Mapping[str, Any], Callable[[int], Any], Mapping[str, str]]] = {
        "four": (
            steps * blocks,
            {"lr": lr, "paths": PATHS},
            lambda n: bootstrapped(seed, n, ("centre", "own"), lr=lr, paths=PATHS),
            {BEST: "centre", "P = 4, own": "own"},
        ),
        "one": (
            steps * blocks * PATHS,
            {"lr": lr, "paths": 1},
            lambda n: bootstrapped(seed, n, ("centre", "own"), lr=lr, paths=1),
            {"P = 1, own": "own", "P = 1, centre": "centre"},
        ),
        "whole": (
            steps,
            {"lr": lr, "paths": PATHS, **whole},
            lambda n: bootstrapped(seed, n, ("centre",), lr=lr, paths=PATHS, **whole),
            {"whole, P = 4": "centre"},
        ),
        "labels": (
            steps * SPOS_STEPS_FOR_ONE,
            {"lr": spos_lr},
            lambda n: labelled(seed, n, spos_lr),
            {"labels, uniform": "nll"},
        ),
        "untrained": (
            blocks,
            {"paths": PATHS},
            lambda n: bootstrapped(seed, n, ("centre",), paths=PATHS, on_collapse="ignore"),
            {"untrained": "centre"},
        ),
    }
    found = {}
    for name, (count, options, make, columns) in made.items():
        settings = {"arm": name, "seed": seed, "steps": count, **options, "constants": repr(PRESETS["quick"])}
        kept = part("bossnas-rating", json.loads(json.dumps(settings)), lambda make=make, count=count: make(count))
        sys.stderr.write(f"{name}, seed {seed}: spread {kept.get('spread')}\n")
        found |= {arm: kept["ratings"][column] for arm, column in columns.items()}
    return found


def rankings(ratings: Sequence[float], rows: Sequence[Any], metric: str, sign: float) -> Ranking:
    values = [[sign * run[metric] for run in row["runs"]] for row in rows]
    return honest_ranking(ratings, values, [row["macs"] for row in rows], [row["params"] for row in rows])


def figures(found: Sequence[Ranking]) -> list[Any]:
    """Return Spearman and Spearman given MACs, each with its t interval over seeds."""
    plain = interval([each.rating.spearman.value or 0.0 for each in found])
    given = [each.rating.spearman_given_macs for each in found]
    partial = interval([(each.value if each is not None else None) or 0.0 for each in given])
    return [*plain, *partial]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--spos-lr", type=float, default=0.2)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    seeds = (0,) if given.quick else tuple(int(seed) for seed in given.seeds.split(","))
    steps = 2 if given.quick else given.steps
    every = [arms(seed, steps, given.lr, given.spos_lr) for seed in seeds]
    if not truth.FILE.is_file():
        sys.stdout.write(f"{truth.FILE} is not there yet: run claims/bossnas_truth.py; the ratings are kept.\n")
        return
    rows = json.loads(truth.FILE.read_text(encoding="utf-8"))["rows"]
    by_arm = {
        name: {
            "accuracy": [rankings(each[name], rows, "accuracy", 1.0) for each in every],
            "nll": [rankings(each[name], rows, "nll", -1.0) for each in every],
        }
        for name in every[0]
    }
    header = [
        "rating", "Spearman, accuracy", "95 % from", "to", "given MACs", "95 % from ", "to ",
        "Spearman, NLL", " 95 % from", " to", " given MACs", "  95 % from", "  to",
    ]  # fmt: skip
    table: list[list[Any]] = [
        [name, *figures(found["accuracy"]), *figures(found["nll"])] for name, found in by_arm.items()
    ]
    first = by_arm[BEST]
    for cost in ("macs", "params"):
        pair = [first[metric][0].agreement[cost].spearman for metric in ("accuracy", "nll")]
        cells = [[found.value, found.low, found.high] for found in pair]
        table.append([f"{cost} alone (interval over networks)", *cells[0], "", "", "", *cells[1], "", "", ""])
    ceilings = {metric: first[metric][0].ceiling for metric in ("accuracy", "nll")}
    for metric, place in (("accuracy", 1), ("nll", 7)):
        ceiling = ceilings[metric]
        if ceiling is not None and ceiling.spearman.value is not None:
            row: list[Any] = [f"two seeds of the truth ({metric})", *[""] * 12]
            row[place : place + 3] = [ceiling.spearman.value, ceiling.spearman.low, ceiling.spearman.high]
            table.append(row)
    against = {
        name: interval(
            [
                (a.rating.spearman.value or 0.0) - (b.rating.spearman.value or 0.0)
                for a, b in zip(first["accuracy"], found["accuracy"], strict=True)
            ]
        )
        for name, found in by_arm.items()
        if name != BEST
    }
    details = {
        "truth": str(truth.FILE.relative_to(truth.ROOT)), "steps": steps, "lr": given.lr, "spos_lr": given.spos_lr,
        "seeds": list(seeds), "interval": "t interval of the mean over seeds of the rating, but where said",
        "less_than_best": against,
        "rankings": {n: {m: [r.to_json() for r in found] for m, found in each.items()} for n, each in by_arm.items()},
        "ratings": every,
    }  # fmt: skip
    record("bossnas_rating_quick" if given.quick else "bossnas_rating", header, table, details)
    for name, (mean, low, high) in against.items():
        sys.stdout.write(f"{BEST} less {name}: {mean:+.2f} ({low:+.2f} to {high:+.2f})\n")


if __name__ == "__main__":
    main()
