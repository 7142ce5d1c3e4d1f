"""NASNet: are cells that are good small and on one data set good large and on another?

    python benchmarks/claims/cells_transfer.py [--quick]

Twenty random pairs of cells (B = 3) are trained at N = 1, F = 8 on ten classes of fractals, 16 x 16, and at N = 2,
F = 16, longer, on Fashion-MNIST at 14 x 14 (means of 2 x 2 pixels). F is the channels of a block in the first stage.
Kendall's tau of the two lists of test accuracies, which nothing was chosen by, with a bootstrap interval over cells;
beside it tau of parameters and of MACs of the small networks with the large accuracies, and, as ceilings of what noise
leaves, tau of two training seeds at the small scale.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import part
from record import record

from nasforge import registry
from nasforge.bench.ranking import honest_ranking
from nasforge.build import build_network
from nasforge.rng import generator
from nasforge.run.setup import load_source
from nasforge.space import SearchSpace
from nasforge.tasks.classification import Classification
from nasforge.tasks.dataset import DataSource, Split
from nasforge.tasks.preprocessing import Preprocessing
from nasforge.training import TrainConfig, evaluate, train
from nasforge.training.processor import prepare_processor

CELLS = 20
BLOCKS = 3
SMALL = {"data": "fractals", "repeats": 1, "filters": 8, "steps": 50, "lr": 0.1}
LARGE = {"data": "fashion_mnist", "repeats": 2, "filters": 16, "steps": 65, "lr": 0.1}
TEST_IMAGES = 2000
BATCH = 64
ASKED = 0.4
TOP = 5
RESAMPLES = 5000


@functools.cache
def source_of(data: str) -> DataSource:
    if data == "fractals":
        return load_source(data, {"classes": 10, "size": 16, "limit": 2000, "test_images": TEST_IMAGES}, 0)
    return halved(load_source(data, {"limit": 2400}, 0))


def halved(source: DataSource) -> DataSource:
    """Return the source at half its size: means of 2 x 2 pixels; the first of the test images."""
    splits = {}
    for name, split in source.splits.items():
        kept = TEST_IMAGES if name == "test" else len(split)
        images = torch.nn.functional.avg_pool2d(split.images[:kept].float(), 2).round().byte()
        splits[name] = Split(images, split.labels[:kept])
    return replace(source, splits=splits, preprocessing=Preprocessing.fitted(splits["train"].images))


def space_of(scale: dict[str, Any], source: DataSource) -> SearchSpace:
    return registry.load("spaces", "nasnet")(
        source.input_shape,
        len(source.classes),
        blocks=BLOCKS,
        repeats=scale["repeats"],
        filters=24 * scale["filters"],
    )


def trained(scale: dict[str, Any], decisions: list[int], seed: int) -> dict[str, float]:
    """Train a pair of cells at a scale; return accuracy and negative log-likelihood on test, and what it costs."""
    source, task = source_of(scale["data"]), Classification()
    space = space_of(scale, source)
    architecture = space.from_decisions(decisions)
    network = build_network(space.lower(architecture), seed=seed)
    epochs = scale["steps"] / (len(source.split("train").labels) // BATCH)
    train(network, source, task, TrainConfig(epochs=epochs, batch_size=BATCH, lr=scale["lr"]), seed)
    costs = {"params": float(space.params(architecture)), "macs": float(space.macs(architecture))}
    return {**evaluate(network, source, task, "test"), **costs}


def measured(scale: dict[str, Any], decisions: list[int], seed: int) -> dict[str, float]:
    given = {**scale, "decisions": decisions, "seed": seed}
    found: dict[str, float] = part("cells-transfer", given, lambda: trained(scale, decisions, seed))
    return found


def kendall(first: np.ndarray, second: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Return Kendall's tau-b with its 95 % bootstrap interval over cells."""
    found = honest_ranking(first, second, resamples=RESAMPLES).rating.kendall
    return found.value, found.low, found.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=CELLS, help="only so many of the pairs of cells")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    cells, small, large = given.cells, SMALL, LARGE
    if given.quick:
        cells, small, large = 3, {**SMALL, "steps": 2}, {**LARGE, "steps": 2}
    space, rng = space_of(small, source_of(small["data"])), generator(0, "cells")
    drawn = [list(space.sample(rng).decisions) for _ in range(cells)]
    at_small = [measured(small, each, 0) for each in drawn]
    at_large = [measured(large, each, 0) for each in drawn]
    again = [measured(small, each, 1) for each in drawn]
    report(drawn, at_small, again, at_large, quick=given.quick)


def report(drawn: list[list[int]], at_small: list, again: list, at_large: list, *, quick: bool) -> None:
    def column(rows: list[dict[str, float]], name: str) -> np.ndarray:
        return np.asarray([row[name] for row in rows])

    truth = column(at_large, "accuracy")
    proxies = {
        "accuracy, small": column(at_small, "accuracy"),
        "accuracy, small, mean of two seeds": (column(at_small, "accuracy") + column(again, "accuracy")) / 2,
        "log-likelihood, small": -column(at_small, "nll"),
        "params, small": column(at_small, "params"),
        "MACs, small": column(at_small, "macs"),
    }
    rows: list[list[Any]] = []
    for name, values in proxies.items():
        tau, low, high = kendall(values, truth)
        place = int((truth > truth[int(values.argmax())]).sum()) + 1
        rows.append([name, tau, low, high, place])
    ceiling = kendall(column(at_small, "accuracy"), column(again, "accuracy"))
    rows.append(["two seeds, both small (ceiling)", *ceiling, ""])
    tau, low, _, place = rows[0][1:]
    holds = {"tau": tau >= ASKED, "interval": low > 0, "best": place <= TOP}
    header = ["what ranks the cells", "Kendall's tau", "95 % from", "to", "place of its best cell, large"]
    details = {
        "small": SMALL,
        "large": LARGE,
        "blocks": BLOCKS,
        "batch": BATCH,
        "asked": {"tau": ASKED, "interval": "above 0", "place of the best": TOP},
        "holds": holds,
        "accuracy": {
            "small": column(at_small, "accuracy").tolist(),
            "small, second seed": column(again, "accuracy").tolist(),
            "large": truth.tolist(),
        },
        "decisions": drawn,
    }
    record("cells_transfer" + ("_quick" if quick else ""), header, rows, details)
    sys.stdout.write(
        f"\ntau {tau:.2f} (asked: {ASKED} or more), interval from {low:.2f} (above 0), best small cell in place "
        f"{place} of {len(truth)} (at most {TOP}): {'holds' if all(holds.values()) else 'missed'}\n"
    )


if __name__ == "__main__":
    main()
