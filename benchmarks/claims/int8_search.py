"""INT8 at equal measured latency: a search for it, a search for MACs, and a ResNet-8 made by hand.

    python benchmarks/claims/int8_search.py [--data fractals|fashion_mnist|cifar10] [--quick]

For each seed three arms: `int8_friendly` searched by `bignas` within the predicted INT8 latency of the ResNet-8;
`mbconv_elastic` searched by `bignas` within caps on MACs, from few to all that the space has; and the ResNet-8 of
width 16. Both searches have the same time for shared weights and rate as many children. What they propose is then
measured in INT8, in one interleaved session with the ResNet-8, and each takes its best-rated network that is not slower
than the ResNet-8 as measured: for the search for MACs that is its best cap, known only by measuring. The three networks
are trained from scratch for the same time, and the INT8 file of each, with ranges seen on training images, is
judged on the test split, which no choice saw. Learning rates are the same for all arms and were not tuned.

A seed takes about twenty minutes of one core; stopped, the same command goes on with what is left (see `parts.py`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, interval, part, result_name, source_of, train_shared
from record import record

from nasforge import registry
from nasforge.build import build_network
from nasforge.evaluate.quantised import evaluate_int8
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.timing import fitting_epochs
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem
from nasforge.targets.blocks import write_network
from nasforge.targets.ort_cpu import OrtCpu
from nasforge.targets.ort_int8 import OrtInt8
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, evaluate, train
from nasforge.training.processor import prepare_processor

SEEDS = (0, 1, 2)
LR = 0.2
SEARCH_SECONDS, TRAIN_SECONDS, RATINGS = 400.0, 75.0, 120
CAPS = 4
SHARES = (0.9, 1.0)
"""Of the ResNet-8's predicted latency; the lower one for predictions that are off."""
PROPOSED = 8
TOLERANCE = 1.02
PRESET = "tiny"
"""Of `int8_friendly`: its largest widths are the ResNet-8's, for wider ones exceed the limit nearly always."""
WIDTH = 1.5
"""Of `mbconv_elastic`, so that its INT8 latencies lie on both sides of the ResNet-8's."""
RESNET8 = {
    f"s{stage}{key}": value
    for stage in (1, 2, 3)
    for key, value in ((".width", "1"), (".depth", "1"), ("b1.block", "basic"))
}
LATENCY = "latency_ms_predicted"
QUICK = {"visits": 2, "runs": 3, "visit_ms": 0.5, "warm_up": 1, "pause_seconds": 0, "extra": 0}
ARMS = ("int8_friendly for INT8 latency", "mbconv_elastic for MACs", "ResNet-8 by hand")


def space_of(arm: str, source: Any) -> SearchSpace:
    """Return the space of an arm; the ResNet-8 is one of the first's."""
    name, options = ("mbconv_elastic", {"width": WIDTH}) if arm == ARMS[1] else ("int8_friendly", {"preset": PRESET})
    space: SearchSpace = registry.load("spaces", name)(source.input_shape, len(source.classes), **options)
    return space


def problems(arm: str, space: SearchSpace, protocol: Any) -> list[Problem]:
    """Return the problems that an arm's search solves with one supernet: two limits, or a ladder of caps on MACs."""
    macs = space.cost("macs")
    if arm == ARMS[0]:
        cost = OrtInt8(protocol).predictor(space).cost
        bound, costs = float(cost(space.architecture(RESNET8))), {LATENCY: cost, "macs": macs}
        limits = [Constraint(LATENCY, share * bound) for share in SHARES]
        return [Problem(space, constraints=(limit,), costs=costs, reference_cost=LATENCY) for limit in limits]
    least, most = float(macs(space.smallest("macs"))), float(macs(space.largest("macs")))
    caps = np.geomspace(2 * least, most, CAPS)
    return [Problem(space, constraints=(Constraint("macs", float(cap)),), costs={"macs": macs}) for cap in caps]


