"""Rating many architectures by shared weights together, against extracting and evaluating each alone.

    python benchmarks/shared_rating.py [--quick] [--count 1000] [--space bignas]

Random architectures of the small preset, weights trained for a few steps, 50-class fractals of 32 pixels: each is
recalibrated on 1,024 augmented training images and judged on all of valid (`SharedEvaluator`). Together is
`evaluate_many` on all of them, in groups of 1, 8, 64 and all; alone is `evaluate`, one after the other, on a part of
them that is drawn at random and spread over the same time: a slice of them after every group of the others. Seconds are
of the processor (one thread), which a busy machine disturbs less than the clock. Also: what is left of the accuracies
with fewer calibration images, against 1,024.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from record import record
from scipy.stats import spearmanr

from nasforge import registry
from nasforge.build import JointRun, Supernet
from nasforge.evaluate import SharedEvaluator
from nasforge.space import Architecture
from nasforge.tasks import DataSource, Loader
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig
from nasforge.training.optimiser import make_sgd
from nasforge.training.path_sgd import merge_views
from nasforge.training.processor import prepare_processor

GOAL = 5.0
TASK = Classification()


def trained(supernet: Supernet, source: DataSource, steps: int) -> Supernet:
    """Train largest, smallest and one random path in each step, so that accuracies differ."""
    optimiser = make_sgd(supernet, TrainConfig(lr=0.1))
    loader, rng = Loader(source, "train", 64, training=True, shuffle=True), np.random.default_rng(0)
    space = supernet.space
    for step in range(steps):
        images, targets = loader.batch(step)
        with supernet.recording() as views:
            for path in (space.largest(), space.smallest(), space.sample(rng)):
                TASK.loss(supernet(images, path), targets).backward()
        merge_views(views)
        optimiser.step()
        optimiser.zero_grad()
    return supernet


def seconds(evaluator: SharedEvaluator, group: Sequence[Architecture]) -> tuple[float, list[dict[str, float]]]:
    begun = time.process_time()
    found = evaluator.evaluate_many(group)
    return time.process_time() - begun, found


def alone(evaluator: SharedEvaluator, group: Sequence[Architecture]) -> tuple[float, list[dict[str, float]]]:
    begun = time.process_time()
    found = [evaluator.evaluate(architecture) for architecture in group]
    return time.process_time() - begun, found


def difference(first: Sequence[dict[str, float]], second: Sequence[dict[str, float]]) -> tuple[float, float]:
    """Return the largest difference of accuracies, and of NLLs relative to one."""
    accuracy = max(abs(a["accuracy_valid"] - b["accuracy_valid"]) for a, b in zip(first, second, strict=True))
    nll = max(abs(a["nll_valid"] / b["nll_valid"] - 1) for a, b in zip(first, second, strict=True))
    return accuracy, nll


def fewer_images(
    supernet: Supernet, source: DataSource, group: Sequence[Architecture], full: Sequence[dict[str, float]]
) -> list[dict[str, Any]]:
    """Rate by fewer calibration images; return rank correlation and differences against the full number."""
    rows = []
    for images in (256, 512):
        spent, found = seconds(SharedEvaluator(supernet, TASK, source, images), group)
        ours, theirs = ([each["accuracy_valid"] for each in side] for side in (found, full))
        rows.append(
            {
                "images": images,
                "seconds_each": spent / len(group),
                "spearman": float(spearmanr(ours, theirs).statistic),
                "mean_difference": float(np.mean(np.abs(np.subtract(ours, theirs)))),
                "largest_difference": float(np.max(np.abs(np.subtract(ours, theirs)))),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few architectures; its result has its own name")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--space", default="bignas")
    options = parser.parse_args()
    count, lone, steps = (24, 6, 5) if options.quick else (options.count, 48, 100)
    prepare_processor()
    source: DataSource = registry.load("datasets", "fractals")()
    space = registry.load("spaces", options.space)(input_shape=source.input_shape, classes=len(source.classes))
    supernet = trained(Supernet(space), source, steps)
    rng = np.random.default_rng(1)
    group = [space.sample(rng) for _ in range(count)]
    evaluator = SharedEvaluator(supernet, TASK, source)
    alone(evaluator, group[:2]), seconds(evaluator, group[:2])  # warm-up
    sizes = [1, 8, 64, count]
    parts = [[group[i] for i in places] for places in np.array_split(rng.permutation(count)[:lone], len(sizes))]
    spent_alone, found_alone, rows, full = 0.0, [], [], []
    spent: dict[int, float] = {}
    for size, part in zip(sizes, parts, strict=True):
        asked = group if size == count else group[: min(64, count)]
        chunks = [asked[begin : begin + size] for begin in range(0, len(asked), size)]
        total = [seconds(evaluator, chunk) for chunk in chunks]
        spent[size] = sum(each for each, _ in total) / len(asked)
        if size == count:
            full = total[0][1]
        took, found = alone(evaluator, part)
        spent_alone, found_alone = spent_alone + took / lone, found_alone + found
    where = dict(zip(group, full, strict=True))
    same = difference([where[each] for part in parts for each in part], found_alone)
    run = JointRun(supernet, group)
    for _ in run.outputs(Loader(source, "valid", 256).batch(0)[0]):
        pass
    rows.append(("alone", round(1e3 * spent_alone, 1), 1.0, "-"))
    for size, each in spent.items():
        ratio = spent_alone / each
        met = ("yes" if ratio >= GOAL else "no") if size == count else "-"
        rows.append((f"{size} together", round(1e3 * each, 1), round(ratio, 2), met))
    record(
        "shared_rating_quick" if options.quick else "shared_rating",
        ("architectures", "processor ms each", "times as fast", f">= {GOAL:g}"),
        rows,
        {
            "space": options.space,
            "architectures": count,
            "different": len(set(group)),
            "evaluated alone": lone,
            "calibration images": 1024,
            "valid images": len(source.split("valid")),
            "largest difference of accuracies": same[0],
            "largest relative difference of NLLs": same[1],
            "different computations": run.computed,
            "computations one by one": sum(len(space.lower(each).steps) for each in group),
            "peak bytes": run.peak_bytes,
            "accuracies from to": [min(e["accuracy_valid"] for e in full), max(e["accuracy_valid"] for e in full)],
            "fewer calibration images, against 1,024": fewer_images(supernet, source, group[:200], full[:200]),
        },
    )


if __name__ == "__main__":
    main()
