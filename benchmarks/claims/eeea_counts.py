"""EEEA-Net: parameters of the published networks, and that the early exit refuses exactly what it should.

    python benchmarks/claims/eeea_counts.py [--quick]

E-4: the networks as published, 20 layers of 36 channels, no auxiliary head, joining unused blocks, and the same cells
joining all blocks; beside DARTS (second order), whose cells this space holds too.
E-2: 1,000 random architectures, counted by the space's tables for 8 layers of 12 channels, 25 of them by the modules
built too; the threshold is the 300th of their counts, so one of them equals it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from nasforge_spaces.eeea import ARCHITECTURES, eeea
from record import record

from nasforge.build import Network
from nasforge.rng import generator
from nasforge.space.cells import cell_options
from nasforge.strategy import Problem
from nasforge.strategy.evolution.early_exit import EarlyExit

PUBLISHED = {"eeea-ea": ("none", 2.925, 3.833), "eeea-a": ("3", 1.769, 2.729)}
PUBLISHED |= {"eeea-b": ("4", None, 2.83), "eeea-c": ("5", 3.513, 4.239)}
"""Threshold, and millions of parameters joining unused blocks and all, counted from the genotypes by other means."""
DARTS_V2 = {
    "normal": "sep_conv_3x3 0 sep_conv_3x3 1; sep_conv_3x3 0 sep_conv_3x3 1; sep_conv_3x3 1 skip_connect 0; "
    "skip_connect 0 dil_conv_3x3 2",
    "reduction": "max_pool_3x3 0 max_pool_3x3 1; skip_connect 2 max_pool_3x3 1; max_pool_3x3 0 skip_connect 2; "
    "skip_connect 2 max_pool_3x3 1",
}


def counts() -> list[list[str]]:
    rows = []
    for name, (beta, unused, every) in PUBLISHED.items():
        for concat, known in (("unused", unused), ("all", every)):
            space, architecture = ARCHITECTURES[name](concat=concat)
            rows.append([name, beta, concat, f"{space.params(architecture):,}", f"{known} M" if known else "-"])
    space = eeea(blocks=4, index_range="full", concat="all", layers=20, channels=36)
    params = space.params(space.architecture(cell_options(DARTS_V2)))
    rows.append(["DARTS (second order)", "-", "all", f"{params:,}", "3.349 M"])
    return rows


def exit_is_exact(number: int, built: int) -> dict[str, int]:
    """Return how often tables, modules (of the first `built`) and the filter disagree over random architectures."""
    large = eeea((3, 8, 8), layers=8, channels=12)
    small = eeea((3, 8, 8), layers=3, channels=4)
    cost, rng = large.cost("params"), generator(0, "exit")
    drawn = [small.sample(rng) for _ in range(number)]
    counted = [int(cost(each)) for each in drawn]
    modules = []
    for architecture in drawn[:built]:
        with torch.device("meta"):
            network = Network(large.lower(architecture))
        modules.append(sum(parameter.numel() for parameter in network.parameters()))
    bound = sorted(counted)[3 * number // 10]
    exit_ = EarlyExit(Problem(small), cost, float(bound), 20_000)
    accepted = [exit_.accepts(each) for each in drawn]
    return {
        "architectures": number,
        "built": built,
        "bound": bound,
        "count differs from the modules": sum(a != b for a, b in zip(counted, modules, strict=False)),
        "accepted at the bound or above": sum(a and own >= bound for a, own in zip(accepted, counted, strict=True)),
        "refused below the bound": sum(not a and own < bound for a, own in zip(accepted, counted, strict=True)),
        "equal to the bound": sum(own == bound for own in counted),
    }


def acceptance(draws: int = 20_000) -> dict[str, dict[str, float]]:
    """Return which shares of random architectures are below 3, 4 and 5 million, by what cells join."""
    found = {}
    for concat in ("unused", "all"):
        space = eeea(layers=20, channels=36, concat=concat)
        millions = space.cost("params").batch(space.sample_batch(draws, np.random.default_rng(0))) / 1e6
        found[concat] = {"median": float(np.median(millions))}
        found[concat] |= {f"below {beta}": float((millions < beta).mean()) for beta in (3, 4, 5)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    exact = exit_is_exact(1000, 5 if given.quick else 25)
    header = ["network", "beta", "joins", "parameters", "known"]
    details = {"early exit": exact, "acceptance": acceptance(), "layers": 20, "channels": 36}
    record("eeea_counts_quick" if given.quick else "eeea_counts", header, counts(), details)
    sys.stdout.write(f"\n{exact}\n{details['acceptance']}\n")


if __name__ == "__main__":
    main()