def searched(data: str, seed: int, arm: str, seconds: float, ratings: int, protocol: Any) -> dict[str, Any]:
    """Search; return the best-rated networks of each problem with their ratings on valid."""
    source = source_of(data, seed)
    asked = problems(arm, space_of(arm, source), protocol)
    share = ratings // len(asked)
    strategy = registry.load("strategies", "bignas")(coarse=max(1, share // 2), fine=share - max(1, share // 2))
    training = train_shared(strategy, asked[0], source, None, seed, seconds)
    sealed = source.sealed()
    evaluator = SharedEvaluator(training.modules["supernet"], Classification(), sealed)
    proposed = []
    for problem in asked:
        rated = rate(strategy, problem, evaluator, seed)
        best = sorted(rated, key=lambda each: -each.metrics["accuracy_valid"])[: PROPOSED // len(asked)]
        proposed += [
            {"decisions": list(each.architecture.decisions), "rating": each.metrics["accuracy_valid"]} for each in best
        ]
    return {"proposed": proposed, "steps": training.step, "limits": [str(each.constraints[0]) for each in asked]}


def rate(strategy: Any, problem: Problem, evaluator: SharedEvaluator, seed: int) -> list[Evaluation]:
    """Have the strategy ask and be told until it is done."""
    strategy.setup(problem)
    rng, told = generator(seed, "ratings"), list[Evaluation]()
    while proposals := strategy.ask(1, rng):
        (proposal,) = proposals
        told.append(Evaluation(len(told), proposal.architecture, evaluator.evaluate(proposal.architecture)))
        strategy.tell(told[-1:])
    return told


def measured(data: str, seed: int, proposed: dict[str, list[Any]], protocol: Any) -> list[dict[str, Any]]:
    """Measure all proposed networks and the ResNet-8 in INT8 and in float32, each in one interleaved session."""
    source = source_of(data, seed)
    friendly = space_of(ARMS[0], source)
    rows = [{"arm": ARMS[2], "decisions": list(friendly.architecture(RESNET8).decisions), "rating": None}]
    rows += [{"arm": arm, **each} for arm, found in proposed.items() for each in found]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, row in enumerate(rows):
            space = space_of(row["arm"], source)
            lowered = space.lower(space.from_decisions(row["decisions"]))
            files.append(write_network(lowered, Path(folder) / f"{number}.onnx"))
            row["macs"] = lowered.total("macs")
        rounded, exact = OrtInt8(protocol).measure_many(files), OrtCpu(protocol).measure_many(files)
    return [
        {**row, "latency_ms": r.latency_ms, "latency_ms_float32": e.latency_ms, "noise": r.noise, "int8": r.quantised}
        for row, r, e in zip(rows, rounded, exact, strict=True)
    ]


def chosen(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """Return each arm's best-rated network that is not slower than the ResNet-8 as measured."""
    resnet = next(row for row in rows if row["arm"] == ARMS[2])
    found: dict[str, dict[str, Any] | None] = {ARMS[2]: resnet}
    for arm in ARMS[:2]:
        within = [row for row in rows if row["arm"] == arm and row["latency_ms"] <= TOLERANCE * resnet["latency_ms"]]
        found[arm] = max(within, key=lambda row: row["rating"], default=None)
    return found


def trained(data: str, seed: int, arm: str, decisions: list[int], seconds: float) -> dict[str, float]:
    """Train a network from scratch for a time; return its accuracy on test, in float32 and of its INT8 file."""
    source, task = source_of(data, seed), Classification()
    space = space_of(arm, source)
    architecture: Architecture = space.from_decisions(decisions)
    network = build_network(space.lower(architecture), seed=seed)
    config = TrainConfig(epochs=1e6, batch_size=BATCH, lr=LR)
    epochs = fitting_epochs(network, source, task, config, seconds)
    begun = time.perf_counter()
    train(network, source, task, TrainConfig(epochs=epochs, batch_size=BATCH, lr=LR), seed)
    took = time.perf_counter() - begun
    network.eval()
    float32 = evaluate(network, source, task, "test")
    int8 = evaluate_int8(network, source, task, "test")
    return {"float32": float32["accuracy"], "int8": int8["accuracy"], "epochs": epochs, "seconds": took}


def measure(data: str, seed: int, seconds: tuple[float, float], ratings: int, protocol: Any) -> dict[str, Any]:
    """Return what a seed found, part by part."""
    given = {"data": data, "seed": seed, "preset": PRESET, "width": WIDTH, "protocol": protocol}
    searches = {
        arm: part(
            "int8-search",
            {**given, "arm": arm, "seconds": seconds[0], "ratings": ratings, "limits": [CAPS, *SHARES]},
            lambda arm=arm: searched(data, seed, arm, seconds[0], ratings, protocol),
        )
        for arm in ARMS[:2]
    }
    proposed = {arm: found["proposed"] for arm, found in searches.items()}
    rows = part("int8-measured", {**given, "proposed": proposed}, lambda: measured(data, seed, proposed, protocol))
    arms = {}
    for arm, row in chosen(rows).items():
        if row is None:
            raise SystemExit(f"seed {seed}: nothing that '{arm}' proposed is as fast as the ResNet-8.")
        made = {**given, "arm": arm, "decisions": row["decisions"], "seconds": seconds[1], "lr": LR}
        arms[arm] = row | part(
            "int8-trained", made, lambda arm=arm, row=row: trained(data, seed, arm, row["decisions"], seconds[1])
        )
    return {"seed": seed, "arms": arms, "measured": rows, "searches": searches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fractals", choices=("fractals", "fashion_mnist", "cifar10"))
    parser.add_argument("--search-seconds", type=float, default=SEARCH_SECONDS)
    parser.add_argument("--train-seconds", type=float, default=TRAIN_SECONDS)
    parser.add_argument("--ratings", type=int, default=RATINGS)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="only so many of the seeds")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    seconds, ratings, seeds, protocol = (given.search_seconds, given.train_seconds), given.ratings, SEEDS, None
    if given.quick:
        seconds, ratings, seeds, protocol = (4.0, 3.0), 16, (0,), QUICK
    found = [measure(given.data, seed, seconds, ratings, protocol) for seed in seeds[: given.seeds]]
    columns = ("int8", "float32", "latency_ms", "latency_ms_float32", "macs")
    scale = np.asarray([100, 100, 1, 1, 1e-6])
    values = {arm: np.asarray([[each["arms"][arm][key] for key in columns] for each in found]) * scale for arm in ARMS}
    rows: list[list[Any]] = [[arm, *values[arm].mean(axis=0).tolist(), "", ""] for arm in ARMS]
    gaps = {}
    for other in ARMS[1:]:
        gap = (values[ARMS[0]] - values[other])[:, 0].tolist()
        gaps[other] = dict(zip(("mean", "from", "to"), interval(gap), strict=True)) | {"of_each_seed": gap}
        rows.append([f"first - {other}", gaps[other]["mean"], "", "", "", "", gaps[other]["from"], gaps[other]["to"]])
    header = ["arm", "INT8, %", "float32, %", "INT8, ms", "float32, ms", "MACs, M", "95 % from", "to"]
    details = {
        "data": given.data, "seconds": {"search": seconds[0], "train": seconds[1]}, "ratings": ratings, "lr": LR,
        "batch": BATCH, "preset": PRESET, "width_of_mbconv_elastic": WIDTH, "caps": CAPS,
        "shares": list(SHARES),
        "tolerance": TOLERANCE, "protocol": protocol or "the target's", "interval": "t interval over seeds, paired",
        "points": gaps, "better_than_the_search_for_macs": gaps[ARMS[1]]["from"] > 0, "seeds": found,
    }  # fmt: skip
    record(result_name("int8_search", given.data, quick=given.quick), header, rows, details)
    for other, gap in gaps.items():
        sys.stdout.write(f"\n{ARMS[0]} - {other}: {gap['mean']:+.2f} points, {gap['from']:+.2f} to {gap['to']:+.2f}\n")


if __name__ == "__main__":
    main()
