"""How well zero-cost scores of untrained networks agree with the published ones, and rank NAS-Bench-201 on CIFAR-10.

    NASFORGE_DATA=DIR python benchmarks/zero_cost_ranks.py [--architectures 200] [--repeats 5] [--causes] [--quick]

A random sample of the 9,445 cells that NAS-Bench-Suite-Zero scored. Each is built as a trainable network of space
`nb201` and scored on one batch of 64 training images. Columns: Spearman of our score with the published one of the same
name, of ours and of the published one with the test accuracy at 200 epochs on the same sample, of the published one on
all 9,445, Kendall of ours, and the partial Spearman of ours given MACs. Intervals: 95 %, 2,000 bootstrap resamples of
the architectures. The last row is the noise ceiling: two seeds of the truth. Scores are kept in `build/benchmarks`, so
a run that was stopped goes on.

With --causes: what the agreement with the published scores depends on, for the first 40 architectures: other weights
and images, PyTorch's initialisation in the place of He's, one cell a stage.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import record
from torch import nn

from nasforge import registry
from nasforge.bench.rank_correlation import rank_correlations
from nasforge.bench.ranking import Coefficient, honest_ranking
from nasforge.build import build_network
from nasforge.evaluate.published import data_file
from nasforge.evaluate.zero_cost import Scorer, make_scorer, scoring_batch
from nasforge.rng import generator, integer_seed
from nasforge.space import Architecture
from nasforge.tasks.classification import Classification

sys.path.insert(0, str(Path(__file__).parent / "claims"))
from parts import part, source_of  # isort: skip

PUBLISHED = {
    "naswot": "nwot__cifar10", "jacov": "jacov__cifar10", "synflow": "synflow__cifar10", "snip": "snip__cifar10",
    "grad_norm": "grad_norm__cifar10", "params": "params__cifar10", "macs": "flops_M__cifar10",
}  # fmt: skip
SEED, TORCH = "other seed", "torch"
FEW = 40
CHUNK = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5, help="cells a stage; 5 as published")
    parser.add_argument("--causes", action="store_true", help="what the agreement depends on")
    parser.add_argument("--quick", action="store_true", help="twenty architectures, one cell a stage")
    asked = parser.parse_args()
    count, repeats = (20, 1) if asked.quick else (asked.architectures, asked.repeats)
    tables = read_tables()
    known = np.flatnonzero(np.isfinite(tables["nwot__cifar10"]))
    drawn = generator(0, "zero_cost_ranks").permutation(known)[:count]
    if asked.causes:
        record_causes(tables, drawn)
        return
    scores, seconds = all_scores(drawn, repeats)
    truth = tables["test_acc__cifar10"]
    table = [
        row(name, np.asarray(scores[name]), tables[column], truth, drawn, known, float(np.median(seconds[name])))
        for name, column in PUBLISHED.items()
    ]
    seeds = tables["val_acc_200ep__cifar10"][drawn]
    both = np.isfinite(seeds[:, :2]).all(axis=1)
    ceiling = spearman(seeds[both, 0], seeds[both, 1])
    table.append(["two seeds of the truth", "", f"{ceiling:.3f}", "", "", "", "", ""])
    header = [
        "score", "with the published", "with accuracy", "published, same sample", "published, all", "Kendall",
        "given MACs", "seconds",
    ]  # fmt: skip
    details = {
        "architectures": count, "of": len(known), "repeats": repeats, "channels": 16, "images": 64,
        "rows": drawn.tolist(), "scores": {name: [float(value) for value in scores[name]] for name in scores},
    }  # fmt: skip
    record("zero_cost_ranks_quick" if asked.quick else "zero_cost_ranks", header, table, details)


def all_scores(drawn: np.ndarray, repeats: int, how: str = "") -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return scores and seconds by name, of each cell; `how` is SEED, TORCH or neither."""
    scores: dict[str, list[float]] = {name: [] for name in PUBLISHED}
    seconds: dict[str, list[float]] = {name: [] for name in PUBLISHED}
    for begin in range(0, len(drawn), CHUNK):
        rows = drawn[begin : begin + CHUNK]
        found = part("zero_cost_ranks", settings(rows, repeats, how), scored(rows, repeats, how))
        for name in PUBLISHED:
            scores[name] += found["scores"][name]
            seconds[name] += found["seconds"][name]
    return scores, seconds


