"""ShiftNAS: the extremes of a cost range, the generator of architectures, and where the distribution over bins goes.

    python benchmarks/claims/shiftnas.py [--parts A B C] [--seeds 0,1,2] [--quick]

The space of A and B is `mbconv_elastic`'s SMALL at one resolution: widths, depths up to three, kernels and expansions
2, 3 and 4 are elastic.

A: one supernet for each way of drawing what is trained, one drawn architecture in a step (`recipe=single`): each choice
   uniform (`layers`), bins uniform and architectures within a bin as the space draws them (`bins`), bins uniform and
   architectures by the generator (`no shift`), bins learned and architectures as the space draws them (`no generator`),
   and `shiftnas`. The others take as many more steps as ShiftNAS takes
   batches of validation images that they do not need; what all cost by the meter
   (masked passes count what their architecture has alone, so seconds stand beside) is a table of its own. Judged are
   architectures of the lowest, the fifth and the highest of ten equal parts of the cost range, the same for all ways,
   with inherited, recalibrated weights on the test split. Two of each part are trained alone, for as many steps, too.
B: the generator that A trained: 50 targets over the range, samples of one target, histogram of what was trained.
C: 500 steps in which one bin is never trained, then twelve updates of theta with the weights fixed, by both estimators
   and with either sign, beside a control in which all bins were trained; theta's constants are those of `quick`.

Steps learn at .3, the rate of `quick` and of the networks alone in `bignas_children.py`: it was not tuned for an arm.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.bignas_children import CALIBRATION_IMAGES, SKELETON, space_for
from claims.parts import BATCH, interval, part, result_name, source_of, train_shared
from nasforge_spaces.mbconv_elastic import SMALL, Skeleton
from nasforge_strategies.shiftnas import PRESETS, ShiftNAS
from record import record

from nasforge import registry
from nasforge.build import Supernet, build_network
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.ops import Conv, GlobalPool, Linear, MBConv
from nasforge.rng import generator
from nasforge.run.batches import BatchStream
from nasforge.run.progress import Listener
from nasforge.run.shared_training import StepContext
from nasforge.run.team import Alone
from nasforge.space import Architecture, Input, SearchSpace, one_of
from nasforge.strategy import Phase, Problem
from nasforge.strategy.bins.cost_bins import BinSampler, coverage, make_bins
from nasforge.strategy.bins.distribution import BinDistribution, theta_optimiser
from nasforge.strategy.bins.generator import ArchitectureGenerator, decoded
from nasforge.strategy.bins.teaching import BinTeacher
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate, train
from nasforge.training.path_sgd import PathSGD
from nasforge.training.processor import prepare_processor
from nasforge.training.schedule import warmup_cosine

DATA = "fractals"
LONG = replace(SMALL, resolutions=(1.0,))
Declare = Callable[[Any, Skeleton], SearchSpace]
NUMBER = 10
JUDGED = {"lowest": 0, "middle": 4, "highest": 9}
EACH = 8
ALONE = 2
LR = 0.3
THETA_EVERY = 50
TASK_EVERY = 10
GENERATOR_EVERY = 2
UNIFORM = 0.3
ARMS: dict[str, dict[str, Any]] = {
    "layers": {"sampler": "layers", "estimator": "none"},
    "bins": {"sampler": "bins", "estimator": "none"},
    "no shift": {"sampler": "generator", "estimator": "none"},
    "no generator": {"sampler": "bins", "estimator": "reward"},
    "shiftnas": {"sampler": "generator", "estimator": "reward"},
}
OTHERS = tuple(arm for arm in ARMS if arm != "shiftnas")
PARTS = (("bins", "layers"), ("no shift", "bins"), ("no generator", "bins"))
"""Pairs of arms that differ in one part of ShiftNAS."""
EASY = "digits"
LR_EASY = 0.1
STARVING = 4
XI = 0.1
STARVED = {"lowest": 0, "highest": 3}
ESTIMATORS = ("reward", "look_ahead")
UPDATES = 12
TRIES = 8
MOST_DRAWS = 20_000
VERSION = 3
"""Of what the parts compute; a change makes parts on disk invalid."""
CONSTANTS = {
    "version": VERSION,
    "number": NUMBER,
    "theta_every": THETA_EVERY,
    "task_every": TASK_EVERY,
    "generator_every": GENERATOR_EVERY,
    "uniform": UNIFORM,
    "alone": ALONE,
    "tries": TRIES,
    "most_draws": MOST_DRAWS,
    "calibration_images": CALIBRATION_IMAGES,
    "batch": BATCH,
    "data": DATA,
}
CONSTANTS_EASY = {"version": VERSION, "starving": STARVING, "xi": XI, "data": EASY, "quick": repr(PRESETS["quick"])}


def separate(source: Any, skeleton: Skeleton) -> SearchSpace:
    """Return a space of one decision, of four blocks that share no weights, each the only one of its bin."""
    x = Conv(16, 3)(Input(*source.input_shape), name="stem")
    blocks = [MBConv(16, 3, expansion)(x, name=f"e{expansion}") for expansion in (1, 2, 3, 4)]
    x = one_of(blocks, name="block", labels=("1", "2", "3", "4"))
    logits = Linear(len(source.classes))(GlobalPool()(x, name="pool"), name="classifier")
    return SearchSpace({"logits": logits}, name="separate")


def setting(
    seed: int, data: str = DATA, number: int = NUMBER, declare: Declare = space_for, skeleton: Skeleton = LONG
) -> tuple[Any, Problem, Any, BinSampler]:
    source = source_of(data, seed)
    space = declare(source, skeleton)
    problem = Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")})
    found = coverage(space, problem.costs["macs"], generator(0, "coverage"))
    bins = make_bins(space, problem.costs["macs"], found, number)
    return source, problem, bins, BinSampler(space, problem.costs["macs"], bins, found)


def extra_passes(steps: int) -> int:
    """Return how many batches of validation images ShiftNAS takes beside `steps` train batches."""
    uniform = round(steps * UNIFORM)
    updates = uniform + len(range(0, steps - uniform, GENERATOR_EVERY))
    return len(range(0, updates, TASK_EVERY)) + theta_passes(steps)


def theta_passes(steps: int) -> int:
    """Return how many of these batches theta takes."""
    return NUMBER * len(range(0, steps - round(steps * UNIFORM), THETA_EVERY))


def steps_of(arm: str, steps: int) -> int:
    """Return the steps of an arm that draws as many images as ShiftNAS does with `steps`."""
    theta = theta_passes(steps)
    more = {"shiftnas": 0, "no shift": theta, "no generator": extra_passes(steps) - theta}
    return steps + more.get(arm, extra_passes(steps))


# A and B


class Heard(Listener):
    """Keeps what steps tell of the architectures they trained."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def figures(self, part: str, step: int, values: Any) -> None:
        self.rows.append(dict(values))


