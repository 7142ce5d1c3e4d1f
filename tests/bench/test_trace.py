"""A trace answers at every budget what held there, and survives being written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.bench.trace import Step, Trace


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    gaps = draw(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=8))
    steps, told, seconds = [Step(0, 0.0, None)], 0, 0.0
    for more, longer, truth in gaps:
        told, seconds = told + more, seconds + longer
        steps.append(Step(told, seconds, truth))
    return Trace(tuple(steps), told + draw(st.integers(0, 5)), seconds, told, chosen=(1, 2))


@given(traces(), st.integers(0, 60))
def test_the_step_at_a_budget_is_the_last_within_it(trace: Trace, budget: int) -> None:
    wanted = [each for each in trace.steps if each.evaluations <= budget][-1]
    assert trace.at_evaluations(budget) == wanted
    assert trace.at_seconds(budget) == [each for each in trace.steps if each.seconds <= budget][-1]


@given(traces())
def test_a_trace_is_the_same_after_writing_and_reading(trace: Trace) -> None:
    assert Trace.read(json.loads(json.dumps(trace.to_json()))) == trace


@pytest.mark.parametrize("damage", [{"steps": []}, {"steps": [[1]]}, {"seconds": None}, {"more": 1}])
def test_something_else_than_a_trace_is_not_read(damage: dict[str, object]) -> None:
    given = Trace((Step(0, 0.0, None),), 0, 0.0, 0).to_json()
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        Trace.read({**given, **damage})
