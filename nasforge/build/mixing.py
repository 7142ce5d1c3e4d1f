"""Running a supernet with some choices mixed: which steps get a graph, which wait for the backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.build.modes import frozen_statistics
from nasforge.build.plan import Plan, needed_steps
from nasforge.errors import IncompatibleError
from nasforge.layers.mixture import Mixture, recompute
from nasforge.space.lower import MixOp, Step


@final
class MixedRun:
    """One forward pass with mixed choices.

    Args:
        supernet: whose normalisations keep their statistics while candidates run again.
        plan: lowered with the mixtures' supports.
        layers: of the plan's steps; None for the mixtures themselves.
        mixtures: by number of the choice.
        names: of all choices, for errors.
    """

    def __init__(
        self,
        supernet: nn.Module,
        plan: Plan,
        layers: Sequence[nn.Module | None],
        mixtures: Mapping[int, Mixture],
        names: Sequence[str],
    ) -> None:
        self._supernet, self._plan, self._layers, self._mixtures = supernet, plan, layers, mixtures
        self._check(names)
        self._graphed = _graphed(plan, mixtures)

    def _check(self, names: Sequence[str]) -> None:
        present = {step.op.choice for step in self._plan.steps if isinstance(step.op, MixOp)}
        missing = [names[number] for number in self._mixtures if number not in present]
        if missing:
            raise IncompatibleError(f"choice '{missing[0]}' cannot be mixed: it is inactive or no choice of operator.")
        for step in self._plan.steps:
            if isinstance(step.op, MixOp) and len({t.shape for t in step.input_types}) > 1:
                shapes = " and ".join(sorted({str(t) for t in step.input_types}))
                raise IncompatibleError(
                    f"choice '{names[step.op.choice]}' cannot be mixed: its candidates give {shapes}; "
                    "only equal shapes mix."
                )

    def run(self, x: Tensor | Mapping[str, Tensor], training: bool) -> Any:
        """Run everything that the forward pass needs and return the outputs."""
        values = self._plan.feed(x)
        late = _late(self._plan, self._mixtures, self._graphed)
        held = {number for place in late for number in self._plan.steps[place].inputs}
        for place, (step, frees) in enumerate(zip(self._plan.steps, self._plan.frees, strict=True)):
            if place in late:
                continue
            with torch.set_grad_enabled(torch.is_grad_enabled() and place in self._graphed):
                values[step.output] = self._step(place, step, values)
            for number in frees:
                if number not in held:
                    values.pop(number, None)
        return self._plan.collect(values, training)

    def _step(self, place: int, step: Step, values: Mapping[int, Tensor]) -> Tensor:
        if isinstance(step.op, MixOp):
            return self._mix(step, values, self._mixtures[step.op.choice])
        layer = self._layers[place]
        assert layer is not None
        result: Tensor = layer(step.op, step.input_types, *[values[number] for number in step.inputs])
        return result

    def _mix(self, step: Step, values: Mapping[int, Tensor], mixture: Mixture) -> Tensor:
        weights = mixture.weights[list(mixture.support)]
        if not mixture.recompute:
            return _weighted_sum(weights, [values[number] for number in step.inputs])
        active = next(i for i, option in enumerate(mixture.support) if option not in mixture.detached)
        if not torch.is_grad_enabled():
            return values[step.inputs[active]]
        waiting = [needed_steps(self._plan, (number,), set(values)) for number in step.inputs]
        read = {number for places in waiting for place in places for number in self._plan.steps[place].inputs}
        kept = {number: values[number].detach() for number in {*read, *step.inputs} if number in values}

        def again(candidate: int) -> Tensor:
            local = dict(kept)
            with torch.no_grad(), frozen_statistics(self._supernet):
                for place in waiting[candidate]:
                    local[self._plan.steps[place].output] = self._step(place, self._plan.steps[place], local)
            return local[step.inputs[candidate]]

        return recompute(weights, values[step.inputs[active]], active, again)


def _weighted_sum(weights: Tensor, candidates: Sequence[Tensor]) -> Tensor:
    total = weights[0] * candidates[0]
    for place, candidate in enumerate(candidates[1:], start=1):
        total = total + weights[place] * candidate
    return total


def _graphed(plan: Plan, mixtures: Mapping[int, Mixture]) -> frozenset[int]:
    """Return the steps that run with a graph: those that the outputs reach without passing a detached candidate."""
    made = plan.producers
    stack = [made[number] for numbers in plan.outputs.values() for number in numbers if number in made]
    found: set[int] = set()
    while stack:
        place = stack.pop()
        if place in found:
            continue
        found.add(place)
        step = plan.steps[place]
        inputs = step.inputs
        if isinstance(step.op, MixOp):
            detached = mixtures[step.op.choice].detached
            inputs = tuple(n for n, option in zip(inputs, step.op.support, strict=True) if option not in detached)
        stack.extend(made[number] for number in inputs if number in made)
    return frozenset(found)


def _late(plan: Plan, mixtures: Mapping[int, Mixture], graphed: frozenset[int]) -> frozenset[int]:
    """Return the steps that only recomputed candidates need: they do not run in the forward pass."""
    made = plan.producers
    kept: set[int] = set(graphed)
    stack = [
        made[number]
        for place, step in enumerate(plan.steps)
        if place in graphed and isinstance(step.op, MixOp) and not mixtures[step.op.choice].recompute
        for number in step.inputs
        if number in made
    ]
    while stack:
        place = stack.pop()
        if place not in kept:
            kept.add(place)
            stack.extend(made[number] for number in plan.steps[place].inputs if number in made)
    return frozenset(range(len(plan.steps))) - kept