def record_causes(tables: dict[str, np.ndarray], drawn: np.ndarray) -> None:
    """Record what the agreement depends on."""
    few = drawn[:FEW]
    ours = all_scores(few, 5)[0]
    other, torchs, short = (all_scores(few, repeats, how)[0] for repeats, how in ((5, SEED), (5, TORCH), (1, "")))
    table = []
    for name in ("naswot", "jacov", "synflow", "snip", "grad_norm", "macs"):
        published, mine = tables[PUBLISHED[name]], np.asarray(ours[name])
        row = [
            spearman(mine, published[few]),
            spearman(np.asarray(other[name]), published[few]),
            spearman(mine, np.asarray(other[name])),
            spearman(np.asarray(torchs[name]), published[few]),
            spearman(np.asarray(short[name]), published[few]),
        ]
        table.append([name, *(f"{value:.3f}" for value in row)])
    header = [
        "score", "with the published", "other seed, with the published", "two seeds of ours",
        "PyTorch's initialisation", "one cell a stage",
    ]  # fmt: skip
    record(
        "zero_cost_causes", header, table, {"architectures": FEW, "channels": 16, "images": 64, "rows": drawn.tolist()}
    )


def read_tables() -> dict[str, np.ndarray]:
    """Return the published scores, accuracies and counts, one row for each of the 15,625 cells."""
    found: dict[str, np.ndarray] = {}
    for name in ("nb201/nb201.npz", "nb201/zerocost.npz"):
        with np.load(data_file(name), allow_pickle=False) as file:
            found |= {key: file[key] for key in file.files}
    return found


def settings(rows: np.ndarray, repeats: int, how: str) -> dict[str, Any]:
    return {"rows": rows.tolist(), "repeats": repeats, "version": 1, **({"how": how} if how else {})}


def scored(rows: np.ndarray, repeats: int, how: str) -> Callable[[], dict[str, Any]]:
    """Return what scores a chunk of the sample by every score."""
    seed = 1 if how == SEED else 0

    def make() -> dict[str, Any]:
        tables = read_tables()
        space = registry.load("spaces", "nb201")(repeats=repeats)
        options = [space.choices[0].labels.index(str(name)) for name in tables["ops_names"]]
        batch = scoring_batch(source_of("cifar10", 0).sealed(), Classification(), seed)
        scorers = {name: make_scorer(name, space, batch, seed) for name in PUBLISHED}
        scores: dict[str, list[float]] = {name: [] for name in PUBLISHED}
        seconds: dict[str, list[float]] = {name: [] for name in PUBLISHED}
        for cell in rows:
            architecture = space.from_decisions([options[operation] for operation in tables["ops"][cell]])
            for name, scorer in scorers.items():
                begun = time.perf_counter()
                scores[name].append(scorer.of(architecture) if how != TORCH else of_torch(scorer, architecture))
                seconds[name].append(time.perf_counter() - begun)
        return {"scores": scores, "seconds": seconds}

    return make


def of_torch(scorer: Scorer, architecture: Architecture) -> float:
    """Return the score of a network whose convolutions and matrices are drawn as PyTorch draws them."""
    network = build_network(scorer.space.lower(architecture), seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(0, "torch"))
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
    return scorer.score(network, scorer.batch)


def row(
    name: str, ours: np.ndarray, published: np.ndarray, truth: np.ndarray, drawn: np.ndarray, known: np.ndarray,
    seconds: float,
) -> list[Any]:  # fmt: skip
    theirs, accuracy = published[drawn], truth[drawn]
    with_truth = honest_ranking(ours, accuracy, read_tables()[PUBLISHED["macs"]][drawn]).rating
    given_macs = with_truth.spearman_given_macs
    return [
        name,
        shown(honest_ranking(ours, theirs).rating.spearman),
        shown(with_truth.spearman),
        shown(honest_ranking(np.where(np.isfinite(ours), theirs, np.nan), accuracy).rating.spearman),
        f"{spearman(published[known], truth[known]):.3f}",
        f"{with_truth.kendall.value:.3f}",
        "" if name == "macs" or given_macs is None else f"{given_macs.value:.3f}",
        round(seconds, 3),
    ]


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    return float(rank_correlations(np.column_stack([first, second]))[0][0, 0, 1])


def shown(found: Coefficient) -> str:
    """Return a coefficient with its 95 % bootstrap interval."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
