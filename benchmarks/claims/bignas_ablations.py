"""BigNAS: what each rule of its recipe is worth, on networks of one supernet that are never retrained.

    python benchmarks/claims/bignas_ablations.py [--seeds 0,1,2] [--arms full,no_sandwich] [--quick]

For each seed the space `bignas` (small preset: width, kernel, depth and resolution chosen) is trained by the sandwich
rule with in-place distillation, and with one rule left out at a time: without the sandwich (four random networks in a
step instead of the biggest, the smallest and two random ones; the first of them still learns labels and teaches),
without distillation (all learn labels), without gamma = 0 at the end of residual blocks. Not as in the paper are the
optimiser (SGD with a peak rate of .5, gradients clipped at 1), the schedule (a cosine, its last steps at .05 of the
peak), and the labels, which are not smoothed. As a cosine is below .05 for its last seventh only, the constant ending
has a pair of arms of its own, whose rate falls as exp(-6 x share done) after the warm-up: `progress` ends in .05 of the
peak, from just behind the middle on, `progress no constant ending` falls on to .0033.

Judged on test are the smallest network, four random ones and the largest, each recalibrated on training images. Two
controls judge the full recipe's networks otherwise: `no recalibration` with the statistics that training left, which
are of all networks that ran lately, and `statistics of largest` with those of the largest network. All arms of a seed
take equally many steps on the same images, with the learning rate of `bignas_children.py`, which was set for the full
recipe.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, interval, part, result_name, source_of, train_shared
from record import record

from nasforge import registry
from nasforge.build import Supernet
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Problem
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.training import evaluate
from nasforge.training.processor import prepare_processor

LR = 0.5
STEPS = 500
CALIBRATION_IMAGES = 2048
RANDOM = 4
KINDS = ("smallest", "random", "largest")
ARMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({}, {}),
    "no_sandwich": ({}, {"sandwich": False}),
    "no_distillation": ({}, {"teaching": "labels"}),
    "no_zero_gamma": ({"zero_init": False}, {}),
    "progress": ({}, {"schedule": "progress", "floor": 0.05}),
    "progress_no_constant_ending": ({}, {"schedule": "progress", "floor": 0.0}),
}
TWINS = {"progress_no_constant_ending": "progress"}
"""What an arm is compared with where it is not the full recipe."""
UNCALIBRATED, OF_LARGEST = "no_recalibration", "statistics_of_largest"
COLLAPSE_POINTS = -20.0


def networks(space: SearchSpace, seed: int) -> list[Architecture]:
    rng = generator(seed, "children")
    return [space.smallest(), *(space.sample(rng) for _ in range(RANDOM)), space.largest()]


def trained(seed: int, arm: str, steps: int, lr: float, split: str = "test") -> dict[str, list[dict[str, float]]]:
    """Train one supernet; return for each network its metrics, recalibrated, and for the full recipe otherwise too."""
    of_space, of_strategy = ARMS[arm]
    source, task = source_of("fractals", seed), Classification()
    space = registry.load("spaces", "bignas")(source.input_shape, len(source.classes), **of_space)
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    strategy = registry.load("strategies", "bignas")(lr=lr, label_smoothing=0.0, **of_strategy)
    supernet = train_shared(strategy, Problem(space, costs=costs), source, steps, seed).modules["supernet"]

    def judged(images: int) -> list[dict[str, float]]:
        evaluator = SharedEvaluator(supernet, task, source, images)
        found = []
        for each in networks(space, seed):
            metrics = evaluate(evaluator.network(each), source, task, split)
            found.append({**{key: float(value) for key, value in metrics.items()}, "macs": float(space.macs(each))})
        return found

    if arm != "full":
        return {arm: judged(CALIBRATION_IMAGES)}
    found = {arm: judged(CALIBRATION_IMAGES), UNCALIBRATED: judged(0)}
    gather_statistics(supernet, space.largest(), source, seed)
    return {**found, OF_LARGEST: judged(0)}


def gather_statistics(supernet: Supernet, architecture: Architecture, source: Any, seed: int) -> None:
    """Replace all running statistics by those of one network, over 64 batches of training images."""
    loader = Loader(source.sealed(), "train", BATCH, seed, training=True, shuffle=True)
    supernet.train()
    with torch.no_grad():
        for number in range(64):
            supernet(loader.batch(number % len(loader))[0], architecture)


def by_kind(rows: Sequence[dict[str, float]], metric: str) -> list[float]:
    values = [row[metric] for row in rows]
    return [values[0], float(np.mean(values[1:-1])), values[-1]]


def table(found: Sequence[dict[str, list[dict[str, float]]]]) -> tuple[list[list[Any]], dict[str, Any]]:
    """Return a row for each arm and kind of network, and the differences to its twin by arm, kind and metric."""
    rows: list[list[Any]] = []
    differences: dict[str, Any] = {}
    for arm in found[0]:
        twin = TWINS.get(arm, "full")
        values, full = (
            {m: np.asarray([by_kind(each[name], m) for each in found]) for m in ("accuracy", "nll")}
            for name in (arm, twin)
        )
        for place, kind in enumerate(KINDS):
            gap = interval(((values["accuracy"] - full["accuracy"])[:, place] * 100).tolist())
            nll_gap = interval((values["nll"] - full["nll"])[:, place].tolist())
            differences[f"{arm}, {kind}"] = {"accuracy_points": gap, "nll": nll_gap}
            means = [float(values["accuracy"][:, place].mean() * 100), float(values["nll"][:, place].mean())]
            rows.append([arm.replace("_", " "), kind, *means])
            rows[-1] += [twin, *gap, nll_gap[0]] if arm != "full" else [""] * 5
    return rows, differences


def verdicts(differences: dict[str, Any]) -> dict[str, bool]:
    """Return what was asked for: the collapse without recalibration, the loss at both ends without the sandwich."""

    def points(arm: str, kind: str) -> float:
        return float(differences[f"{arm}, {kind}"]["accuracy_points"][0])

    asked = {}
    for arm in (UNCALIBRATED, OF_LARGEST):
        for kind in KINDS[:-1]:
            if f"{arm}, {kind}" in differences:
                said = f"{arm.replace('_', ' ')}: {kind} networks lose more than 20 points"
                asked[said] = points(arm, kind) < COLLAPSE_POINTS
    if "no_sandwich, smallest" in differences:
        ends = [differences[f"no_sandwich, {kind}"]["accuracy_points"] for kind in ("smallest", "largest")]
        asked["without the sandwich smallest and largest lose accuracy"] = all(end[0] < 0 for end in ends)
        asked["and the 95 % intervals of both losses exclude 0"] = all(end[2] < 0 for end in ends)
    return asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    steps, seeds = (10, [0]) if given.quick else (given.steps, [int(seed) for seed in given.seeds.split(",")])
    arms = given.arms.split(",")
    found = []
    for seed in seeds:
        of_seed: dict[str, list[dict[str, float]]] = {}
        for arm in arms:
            settings = {"seed": seed, "arm": arm, "steps": steps, "lr": given.lr, "version": 3}
            of_seed |= part("bignas-ablation", settings, lambda seed=seed, arm=arm: trained(seed, arm, steps, given.lr))
        found.append(of_seed)
    rows, differences = table(found)
    asked = verdicts(differences)
    header = ["recipe", "network", "accuracy, %", "NLL", "against", "points", "95 % from", "to", "NLL by"]
    details = {
        "data": "fractals",
        "steps": steps,
        "batch": BATCH,
        "lr": given.lr,
        "seeds": seeds,
        "random_networks_of_each_seed": RANDOM,
        "calibration_images": CALIBRATION_IMAGES,
        "interval": "t interval of the mean difference to the recipe named under `against`, paired by seed",
        "differences": differences,
        "asked": asked,
        "networks": found,
    }
    record(result_name("bignas_ablations", "fractals", quick=given.quick), header, rows, details)
    sys.stdout.write("".join(f"{what}: {'yes' if held else 'missed'}\n" for what, held in asked.items()))


if __name__ == "__main__":
    main()
