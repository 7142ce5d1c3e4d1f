"""A lowered graph laid out for execution; networks and supernets run the same plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from nasforge.build.passes import macs_of
from nasforge.errors import UsageError
from nasforge.space.lower import Lowered, Step
from nasforge.space.node import InputOp

Outputs = Tensor | list[Tensor] | dict[str, Any]


@final
@dataclass(frozen=True)
class Plan:
    """Steps in order, where inputs go in and outputs come out, and which values each step frees."""

    lowered: Lowered
    steps: tuple[Step, ...]
    sources: Mapping[str, int]
    """Value number of each input by name."""
    outputs: Mapping[str, tuple[int, ...]]
    frees: tuple[tuple[int, ...], ...]

    @cached_property
    def producers(self) -> dict[int, int]:
        """The step that makes each value; inputs are made by none."""
        return {step.output: place for place, step in enumerate(self.steps)}

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of all steps for one image."""
        return macs_of(self.steps)

    @cached_property
    def drops(self) -> dict[int, float]:
        """How deep the paths lie that training may drop, by the number of the value they end in."""
        return {self.lowered.values[node]: depth for node, depth in self.lowered.drops.items()}

    def feed(self, x: Tensor | Mapping[str, Tensor]) -> dict[int, Tensor]:
        """Return the values at the inputs.

        Raises:
            UsageError: a tensor for several inputs, an unknown or missing input.
        """
        named = {next(iter(self.sources)): x} if isinstance(x, Tensor) and len(self.sources) == 1 else x
        if isinstance(named, Tensor) or set(named) != set(self.sources):
            given = "one tensor" if isinstance(named, Tensor) else sorted(named)
            raise UsageError(f"the network was given {given}; expected the inputs {sorted(self.sources)}.")
        return {self.sources[name]: tensor for name, tensor in named.items()}

    def collect(self, values: Mapping[int, Tensor], training: bool) -> Any:
        """Return the outputs: one tensor, or a dict by name; heads as a list in training, their mean otherwise."""
        found = {name: gather_heads([values[i] for i in numbers], training) for name, numbers in self.outputs.items()}
        return next(iter(found.values())) if len(found) == 1 else found


def gather_heads(heads: list[Tensor], training: bool) -> Tensor | list[Tensor]:
    """Return one head as it is; several as a list in training and as their mean in evaluation."""
    if len(heads) == 1:
        return heads[0]
    return heads if training else torch.stack(heads).mean(dim=0)


def make_plan(lowered: Lowered) -> Plan:
    """Lay a lowered graph out."""
    steps = tuple(step for step in lowered.steps if not isinstance(step.op, InputOp))
    sources = {
        node.op.input_name: value
        for node, value in zip(lowered.nodes, lowered.values, strict=True)
        if isinstance(node.op, InputOp)
    }
    outputs = {name: tuple(lowered.values[node] for node in nodes) for name, nodes in lowered.outputs.items()}
    kept = {number for numbers in outputs.values() for number in numbers}
    last = {number: place for place, step in enumerate(steps) for number in step.inputs}
    frees: list[list[int]] = [[] for _ in steps]
    for number, place in last.items():
        if number not in kept:
            frees[place].append(number)
    return Plan(lowered, steps, sources, outputs, tuple(map(tuple, frees)))


@final
@dataclass(frozen=True)
class Part:
    """What runs between two boundaries: steps in order, their layers, and which values each step frees."""

    source: int | None
    """Number of the value that goes in; None: the plan's inputs."""
    wanted: tuple[int, ...]
    steps: tuple[Step, ...]
    layers: tuple[Any, ...]
    frees: tuple[tuple[int, ...], ...]

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of its steps for one image."""
        return macs_of(self.steps)


def make_part(plan: Plan, layers: Sequence[Any], source: int | None, wanted: tuple[int, ...]) -> Part:
    """Lay out the steps that make the wanted values from the source."""
    places = needed_steps(plan, wanted, set(plan.sources.values()) if source is None else {source})
    steps = tuple(plan.steps[place] for place in places)
    last = {number: place for place, step in enumerate(steps) for number in step.inputs}
    frees: list[list[int]] = [[] for _ in steps]
    for number, place in last.items():
        if number not in wanted:
            frees[place].append(number)
    return Part(source, wanted, steps, tuple(layers[place] for place in places), tuple(map(tuple, frees)))


def needed_steps(plan: Plan, wanted: tuple[int, ...], known: set[int]) -> list[int]:
    """Return the steps, in order, that make the wanted values from the known ones."""
    found: set[int] = set()
    stack = [number for number in wanted if number not in known]
    while stack:
        place = plan.producers[stack.pop()]
        if place not in found:
            found.add(place)
            stack.extend(number for number in plan.steps[place].inputs if number not in known)
    return sorted(found)
