"""What a search has cost, training and rating apart: `cost` of `result.json`.

Training carries its counts in its checkpoints, each evaluation in the store, so nothing is lost or counted twice by an
interruption, and it does not matter which process did the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nasforge.run.shared_training import SharedTraining
from nasforge.strategy import Evaluation
from nasforge.training.meter import RATING, TRAINING, Meter


def cost_of(training: SharedTraining | None, evaluations: Sequence[Evaluation]) -> dict[str, dict[str, float]]:
    """Return the counts of `nasforge.training.Counts` by part: `training`, `rating`.

    Args:
        training: of the shared weights, where the strategy has some.
        evaluations: all that were told; the seconds of those trained from scratch are of both parts.
    """
    meter = Meter()
    if training is not None:
        meter.add(training.meter)
    for each in evaluations:
        meter.add(Meter.read(each.cost))
    trained = math.fsum(each.metrics.get("train_seconds", 0.0) for each in evaluations if TRAINING in each.cost)
    rated = math.fsum(each.seconds for each in evaluations if each.cost)
    meter.of(TRAINING).seconds += trained
    meter.of(RATING).seconds += max(0.0, rated - trained)
    return meter.to_json()
