"""BossNAS: 36 networks of about equal MACs out of three blocks, trained alone, the truth of `claims/bossnas_rating.py`.

    python benchmarks/claims/bossnas_truth.py [--seeds 0,1] [--quick]

The space has three blocks of two layers, each kernel 3 or 5 and expansion 1 or 4: at equal MACs networks differ in
where they are wide. (Expansions 2 and 4 differ less, so that the noise of training would hide them.) Networks are
drawn among those within 6 % of the median of MACs. Each is trained on fractals of 50 classes, 300 steps of 64 images,
learning rate .2 (set with another seed); kept are accuracy and negative log-likelihood on valid and on test, for each
seed. Written is `benchmarks/truth/bossnas_blocks_fractals.json` as soon as every network of every seed is there.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, part, source_of
from record import ROOT, command, commit

from nasforge.build import build_network
from nasforge.ops import Conv, GlobalPool, Linear, MBConv, residual
from nasforge.rng import generator
from nasforge.run.result import environment
from nasforge.space import Architecture, Input, Node, SearchSpace, boundary, one_of
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate, train
from nasforge.training.processor import prepare_processor

FILE = ROOT / "benchmarks" / "truth" / "bossnas_blocks_fractals.json"
STEPS, LR, SEEDS = 300, 0.2, (0, 1)
NETWORKS, BAND = 36, 0.06
WIDTHS, LAYERS, STEM, MIX = (12, 24, 40), 2, 12, 96
KERNELS, EXPANSIONS = (3, 5), (1, 4)


def space_for(shape: tuple[int, int, int] = (3, 32, 32), classes: int = 50) -> SearchSpace:
    x = Conv(STEM, 3, 2, act="relu6")(Input(*shape), name="stem")
    for block, width in enumerate(WIDTHS):
        for place in range(LAYERS):
            stride = 2 if block and not place else 1
            x = layer(x, width, stride, f"b{block}l{place}", shortcut=place > 0)
        x = boundary(f"b{block}", x)
    x = Conv(MIX, 1, act="relu6")(x, name="mix")
    logits = Linear(classes)(GlobalPool()(x, name="pool"), name="classifier")
    return SearchSpace({"logits": logits}, name="bossnas_blocks")


def layer(x: Node, width: int, stride: int, name: str, *, shortcut: bool) -> Node:
    pairs = [(kernel, expansion) for expansion in EXPANSIONS for kernel in KERNELS]
    made = [MBConv(width, k, e, stride)(x, name=f"{name}.k{k}e{e}") for k, e in pairs]
    chosen = one_of(made, name=name, labels=[f"k{k}e{e}" for k, e in pairs])
    return residual(chosen, x, name=f"{name}.sum") if shortcut else chosen


@functools.cache
def networks() -> list[Architecture]:
    """Return the networks, the same for every seed."""
    space = space_for()
    every = list(space.enumerate())
    macs = np.asarray([space.macs(each) for each in every])
    near = np.flatnonzero(np.abs(macs / np.median(macs) - 1) <= BAND)
    drawn = generator(0, "networks of the truth").choice(near, NETWORKS, replace=False)
    return [every[int(place)] for place in drawn]


@functools.lru_cache(maxsize=2)
def images(seed: int) -> Any:
    """Return the images with the split of a seed; making them takes seconds."""
    return source_of("fractals", seed)


def alone(place: int, seed: int, steps: int, lr: float) -> dict[str, float]:
    """Train one network from scratch; return what it is worth on valid and test."""
    source, task = images(seed), Classification()
    network = build_network(space_for().lower(networks()[place]), seed=seed)
    epochs = steps / (len(source.split("train").labels) // BATCH)
    train(network, source, task, TrainConfig(epochs=epochs, batch_size=BATCH, lr=lr), seed)
    valid, test = (evaluate(network, source, task, split) for split in ("valid", "test"))
    return {**test, **{f"{name}_valid": value for name, value in valid.items()}}


def run_of(place: int, seed: int, steps: int = STEPS, lr: float = LR) -> dict[str, float]:
    """Return `alone`, from disk where it was trained before."""
    shape = [WIDTHS, LAYERS, STEM, MIX, KERNELS, EXPANSIONS, BAND, NETWORKS]
    settings = {"place": place, "seed": seed, "steps": steps, "lr": lr, "space": repr(shape)}
    found: dict[str, float] = part("bossnas-truth", settings, lambda: alone(place, seed, steps, lr))
    return found


def write_truth() -> None:
    space, rows = space_for(), []
    for place, architecture in enumerate(networks()):
        runs = [{"seed": seed, **run_of(place, seed)} for seed in SEEDS]
        costs = {"params": space.params(architecture), "macs": space.macs(architecture)}
        rows.append({"architecture": space.describe(architecture), **costs, "runs": runs})
    settings = {"steps": STEPS, "batch": BATCH, "lr": LR, "seeds": list(SEEDS)}
    content = {
        "schema": 1, "space": "bossnas_blocks", "fingerprint": space.fingerprint,
        "data": "fractals (50 classes, 32 pixels, 4,000 training images)", "training": settings, "command": command(),
        "commit": commit(), "environment": environment(), "rows": rows,
    }  # fmt: skip
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--quick", action="store_true", help="three networks of a few steps, nothing is written")
    given = parser.parse_args()
    prepare_processor()
    places = range(0, NETWORKS, 15) if given.quick else range(NETWORKS)
    seeds = tuple(int(seed) for seed in given.seeds.split(","))
    for seed in seeds:
        for place in places:
            found = run_of(place, seed, 10 if given.quick else STEPS)
            sys.stdout.write(f"{place} seed {seed}: accuracy {found['accuracy']:.3f}, nll {found['nll']:.3f}\n")
            sys.stdout.flush()
    if not given.quick and set(seeds) == set(SEEDS):
        write_truth()


if __name__ == "__main__":
    main()
