"""ProxylessNAS: the derived network against 16 random networks of 90 to 100 % of the same latency cap.

    python benchmarks/claims/proxyless_random.py [--strategy proxyless|proxyless_rl] [--quick]

Latency is the analytic model of target `gpu` (V100, batch 64), in which kernels, expansions and layers all cost
something. For each seed: one search by the strategy under the cap, its likeliest network within the cap, and 16
networks drawn by the space's law within 90 to 100 % of the cap; all 17 are trained from scratch alike and judged on
the test split, which no choice saw. The percentile is the share of the 16 that the derived network beats.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, interval, part, result_name, source_of, train_shared
from nasforge_spaces.mbconv import Skeleton
from record import record

from nasforge import registry
from nasforge.build import build_network
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.space import Architecture
from nasforge.strategy import Problem
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate, train
from nasforge.training.processor import prepare_processor

SEEDS = (0, 1, 2, 3, 4)
RANDOM = 16
CAP_MS = 0.25
SKELETON = Skeleton(16, 2, 8, ((12, 3, 1), (16, 3, 2), (24, 3, 2)), 96)
LATENCY = "latency_ms_predicted"
LR = 0.15
ASKED = 0.75


def problem_for(source: Any) -> Problem:
    space = registry.load("spaces", "mbconv")(source.input_shape, len(source.classes), skeleton=SKELETON)
    target = registry.load("targets", "gpu")(batch=64)
    costs = {LATENCY: target.predictor(space).cost, "params": space.cost("params"), "macs": space.cost("macs")}
    return Problem(space, constraints=(Constraint(LATENCY, CAP_MS),), costs=costs, reference_cost=LATENCY)


def random_networks(problem: Problem, seed: int) -> list[Architecture]:
    """Draw different architectures by the space's law until there are enough in the band below the cap."""
    rng, cost = generator(seed, "random networks"), problem.costs[LATENCY]
    found: dict[Architecture, None] = {}
    while len(found) < RANDOM:
        drawn = problem.space.sample(rng)
        if 0.9 * CAP_MS <= cost(drawn) <= CAP_MS:
            found[drawn] = None
    return list(found)


def searched(data: str, seed: int, strategy: str, options: dict[str, Any], steps: int) -> dict[str, Any]:
    """Search; return the derived network, and what it and the likeliest of all cost."""
    source = source_of(data, seed)
    problem = problem_for(source)
    made = registry.load("strategies", strategy)(**options)
    training = train_shared(made, problem, source, steps, seed)
    derived = made.derive()[0]
    paths = training.modules["paths"]
    likeliest = problem.space.from_decisions([int(p.argmax()) for p in paths.probabilities()])
    cost = problem.costs[LATENCY]
    return {
        "decisions": list(derived.decisions),
        "latency_ms": cost(derived),
        "likeliest_latency_ms": cost(likeliest),
        "entropy": paths.entropy(),
    }


def retrained(data: str, seed: int, decisions: list[int], steps: int, split: str = "test") -> dict[str, float]:
    """Train a network from scratch; return its accuracy and negative log-likelihood."""
    source, task = source_of(data, seed), Classification()
    space = problem_for(source).space
    network = build_network(space.lower(space.from_decisions(decisions)), seed=seed)
    epochs = steps / (len(source.split("train").labels) // BATCH)
    train(network, source, task, TrainConfig(epochs=epochs, batch_size=BATCH, lr=LR), seed)
    return evaluate(network, source, task, split)


def measure(data: str, seed: int, strategy: str, options: dict[str, Any], steps: tuple[int, int]) -> dict[str, Any]:
    given = {"data": data, "seed": seed, "cap": CAP_MS, "skeleton": repr(SKELETON)}
    found = part(
        "proxyless-search",
        {**given, "strategy": strategy, "options": options, "steps": steps[0]},
        lambda: searched(data, seed, strategy, options, steps[0]),
    )
    problem = problem_for(source_of(data, seed))
    drawn = [list(each.decisions) for each in random_networks(problem, seed)]
    metrics = [
        part(
            "proxyless-retrained",
            {**given, "decisions": decisions, "steps": steps[1], "lr": LR},
            lambda decisions=decisions: retrained(data, seed, decisions, steps[1]),
        )
        for decisions in [found["decisions"], *drawn]
    ]
    own, others = metrics[0], metrics[1:]
    beaten = [
        float(own["accuracy"] > each["accuracy"]) + 0.5 * (own["accuracy"] == each["accuracy"]) for each in others
    ]
    nll = [float(own["nll"] < each["nll"]) for each in others]
    labels = problem.space.describe(problem.space.from_decisions(found["decisions"]))
    return {
        "seed": seed,
        "percentile": float(np.mean(beaten)),
        "percentile_nll": float(np.mean(nll)),
        "own": own,
        "random": others,
        "architecture": labels,
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fractals", choices=("fractals", "fashion_mnist", "cifar10"))
    parser.add_argument("--strategy", default="proxyless", choices=("proxyless", "proxyless_rl"))
    parser.add_argument("--search-steps", type=int, default=1000)
    parser.add_argument("--train-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="only so many of the seeds")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    options: dict[str, Any] = {}
    steps, seeds = ((20, 2), (0,)) if given.quick else ((given.search_steps, given.train_steps), SEEDS[: given.seeds])
    found = [measure(given.data, seed, given.strategy, options, steps) for seed in seeds]
    rows = [
        [
            str(each["seed"]),
            each["own"]["accuracy"] * 100,
            float(np.mean([other["accuracy"] for other in each["random"]]) * 100),
            max(other["accuracy"] for other in each["random"]) * 100,
            each["percentile"],
            each["percentile_nll"],
            each["latency_ms"],
        ]
        for each in found
    ]
    mean, low, high = interval([each["percentile"] for each in found])
    rows.append(["mean", *(float(np.mean([row[i] for row in rows])) for i in range(1, 7))])
    header = ["seed", "derived, %", "random mean, %", "random best, %", "percentile", "by NLL", "latency, ms"]
    details = {
        "data": given.data,
        "strategy": given.strategy,
        "options": options,
        "steps": {"search": steps[0], "train": steps[1]},
        "batch": BATCH,
        "lr_train": LR,
        "cap_ms": CAP_MS,
        "percentile": {"mean": mean, "from": low, "to": high},
        "asked": ASKED,
        "holds": mean >= ASKED,
        "seeds": found,
    }
    name = "proxyless_random" if given.strategy == "proxyless" else f"{given.strategy}_random"
    record(result_name(name, given.data, quick=given.quick), header, rows, details)
    sys.stdout.write(
        f"\nmean percentile {mean:.3f} (95 % {low:.3f} to {high:.3f}, {len(found)} seeds); asked for: {ASKED} or more: "
        f"{'holds' if mean >= ASKED else 'missed'}\n"
    )


if __name__ == "__main__":
    main()
