"""BossNAS: 36 networks of about equal MACs out of three blocks, trained alone, the truth of `claims/bossnas_rating.py`.

    python benchmarks/claims/bossnas_truth.py [--seeds 0,1] [--workers 1] [--quick]

The space has three blocks of two layers, each kernel 3 or 5 and expansion 1 or 4: at equal MACs networks differ in
where they are wide. (Expansions 2 and 4 differ less, so that the noise of training would hide them.) Networks are
drawn among those within 6 % of the median of MACs. Each is trained on fractals of 50 classes, 300 steps of 64 images,
learning rate .2 (set with another seed). Written is `benchmarks/truth/bossnas_blocks_fractals.json`, a truth table as
`nasforge bench --truth` makes them; all seeds share one split of the images. The file that is in the repository was
made by an earlier commit, in which a seed was that of the split too; its head says which. `suite()` is the table as a
suite: the space has no name that `--suite` could make it by.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, PARTS, source_of
from record import ROOT

from nasforge.bench.suites import Suite
from nasforge.bench.truth import make_truth, read_truth, summary
from nasforge.ops import Conv, GlobalPool, Linear, MBConv, residual
from nasforge.rng import generator
from nasforge.space import Architecture, Input, Node, SearchSpace, boundary, one_of
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


def suite() -> Suite:
    """Return the table as a suite, to search in with `nasforge.bench.searching`."""
    table = read_truth(FILE).evaluator(space_for())
    return Suite("bossnas_blocks", table, "accuracy_valid", "accuracy", files=(FILE,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three networks of a few steps, nothing is kept")
    given = parser.parse_args()
    prepare_processor()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    steps = 10 if given.quick else STEPS
    with tempfile.TemporaryDirectory() as scratch:
        table = make_truth(
            space_for(),
            source_of("fractals", 0),
            training={"steps": steps, "lr": LR, "batch_size": BATCH},
            architectures=networks()[:: 15 if given.quick else 1],
            seeds=seeds,
            workers=given.workers,
            out=Path(scratch) / "truth" if given.quick else PARTS / "bossnas-truth",
            table=None if given.quick or tuple(seeds) != SEEDS else FILE,
        )
    for name, value in summary(table).figures.items():
        sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    main()
