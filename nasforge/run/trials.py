"""A strategy's proposals as the trials of another engine: given out one by one, told by the engine's own names.

The strategy is asked as `drive` asks it, right after every tell, so what it proposes depends on the order of the
results alone and never on when the engine wants a trial; replaying what was told gives the state that was lost.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from nasforge.errors import DamagedError
from nasforge.run.asking import Asking
from nasforge.run.local import Job, Outcome
from nasforge.space import SearchSpace
from nasforge.strategy import Evaluation, Problem

SCHEMA: Final = 1


@final
@dataclass(frozen=True, slots=True)
class Report:
    """What a trial said last: its metrics, how much was spent by then, and in how many seconds."""

    metrics: Mapping[str, float]
    fidelity: float | None = None
    seconds: float = 0.0


@final
@dataclass(slots=True)
class Trials:
    """Trials under way and what was told.

    Args:
        asking: at its start, its strategy set up.
        problem: the strategy's problem; its costs are told beside the metrics.
    """

    asking: Asking
    problem: Problem
    told: list[Evaluation] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    latest: dict[str, Report] = field(default_factory=dict)

    def begin(self) -> None:
        """Ask for the first proposals."""
        self.asking.ask()

    @property
    def done(self) -> bool:
        """Whether the strategy has nothing to propose, and nothing under way that could change that."""
        return not self.asking.waiting

    def suggest(self, trial: str) -> Job | None:
        """Give a trial the oldest proposal that has none; None where all have one."""
        given = set(self.numbers.values())
        number = min((each for each in self.asking.waiting if each not in given), default=None)
        if number is None:
            return None
        self.numbers[trial] = number
        return self.asking.job(number)

    def report(self, trial: str, report: Report) -> None:
        """Remember what a trial under way said last."""
        if trial in self.numbers:
            self.latest[trial] = report

    def complete(self, trial: str, report: Report | None = None, error: str | None = None) -> None:
        """Tell the strategy how a trial ended, and ask it again; trials that are not under way are passed over.

        Args:
            trial: its name.
            report: the last one; without, the last that was reported.
            error: why it failed, where it did.
        """
        number = self.numbers.pop(trial, None)
        report = report or self.latest.get(trial) or Report({})
        self.latest.pop(trial, None)
        if number is None:
            return
        error = error or self._unusable(number, report)
        costs = self.problem.cost_metrics(self.asking.waiting[number][0].architecture)
        metrics = {} if error else {**costs, **report.metrics}
        evaluation = self.asking.evaluation(Outcome(number, metrics, error, report.seconds))
        if report.fidelity is not None:
            evaluation = dataclasses.replace(evaluation, fidelity=report.fidelity)
        self.asking.tell(evaluation)
        self.told.append(evaluation)
        self.asking.ask()

    def _unusable(self, number: int, report: Report) -> str | None:
        wanted = [
            objective.metric for objective in self.problem.objectives if objective.metric not in self.problem.costs
        ]
        bad = [metric for metric in wanted if not math.isfinite(report.metrics.get(metric, math.nan))]
        return f"evaluation {number} ended without a finite {', '.join(bad)}." if bad else None

    def state(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "schema": SCHEMA,
            "fingerprint": self.asking.space.fingerprint,
            "seed": self.asking.seed,
            "slots": self.asking.slots,
            "told": [_to_json(each) for each in self.told],
            "numbers": dict(self.numbers),
            "latest": {trial: dataclasses.asdict(report) for trial, report in self.latest.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned, in the place of `begin`; seed and slots of the asking are the state's.

        Raises:
            DamagedError: the strategy proposes something else than was told.
        """
        told = [_from_json(each, self.asking.space) for each in state["told"]]
        self.asking.replay(told)
        self.asking.ask()
        self.told = told
        self.numbers = {trial: int(number) for trial, number in state["numbers"].items()}
        self.latest = {trial: Report(**report) for trial, report in state["latest"].items()}


def check_state(state: Any, space: SearchSpace) -> None:
    """Refuse what is not a state of trials over this space.

    Raises:
        DamagedError: it is of another space, of another version, or no state.
    """
    if not isinstance(state, Mapping) or state.get("schema") != SCHEMA:
        raise DamagedError("the state of the searcher is not one that this version of nasforge wrote.")
    if state["fingerprint"] != space.fingerprint:
        raise DamagedError(f"the state of the searcher is of another space than '{space.name}'; give the same space.")


def _to_json(evaluation: Evaluation) -> dict[str, Any]:
    content = {part.name: getattr(evaluation, part.name) for part in dataclasses.fields(evaluation)}
    return {**content, "architecture": list(evaluation.architecture.decisions), "metrics": dict(evaluation.metrics)}


def _from_json(content: Mapping[str, Any], space: SearchSpace) -> Evaluation:
    return Evaluation(**{**content, "architecture": space.from_decisions(content["architecture"])})
