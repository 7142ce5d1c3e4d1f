"""MEAL V2 in miniature: soft labels of a mean of teachers against hard labels, for a student that is trained already.

    python benchmarks/claims/distillation.py [--data fashion_mnist|fractals] [--channels 8|4] [--quick]

Three teachers of different cells, wider than the student, are trained once with labels. For each seed a student (the
best cell of NAS-Bench-201 on CIFAR-10, 8 channels wide, or as `--channels` says) is trained with labels until its
learning rate is zero, and then goes on from these weights for half as many epochs at the recipe's learning rate,
without weight decay, four times: by (i) labels, (ii) the best teacher on valid alone, (iii) the mean of the three
teachers' probabilities, and (iv) that mean mixed half and half with labels. Batches, crops and steps of the four are
the same. Images are of half the height and width. Accuracy and negative log-likelihood are on the test split, by which
nothing was chosen; seeds are of the student's weights and batches, the teachers and the split are the same for all.
"""

from __future__ import annotations

import argparse
import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, PARTS, interval, part, result_name
from record import record

from nasforge import registry
from nasforge.build import build_network
from nasforge.identity import fingerprint
from nasforge.run.data import load_source
from nasforge.tasks import DataSource, Preprocessing, Split
from nasforge.tasks.classification import Classification
from nasforge.training import RECIPES, Teachers, TrainConfig, evaluate, train
from nasforge.training.processor import prepare_processor

SEEDS: Final = (0, 1, 2, 3, 4)
TEACHER_SEED: Final = 100
SPLIT_SEED: Final = 0
LIMIT: Final = 2000
CONV, POINT, SKIP = "nor_conv_3x3", "nor_conv_1x1", "skip_connect"
STUDENT: Final = ((CONV, CONV, CONV, SKIP, CONV, CONV), {"repeats": 1, "channels": 8})
TEACHERS: Final = (
    ((CONV, CONV, CONV, SKIP, CONV, CONV), {"repeats": 1, "channels": 20}),
    ((CONV, SKIP, CONV, CONV, SKIP, CONV), {"repeats": 1, "channels": 20}),
    ((CONV, POINT, CONV, SKIP, CONV, POINT), {"repeats": 1, "channels": 20}),
)
LABELS: Final = TrainConfig(batch_size=BATCH, lr=0.1)
EPOCHS: Final = {"teacher": 20.0, "student": 20.0, "continued": 10.0}
ARMS: Final = {
    "labels": (0, 0.0),
    "one teacher": (1, 0.0),
    "mean of three": (3, 0.0),
    "mean of three and labels": (3, 0.5),
}
"""By name: how many teachers, and the share of the label in the target."""


def network_of(cell: tuple[tuple[str, ...], dict[str, int]], source: Any, seed: int) -> tuple[nn.Module, int]:
    """Return a fresh network and its number of parameters."""
    operations, options = cell
    space = registry.load("spaces", "nb201")(source.input_shape, len(source.classes), **options)
    architecture = space.architecture(dict(zip([each.name for each in space.choices], operations, strict=True)))
    return build_network(space.lower(architecture), seed=seed), space.params(architecture)


def halved(source: DataSource) -> DataSource:
    """Return the data with images of half the height and width, means of four pixels, framed to multiples of four."""

    def smaller(images: torch.Tensor) -> torch.Tensor:
        frame = -(images.shape[-1] // 2) % 4 // 2
        return functional.pad(functional.avg_pool2d(images.float(), 2).round().to(torch.uint8), [frame] * 4)

    splits = {name: Split(smaller(each.images), each.labels) for name, each in source.splits.items()}
    return replace(source, splits=splits, preprocessing=Preprocessing.fitted(splits["train"].images))


def kept(name: str, settings: dict[str, Any], module: nn.Module, learn: Any) -> dict[str, Any]:
    """Train a network once; a stopped benchmark finds weights and figures again."""
    found: dict[str, Any] = part(name, settings, lambda: _saved(name, settings, module, learn))
    module.load_state_dict(torch.load(PARTS / found["file"], weights_only=True))
    return found


def _saved(name: str, settings: dict[str, Any], module: nn.Module, learn: Any) -> dict[str, Any]:
    figures = learn(module)
    file = f"{name}-{fingerprint(settings)}.pt"
    PARTS.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), PARTS / file)
    return {"file": file, **figures}


def judged(module: Any, source: Any) -> dict[str, float]:
    return {
        f"{key}_{split}": value
        for split in ("valid", "test")
        for key, value in evaluate(module, source, Classification(), split).items()
    }


def by_labels(cell: Any, source: Any, seed: int, epochs: float, name: str, given: dict[str, Any]) -> Any:
    """Return a network trained with labels, and how good it is."""
    module, params = network_of(cell, source, seed)
    config = replace(LABELS, epochs=epochs)

    def learn(module: nn.Module) -> dict[str, Any]:
        train(module, source.sealed(), Classification(), config, seed)
        return {"params": params, **judged(module, source)}

    settings = {**given, "cell": repr(cell), "seed": seed, "config": repr(config)}
    return module, kept(f"distillation-{name}", settings, module, learn)


def continued(student: nn.Module, source: Any, teachers: list[nn.Module], arm: str, seed: int, epochs: float) -> Any:
    """Go on from the student's weights by one of the arms."""
    count, hard_weight = ARMS[arm]
    recipe = RECIPES["meal_v2"]
    config = replace(recipe, epochs=epochs, batch_size=BATCH, hard_weight=hard_weight)
    module = copy.deepcopy(student)
    teacher = Teachers(teachers[:count]) if count else None
    train(module, source.sealed(), Classification(), config, 1000 + seed, teacher=teacher)
    return judged(module, source)


