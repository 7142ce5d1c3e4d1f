"""BossNAS: a rating without labels against networks trained with labels, on 36 networks of about equal MACs.

    python benchmarks/claims/bossnas_rating.py [--steps 360] [--seeds 0,1,2] [--quick]

The truth is `benchmarks/truth/bossnas_blocks_fractals.json` (`claims/bossnas_truth.py`), test accuracy and negative
log-likelihood, mean of two seeds; no rating sees a label but that of `spos`. Ratings, for each seed:

    P = 4, centre        three blocks, `--steps` each; distance to the centre of all paths (the article)
    P = 4, own           the same weights; distance to the path's own target, when a block is rated
    P = 1, own           one path and its own twin (`rated_by=own`), about three times the steps
    whole, P = 4         one block, the whole network
    labels, uniform      `spos` on labels; negative log-likelihood on valid
    untrained            `P = 4, centre` on initial weights

All but the last take about as many multiply-accumulates in training: steps are set so, an arm that misses them is
trained again with other steps (in front of a block lies the path that was chosen, small or large), and the report shows
what each took, and says where two differ by more than 5 %.
Gradients are summed over paths, so a step of one path at the same rate would move a quarter as far: P = 1 has four
times the learning rate of P = 4. Rates of P = 4 and of `spos` were set with another seed, that of P = 1 was not set
beyond that rule. Higher is better in all correlations.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import bossnas_truth as truth
from claims.parts import BATCH, interval, part, source_of, train_shared
from nasforge_strategies.bossnas import PRESETS
from record import record

from nasforge import registry
from nasforge.bench.ranking import Ranking
from nasforge.bench.truth import ranking_by_truth, read_truth
from nasforge.errors import UsageError
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.identity import fingerprint
from nasforge.strategy import Problem
from nasforge.strategy.blocks.rating import centre_distance
from nasforge.strategy.blocks.record import BlockRecord
from nasforge.tasks.classification import Classification
from nasforge.training.meter import RATING, TRAINING, Counts, check_equal_cost, counted_as
from nasforge.training.processor import prepare_processor

SEEDS = (0, 1, 2)
BEST = "P = 4, centre"
PATHS = 4
STEPS_OF = {"four": 3.0, "one": 9.0, "whole": 1.15, "labels": 11.64}
"""Steps of each arm for a step of each block of P = 4; about equal in multiply-accumulates, and fitted where not."""
FITS = 3
"""Trainings of an arm, at most, until its multiply-accumulates are those of P = 4."""
TOLERANCE, QUICK_TOLERANCE = 0.05, 0.3  # of costs; a quick run has too few steps to be closer
QUICK = {"images": 32, "calibration": 32}
FORM = 3
"""Raised where what is kept of an arm, or how it is rated, changes."""


@functools.lru_cache(maxsize=2)
def images(seed: int) -> Any:
    """Return the images with the split of a seed; making them takes seconds."""
    return source_of("fractals", seed)


ARM_OF = {
    BEST: "four", "P = 4, own": "four", "P = 1, own": "one", "whole, P = 4": "whole", "labels, uniform": "labels",
    "untrained": "untrained",
}  # fmt: skip
"""The arm that a row of the table is of."""


@dataclass(frozen=True)
class Arm:
    """Options, what makes it from a number of steps, and by row of the table the rating of it."""

    options: Mapping[str, Any]
    make: Callable[[int], Any]
    rows: Mapping[str, str]


def problem_of(source: Any) -> Problem:
    space = truth.space_for(source.input_shape, len(source.classes))
    return Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")})


def bootstrapped(seed: int, steps: int, names: Sequence[str], **options: Any) -> dict[str, Any]:
    """Train `bossnas`; return by name the ratings of the networks, higher is better, and the spread of embeddings."""
    source = images(seed)
    problem = problem_of(source)
    strategy = rating_apart(registry.load("strategies", "bossnas")(**options))
    training = train_shared(strategy, problem, source, steps, seed)
    centre = [-each["centre_distance"] for each in strategy.rate(truth.networks(), training.modules)]
    found = {"centre": centre}
    wide = [float(strategy.record.spreads[number]) for number in range(len(strategy.cut))]
    content = {"spread": wide, "cost": training.meter.training.to_json()}
    if "own" in names:
        own, when = own_distances(strategy)
        found["own"] = [-each for each in own]
        content["own_taken"] = when
    return {"ratings": {name: found[name] for name in names}, **content}


def rating_apart(strategy: Any) -> Any:
    """Return the strategy, what it does in phases of rating counted as rating, not as training."""
    step = strategy.step

    def counted(context: Any) -> Any:
        with counted_as(RATING if context.phase.name.startswith("rating") else TRAINING):
            return step(context)

    strategy.step = counted
    return strategy


def own_distances(strategy: Any) -> tuple[list[float], str]:
    """Return for each network the distances of its paths to their own targets, summed over blocks, and when taken.

    Targets follow what they are copies of, in later blocks too, so distances count when a block is rated; where the
    strategy keeps none, they are taken at the end of the training.
    """
    total, kept = np.zeros(truth.NETWORKS), hasattr(strategy.record, "own_scores")
    for number, block in enumerate(strategy.cut):
        paths = strategy.record.rated(number)[0]
        own = strategy.record.own_scores(number) if kept else own_at_the_end(strategy, number, paths)
        by_path = own if isinstance(own, Mapping) else {block.path(p): d for p, d in zip(paths, own, strict=True)}
        total += [by_path[block.path(each)] for each in truth.networks()]
    return total.tolist(), "when rated" if kept else "at the end"


def own_at_the_end(strategy: Any, number: int, paths: Sequence[Any]) -> list[float]:
    rating = strategy.rating(number)
    return [centre_distance(rating.predictions(path), rating.targets(path)) for path in paths]


def labelled(seed: int, steps: int, lr: float) -> dict[str, Any]:
    """Train a whole supernet with labels by uniform sampling; return minus the negative log-likelihood on valid."""
    source = images(seed)
    strategy = registry.load("strategies", "spos")(lr=lr)
    training = train_shared(strategy, problem_of(source), source, steps, seed)
    evaluator = SharedEvaluator(training.modules["supernet"], Classification(), source.sealed(), images=512)
    found = [evaluator.evaluate(each) for each in truth.networks()]
    return {
        "ratings": {"nll": [-each["nll_valid"] for each in found]},
        "accuracy": [each["accuracy_valid"] for each in found],
        "cost": training.meter.training.to_json(),
    }


def arms(seed: int, lr: float, spos_lr: float, more: Mapping[str, Any]) -> dict[str, Arm]:
    """Return by arm its options, what makes it from a number of steps, and which rating of it is which row."""
    whole = {"blocks": (f"b{len(truth.WIDTHS) - 1}",), "population": 24, "generations": 1}
    four = {"lr": lr, "paths": PATHS, **more}
    one = {"lr": lr * PATHS, "paths": 1, "rated_by": "own", **more}
    unlearnt = {**four, "on_collapse": "ignore"}

    def by_bootstrap(names: Sequence[str], options: Mapping[str, Any]) -> Callable[[int], Any]:
        return lambda count: bootstrapped(seed, count, names, **options)

    return {
        "four": Arm(four, by_bootstrap(("centre", "own"), four), {BEST: "centre", "P = 4, own": "own"}),
        "one": Arm(one, by_bootstrap(("centre",), one), {"P = 1, own": "centre"}),
        "whole": Arm({**four, **whole}, by_bootstrap(("centre",), {**four, **whole}), {"whole, P = 4": "centre"}),
        "labels": Arm({"lr": spos_lr}, lambda count: labelled(seed, count, spos_lr), {"labels, uniform": "nll"}),
        "untrained": Arm(unlearnt, by_bootstrap(("centre",), unlearnt), {"untrained": "centre"}),
    }


def rated(
    seed: int, steps: int, lr: float, spos_lr: float, more: Mapping[str, Any]
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the ratings of one seed by row and what the arms cost, from disk where they were found before."""
    found: dict[str, list[float]] = {}
    costs: dict[str, Any] = {}
    for name, arm in arms(seed, lr, spos_lr, more).items():
        count = round(STEPS_OF[name] * steps) if name in STEPS_OF else len(truth.WIDTHS)
        wanted = costs["four"]["image_macs"] if name in STEPS_OF and name != "four" and not more else None
        settings = {
            "arm": name, "seed": seed, "steps": count, "batch": BATCH, "options": arm.options,
            "form": FORM, "own_kept": hasattr(BlockRecord, "own_scores"), "constants": repr(PRESETS["quick"]),
            "space": truth.space_for().fingerprint,
            "networks": fingerprint([list(each.decisions) for each in truth.networks()]), "image_macs": wanted,
        }  # fmt: skip
        kept = part("bossnas-rating", json.loads(json.dumps(settings)), fitting(arm.make, count, wanted))
        sys.stderr.write(f"{name}, seed {seed}: spread {kept.get('spread')}, own taken {kept.get('own_taken')}\n")
        found |= {row: kept["ratings"][column] for row, column in arm.rows.items()}
        costs[name] = kept["cost"]
    return found, costs


