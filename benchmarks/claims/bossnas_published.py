"""BossNAS: the published correlations of its rating, computed again from the published ratings, beside plain counts.

    python benchmarks/claims/bossnas_published.py [--quick]

Two tables of truth: 23 networks of the MBConv space trained on ImageNet, and all 32,768 of NATS-Bench's size space on
CIFAR-10. Ratings are turned so that more is better. Beside them MACs, parameters, and the plainest count of all (layers
of expansion 6; the sum of widths), and what is left of each given MACs. Nothing is trained or drawn; it takes seconds
and `NASFORGE_DATA`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, pearsonr, spearmanr

sys.path.insert(0, str(Path(__file__).parent.parent))
from nasforge_spaces.mbconv import mbconv
from nasforge_spaces.nats_sss import nats_sss
from record import record

from nasforge.bench.rank_correlation import partial_correlation
from nasforge.bench.ranking import honest_ranking
from nasforge.evaluate.published.bossnas import block_ratings, rating, trained_networks
from nasforge.evaluate.published.nats_sss import nats_sss as nats_table

PUBLISHED = {
    "MBConv, ImageNet": (0.65, 0.78, 0.85),
    "NATS-Bench sizes, CIFAR-10": (0.53, 0.73, 0.72),
}
"""Kendall, Spearman, Pearson as the paper prints them."""
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Truth:
    """Accuracies, 0..1, and what ranks them, by name; MACs among it."""

    accuracy: Array
    ranking: dict[str, Array]


def mbconv_truth() -> Truth:
    """Return the 23 networks trained on ImageNet."""
    space, ratings, networks = mbconv(preset="bossnas"), block_ratings("mbconv"), trained_networks()
    rows = np.asarray([network.options for network in networks])
    ranking = {
        "BossNAS": -np.asarray([rating(ratings, network.options) for network in networks]),
        "MACs": space.cost("macs").batch(rows).astype(float),
        "parameters": space.cost("params").batch(rows).astype(float),
        "layers of expansion 6": (rows < 2).sum(axis=1).astype(float),
    }
    return Truth(np.asarray([network.accuracy for network in networks]), ranking)


def nats_truth() -> Truth:
    """Return all networks of the size space."""
    space, ratings, known = nats_sss(), block_ratings("nats_sss"), nats_table()
    architectures = list(space.enumerate())
    rows = np.asarray([each.decisions for each in architectures])
    ranking = {
        "BossNAS": -np.asarray([rating(ratings, row) for row in rows.tolist()]),
        "MACs": space.cost("macs").batch(rows).astype(float),
        "parameters": space.cost("params").batch(rows).astype(float),
        "sum of widths": (8.0 * (rows + 1)).sum(axis=1),
    }
    return Truth(np.asarray([known.evaluate(each)["accuracy"] for each in architectures]), ranking)


def correlations(values: Array, truth: Truth) -> tuple[float, float, float, float | None, float | None]:
    """Return Kendall, Spearman, Pearson, and the first two given MACs (None for MACs)."""
    macs, accuracy = truth.ranking["MACs"], truth.accuracy
    found = [float(f(values, accuracy).statistic) for f in (kendalltau, spearmanr, pearsonr)]
    if values is macs:
        return found[0], found[1], found[2], None, None
    left = [
        float(partial_correlation(*(np.asarray([f(*pair).statistic]) for pair in _pairs(values, accuracy, macs)))[0])
        for f in (kendalltau, spearmanr)
    ]
    return found[0], found[1], found[2], left[0], left[1]


def _pairs(values: Array, accuracy: Array, macs: Array) -> list[tuple[Array, Array]]:
    return [(values, accuracy), (values, macs), (accuracy, macs)]


HEADER = ("truth", "what ranks", "Kendall", "Spearman", "Pearson", "as published")
HEADER += ("Kendall given MACs", "Spearman given MACs")


def rows_of(name: str, truth: Truth) -> list[list[str]]:
    """Return a row for everything that ranks, with three decimals."""
    made = []
    for what, values in truth.ranking.items():
        kendall, spearman, pearson, *left = correlations(values, truth)
        printed = " / ".join(f"{each:.2f}" for each in PUBLISHED[name]) if what == "BossNAS" else ""
        given = ["" if each is None else f"{each:+.3f}" for each in left]
        made.append([name, what, *(f"{each:.3f}" for each in (kendall, spearman, pearson)), printed, *given])
    return made


def intervals(truth: Truth) -> dict[str, dict[str, str]]:
    """Return Spearman with its 95 % interval over architectures, alone and given MACs, of everything that ranks."""
    made = {}
    for what, values in truth.ranking.items():
        found = honest_ranking(values, truth.accuracy, truth.ranking["MACs"]).rating
        made[what] = {"spearman": str(found.spearman)}
        if what != "MACs":
            made[what]["given MACs"] = str(found.spearman_given_macs)
    return made


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the 23 networks only")
    arguments = parser.parse_args()
    truths = {"MBConv, ImageNet": mbconv_truth()}
    if not arguments.quick:
        truths["NATS-Bench sizes, CIFAR-10"] = nats_truth()
    rows = [row for name, truth in truths.items() for row in rows_of(name, truth)]
    details = {"Spearman of the 23, 95 % over architectures": intervals(truths["MBConv, ImageNet"])}
    record("bossnas_published_quick" if arguments.quick else "bossnas_published", HEADER, rows, details)
    sys.stdout.write(f"\n{details}\n")


if __name__ == "__main__":
    main()