def judged_of(sampler: BinSampler, seed: int, each: int) -> dict[str, list[Architecture]]:
    """Return the architectures that are judged, by part of the range."""
    children = {}
    for name, number in JUDGED.items():
        rng = generator(seed, "judged", number)
        children[name] = [sampler.sample(number, rng) for _ in range(each)]
    return children


def train_arm(arm: str, seed: int, steps: int, lr: float, each: int, split: str = "test") -> dict[str, Any]:
    source, problem, bins, sampler = setting(seed)
    strategy = registry.load("strategies", "shiftnas")(
        recipe="single",
        bins=NUMBER,
        lr=lr,
        uniform=UNIFORM,
        theta_every=THETA_EVERY,
        task_every=TASK_EVERY,
        generator_every=GENERATOR_EVERY,
        **ARMS[arm],
    )
    own, heard = steps_of(arm, steps), Heard()
    training = train_shared(strategy, problem, source, own, seed, listener=heard)
    evaluator = SharedEvaluator(training.modules["supernet"], Classification(), source, CALIBRATION_IMAGES)
    judged = {}
    for name, children in judged_of(sampler, seed, each).items():
        found = [evaluate(evaluator.network(child), source, Classification(), split) for child in children]
        judged[name] = {metric: [row[metric] for row in found] for metric in ("accuracy", "nll")}
    uniform_steps = round(steps * UNIFORM)  # as many of every arm
    costs = [row["drawn_macs"] for row in heard.rows]
    told: dict[str, Any] = {
        "judged": judged,
        "steps": own,
        "cost": training.meter.training.to_json(),
        "trained_chi2": bins.unevenness(costs[:uniform_steps]),
        "trained_histogram": bins.histogram(costs).tolist(),
        "in_bin": {
            "uniform": float(np.mean([row["in_bin"] for row in heard.rows[:uniform_steps]])),
            "shift": float(np.mean([row["in_bin"] for row in heard.rows[uniform_steps:]])),
        },
        "fallback_share": float(np.mean([row.get("fallback_share", 0.0) for row in heard.rows])),
    }
    if arm != "shiftnas":
        return told
    distribution, net = training.modules["bins"], training.modules["generator"]
    assert isinstance(distribution, BinDistribution)
    assert isinstance(net, ArchitectureGenerator)
    told |= {"B": distribution().detach().tolist(), "entropy": distribution.entropy()}
    return told | judge_generator(net, problem, sampler, seed)