def fitting(make: Callable[[int], Any], steps: int, wanted: float | None) -> Callable[[], Any]:
    """Return what trains an arm, again with other steps where it costs more or less than wanted (None: as it is).

    What stands in front of a block is known, and paid for, only once the block before it has been rated.
    """

    def made() -> Any:
        count = steps
        for _ in range(FITS):
            found = make(count)
            ratio = found["cost"]["image_macs"] / wanted if wanted else 1.0
            if abs(ratio - 1.0) <= TOLERANCE / 2:
                break
            count = round(count / ratio)
        return found

    return made


def compared(every: Sequence[Mapping[str, Any]], tolerance: float) -> tuple[dict[str, float], list[str]]:
    """Return by arm the multiply-accumulates of training, of those of P = 4 and over all seeds, and what is unequal."""
    shares, unequal = {}, []
    for seed, costs in enumerate(every):
        counts = {name: Counts.of(costs[name]) for name in STEPS_OF}
        try:
            check_equal_cost(counts, tolerance=tolerance)
        except UsageError as error:
            unequal.append(f"seed number {seed}: {error}")
    for name in every[0]:
        of_first = [costs[name]["image_macs"] / costs["four"]["image_macs"] for costs in every]
        shares[name] = float(np.mean(of_first))
    return shares, unequal


