"""What a budget means for each part of a run: shared training, evaluations, retraining of finalists.

Amounts are counted in passes of images, so they mean about as much work on a small data set as on a
large one. Clocks only cut what does not fit; a budget in evaluations or epochs has none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.run.budget import Budget
from nasforge.run.options import make
from nasforge.training import TrainConfig
from nasforge.training.recipe import expanded

QUICK_SHARED_PASSES: Final = 64_000
QUICK_EVALUATION_PASSES: Final = 2_500
QUICK_RETRAIN_PASSES: Final = 24_000
QUICK_EVALUATIONS: Final = 16
QUICK_LOOKED_UP: Final = 500
QUICK_SCORED: Final = 100
SHARED_EPOCHS: Final = 120.0
EVALUATION_EPOCHS: Final = 5.0
RETRAIN_EPOCHS: Final = 60.0
TRAINED_SHARES: Final = (0.0, 0.65)  # of the clock: shared training ends, evaluations end; retraining has the rest
SHARED_SHARES: Final = (0.5, 0.6)
SHARED_NO_RETRAIN_SHARES: Final = (0.75, 0.9)
AMOUNTS: Final = ("shared_epochs", "evaluation_epochs")
OWN_KEYS: Final = (*AMOUNTS, "recipe", "teacher")


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts of each part; None where the clock alone decides.

    Attributes:
        shared_epochs: of shared training, over all phases.
        shared_seconds: the clock of shared training.
        evaluations: how many at most.
        evaluated_by: seconds since the run began at which no evaluation is begun any more.
        evaluation_epochs: of an evaluation from scratch, where the strategy names no fidelity.
        retrain_epochs: of a finalist.
        ends_by: seconds since the run began at which retraining should be over.
        retrained: how many finalists are trained again.
    """

    shared_epochs: float | None
    shared_seconds: float | None
    evaluations: int | None
    evaluated_by: float | None
    evaluation_epochs: float
    retrain_epochs: float
    ends_by: float | None
    retrained: int


def make_plan(
    budget: Budget,
    training: Mapping[str, Any],
    images: int,
    *,
    shares_weights: bool,
    retrains: bool,
    quick_evaluations: int = QUICK_EVALUATIONS,
) -> Plan:
    """Divide a budget.

    Args:
        budget: what the run may spend.
        training: settings that fix an amount: `epochs` (also of a recipe), `shared_epochs`, `evaluation_epochs`.
        images: in the train split.
        shares_weights: whether the strategy trains shared weights.
        retrains: whether its finalists are trained again.
        quick_evaluations: of a quick run without shared weights; more where an evaluation takes no training.
    """
    quick, seconds, training = budget.unit == "quick", budget.seconds, expanded(training)
    shares = TRAINED_SHARES
    if shares_weights:
        shares = SHARED_SHARES if retrains else SHARED_NO_RETRAIN_SHARES
    shared = _epochs(training, "shared_epochs", QUICK_SHARED_PASSES / images if quick else SHARED_EPOCHS)
    evaluation = _epochs(
        training, "evaluation_epochs", QUICK_EVALUATION_PASSES / images if quick else EVALUATION_EPOCHS
    )
    evaluations = budget.evaluations
    if quick and not shares_weights:
        evaluations = quick_evaluations
    if budget.epochs is not None:
        shared = budget.epochs
        evaluations = None if shares_weights else max(1, int(budget.epochs / evaluation))
    by_clock = budget.unit == "minutes" and "shared_epochs" not in training
    return Plan(
        shared_epochs=None if by_clock else shared,
        shared_seconds=None if seconds is None else seconds * shares[0],
        evaluations=evaluations,
        evaluated_by=None if seconds is None else seconds * shares[1],
        evaluation_epochs=evaluation,
        retrain_epochs=_epochs(training, "epochs", QUICK_RETRAIN_PASSES / images if quick else RETRAIN_EPOCHS),
        ends_by=seconds,
        retrained=1 if quick else 2,
    )


def training_config(training: Mapping[str, Any], epochs: float | None = None) -> TrainConfig:
    """Return the training configuration of the settings.

    Args:
        training: the settings, with those that only the plan reads; a recipe's fields lie below what is given.
        epochs: in the place of the settings'.

    Raises:
        UsageError: an unknown field or recipe; the nearest is named.
    """
    fields = {key: value for key, value in expanded(training).items() if key not in OWN_KEYS}
    given = fields if epochs is None else {**fields, "epochs": epochs}
    known = {*(part.name for part in dataclasses.fields(TrainConfig)), *OWN_KEYS}
    for key in fields:
        if key not in known:
            raise UsageError(unknown_name_sentence("option of training", str(key), known))
    config: TrainConfig = make(TrainConfig, given, "option of training")
    return config


def check_training(training: Mapping[str, Any]) -> None:
    """Refuse training settings that no part of a run could use.

    Raises:
        UsageError: an unknown field (the nearest is named), or a value out of its range.
    """
    for key in (*AMOUNTS, "epochs"):
        _epochs(training, key, 1.0)
    training_config(training)


def _epochs(training: Mapping[str, Any], key: str, default: float) -> float:
    value = training.get(key)
    if value is None:
        return float(max(1, round(default)))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UsageError(f"training.{key} was given {value!r}; expected a number of epochs above zero.")
    return float(value)
