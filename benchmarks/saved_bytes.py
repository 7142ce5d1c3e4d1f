"""Bytes kept for backward inside the searchable layers: architecture steps against a weight step of the same path.

    python benchmarks/saved_bytes.py [--quick]

Space `mbconv` at 32 x 32 pixels without its Zero options, so that every searchable layer has N = 6 candidates. Counted
are the tensors that autograd keeps (unique storages, parameters left out) while anything but the fixed layers runs:
stem, first block, feature mix, pooling and classifier are not searched. The weight step runs one path; the architecture
steps mix the same path with weights frozen, as `proxyless` does, and once more with weights that get gradients:
`two` (one other candidate a layer, detached), `full_v2` (all others, run again in backward), `softmax` (all candidates
with graphs, for contrast; against the mean of the weight steps).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from record import record
from torch import Tensor

from nasforge import registry
from nasforge.build import Supernet, frozen_statistics
from nasforge.layers import Mixture
from nasforge.space import Architecture, SearchSpace
from nasforge.training.processor import prepare_processor

GOALS = {"two": 1.20, "full_v2": 1.05}
FIXED = ("stem", "first", "mix", "pool", "classifier")


class Counter:
    """Counts what autograd saves outside the fixed layers."""

    def __init__(self, supernet: Supernet) -> None:
        self._parameters = {parameter.untyped_storage().data_ptr() for parameter in supernet.parameters()}
        self._inside = True
        self.storages: dict[int, tuple[int, Tensor]] = {}
        for key, layer in supernet.layers.items():
            if key.split(":")[0] in FIXED:
                layer.register_forward_pre_hook(lambda *_: self._enter(False))
                layer.register_forward_hook(lambda *_: self._enter(True))

    def _enter(self, inside: bool) -> None:
        self._inside = inside

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if self._inside and storage.data_ptr() not in self._parameters:
            self.storages[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    @contextmanager
    def counting(self) -> Iterator[None]:
        self.storages = {}
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            yield

    @property
    def total(self) -> int:
        return sum(size for size, _ in self.storages.values())


def without_zero(space: SearchSpace) -> SearchSpace:
    kept = {str(read.name): [label for label in read.labels if label != "zero"] for read in space.choices}
    return space.restrict(kept)


def mixtures(
    space: SearchSpace, architecture: Architecture, mode: str, rng: np.random.Generator
) -> Mapping[str, Mixture]:
    """Return the mixture of every choice in one of the three modes."""
    found = {}
    for read, options, active in zip(space.choices, space.allowed, architecture.decisions, strict=True):
        if mode == "softmax":
            logits = torch.zeros(len(read.options), requires_grad=True)
            found[str(read.name)] = Mixture(torch.softmax(logits, 0), options)
            continue
        others = [option for option in options if option != active]
        if mode == "two":
            others = [int(rng.choice(others))]
        gates = torch.zeros(len(read.options))
        gates[active] = 1.0
        support = tuple(sorted((active, *others)))
        found[str(read.name)] = Mixture(gates.requires_grad_(True), support, frozenset(others), mode == "full_v2")
    return found


def saved(
    supernet: Supernet,
    counter: Counter,
    images: Tensor,
    architecture: Architecture,
    mixed: Mapping[str, Mixture] | None,
) -> int:
    with counter.counting(), frozen_statistics(supernet):
        supernet(images, architecture, mixed)
    return counter.total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer architectures and images")
    options = parser.parse_args()
    count, batch = (3, 8) if options.quick else (12, 64)
    prepare_processor()
    space = without_zero(registry.load("spaces", "mbconv")(input_shape=(3, 32, 32), classes=10))
    supernet = Supernet(space)
    counter = Counter(supernet)
    rng = np.random.default_rng(0)
    images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    architectures = [space.sample(rng) for _ in range(count)]
    weight_steps = [saved(supernet, counter, images, a, None) for a in architectures]
    rows = []
    for frozen in (True, False):
        supernet.requires_grad_(not frozen)
        for mode, goal in GOALS.items():
            steps = [saved(supernet, counter, images, a, mixtures(space, a, mode, rng)) for a in architectures]
            ratios = [step / one for step, one in zip(steps, weight_steps, strict=True)]
            worst = max(ratios)
            row = (mode, "frozen" if frozen else "trained", statistics.mean(steps), statistics.mean(ratios), worst)
            rows.append((*row, f"<= {goal}", "yes" if worst <= goal else "no"))
    softmax = saved(supernet, counter, images, architectures[0], mixtures(space, architectures[0], "softmax", rng))
    candidates = len(space.allowed[0])
    ratio = softmax / statistics.mean(weight_steps)
    goal = 0.8 * candidates
    rows.append(("softmax", "trained", softmax, ratio, ratio, f">= {goal:.1f}", "yes" if ratio >= goal else "no"))
    shown = [(a, b, f"{c / 2**20:.1f}", f"{d:.3f}", f"{e:.3f}", f, g) for a, b, c, d, e, f, g in rows]
    header = ("architecture step", "weights", "MiB", "mean ratio", "worst ratio", "goal", "met")
    details = {
        "batch": batch,
        "pixels": 32,
        "candidates": candidates,
        "one-path weight steps, bytes": weight_steps,
        "not counted": FIXED,
    }
    record("saved_bytes", header, shown, details)


if __name__ == "__main__":
    main()
