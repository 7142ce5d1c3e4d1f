"""Which supernet's weights an architecture is judged with, where a strategy has several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nasforge.goals import Objective
from nasforge.run.evaluating import Inherited
from nasforge.run.local import Job
from nasforge.testing.small_spaces import path_space

SPACE = path_space()


class Told:
    def __init__(self, **metrics):
        self.metrics = metrics

    def evaluate(self, architecture, fidelity, seed):
        return self.metrics


def measured(names, objective):
    strategy: Any = SimpleNamespace(holders=lambda architecture: names)
    evaluators: Any = {
        "supernet": Told(accuracy_valid=0.3, nll_valid=1.0),
        "second": Told(accuracy_valid=0.9, nll_valid=3.0),
        "third": Told(accuracy_valid=0.5, nll_valid=2.0),
    }
    return Inherited(strategy, evaluators, objective)(Job(0, SPACE.smallest(), None, 0))


@pytest.mark.parametrize(
    ("names", "objective", "expected"),
    [
        (("third",), Objective("accuracy_valid"), 0.5),
        (("supernet", "second", "third"), Objective("accuracy_valid"), 0.9),
        (("supernet", "second", "third"), Objective("nll_valid", "minimize"), 0.3),
    ],
)
def test_the_holder_is_asked_and_of_several_the_best_by_the_objective_counts(names, objective, expected):
    assert measured(names, objective)["accuracy_valid"] == expected