def train_alone(seed: int, steps: int, lr: float, split: str = "test") -> dict[str, list[float]]:
    """Return the accuracies of the first few judged architectures of each part, trained alone."""
    source, problem, _, sampler = setting(seed)
    epochs = steps / (len(source.split("train").labels) // BATCH)
    config, task = TrainConfig(epochs=epochs, batch_size=BATCH, lr=lr), Classification()
    found: dict[str, list[float]] = {}
    for name, children in judged_of(sampler, seed, ALONE).items():
        found[name] = []
        for child in children:
            network = build_network(problem.space.lower(child), seed=seed)
            train(network, source, task, config, seed)
            found[name].append(evaluate(network, source, task, split)["accuracy"])
    return found


def judge_generator(net: ArchitectureGenerator, problem: Problem, sampler: BinSampler, seed: int) -> dict[str, Any]:
    bins, cost, rng = sampler.bins, problem.costs["macs"], generator(seed, "targets")
    span = bins.most - bins.least
    targets = np.linspace(bins.least, bins.most, 50)

    def nearest(target: float, tries: int = TRIES, noise: float = 1.0) -> Architecture:
        drawn = decoded(net, [(target - bins.least) / span] * tries, rng, noise)
        return min(drawn, key=lambda each: abs(cost(each) - target))

    def near(found: Architecture | None, target: float) -> bool:
        return found is not None and abs(cost(found) - target) <= 0.05 * target

    def within(tries: int, noise: float) -> float:
        return float(np.mean([near(nearest(t, tries, noise), t) for t in targets]))

    ways: dict[str, Callable[[float], Architecture | None]] = {
        "generator": nearest,
        "rejection": lambda target: rejected(problem, target, rng),
        "bins": lambda target: sampler.sample(int(bins.index(target)), rng),
    }
    times = {name: timed(way, targets, near) for name, way in ways.items()}
    costs = [cost(nearest(bins.least + span * aim)) for aim in rng.random(2000)]
    uniform = cost.batch(problem.space.sample_batch(2000, rng))
    return {
        "within": {
            "likeliest": within(1, 0.0),
            "one sample": within(1, 1.0),
            f"best of {TRIES}": times["generator"]["within"],
        },
        "distinct": [len(set(decoded(net, [aim] * 50, rng))) for aim in (np.arange(NUMBER) + 0.5) / NUMBER],
        "chi2": {"generator": bins.unevenness(costs), "layers": bins.unevenness(uniform)},
        "times": times,
    }


def timed(
    way: Callable[[float], Architecture | None],
    targets: Any,
    near: Callable[[Architecture | None, float], bool],
) -> dict[str, float]:
    """Return median and mean milliseconds for a target, and the share of targets that were reached within 5 %."""
    spent, hits = [], []
    for target in targets:
        begun = time.perf_counter()
        found = way(float(target))
        spent.append((time.perf_counter() - begun) * 1000)
        hits.append(near(found, float(target)))
    return {"median_ms": float(np.median(spent)), "mean_ms": float(np.mean(spent)), "within": float(np.mean(hits))}


def rejected(problem: Problem, target: float, rng: np.random.Generator) -> Architecture | None:
    """Return the first of up to 20,000 draws, 64 at a time, that is within 5 % of the target, or None."""
    cost, space = problem.costs["macs"], problem.space
    for _ in range(0, MOST_DRAWS, 64):
        rows = space.sample_batch(64, rng)
        near = np.flatnonzero(np.abs(cost.batch(rows) - target) <= 0.05 * target)
        if len(near):
            return space.from_decisions(rows[int(near[0])])
    return None


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


SPACES: dict[str, Declare] = {"own": separate, "shared": space_for}


def starve(
    weights: str, seed: int, starved: int | None, steps: int, updates: int, lr: float
) -> dict[str, dict[str, list[float]]]:
    """Train all bins but one, then return B after updates of theta: by estimator and sign."""
    source, problem, _bins, sampler = setting(seed, EASY, STARVING, SPACES[weights], SKELETON)
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
    found, quick = {}, PRESETS["quick"]
    for sign in (1, -1):
        given = next(fresh)  # the same batches and draws for either sign, and for the control
        distribution = BinDistribution(STARVING, ShiftNAS.floor, ShiftNAS.memory)
        teacher = BinTeacher(net, distribution, lambda numbers, rng: [sampler.sample(n, rng) for n in numbers])
        optimiser = theta_optimiser(distribution, estimator, quick.theta_lr, quick.theta_decay)
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


def table_a(
    found: Sequence[dict[str, Any]], alone: Sequence[Any], seeds: Sequence[int], steps: int, given: Any
) -> None:
    rows: list[list[Any]] = []
    details: dict[str, Any] = {"runs": found, "alone": alone, "steps": steps, "extra_passes": extra_passes(steps)}
    details["seeds"] = list(seeds)
    for name in JUDGED:
        accuracy = {a: np.asarray([np.mean(run[a]["judged"][name]["accuracy"]) for run in found]) * 100 for a in ARMS}
        nll = {a: float(np.mean([np.mean(run[a]["judged"][name]["nll"]) for run in found])) for a in ARMS}
        for arm in OTHERS:
            gain = interval((accuracy["shiftnas"] - accuracy[arm]).tolist())
            details[f"{name}: shiftnas - {arm}"] = gain
            base = [float(accuracy[arm].mean()), nll[arm], float(accuracy["shiftnas"].mean()), nll["shiftnas"]]
            rows.append([name, arm, *base, *gain])
        for arm, base in PARTS:
            details[f"{name}: {arm} - {base}"] = interval((accuracy[arm] - accuracy[base]).tolist())
    header = [
        "tenth of the range", "against", "%", "NLL", "shiftnas, %", "shiftnas, NLL", "difference", "95 % from", "to",
    ]  # fmt: skip
    record(result_name("shiftnas_extremes", DATA, quick=given.quick), header, rows, details)


def table_cost(found: Sequence[dict[str, Any]], given: Any) -> None:
    """Record what each arm cost: means of seeds."""
    names = ("steps", "drawn", "forward", "backward", "image_macs", "seconds")
    means = {arm: {n: float(np.mean([run[arm]["cost"][n] for run in found])) for n in names} for arm in ARMS}
    rows = []
    for arm, cost in means.items():
        shares = [100 * float(np.mean([run[arm][n] for run in found])) for n in ("fallback_share",)]
        hits = [100 * float(np.mean([run[arm]["in_bin"][n] for run in found])) for n in ("uniform", "shift")]
        ratio = cost["image_macs"] / means["shiftnas"]["image_macs"]
        counts = [round(cost[n]) for n in names[:4]]
        rows.append([arm, *counts, ratio, round(cost["seconds"], 1), *hits, *shares])
    header = [
        "what", "steps", "images drawn", "forward passes", "backward passes", "image-MACs over shiftnas's", "seconds",
        "draws in their bin at first, %", "later, %", "replaced by the table, %",
    ]  # fmt: skip
    record(result_name("shiftnas_cost", DATA, quick=given.quick), header, rows, {"means": means})


def table_gap(found: Sequence[dict[str, Any]], alone: Sequence[Any], given: Any) -> None:
    """Record what architectures lack to themselves trained alone; the least and the greatest gap apart."""
    rows: list[list[Any]] = []
    for arm in ARMS:
        gaps = {
            name: [
                100 * float(np.mean(own[name]) - np.mean(run[arm]["judged"][name]["accuracy"][: len(own[name])]))
                for run, own in zip(found, alone, strict=True)
            ]
            for name in JUDGED
        }
        for name, values in gaps.items():
            trained_alone = 100 * float(np.mean([np.mean(own[name]) for own in alone]))
            rows.append([arm, name, trained_alone, *interval(values)])
        spread = [max(each) - min(each) for each in zip(*gaps.values(), strict=True)]
        rows.append([arm, "greatest gap - least", "", *interval(spread)])
    header = ["what", "tenth of the range", "alone, %", "alone - inherited, points", "95 % from", "to"]
    record(result_name("shiftnas_gap", DATA, quick=given.quick), header, rows, {"alone": alone})


def table_b(found: Sequence[dict[str, Any]], given: Any) -> None:
    runs = [run["shiftnas"] for run in found]
    rows: list[list[Any]] = [
        [f"targets within 5 %, {way}", *interval([100 * run["within"][way] for run in runs]), wanted]
        for way, wanted in ((f"best of {TRIES}", ">= 90"), ("one sample", ""), ("likeliest", ""))
    ]
    ratio = [run["chi2"]["layers"] / max(run["chi2"]["generator"], 1e-9) for run in runs]
    trained = [run["layers"]["trained_chi2"] / max(run["shiftnas"]["trained_chi2"], 1e-9) for run in found]
    least = [float(min(run["distinct"])) for run in runs]
    rows += [
        ["distinct of 50 samples, median over targets", *interval([float(np.median(r["distinct"])) for r in runs]), ""],
        ["distinct of 50 samples, least over targets", *interval(least), ">= 10"],
        ["chi-squared of what was trained while B was uniform: layers / shiftnas", *interval(trained), ">= 5"],
        ["chi-squared of 2,000 draws: layers / the generator alone, without the table", *interval(ratio), ">= 5"],
    ]
    for way, text in (("generator", f"generator, best of {TRIES}"), ("rejection", "rejection"), ("bins", "`bins`")):
        times = [run["times"][way] for run in runs]
        rows.append([f"median ms for a target, {text}", *interval([each["median_ms"] for each in times]), ""])
        rows.append([f"mean ms for a target, {text}", *interval([each["mean_ms"] for each in times]), ""])
        rows.append(
            [f"targets missed by more than 5 %, {text}, %", *interval([100 - 100 * e["within"] for e in times]), ""]
        )
    header = ["figure", "mean of seeds", "95 % from", "to", "asked for"]
    record(result_name("shiftnas_generator", DATA, quick=given.quick), header, rows, {"runs": runs})


def table_c(found: dict[str, list[dict[str, Any]]], seeds: Sequence[int], given: Any) -> None:
    rows: list[list[Any]] = []
    for weights, runs in found.items():
        for estimator in ESTIMATORS:
            for sign in ("1", "-1"):
                for name, number in STARVED.items():
                    own = np.asarray([run[name][estimator][sign][number] for run in runs])
                    control = np.asarray([run["control"][estimator][sign][number] for run in runs])
                    gain = interval((own - control).tolist())
                    rows.append([weights, estimator, sign, name, float(control.mean()), float(own.mean()), *gain])
    header = ["weights of bins", "estimator", "sign", "starved", "B, control", "B, starved", "difference", "95 % from"]
    details = {"runs": found, "seeds": list(seeds), "uniform": 1.0 / STARVING, "data": EASY}
    record(result_name("shiftnas_starved", EASY, quick=given.quick), [*header, "to"], rows, details)


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
    steps, starving, updates, each = (12, 6, 1, ALONE) if given.quick else (given.steps, 500, UPDATES, EACH)
    trained = [
        {
            arm: part(
                "shiftnas-arm",
                {
                    "arm": arm,
                    "seed": seed,
                    "steps": steps,
                    "lr": given.lr,
                    "each": each,
                    "space": repr(LONG),
                    "options": ARMS[arm],
                    **CONSTANTS,
                },
                lambda arm=arm, seed=seed: train_arm(arm, seed, steps, given.lr, each),
            )
            for arm in ARMS
        }
        for seed in (seeds if {"A", "B"} & set(given.parts) else ())
    ]
    if "A" in given.parts:
        alone = [
            part(
                "shiftnas-alone",
                {"seed": seed, "steps": steps, "lr": given.lr, "space": repr(LONG), **CONSTANTS},
                lambda seed=seed: train_alone(seed, steps, given.lr),
            )
            for seed in seeds
        ]
        table_a(trained, alone, seeds, steps, given)
        table_cost(trained, given)
        table_gap(trained, alone, given)
    if "B" in given.parts:
        table_b(trained, given)
    if "C" in given.parts:
        cases: dict[str, int | None] = {**STARVED, "control": None}
        starved = {
            weights: [
                {
                    name: part(
                        "shiftnas-starved",
                        {
                            "weights": weights,
                            "starved": name,
                            "seed": seed,
                            "steps": starving,
                            "updates": updates,
                            "lr": LR_EASY,
                            "skeleton": repr(SKELETON),
                            **CONSTANTS_EASY,
                        },
                        lambda weights=weights, number=number, seed=seed: starve(
                            weights, seed, number, starving, updates, LR_EASY
                        ),
                    )
                    for name, number in cases.items()
                }
                for seed in seeds
            ]
            for weights in SPACES
        }
        table_c(starved, seeds, given)


if __name__ == "__main__":
    main()
