"""Members of a population with several goals: what they lose by, and by how much they exceed limits.

Limits on known costs are kept before anything is evaluated; those on evaluated metrics become violations, which
constrained domination puts before all losses (Deb et al., 2002, section VI).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from nasforge.goals import Objective, dominates
from nasforge.space import Architecture
from nasforge.strategy.base import Evaluation, Problem


@final
@dataclass(frozen=True, slots=True)
class Member:
    """An evaluated architecture: losses by objective, and by how much it exceeds limits on what was evaluated."""

    architecture: Architecture
    losses: tuple[float, ...]
    violation: float = 0.0

    def beats(self, other: Member) -> bool:
        """Say whether this one dominates the other, by violation first.

        >>> near, far = (Member(Architecture((0,), ""), (2.0, 2.0), excess) for excess in (0.1, 0.2))
        >>> near.beats(far), Member(near.architecture, (9.0, 9.0)).beats(near)
        (True, True)
        """
        if self.violation > 0 or other.violation > 0:
            return self.violation < other.violation
        return dominates(self.losses, other.losses)


def member_of(
    problem: Problem,
    result: Evaluation,
    objectives: Sequence[Objective] | None = None,
    costs: Mapping[str, float] | None = None,
) -> Member:
    """Return an evaluation as a member; a failure violates infinitely.

    Args:
        problem: whose limits hold.
        result: of the evaluation.
        objectives: the problem's without.
        costs: metrics that are known without evaluation; the evaluation's own come first.
    """
    goals = problem.objectives if objectives is None else objectives
    if result.error is not None:
        return Member(result.architecture, (np.inf,) * len(goals), np.inf)
    known, metrics = problem.costs, {**(costs or {}), **result.metrics}
    excess = sum(each.violation(result.metrics) for each in problem.constraints if each.metric not in known)
    losses = tuple(objective.loss(metrics) for objective in goals)
    return Member(result.architecture, losses, excess if np.isfinite(losses).all() else np.inf)
