"""Pooling places: do several supernets rank architectures better than one, at equal total steps, and is it the balance?

    python benchmarks/claims/pooling.py --truth [--scale one]        all 36 architectures trained alone
    python benchmarks/claims/pooling.py [--scale one] [--seeds 0,1,2] [--arms M=1,M=4] [--quick]

The truth is `benchmarks/truth/pooling_fractals.json`: space `pooling`, preset small, fractals of 50 classes, 350 steps
of 64 images at a learning rate of .3. (At .1 a quarter of the networks are late in one of two seeds after 350 steps,
so that seeds differ more than networks do; after 700 steps all that were tried are at 98 %.) With `--scale one` both
truth and supernets have normalisations with scale and shift, which the article's have not, and the truth was trained at
.1: `benchmarks/truth/pooling_fractals_one.json`. Each arm is
`pooling_mixture` for the same number of steps in total, whatever its number of models; each step costs one training
pass and one held-out pass in all of them, and the report refuses arms that cost more than 5 % more than others. `M=1
longer` alone is no equal: it has four times the steps, as many as four models would get that are each trained as long
as the one. M=4 comes with two controls: without balancing, and with a random fixed assignment of a quarter of the
architectures to each model, which shares as little, and learns nothing of who is good at what. Ratings are accuracies
on valid with the weights of the responsible model, recalibrated on train images; the truth is accuracy on test, of
networks trained alone. The learning rate was set with a seed that is not used, and is the same in all arms.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, PARTS, interval, part, result_name, source_of, train_shared
from nasforge_spaces.pooling import pooling
from nasforge_strategies.pooling_mixture import PoolingMixture
from record import ROOT, record

from nasforge.bench.ranking import Ceiling
from nasforge.bench.truth import TruthTable, make_truth, ranking_by_truth, read_truth
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Problem
from nasforge.tasks.classification import Classification
from nasforge.training.meter import Counts, check_equal_cost
from nasforge.training.processor import prepare_processor

DATA: Final = "fractals"
TRUTH: Final = ROOT / "benchmarks" / "truth"
LR_TRUTH: Final = {"none": 0.3, "one": 0.1}
"""Learning rates of networks alone, by the scales of the space."""
TRUTH_SEEDS: Final = 4
STEPS, LR, SEEDS = 3200, 0.1, (0, 1, 2)
CALIBRATION_IMAGES: Final = 512
ARMS: Final[Mapping[str, dict[str, Any]]] = {
    "M=1": {"models": 1},
    "M=4": {"models": 4},
    "M=4 fixed": {"models": 4, "assignment": "fixed"},
    "M=2": {"models": 2},
    "M=4 unbalanced": {"models": 4, "assignment": "unbalanced"},
    "M=1 longer": {"models": 1},
}
LONGER: Final = {"M=1 longer": 4}
"""Arms that have so many times the steps; they are trained only where --arms names them."""
FORM: Final = 3
"""Raised where what is kept of an arm, or how it is rated, changes."""
TOP: Final = (1, 3, 5)


@functools.lru_cache(maxsize=1)
def images(seed: int) -> Any:
    """Return the images with the split of a seed; making them takes seconds."""
    return source_of(DATA, seed)


def space_for(source: Any, scale: str) -> SearchSpace:
    return pooling(source.input_shape, len(source.classes), preset="small", scale=scale)


def table_of(scale: str) -> Path:
    """Return where the truth of a space is."""
    return TRUTH / f"pooling_fractals{'' if scale == 'none' else f'_{scale}'}.json"


def training_of(scale: str) -> dict[str, Any]:
    """Return how the networks of the truth are trained."""
    return {"steps": 350, "lr": LR_TRUTH[scale], "batch_size": 64}


def rated(arm: str, seed: int, steps: int, lr: float, scale: str) -> dict[str, Any]:
    """Train a mixture; return what it says of every architecture, in the order of the space."""
    source = images(seed)
    space = space_for(source, scale)
    strategy = PoolingMixture(lr=lr, **ARMS[arm])
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    training = train_shared(strategy, Problem(space, costs=costs), source, steps, seed)
    architectures = list(space.enumerate())
    found: dict[Architecture, dict[str, float]] = {}
    for name in training.modules:
        held = [each for each in architectures if strategy.holders(each) == (name,)]
        if held:
            supernet: Any = training.modules[name]
            evaluator = SharedEvaluator(supernet, Classification(), source.sealed(), CALIBRATION_IMAGES)
            found |= dict(zip(held, evaluator.evaluate_many(held), strict=True))
    trained = training.modules["scores"].steps
    return {
        "cost": training.meter.training.to_json(),
        "accuracy_valid": [found[each]["accuracy_valid"] for each in architectures],
        "nll_valid": [found[each]["nll_valid"] for each in architectures],
        "steps_of_each_model": [int(each) for each in trained],
    }


def kept(arm: str, seed: int, steps: int, lr: float, scale: str) -> dict[str, Any]:
    """Return `rated`, from disk where it was trained before."""
    steps *= LONGER.get(arm, 1)
    settings = {
        "arm": arm, "seed": seed, "steps": steps, "batch": BATCH, "space": space_for(images(0), scale).fingerprint,
        "strategy": repr(PoolingMixture(lr=lr, **ARMS[arm])), "calibration": CALIBRATION_IMAGES, "form": FORM,
    }  # fmt: skip
    settings |= {} if scale == "none" else {"scale": scale}  # fingerprints are of decisions alone
    found: dict[str, Any] = part("pooling-rating", settings, lambda: rated(arm, seed, steps, lr, scale))
    return found


def costs(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[Any]]:
    """Return the costs of the first seed of all arms, checked to be equal but for those that are longer.

    Raises:
        UsageError: two of them differ by more than 5 %.
    """
    counts = {arm: Counts.of(each[0]["cost"]) for arm, each in found.items()}
    check_equal_cost({arm: each for arm, each in counts.items() if arm not in LONGER}, of=("image_macs", "steps"))
    return check_equal_cost(counts, of=())


def truth(seeds: int, scale: str) -> None:
    """Train all architectures alone and write the table."""
    TRUTH.mkdir(parents=True, exist_ok=True)
    make_truth(
        "pooling",
        DATA,
        space_options={"preset": "small", "scale": scale} if scale != "none" else {"preset": "small"},
        training=training_of(scale),
        seeds=seeds,
        workers=2,
        out=PARTS / "pooling-truth",
        table=table_of(scale).relative_to(ROOT),
    )


def is_made(scale: str) -> bool:
    """Return whether the table is there and of networks that were trained as this file says."""
    if not table_of(scale).is_file():
        return False
    training, wanted = read_truth(table_of(scale)).about["training"], training_of(scale)
    images_an_epoch = len(images(0).split("train").labels) // wanted["batch_size"]
    steps = int(training["epochs"] * images_an_epoch + 1)
    return {**wanted, "steps": steps, "lr": training["lr"]} == wanted


def agreement(found: Mapping[str, Any], table: TruthTable, space: SearchSpace) -> dict[str, Any]:
    """Return the rank correlations and regrets of one arm and seed."""
    by_decisions = dict(zip(table.decisions, range(len(table)), strict=True))
    order = [by_decisions[each.decisions] for each in space.enumerate()]
    scores = np.empty(len(table))
    values = {}
    for metric, sign in (("accuracy_valid", 1.0), ("nll_valid", -1.0)):
        scores[order] = sign * np.asarray(found[metric])
        ranking = ranking_by_truth(scores.copy(), table, top=TOP)
        own = ranking.rating
        values[metric] = {
            "spearman": own.spearman.value,
            "kendall": own.kendall.value,
            "spearman_given_macs": own.spearman_given_macs.value if own.spearman_given_macs else None,
            "regret": {str(k): own.regret[k] for k in TOP},
        }
    return {**values, "mean_accuracy_valid": float(np.mean(found["accuracy_valid"]))}


def report(arms: Sequence[str], seeds: Sequence[int], steps: int, lr: float, scale: str, quick: bool) -> None:
    table = read_truth(table_of(scale))
    space = space_for(images(0), scale)
    found = {arm: [kept(arm, seed, steps, lr, scale) for seed in seeds] for arm in arms}
    spent = costs(found)
    agreed = {arm: [agreement(each, table, space) for each in found[arm]] for arm in arms}
    rows = [row(arm, agreed[arm]) for arm in arms]
    anything = ranking_by_truth(table.macs.astype(float), table, top=TOP)
    macs, ceiling = anything.agreement["macs"], anything.ceiling
    rows.append(["MACs alone", str(macs.spearman), str(macs.kendall), "", *(100 * macs.regret[k] for k in TOP), "", ""])
    rows.append(["chance", "", "", "", *(100 * anything.chance[k] for k in TOP), "", ""])
    assert ceiling is not None, "the truth has several seeds"
    by_nll = ranking_by_truth(table.macs.astype(float), table, metric="nll").ceiling
    assert by_nll is not None, "the truth has several seeds"
    rows.append(["two seeds of the truth", str(ceiling.spearman), str(ceiling.kendall), *[""] * 6])
    rows.append([f"a perfect rating, against the mean of {ceiling.seeds} seeds", perfect(ceiling), *[""] * 7])
    rows.append(["  the same, truth by NLL", perfect(by_nll), *[""] * 7])
    header = [
        "arm", "Spearman (95 %)", "Kendall", "Spearman given MACs", *(f"regret of the best {k}, points" for k in TOP),
        "Spearman of NLL", "accuracy of the rating, %",
    ]  # fmt: skip
    accuracy = table.accuracy * 100
    details = {
        "steps": steps, "lr": lr, "seeds": list(seeds), "scale": scale, "truth": training_of(scale),
        "calibration_images": CALIBRATION_IMAGES,
        "truth_accuracy": {"mean": accuracy.mean(axis=0).tolist(), "sd": accuracy.std(axis=0).tolist(),
                           "best": float(accuracy.mean(axis=1).max()), "worst": float(accuracy.mean(axis=1).min())},
        "noise": {"accuracy": asdict(ceiling), "nll": asdict(by_nll)}, "costs": spent,
        "paired": {arm: differences(agreed, arm) for arm in arms if arm != "M=4" and "M=4" in arms},
        "agreements": agreed, "ratings": found,
    }  # fmt: skip
    claim = "pooling_places" if scale == "none" else f"pooling_places_{scale}"
    claim += "" if steps == STEPS or quick else f"_{steps}_steps"
    name = result_name(claim, DATA, quick=quick)
    record(name if quick or len(seeds) >= len(SEEDS) else f"{name}_{len(seeds)}_seeds", header, rows, details)
    for arm, values in details["paired"].items():
        mean, low, high = values["spearman"]
        sys.stdout.write(
            f"Spearman of M=4 - {arm}: {mean:+.2f} ({low:+.2f} to {high:+.2f}), above 0 in {values['above']} of "
            f"{len(seeds)} seeds\n"
        )


def perfect(ceiling: Ceiling) -> str:
    """Return what a rating free of noise would reach against the mean over seeds."""
    return "" if ceiling.perfect_spearman is None else f"{ceiling.perfect_spearman:.2f}"


def row(arm: str, agreed: Sequence[Mapping[str, Any]]) -> list[Any]:
    def mean(name: str, metric: str = "accuracy_valid") -> str:
        middle, low, high = interval([each[metric][name] or 0.0 for each in agreed])
        return f"{middle:.2f} ({low:.2f} to {high:.2f})" if len(agreed) > 1 else f"{middle:.2f}"

    regrets = [100 * float(np.mean([each["accuracy_valid"]["regret"][str(k)] for each in agreed])) for k in TOP]
    accuracy = 100 * float(np.mean([each["mean_accuracy_valid"] for each in agreed]))
    nll = mean("spearman", "nll_valid")
    return [arm, mean("spearman"), mean("kendall"), mean("spearman_given_macs"), *regrets, nll, accuracy]


def differences(agreed: Mapping[str, Sequence[Mapping[str, Any]]], arm: str) -> dict[str, Any]:
    """Return M=4 less another arm, seed by seed, with the interval of the mean."""

    def paired(get: Any) -> list[float]:
        return [get(more) - get(less) for more, less in zip(agreed["M=4"], agreed[arm], strict=True)]

    spearman = paired(lambda each: each["accuracy_valid"]["spearman"] or 0.0)
    regret = paired(lambda each: each["accuracy_valid"]["regret"]["1"])
    return {
        "spearman": interval(spearman), "above": sum(value > 0 for value in spearman), "of_each_seed": spearman,
        "regret_1": interval(regret),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", action="store_true", help="make the truth, and nothing else")
    parser.add_argument("--scale", default="none", choices=tuple(LR_TRUTH), help="of the space's normalisations")
    parser.add_argument("--truth-seeds", type=int, default=TRUTH_SEEDS)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--arms", default=",".join(arm for arm in ARMS if arm not in LONGER))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    if given.truth:
        return truth(given.truth_seeds, given.scale)
    seeds, arms = [int(each) for each in given.seeds.split(",")], given.arms.split(",")
    if given.quick:
        return report(["M=1", "M=4"], [0], 20, given.lr, given.scale, quick=True)
    for seed in seeds:  # all arms of a seed first, so that what is stopped has pairs
        for arm in arms:
            accuracy = float(np.mean(kept(arm, seed, given.steps, given.lr, given.scale)["accuracy_valid"]))
            sys.stdout.write(f"{arm}, seed {seed}: accuracy of the ratings {accuracy:.3f}\n")
    if is_made(given.scale):
        report(arms, seeds, given.steps, given.lr, given.scale, quick=False)
    return None


if __name__ == "__main__":
    main()
