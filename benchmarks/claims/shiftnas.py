"""ShiftNAS: the extremes of a cost range, the generator of architectures, and where the distribution over bins goes.

    python benchmarks/claims/shiftnas.py [--parts A B C] [--seeds 0,1,2] [--quick]

A: one supernet for each way of drawing what is trained, one drawn architecture in a step (`recipe=single`): each choice
   uniform (`layers`), bins uniform and architectures uniform within a bin (`bins`), and `shiftnas`. The two baselines
   take as many more steps as ShiftNAS spends on validation images, so all see as many images. Judged are architectures
   of the lowest, the fifth and the highest of ten equal parts of the cost range, the same for all ways, with inherited,
   recalibrated weights on the test split.
B: the generator that A trained: 50 targets over the range, samples of one target, histogram of what is trained.
C: 500 steps in which one bin is never trained, then updates of theta with the weights fixed, by both estimators and
   with either sign, beside a control in which all bins were trained.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.bignas_children import CALIBRATION_IMAGES, SKELETON, space_for
from claims.parts import BATCH, interval, part, result_name, source_of, train_shared
from record import record

from nasforge import registry
from nasforge.build import Supernet
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.rng import generator
from nasforge.run.batches import BatchStream
from nasforge.run.shared_training import StepContext
from nasforge.run.team import Alone
from nasforge.space import Architecture
from nasforge.strategy import Phase, Problem
from nasforge.strategy.architecture_generator import ArchitectureGenerator, decoded
from nasforge.strategy.bin_distribution import BinDistribution
from nasforge.strategy.bin_teaching import BinTeacher
from nasforge.strategy.cost_bins import BinSampler, coverage, make_bins
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate
from nasforge.training.path_sgd import PathSGD
from nasforge.training.processor import prepare_processor
from nasforge.training.schedule import warmup_cosine

DATA = "fractals"
NUMBER = 10
JUDGED = {"lowest": 0, "middle": 4, "highest": 9}
EACH = 4
LR = 0.3
THETA_EVERY = 50
TASK_EVERY = 20
UNIFORM = 0.3
ARMS: dict[str, dict[str, Any]] = {
    "layers": {"sampler": "layers", "estimator": "none"},
    "bins": {"sampler": "bins", "estimator": "none"},
    "shiftnas": {"sampler": "generator", "estimator": "reward"},
}
EASY = "digits"
STARVING = 3
XI = 0.1
STARVED = {"lowest": 0, "middle": 1, "highest": 2}
ESTIMATORS = ("reward", "look_ahead")
TRIES = 8


def setting(seed: int, data: str = DATA, number: int = NUMBER) -> tuple[Any, Problem, Any, BinSampler]:
    source = source_of(data, seed)
    space = space_for(source, SKELETON)
    problem = Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")})
    found = coverage(space, problem.costs["macs"], generator(0, "coverage"))
    bins = make_bins(space, problem.costs["macs"], found, number)
    return source, problem, bins, BinSampler(space, problem.costs["macs"], bins, found)


def extra_passes(steps: int) -> int:
    """Return how many batches of validation images ShiftNAS takes beside `steps` train batches."""
    shifting = steps - round(steps * UNIFORM)
    generator_turns = len(range(0, steps, TASK_EVERY))
    return generator_turns + NUMBER * len(range(0, shifting, THETA_EVERY))


# A and B


def train_arm(arm: str, seed: int, steps: int, lr: float, each: int, split: str = "test") -> dict[str, Any]:
    source, problem, bins, sampler = setting(seed)
    strategy = registry.load("strategies", "shiftnas")(
        recipe="single",
        bins=NUMBER,
        lr=lr,
        uniform=UNIFORM,
        theta_every=THETA_EVERY,
        task_every=TASK_EVERY,
        **ARMS[arm],
    )
    own = steps if arm == "shiftnas" else steps + extra_passes(steps)
    begun = time.perf_counter()
    training = train_shared(strategy, problem, source, own, seed)
    seconds = time.perf_counter() - begun
    evaluator = SharedEvaluator(training.modules["supernet"], Classification(), source, CALIBRATION_IMAGES)
    judged = {}
    for name, number in JUDGED.items():
        rng = generator(seed, "judged", number)
        children = [sampler.sample(number, rng) for _ in range(each)]
        found = [evaluate(evaluator.network(each), source, Classification(), split) for each in children]
        judged[name] = {metric: [row[metric] for row in found] for metric in ("accuracy", "nll")}
    told: dict[str, Any] = {"judged": judged, "seconds": round(seconds, 1), "steps": own}
    if arm != "shiftnas":
        return told
    distribution, net = training.modules["bins"], training.modules["generator"]
    assert isinstance(distribution, BinDistribution)
    assert isinstance(net, ArchitectureGenerator)
    chances = distribution().detach().tolist()
    return told | {"B": chances, "entropy": distribution.entropy()} | judge_generator(net, problem, bins, seed)


def judge_generator(net: ArchitectureGenerator, problem: Problem, bins: Any, seed: int) -> dict[str, Any]:
    cost, rng = problem.costs["macs"], generator(seed, "targets")
    span = bins.most - bins.least
    targets = np.linspace(bins.least, bins.most, 50)

    def nearest(target: float, tries: int, noise: float = 1.0) -> Architecture:
        drawn = decoded(net, [(target - bins.least) / span] * tries, rng, noise)
        return min(drawn, key=lambda each: abs(cost(each) - target))

    def within(tries: int, noise: float = 1.0) -> float:
        return float(np.mean([abs(cost(nearest(t, tries, noise)) - t) <= 0.05 * t for t in targets]))

    begun = time.perf_counter()
    few = within(TRIES)
    generated_ms = (time.perf_counter() - begun) / len(targets) * 1000
    begun = time.perf_counter()
    draws = [rejected(problem, float(target), rng) for target in targets]
    rejected_ms = (time.perf_counter() - begun) / len(targets) * 1000
    aims = rng.random(2000)
    costs = [cost(nearest(bins.least + span * aim, TRIES)) for aim in aims]
    uniform = cost.batch(problem.space.sample_batch(2000, rng))
    return {
        "within": {"likeliest": within(1, 0.0), "one sample": within(1), f"best of {TRIES}": few},
        "distinct": [len(set(decoded(net, [aim] * 50, rng))) for aim in (np.arange(NUMBER) + 0.5) / NUMBER],
        "chi2": {"generator": bins.unevenness(costs), "layers": bins.unevenness(uniform)},
        "ms": {"generator": generated_ms, "rejection": rejected_ms},
        "rejection_draws": float(np.mean(draws)),
    }


def rejected(problem: Problem, target: float, rng: np.random.Generator, most: int = 20_000) -> int:
    """Return after how many single draws one was within 5 % of the target, at most `most`."""
    cost = problem.costs["macs"]
    for number in range(1, most + 1):
        if abs(cost(problem.space.sample(rng)) - target) <= 0.05 * target:
            return number
    return most


# C


class Steps:
    """Contexts of training steps outside of a strategy."""

    def __init__(self, problem: Problem, source: Any, net: Supernet, lr: float, seed: int) -> None:
        self._problem, self._seed = problem, seed
        self.optimiser = PathSGD(net, TrainConfig(lr=lr))
        sealed = source.sealed()
        self._train = BatchStream(Loader(sealed, "train", BATCH, seed, training=True))
        self._valid = BatchStream(Loader(sealed, "valid", BATCH, seed, shuffle=True))

    def context(self, number: int, progress: float) -> StepContext:
        return StepContext(
            self._problem,
            {},
            {"weights": self.optimiser},
            Classification(),
            self._train,
            self._valid,
            Phase("train"),
            number,
            number,
            1,
            progress,
            generator(self._seed, "step", number),
            Alone(),
        )


def starve(seed: int, starved: int | None, steps: int, updates: int, lr: float) -> dict[str, dict[str, list[float]]]:
    """Train all bins but one, then return B after updates of theta: by estimator and sign."""
    source, problem, _bins, sampler = setting(seed, EASY, STARVING)
    net = Supernet(problem.space, seed)
    net.train().to(memory_format=torch.channels_last)
    given = Steps(problem, source, net, lr, seed)
    trained = [number for number in range(STARVING) if number != starved]
    for number in range(steps):
        context = given.context(number, number / steps)
        images, targets = context.train_batch()
        child = sampler.sample(int(context.rng.choice(trained)), context.rng)
        with net.recording():
            context.backward(context.loss(net(images, child), targets))
        context.update("weights", max(warmup_cosine(context.progress, 0.05), min(0.1, context.progress / 0.05)))
    fresh = (Steps(problem, source, net, lr, 1000 + seed) for _ in range(4))
    return {name: shifted(name, net, sampler, fresh, updates, lr) for name in ESTIMATORS}


def shifted(
    estimator: str, net: Supernet, sampler: BinSampler, fresh: Iterator[Steps], updates: int, lr: float
) -> dict[str, list[float]]:
    found = {}
    for sign in (1, -1):
        given = next(fresh)  # the same batches and draws for either sign, and for the control
        distribution = BinDistribution(STARVING, 0.2, 0.7)
        teacher = BinTeacher(net, distribution, sampler.sample)
        optimiser: torch.optim.Optimizer = torch.optim.SGD(distribution.parameters(), 0.2)
        if estimator == "look_ahead":
            optimiser = torch.optim.Adam(distribution.parameters(), 0.05)
        for number in range(updates):
            context = given.context(1_000_000 + number, 0.0)
            if estimator == "reward":
                teacher.measure(context, range(STARVING))
            else:
                teacher.look_ahead(context, range(STARVING), XI * lr)
            assert distribution.theta.grad is not None
            distribution.theta.grad.mul_(sign)
            optimiser.step()
        found[str(sign)] = [float(chance) for chance in distribution().detach()]
    return found


# Tables


def table_a(found: Sequence[dict[str, Any]], seeds: Sequence[int], steps: int, given: Any) -> None:
    rows: list[list[Any]] = []
    details: dict[str, Any] = {"runs": found, "steps": steps, "extra_passes": extra_passes(steps), "seeds": list(seeds)}
    for name in JUDGED:
        accuracy = {a: np.asarray([np.mean(run[a]["judged"][name]["accuracy"]) for run in found]) * 100 for a in ARMS}
        nll = {a: float(np.mean([np.mean(run[a]["judged"][name]["nll"]) for run in found])) for a in ARMS}
        for arm in ("layers", "bins"):
            gain = interval((accuracy["shiftnas"] - accuracy[arm]).tolist())
            details[f"{name}: shiftnas - {arm}"] = gain
            base = [float(accuracy[arm].mean()), nll[arm], float(accuracy["shiftnas"].mean()), nll["shiftnas"]]
            rows.append([name, arm, *base, *gain])
    header = ["tenth of the range", "against", "%", "NLL", "shiftnas, %", "NLL", "difference", "95 % from", "to"]
    record(result_name("shiftnas_extremes", DATA, quick=given.quick), header, rows, details)


def table_b(found: Sequence[dict[str, Any]], given: Any) -> None:
    runs = [run["shiftnas"] for run in found]
    rows: list[list[Any]] = [
        [f"targets within 5 %, {way}", *interval([100 * run["within"][way] for run in runs]), wanted]
        for way, wanted in ((f"best of {TRIES}", ">= 90"), ("one sample", ""), ("likeliest", ""))
    ]
    ratio = [run["chi2"]["layers"] / max(run["chi2"]["generator"], 1e-9) for run in runs]
    least = [float(min(run["distinct"])) for run in runs]
    rows += [
        ["distinct of 50 samples, median over targets", *interval([float(np.median(r["distinct"])) for r in runs]), ""],
        ["distinct of 50 samples, least over targets", *interval(least), ">= 10"],
        ["chi-squared of each choice uniform / of the generator", *interval(ratio), ">= 5"],
        ["ms for a target, generator", *interval([run["ms"]["generator"] for run in runs]), ""],
        ["ms for a target, rejection", *interval([run["ms"]["rejection"] for run in runs]), "more"],
    ]
    header = ["figure", "mean of seeds", "95 % from", "to", "asked for"]
    record(result_name("shiftnas_generator", DATA, quick=given.quick), header, rows, {"runs": runs})


def table_c(found: Sequence[dict[str, Any]], seeds: Sequence[int], given: Any) -> None:
    rows: list[list[Any]] = []
    for estimator in ESTIMATORS:
        for sign in ("1", "-1"):
            for name, number in STARVED.items():
                own = np.asarray([run[name][estimator][sign][number] for run in found])
                control = np.asarray([run["control"][estimator][sign][number] for run in found])
                gain = interval((own - control).tolist())
                rows.append([estimator, sign, name, float(control.mean()), float(own.mean()), *gain])
    header = ["estimator", "sign", "starved", "B, control", "B, starved", "difference", "95 % from", "to"]
    details = {"runs": found, "seeds": list(seeds), "uniform": 1.0 / STARVING, "data": EASY}
    record(result_name("shiftnas_starved", EASY, quick=given.quick), header, rows, details)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["A", "B", "C"], choices=("A", "B", "C"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    seeds = [int(seed) for seed in given.seeds.split(",")][: 1 if given.quick else None]
    steps, starving, updates, each = (12, 6, 1, 1) if given.quick else (given.steps, 500, 12, EACH)
    trained = [
        {
            arm: part(
                "shiftnas-arm",
                {"arm": arm, "seed": seed, "steps": steps, "lr": given.lr, "each": each, "options": ARMS[arm]},
                lambda arm=arm, seed=seed: train_arm(arm, seed, steps, given.lr, each),
            )
            for arm in ARMS
        }
        for seed in (seeds if {"A", "B"} & set(given.parts) else ())
    ]
    if "A" in given.parts:
        table_a(trained, seeds, steps, given)
    if "B" in given.parts:
        table_b(trained, given)
    if "C" in given.parts:
        cases: dict[str, int | None] = {**STARVED, "control": None}
        starved = [
            {
                name: part(
                    "shiftnas-starved",
                    {"starved": name, "seed": seed, "steps": starving, "updates": updates, "lr": given.lr},
                    lambda number=number, seed=seed: starve(seed, number, starving, updates, given.lr),
                )
                for name, number in cases.items()
            }
            for seed in seeds
        ]
        table_c(starved, seeds, given)


if __name__ == "__main__":
    main()
