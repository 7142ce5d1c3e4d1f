"""BigNAS: children that keep the supernet's weights against the same networks trained alone.

    python benchmarks/claims/bignas_children.py [--data fractals|fashion_mnist|cifar10] [--teaching labels]
        [--resolutions] [--quick]

For each seed one supernet is trained by `bignas`; the smallest, four random and the largest network are judged with
its weights, with and without recalibration of batch normalisation, and trained alone for as many steps of as many
images: each child of the supernet sees its images once in a step, as a network alone does. Accuracies are on the
test split, which nothing was chosen by; learning rates were set on valid with other seeds. Elastic are width, depth
and kernel; the expansion is fixed as in the paper, unless `--expansions 2 3 4` says otherwise, and so is the
resolution; with `--resolutions` it is the small preset of the space `bignas`, whose networks differ in resolution too,
in training alone as well. Labels are smoothed neither for the supernet's biggest child nor for the networks alone.
With `--teaching labels` children learn labels, as the networks alone do, and not what the biggest child says.

The six networks of a seed come from one supernet, so the interval is over the means of seeds. `--recorded` works tables
and intervals of a recorded result out again, from its networks, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, interval, part, result_name, source_of, train_shared
from nasforge_spaces.mbconv_elastic import Skeleton
from record import RESULTS, command, record

from nasforge import registry
from nasforge.build import build_network
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Problem
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate, train
from nasforge.training.processor import prepare_processor

SEEDS = (0, 1, 2)
STEPS = 1200
LR_SHARED = 0.5
LR_ALONE = 0.3
SMOOTHING = 0.0
TEACHINGS = ("soft", "labels")
CALIBRATION_IMAGES = 2048
MARGINS_POINTS = (-0.5, -1.5)
"""What the mean gap and the lower end of its interval are held against: the aim, and what was to be reached here."""
SKELETON = Skeleton(
    16,
    2,
    ((16, 1, (1, 2)), (24, 2, (1, 2)), (40, 2, (1, 2))),
    96,
    widths=(0.5, 0.75, 1.0),
    kernels=(3, 5),
    expansions=(4,),
    resolutions=(1.0,),
    divisor=4,
)
KINDS = ("smallest", "random 1", "random 2", "random 3", "random 4", "largest")
ACCURACIES = ("alone", "inherited", "not recalibrated")
HEADER = ["network", "alone, %", "inherited, %", "not recalibrated, %", "inherited - alone", "95 % from", "to"]


def networks(space: SearchSpace, seed: int) -> list[Architecture]:
    rng = generator(seed, "children")
    return [space.smallest(), *(space.sample(rng) for _ in range(4)), space.largest()]


def skeleton_of(expansions: Sequence[int]) -> Skeleton:
    return replace(SKELETON, expansions=tuple(expansions))


def space_for(source: Any, skeleton: Skeleton | None) -> SearchSpace:
    name, options = ("bignas", {}) if skeleton is None else ("mbconv_elastic", {"skeleton": skeleton})
    space: SearchSpace = registry.load("spaces", name)(source.input_shape, len(source.classes), **options)
    return space


def inherited(
    data: str,
    seed: int,
    skeleton: Skeleton | None,
    steps: int,
    lr: float,
    split: str = "test",
    teaching: str = TEACHINGS[0],
) -> list[dict[str, float]]:
    """Train a supernet; return for each network its accuracies and its negative log-likelihood."""
    source = source_of(data, seed)
    space = space_for(source, skeleton)
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    strategy = registry.load("strategies", "bignas")(lr=lr, label_smoothing=SMOOTHING, teaching=teaching)
    training = train_shared(strategy, Problem(space, costs=costs), source, steps, seed)
    supernet, task = training.modules["supernet"], Classification()
    rows = []
    for architecture in networks(space, seed):
        found = {}
        for name, images in (("inherited", CALIBRATION_IMAGES), ("not recalibrated", 0)):
            network = SharedEvaluator(supernet, task, source, images).network(architecture)
            metrics = evaluate(network, source, task, split)
            found |= {name: metrics["accuracy"], f"{name} nll": metrics["nll"]}
        rows.append({**found, "macs": float(space.macs(architecture)), "params": float(space.params(architecture))})
    return rows


def alone(
    data: str, seed: int, skeleton: Skeleton | None, place: int, steps: int, lr: float, split: str = "test"
) -> dict[str, float]:
    """Train one of the networks alone; return its accuracy and negative log-likelihood."""
    source, task = source_of(data, seed), Classification()
    space = space_for(source, skeleton)
    epochs = steps / (len(source.split("train").labels) // BATCH)
    network = build_network(space.lower(networks(space, seed)[place]), seed=seed)
    train(network, source, task, TrainConfig(epochs=epochs, batch_size=BATCH, lr=lr, label_smoothing=SMOOTHING), seed)
    metrics = evaluate(network, source, task, split)
    return {"alone": metrics["accuracy"], "alone nll": metrics["nll"]}


def measure(
    data: str, seed: int, skeleton: Skeleton | None, steps: int, lr_shared: float, lr_alone: float, teaching: str
) -> list[dict[str, float]]:
    given = {"data": data, "seed": seed, "steps": steps, "skeleton": repr(skeleton)}
    shared = part(
        "bignas-shared",
        {**given, "lr": lr_shared, "label_smoothing": SMOOTHING, "teaching": teaching},
        lambda: inherited(data, seed, skeleton, steps, lr_shared, teaching=teaching),
    )
    rows = []
    for place, row in enumerate(shared):
        own = part(
            "bignas-alone",
            {**given, "lr": lr_alone, "place": place},
            lambda place=place: alone(data, seed, skeleton, place, steps, lr_alone),
        )
        rows.append({**row, **own})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fractals", choices=("fractals", "fashion_mnist", "cifar10"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--lr-shared", type=float, default=LR_SHARED)
    parser.add_argument("--lr-alone", type=float, default=LR_ALONE)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="only so many of the seeds")
    parser.add_argument(
        "--teaching", default=TEACHINGS[0], choices=TEACHINGS, help="what children of a step learn from"
    )
    parser.add_argument("--expansions", type=int, nargs="+", default=SKELETON.expansions)
    parser.add_argument("--resolutions", action="store_true", help="the space `bignas`")
    parser.add_argument("--recorded", action="store_true", help="work recorded figures out again")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.recorded:
        work_out_again(RESULTS / f"{name_of(given)}.json")
        return
    prepare_processor()
    steps, seeds = (10, (0,)) if given.quick else (given.steps, SEEDS[: given.seeds])
    skeleton = None if given.resolutions else skeleton_of(given.expansions)
    rates = given.lr_shared, given.lr_alone
    found = [measure(given.data, seed, skeleton, steps, *rates, given.teaching) for seed in seeds]
    rows, judged = summary(found)
    details = {
        "data": given.data,
        "steps": steps,
        "batch": BATCH,
        "skeleton": repr(skeleton),
        "seeds": list(seeds),
        "lr": {"shared": given.lr_shared, "alone": given.lr_alone},
        "label_smoothing": SMOOTHING,
        "teaching": given.teaching,
        "calibration_images": CALIBRATION_IMAGES,
        **judged,
        "networks": found,
    }
    record(name_of(given), HEADER, rows, details)
    tell(judged)


def name_of(given: argparse.Namespace) -> str:
    name = "bignas_children"
    if given.resolutions or len(given.expansions) > 1:
        name += "_resolutions" if given.resolutions else "_elastic_expansion"
    if given.teaching != TEACHINGS[0]:
        name += f"_{given.teaching}"
    if given.steps != STEPS:
        name += f"_{given.steps}_steps"
    return result_name(name, given.data, quick=given.quick)


def summary(found: list[list[dict[str, float]]]) -> tuple[list[list[Any]], dict[str, Any]]:
    """Return the table of networks by seed, and what it comes to over seeds."""
    values = {name: np.asarray([[row[name] for row in rows] for rows in found]) * 100 for name in ACCURACIES}
    nll = {name: np.asarray([[row[f"{name} nll"] for row in rows] for rows in found]) for name in ACCURACIES}
    gap, worth = values["inherited"] - values["alone"], values["inherited"] - values["not recalibrated"]
    means = gap.mean(axis=1).tolist()
    rows: list[list[Any]] = []
    for place, kind in enumerate(KINDS):
        accuracies = [float(values[name][:, place].mean()) for name in ACCURACIES]
        rows.append([kind, *accuracies, *told(gap[:, place].tolist())])
    rows.append(["all", *(float(values[name].mean()) for name in ACCURACIES), *told(means)])
    ends = ("mean", "from", "to")
    judged = {
        "interval": "t interval of the mean over seeds (of each seed's mean over its networks, for `all`)",
        "mean_gap_of_each_seed": means,
        "gap_points": dict(zip(ends, interval(means), strict=True)),
        "gap_nll": dict(zip(ends, interval((nll["inherited"] - nll["alone"]).mean(axis=1).tolist()), strict=True)),
        "recalibration_points": dict(zip(ends, interval(worth.mean(axis=1).tolist()), strict=True)),
        "asked": {
            f"{margin:+} points": {"mean": interval(means)[0] > margin, "lower end": interval(means)[1] > margin}
            for margin in MARGINS_POINTS
        },
    }
    return rows, judged


def told(values: list[float]) -> tuple[float, float | str, float | str]:
    """Return a mean and its interval as a table says them; of one value there is none."""
    return interval(values) if len(values) > 1 else (values[0], "", "")


def work_out_again(path: Path) -> None:
    """Replace table and intervals of a recorded result; commit and command stay those that trained its networks."""
    result = json.loads(path.read_text(encoding="utf-8"))
    rows, judged = summary(result["details"]["networks"])
    kept = {key: value for key, value in result["details"].items() if key not in ("margin_points", "holds")}
    result["table"] = [dict(zip(HEADER, row, strict=True)) for row in rows]
    result["details"] = {**kept, **judged, "worked_out_again_by": command()}
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    tell(judged)


def tell(judged: dict[str, Any]) -> None:
    for what in ("gap_points", "gap_nll", "recalibration_points"):
        mean, low, high = judged[what].values()
        sys.stdout.write(f"{what}: {mean:+.3g}, 95 % {low:+.3g} to {high:+.3g}\n")
    for margin, held in judged["asked"].items():
        said = ", ".join(f"{name} above: {'yes' if above else 'missed'}" for name, above in held.items())
        sys.stdout.write(f"{margin}: {said}\n")


if __name__ == "__main__":
    main()