def measure(data: str, channels: int, seeds: tuple[int, ...], epochs: dict[str, float], limit: int) -> dict[str, Any]:
    own = (STUDENT[0], {**STUDENT[1], "channels": channels})
    source = halved(load_source(data, {"limit": limit}, SPLIT_SEED))
    given = {"data": data, "limit": limit, "shape": list(source.input_shape), "split": SPLIT_SEED}
    taught = [
        by_labels(cell, source, TEACHER_SEED + place, epochs["teacher"], "teacher", given)
        for place, cell in enumerate(TEACHERS)
    ]
    taught.sort(key=lambda each: -each[1]["accuracy_valid"])
    teachers = [module.eval() for module, _ in taught]
    ensemble = Teachers(teachers).log_probabilities
    seen = evaluate(ensemble, source, Classification(), "train")
    mean = {**judged(ensemble, source), **{f"{key}_train": value for key, value in seen.items()}}
    found = []
    for seed in seeds:
        student, before = by_labels(own, source, seed, epochs["student"], "student", given)
        arms = {
            arm: part(
                "distillation-arm",
                {**given, "arm": arm, "seed": seed, "epochs": epochs, "teachers": [each["file"] for _, each in taught],
                 "student": before["file"], "settings": ARMS[arm]},
                lambda arm=arm, student=student, seed=seed: continued(
                    student, source, teachers, arm, seed, epochs["continued"]
                ),
            )
            for arm in ARMS
        }  # fmt: skip
        found.append({"seed": seed, "before": before, "arms": arms})
    return {"teachers": [each for _, each in taught], "mean": mean, "seeds": found}


def compared(found: dict[str, Any], first: str, second: str, metric: str) -> dict[str, float]:
    """Return the paired difference of two arms over seeds, and its standard error."""
    pairs = [each["arms"][first][metric] - each["arms"][second][metric] for each in found["seeds"]]
    mean, low, high = interval(pairs)
    error = float(np.std(pairs, ddof=1) / len(pairs) ** 0.5) if len(pairs) > 1 else 0.0
    return {"mean": mean, "from": low, "to": high, "standard_error": error}


def rows_of(found: dict[str, Any]) -> list[list[Any]]:
    def over_seeds(name: str, pick: Any, reference: str | None) -> list[Any]:
        values = [pick(each) for each in found["seeds"]]
        accuracies = [100 * each["accuracy_test"] for each in values]
        nll = float(np.mean([each["nll_test"] for each in values]))
        row = [name, float(np.mean(accuracies)), float(np.std(accuracies, ddof=1)) if len(values) > 1 else 0.0, nll]
        if reference is None:
            return [*row, "", ""]
        return [*row, *(_difference(found, name, metric, scale) for metric, scale in _METRICS)]

    rows = [over_seeds("student before", lambda each: each["before"], None)]
    rows += [over_seeds(arm, lambda each, arm=arm: each["arms"][arm], "labels") for arm in ARMS]
    for place, each in enumerate(found["teachers"], 1):
        rows.append([f"teacher {place}", 100 * each["accuracy_test"], "", each["nll_test"], "", ""])
    for split in ("test", "train"):
        name = "mean of teachers" + (", on train" if split == "train" else "")
        rows.append([name, 100 * found["mean"][f"accuracy_{split}"], "", found["mean"][f"nll_{split}"], "", ""])
    return rows


_METRICS: Final = (("accuracy_test", 100.0), ("nll_test", 1.0))


def _difference(found: dict[str, Any], arm: str, metric: str, scale: float) -> str:
    if arm == "labels":
        return "0"
    gap = compared(found, arm, "labels", metric)
    return f"{scale * gap['mean']:+.3f} ({scale * gap['from']:+.3f} to {scale * gap['to']:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion_mnist", choices=("fashion_mnist", "fractals"))
    parser.add_argument("--channels", type=int, default=STUDENT[1]["channels"], help="of the student's first stage")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="only so many of the seeds")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    prepare_processor()
    seeds, epochs, limit = SEEDS[: given.seeds], EPOCHS, LIMIT
    if given.quick:
        seeds, epochs, limit = SEEDS[:2], dict.fromkeys(EPOCHS, 0.2), 600
    found = measure(given.data, given.channels, seeds, epochs, limit)
    soft = compared(found, "mean of three", "labels", "accuracy_test")
    hard = compared(found, "mean of three", "mean of three and labels", "accuracy_test")
    holds = {
        "mean of three above labels by two standard errors": soft["mean"] > 2 * soft["standard_error"],
        "mean of three not below its mix with labels": hard["mean"] >= 0.0,
    }
    claim = "distillation" if given.channels == STUDENT[1]["channels"] else "distillation_narrow"
    header = ["", "accuracy, %", "deviation", "NLL, nats", "accuracy against labels, points", "NLL against labels"]
    details = {
        "data": given.data, "limit": limit, "epochs": epochs, "student": repr(STUDENT), "channels": given.channels,
        "labels": repr(LABELS),
        "teachers_cells": [repr(each) for each in TEACHERS], "continued": repr(RECIPES["meal_v2"]), "batch": BATCH,
        "mean_of_three_minus_labels": soft, "mean_of_three_minus_mix": hard, "holds": holds, **found,
    }  # fmt: skip
    record(result_name(claim, given.data, quick=given.quick), header, rows_of(found), details)
    for sentence, yes in holds.items():
        sys.stdout.write(f"{sentence}: {'holds' if yes else 'missed'}\n")


if __name__ == "__main__":
    main()