def figures(found: Sequence[Ranking]) -> list[Any]:
    """Return Spearman and Spearman given MACs, each with its t interval over seeds."""
    plain = interval([each.rating.spearman.value or 0.0 for each in found])
    given = [each.rating.spearman_given_macs for each in found]
    partial = interval([(each.value if each is not None else None) or 0.0 for each in given])
    return [*plain, *partial]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=360)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--spos-lr", type=float, default=0.2)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    seeds = (0,) if given.quick else tuple(int(seed) for seed in given.seeds.split(","))
    steps = 2 if given.quick else given.steps
    both = [rated(seed, steps, given.lr, given.spos_lr, QUICK if given.quick else {}) for seed in seeds]
    every = [ratings for ratings, _ in both]
    shares, unequal = compared([costs for _, costs in both], QUICK_TOLERANCE if given.quick else TOLERANCE)
    if not truth.FILE.is_file():
        sys.stdout.write(f"{truth.FILE} is not there yet: run claims/bossnas_truth.py; the ratings are kept.\n")
        return
    known = read_truth(truth.FILE)
    assert known.architectures(truth.space_for()) == truth.networks(), "the truth is of these networks"
    by_arm = {
        name: {
            metric: [ranking_by_truth(each[name], known, metric=metric) for each in every]
            for metric in ("accuracy", "nll")
        }
        for name in every[0]
    }
    header = [
        "rating", "Spearman, accuracy", "95 % from", "to", "given MACs", "95 % from ", "to ",
        "Spearman, NLL", " 95 % from", " to", " given MACs", "  95 % from", "  to", "cost of training",
    ]  # fmt: skip
    table: list[list[Any]] = [
        [name, *figures(found["accuracy"]), *figures(found["nll"]), shares[ARM_OF[name]]]
        for name, found in by_arm.items()
    ]
    first = by_arm[BEST]
    for cost in ("macs", "params"):
        pair = [first[metric][0].agreement[cost].spearman for metric in ("accuracy", "nll")]
        cells = [[found.value, found.low, found.high] for found in pair]
        table.append([f"{cost} alone (interval over networks)", *cells[0], "", "", "", *cells[1], "", "", "", ""])
    ceilings = {metric: first[metric][0].ceiling for metric in ("accuracy", "nll")}
    for metric, place in (("accuracy", 1), ("nll", 7)):
        ceiling = ceilings[metric]
        if ceiling is not None and ceiling.spearman.value is not None:
            row: list[Any] = [f"two seeds of the truth ({metric})", *[""] * 13]
            row[place : place + 3] = [ceiling.spearman.value, ceiling.spearman.low, ceiling.spearman.high]
            table.append(row)
            best = [f"a perfect rating, against the mean of {ceiling.seeds} seeds ({metric})", *[""] * 13]
            best[place] = ceiling.perfect_spearman
            table.append(best)
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
        "seeds": list(seeds),
        "costs": [costs for _, costs in both], "unequal": unequal,
        "ceilings": {m: asdict(c) for m, c in ceilings.items() if c is not None},
        "interval": "t interval of the mean over seeds of the rating, but where said",
        "less_than_best": against,
        "rankings": {n: {m: [r.to_json() for r in found] for m, found in each.items()} for n, each in by_arm.items()},
        "ratings": every,
    }  # fmt: skip
    name = "bossnas_rating_quick" if given.quick else "bossnas_rating"
    record(name if given.quick or len(seeds) >= len(SEEDS) else f"{name}_{len(seeds)}_seeds", header, table, details)
    for sentence in unequal:
        sys.stdout.write(f"unequal cost: {sentence}\n")
    for name, (mean, low, high) in against.items():
        sys.stdout.write(f"{BEST} less {name}: {mean:+.2f} ({low:+.2f} to {high:+.2f})\n")


if __name__ == "__main__":
    main()
