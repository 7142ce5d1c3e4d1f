"""`trained`: what an architecture is worth when trained from scratch; fidelity is the number of epochs."""

from __future__ import annotations

import dataclasses
from typing import final

from nasforge.build import build_network
from nasforge.evaluate.evaluator import Judge, check_finite
from nasforge.rng import integer_seed
from nasforge.space import Architecture, SearchSpace
from nasforge.tasks import DataSource, Task
from nasforge.training import TrainConfig, evaluate, train


@final
class TrainedEvaluator:
    """Trains each architecture alone and judges it on valid; a `judge` adds what it says of the trained network."""

    def __init__(
        self, space: SearchSpace, task: Task, source: DataSource, config: TrainConfig, judge: Judge | None = None
    ) -> None:
        """Take what every evaluation shares."""
        self._space, self._task, self._source, self._config, self._judge = space, task, source, config, judge

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return `accuracy_valid`, `nll_valid`, `train_seconds`, `params`, `macs`, and what the judge says.

        Args:
            architecture: of the space.
            fidelity: epochs; the configuration's without.
            seed: of weights, order and augmentation.

        Raises:
            DivergedError: training gave NaN, or a network whose outputs are.
        """
        config = self._config if fidelity is None else dataclasses.replace(self._config, epochs=fidelity)
        network = build_network(self._space.lower(architecture), seed=integer_seed(seed, "weights"))
        report = train(network, self._source, self._task, config, seed)
        found = check_finite(evaluate(network, self._source, self._task, "valid"))
        return {
            **{f"{name}_valid": value for name, value in found.items()},
            **(check_finite(self._judge(network)) if self._judge is not None else {}),
            "train_seconds": report.seconds,
            "params": float(self._space.params(architecture)),
            "macs": float(self._space.macs(architecture)),
        }
