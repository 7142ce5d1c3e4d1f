"""NASNet: a controller trained by PPO against random sampling of the same space.

    python benchmarks/claims/nasnet_rl.py [--only synthetic|real] [--seeds N] [--quick]

Twice, in the space of NASNet's two cells with B = 3 (30 decisions). First with a reward that is known: the share of
decisions that equal those of a hidden architecture; does the controller find them, and does its entropy fall? Then with
real training: digits at 8 x 8 pixels, N = 1, F = 8 channels in a block of the first stage, few steps a child. All
children are trained by one trainer with one seed; networks that are equal (`network_id`) are trained once, and the
reward of a child that was seen before counts again. The preset of small budgets draws known architectures again, so
nearly all children differ. Random children are drawn once, by the space's law, and serve all seeds of the controller.
Rewards are accuracies on valid. The preset's constants were set on the known reward with other seeds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import part
from record import record

from nasforge import registry
from nasforge.evaluate.trained import TrainedEvaluator
from nasforge.rng import generator
from nasforge.run.setup import load_source
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig
from nasforge.training.processor import prepare_processor

SEEDS = (3, 4, 5)
PRESETS = ("quick", "paper")
SAMPLES = 2000
CHILDREN = 120
RANDOM = 120
LAST = 100
TOP = 25
BLOCKS = 3
FILTERS = 8
STEPS = 27
BATCH = 64
LR = 0.1
ASKED_P = 0.01
ASKED_BEST = 0.8


def source_of() -> Any:
    return load_source("digits", {}, 0).sealed()


def space_of(source: Any) -> SearchSpace:
    make = registry.load("spaces", "nasnet")
    space: SearchSpace = make(source.input_shape, len(source.classes), blocks=BLOCKS, repeats=1, filters=24 * FILTERS)
    return space


def certainty(strategy: Any, target: Architecture) -> dict[str, float]:
    """Return the mean probability of the target's options and the mean entropy, over steps of drawn architectures."""
    policy, controller = strategy._policy, strategy._controller
    drawn = [policy.draw(generator(0, "probe", number))[0] for number in range(200)]
    hits = np.mean([np.equal(each.decisions, target.decisions) for each in drawn])
    with torch.no_grad():
        _, entropies = controller(controller.encode(drawn))
    return {"best": float(hits), "entropy": float(entropies.mean())}


