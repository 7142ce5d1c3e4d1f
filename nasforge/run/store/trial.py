"""Evaluations as Optuna's trials, and back from the attributes of one."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from typing import Any, final

from nasforge.errors import DamagedError
from nasforge.run.atomic import finite
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy.base import Evaluation


@final
class TrialForm:
    """Writes evaluations of a space as finished trials, and reads them back.

    Args:
        space: of the architectures.
        metrics: of the objectives; their values are the trial's.
        where: what the study is called in sentences.
    """

    def __init__(self, space: SearchSpace, metrics: list[str], where: str) -> None:
        """Make the distributions, which all trials share."""
        import optuna

        self._optuna, self._space, self._metrics, self._where = optuna, space, metrics, where
        self._distributions = {
            str(read.name): optuna.distributions.CategoricalDistribution(list(read.labels)) for read in space.choices
        }

    def trial(self, evaluation: Evaluation) -> Any:
        """Return a finished trial, failed where the evaluation did or an objective is missing."""
        params = self._space.describe(evaluation.architecture)
        values = [evaluation.metrics.get(metric) for metric in self._metrics]
        complete = evaluation.error is None and all(value is not None and value == value for value in values)
        now = datetime.datetime.now()
        trial = self._optuna.trial.create_trial(
            state=self._optuna.trial.TrialState.COMPLETE if complete else self._optuna.trial.TrialState.FAIL,
            values=[float(value) for value in values if value is not None] if complete else None,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            user_attrs=_attributes(evaluation),
        )
        trial.datetime_start = now - datetime.timedelta(seconds=evaluation.seconds)
        trial.datetime_complete = now
        return trial

    def evaluation(self, attributes: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation of a trial with these user attributes.

        Raises:
            DamagedError: the trial is not one of nasforge's, or of another space.
        """
        try:
            if attributes["fingerprint"] != self._space.fingerprint:
                raise DamagedError(f"the study '{self._where}' is of another space than '{self._space.name}'.")
            metrics = {
                sys.intern(key): float("nan") if value is None else float(value)
                for key, value in attributes["metrics"].items()
            }
            return Evaluation(
                number=int(attributes["number"]),
                architecture=Architecture(tuple(attributes["decisions"]), self._space.fingerprint),
                metrics=metrics,
                fidelity=attributes["fidelity"],
                error=attributes["error"],
                ask=int(attributes["ask"]),
                tell=int(attributes["tell"]),
                seconds=float(attributes["seconds"]),
                cost={part: dict(counts) for part, counts in attributes.get("cost", {}).items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"the study '{self._where}' holds a trial that nasforge did not write ({error})."
            ) from error


def _attributes(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "number": evaluation.number,
        "decisions": list(evaluation.architecture.decisions),
        "fingerprint": evaluation.architecture.fingerprint,
        "metrics": finite(dict(evaluation.metrics)),
        "fidelity": evaluation.fidelity,
        "error": evaluation.error,
        "ask": evaluation.ask,
        "tell": evaluation.tell,
        "seconds": round(evaluation.seconds, 6),
        **({"cost": {part: dict(counts) for part, counts in evaluation.cost.items()}} if evaluation.cost else {}),
    }
