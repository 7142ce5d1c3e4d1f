"""A training step of a supernet with one path active, against the same architecture built alone.

    python benchmarks/supernet_step.py [--quick] [--spaces bignas,neas]

Spaces whose weights are shared, in the presets for small images. Batch 64, 32 x 32 pixels, one thread, malloc pinned,
channels-last, SGD included. Each process times interleaved pairs and gives the median of their ratios, and the same of
the lone network against a twin of it (A/A): a ratio is worth something only where the A/A ratios of the processes stay
nearer to 1 than the margin. Below the table: steps that draw another architecture each time, and what laying out one
that was never seen takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from record import record
from torch import Tensor, nn

from nasforge import registry
from nasforge.build import Supernet, extract
from nasforge.build.plan import make_plan
from nasforge.space import Architecture, SearchSpace
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig
from nasforge.training.optimiser import make_sgd
from nasforge.training.path_sgd import PathSGD
from nasforge.training.processor import prepare_processor

SPACES: dict[str, dict[str, Any]] = {
    "mbconv_elastic": {},
    "mbconv": {},
    "bignas": {"preset": "small"},
    "neas": {"preset": "small"},
    "hytra": {"preset": "tiny"},
    "pooling": {"preset": "small"},
    "nats_sss": {"preset": "small"},
}
TASK = Classification()
GOAL = 1.05
Step = Callable[[], None]


def batch() -> tuple[Tensor, Tensor]:
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return images.to(memory_format=torch.channels_last), torch.arange(64) % 10


def shared_step(supernet: Supernet, optimiser: PathSGD, architecture: Callable[[], Architecture]) -> Step:
    images, targets = batch()

    def step() -> None:
        with supernet.recording():
            loss = TASK.loss(supernet(images, architecture()), targets)
            loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def lone_step(network: nn.Module) -> Step:
    images, targets = batch()
    optimiser = make_sgd(network, TrainConfig(lr=0.01))

    def step() -> None:
        TASK.loss(network(images), targets).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def lone(supernet: Supernet, architecture: Architecture) -> nn.Module:
    return extract(supernet, architecture).to(memory_format=torch.channels_last)


def milliseconds(step: Step) -> float:
    begun = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - begun)


def interleaved(first: Step, second: Step, pairs: int) -> tuple[float, float, float]:
    """Return the median ratio first / second, and both medians in milliseconds; the order alternates."""
    for _ in range(3):
        first(), second()
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            after = milliseconds(second)
            times.append((milliseconds(first), after))
        else:
            before = milliseconds(first)
            times.append((before, milliseconds(second)))
    ratios = [a / b for a, b in times]
    return statistics.median(ratios), *(statistics.median(column) for column in zip(*times, strict=True))


def measure(pairs: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Time some spaces and all sizes in this process."""
    prepare_processor()
    rows = []
    for name in names:
        space: SearchSpace = registry.load("spaces", name)(input_shape=(3, 32, 32), classes=10, **SPACES[name])
        supernet = Supernet(space).to(memory_format=torch.channels_last)
        optimiser = PathSGD(supernet, TrainConfig(lr=0.01))
        rng = np.random.default_rng(0)
        for size, chosen in (("largest", space.largest()), ("smallest", space.smallest())):
            step = shared_step(supernet, optimiser, lambda chosen=chosen: chosen)
            alone = lone(supernet, chosen)
            ratio, shared_ms, lone_ms = interleaved(step, lone_step(alone), pairs)
            same, _, _ = interleaved(lone_step(lone(supernet, chosen)), lone_step(alone), pairs)
            rows.append(
                {"space": name, "size": size, "ratio": ratio, "a_a": same, "shared_ms": shared_ms, "lone_ms": lone_ms}
            )
        fresh = shared_step(supernet, optimiser, lambda rng=rng, space=space: space.sample(rng))
        times = [milliseconds(fresh) for _ in range(pairs + 3)][3:]
        rows.append(
            {
                "space": name,
                "size": "fresh",
                "shared_ms": statistics.median(times),
                "layout_ms": layout_ms(space, rng),
            }
        )
    return rows


def layout_ms(space: SearchSpace, rng: np.random.Generator, count: int = 50) -> float:
    """Return the median time to lay out an architecture that was never seen."""
    times = []
    for _ in range(count):
        chosen = space.sample(rng)
        times.append(milliseconds(lambda chosen=chosen: make_plan(space.lower(chosen))))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two processes of few pairs")
    parser.add_argument("--spaces", default=",".join(SPACES), help="only these; the result has its own name then")
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.stdout.write(json.dumps(measure(options.worker, options.spaces.split(","))))
        return
    processes, pairs = (2, 4) if options.quick else (5, 30)
    found = []
    for _ in range(processes):
        done = subprocess.run(
            [sys.executable, __file__, "--worker", str(pairs), "--spaces", options.spaces],
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout))
    whole = options.spaces == ",".join(SPACES) and not options.quick
    report("supernet_step" if whole else "supernet_step_part", found, processes, pairs)


def report(name: str, found: list[list[dict[str, Any]]], processes: int, pairs: int) -> None:
    rows = []
    for entries in zip(*found, strict=True):
        first = entries[0]
        if "ratio" not in first:
            continue
        ratio, same = ([entry[key] for entry in entries] for key in ("ratio", "a_a"))
        low, high = min(same), max(same)
        met = statistics.median(ratio) <= GOAL
        rows.append(
            (
                first["space"],
                first["size"],
                round(statistics.median(entry["shared_ms"] for entry in entries), 2),
                round(statistics.median(entry["lone_ms"] for entry in entries), 2),
                round(statistics.median(ratio), 3),
                f"{min(ratio):.3f}-{max(ratio):.3f}",
                f"{low:.3f}-{high:.3f}",
                "yes" if met else "no",
            )
        )
    header = ("space", "architecture", "supernet ms", "alone ms", "ratio", "range", "A/A range", f"<= {GOAL}")
    fresh = [
        {
            "space": entries[0]["space"],
            "step_ms": statistics.median(entry["shared_ms"] for entry in entries),
            "layout_ms": statistics.median(entry["layout_ms"] for entry in entries),
        }
        for entries in zip(*found, strict=True)
        if "layout_ms" in entries[0]
    ]
    record(
        name,
        header,
        rows,
        {
            "goal": GOAL,
            "processes": processes,
            "pairs": pairs,
            "batch": 64,
            "pixels": 32,
            "threads": 1,
            "a new architecture in every step": fresh,
            "all": found,
        },
    )
    for entry in fresh:
        sys.stdout.write(
            f"\n{entry['space']}, a new architecture in every step: {entry['step_ms']:.1f} ms, "
            f"of which laying it out {entry['layout_ms']:.2f} ms\n"
        )


if __name__ == "__main__":
    main()