def synthetic(preset: str, seed: int, samples: int) -> list[dict[str, float]]:
    """Search with the known reward; return probability of the best options and entropy at the start, half way, end."""
    space = space_of(source_of())
    strategy = registry.load("strategies", "nasnet_rl")(preset=preset)
    strategy.setup(Problem(space))
    target = space.sample(generator(seed, "target"))
    found = []
    for number in range(samples):
        (proposal,) = strategy.ask(1, generator(seed, "ask", number))
        if number in (0, samples // 2):
            found.append(certainty(strategy, target))
        reward = float(np.mean(np.equal(proposal.architecture.decisions, target.decisions)))
        strategy.tell([Evaluation(number, proposal.architecture, {"accuracy_valid": reward})])
    return [*found, certainty(strategy, target)]


def child(evaluator: TrainedEvaluator, space: SearchSpace, architecture: Architecture, steps: int) -> float:
    """Return a child's accuracy on valid, trained once for each network."""
    trainer = {"data": "digits", "steps": steps, "batch": BATCH, "lr": LR, "filters": FILTERS, "blocks": BLOCKS}
    given = {**trainer, "network": space.network_id(architecture)}
    found: float = part("nasnet-child", given, lambda: evaluator.evaluate(architecture, seed=0)["accuracy_valid"])
    return found


def real(seeds: tuple[int, ...], children: int, steps: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Return for each seed the controller's rewards and numbers of trainings, and the rewards of random children."""
    source = source_of()
    space, per_epoch = space_of(source), len(source.split("train").labels) // BATCH
    config = TrainConfig(epochs=steps / per_epoch, batch_size=BATCH, lr=LR)
    evaluator = TrainedEvaluator(space, Classification(), source, config)
    rng, found = generator(0, "random children"), []
    others = [child(evaluator, space, space.sample(rng), steps) for _ in range(min(RANDOM, children))]
    for seed in seeds:
        strategy = registry.load("strategies", "nasnet_rl")()
        strategy.setup(Problem(space))
        rewards, networks = [], set()
        for number in range(children):
            (proposal,) = strategy.ask(1, generator(seed, "ask", number))
            rewards.append(child(evaluator, space, proposal.architecture, steps))
            networks.add(space.network_id(proposal.architecture))
            strategy.tell([Evaluation(number, proposal.architecture, {"accuracy_valid": rewards[-1]})])
        found.append({"seed": seed, "rewards": rewards, "networks": len(networks)})
    return found, others


def compared(rewards: list[float], others: list[float]) -> dict[str, float]:
    last = rewards[-LAST:]
    test = stats.mannwhitneyu(last, others, alternative="greater")
    share = float(test.statistic) / (len(last) * len(others))

    def top(values: list[float]) -> float:
        return float(np.mean(sorted(values)[-TOP:]))

    return {
        "last": float(np.mean(last)),
        "random": float(np.mean(others)),
        "wins": share,
        "p": float(test.pvalue),
        "top": top(rewards),
        "top_random": top(others),
        "best": max(rewards),
        "best_random": max(others),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="only so many of the seeds")
    parser.add_argument("--only", choices=("synthetic", "real"), help="one of the two comparisons")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    seeds, samples, children, steps = SEEDS[: given.seeds], SAMPLES, CHILDREN, STEPS
    if given.quick:
        seeds, samples, children, steps = (0,), 40, 12, 2
    ending = "_quick" if given.quick else ""
    if given.only != "real":
        record_synthetic(seeds, samples, ending)
    if given.only != "synthetic":
        record_real(seeds, children, steps, ending)


def record_synthetic(seeds: tuple[int, ...], samples: int, ending: str) -> None:
    rows: list[list[Any]] = []
    for preset in PRESETS:
        for seed in seeds:
            constants = repr(registry.load("strategies", "nasnet_rl")(preset=preset)._set)
            settings = {"preset": preset, "constants": constants, "seed": seed, "samples": samples}
            make = lambda preset=preset, seed=seed: synthetic(preset, seed, samples)  # noqa: E731 - bound at once
            begin, half, end = part("nasnet-synthetic", settings, make)
            rows.append([preset, str(seed), begin["best"], half["best"], end["best"], begin["entropy"], end["entropy"]])
    header = ["preset", "seed", "P(best), start", "half way", "end", "entropy, start, nats", "entropy, end"]
    details = {
        "samples": samples,
        "asked": {"P(best) at the end": ASKED_BEST, "preset": "quick"},
        "holds": all(row[4] > ASKED_BEST and row[6] < row[5] for row in rows if row[0] == "quick"),
        "P(best)": "share of decisions equal to the target's in 200 draws",
    }
    record("nasnet_rl_synthetic" + ending, header, rows, details)


def record_real(seeds: tuple[int, ...], children: int, steps: int, ending: str) -> None:
    found, others = real(seeds, children, steps)
    rows: list[list[Any]] = []
    outcomes = []
    for each in found:
        told = compared(each["rewards"], others)
        outcomes.append(told)
        percent = [told[name] * 100 for name in ("last", "random", "top", "top_random", "best", "best_random")]
        rows.append([str(each["seed"]), *percent[:2], told["p"], told["wins"], *percent[2:], each["networks"]])
    header = [
        "seed", f"last {LAST}, %", "random, %", "p", "P(last > random)", f"top {TOP}, %", f"random's top {TOP}, %",
        "best, %", "random's best, %", "networks",
    ]  # fmt: skip
    holds = {
        "last": all(each["p"] < ASKED_P for each in outcomes),
        "top": all(each["top"] >= each["top_random"] for each in outcomes),
    }
    details = {
        "children": children,
        "random": len(others),
        "steps": steps,
        "batch": BATCH,
        "lr": LR,
        "blocks": BLOCKS,
        "filters": FILTERS,
        "asked": {"p": ASKED_P, "top": "at least random's"},
        "holds": holds,
        "rewards": {**{str(each["seed"]): each["rewards"] for each in found}, "random": others},
    }
    record("nasnet_rl" + ending, header, rows, details)
    sys.stdout.write(f"\nthe controller against random: {'holds' if all(holds.values()) else f'missed ({holds})'}\n")


if __name__ == "__main__":
    main()
