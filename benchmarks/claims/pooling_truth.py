"""Pooling places: every architecture of `pooling` (preset small) trained alone, the truth of `claims/pooling.py`.

    python benchmarks/claims/pooling_truth.py [--seeds 0,1] [--quick]

All 36 are trained on fractals of 50 classes, 600 steps of 64 images, learning rate .3 (set with another seed); kept are
accuracy and negative log-likelihood on valid and on test, for each seed. Written is
`benchmarks/truth/pooling_fractals.json` as soon as every network of every seed is there.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, part, source_of
from nasforge_spaces.pooling import pooling
from record import ROOT, command, commit

from nasforge.build import build_network
from nasforge.run.result import environment
from nasforge.space import SearchSpace
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate, train
from nasforge.training.processor import prepare_processor

FILE = ROOT / "benchmarks" / "truth" / "pooling_fractals.json"
DATA = "fractals"
STEPS, LR, SEEDS = 600, 0.3, (0, 1)
CHOICE = "places"


@functools.lru_cache(maxsize=2)
def images(seed: int) -> Any:
    """Return the images with the split of a seed; making them takes seconds."""
    return source_of(DATA, seed)


def space_for(source: Any) -> SearchSpace:
    return pooling(source.input_shape, len(source.classes), preset="small")


def labels_of(space: SearchSpace) -> tuple[str, ...]:
    return space.choices[0].labels


def alone(label: str, seed: int, steps: int, lr: float) -> dict[str, float]:
    """Train one architecture from scratch; return what it is worth on valid and test."""
    source, task = images(seed), Classification()
    space = space_for(source)
    network = build_network(space.lower(space.architecture({CHOICE: label})), seed=seed)
    epochs = steps / (len(source.split("train").labels) // BATCH)
    train(network, source, task, TrainConfig(epochs=epochs, batch_size=BATCH, lr=lr), seed)
    valid, test = (evaluate(network, source, task, split) for split in ("valid", "test"))
    return {**test, **{f"{name}_valid": value for name, value in valid.items()}}


def run_of(label: str, seed: int, steps: int = STEPS, lr: float = LR) -> dict[str, float]:
    """Return `alone`, from disk where it was trained before."""
    settings = {"label": label, "seed": seed, "steps": steps, "lr": lr}
    found: dict[str, float] = part("pooling-truth", settings, lambda: alone(label, seed, steps, lr))
    return found


def write_truth(space: SearchSpace) -> None:
    rows = []
    for label in labels_of(space):
        architecture = space.architecture({CHOICE: label})
        runs = [{"seed": seed, **run_of(label, seed)} for seed in SEEDS]
        costs = {"params": space.params(architecture), "macs": space.macs(architecture)}
        rows.append({"architecture": {CHOICE: label}, **costs, "runs": runs})
    settings = {"steps": STEPS, "batch": BATCH, "lr": LR, "seeds": list(SEEDS)}
    content = {
        "schema": 1, "space": "pooling", "space_options": {"preset": "small"}, "fingerprint": space.fingerprint,
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
    space = space_for(images(0))
    labels = labels_of(space)[::15] if given.quick else labels_of(space)
    seeds = tuple(int(seed) for seed in given.seeds.split(","))
    for seed in seeds:
        for label in labels:
            found = run_of(label, seed, 10 if given.quick else STEPS)
            sys.stdout.write(f"{label} seed {seed}: accuracy {found['accuracy']:.3f}, nll {found['nll']:.3f}\n")
            sys.stdout.flush()
    if not given.quick and set(seeds) == set(SEEDS):
        write_truth(space)


if __name__ == "__main__":
    main()
